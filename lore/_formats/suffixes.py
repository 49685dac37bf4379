"""
What a file's name says: its format and how it is compressed.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from lore._formats.problems import FormatError

__all__ = ["COMPRESSIONS", "FORMATS", "Suffixes", "suffixes_of"]

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "feather",
    ".pickle": "pickle",
    ".pkl": "pickle",
    ".joblib": "joblib",
    ".npy": "npy",
    ".npz": "npz",
    ".keras": "keras",
}

COMPRESSIONS = {
    ".gz": "gzip",
    ".bz2": "bz2",
    ".xz": "xz",
    ".zst": "zstd",
    ".zip": "zip",
}


class Suffixes(NamedTuple):
    """A format's name and a compression's name, or None where the file is not compressed."""

    format: str
    compression: str | None


def suffixes_of(path: str | os.PathLike[str]) -> Suffixes:
    """
    Return what the suffixes of a path or URL say; case does not matter.

    Raises:
        FormatError: no suffix, or one that is not known; the message lists those that are.
    """
    name = _last_name(os.fspath(path))
    stem, suffix = os.path.splitext(name.lower())
    compression = COMPRESSIONS.get(suffix)
    if compression is not None:
        suffix = os.path.splitext(stem)[1]
    if suffix not in FORMATS:
        raise FormatError(
            f"{name!r} has no suffix that lore knows. Formats: {' '.join(FORMATS)}; "
            f"each may be followed by {' '.join(COMPRESSIONS)}."
        )
    return Suffixes(FORMATS[suffix], compression)


def _last_name(path: str) -> str:
    """Return the last part of a path or URL, without a query string, and of a chained URL its first real link."""
    if "://" in path:
        path = next(link for link in path.split("::") if "://" in link)
        if path.startswith(("http://", "https://")):
            path = path.split("?")[0].split("#")[0]
    return path.rstrip("/").rpartition("/")[2]
