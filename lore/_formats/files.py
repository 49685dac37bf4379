"""
Read and write a file in the format that its suffix names.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from lore import _inputs
from lore._formats import places
from lore._formats.problems import FormatError
from lore._formats.suffixes import FORMATS, suffixes_of

__all__ = ["dump", "load", "read", "write"]


class _Format(NamedTuple):
    """Which module of this package reads and writes a format, and the options that reading knows."""

    module: str
    options: frozenset[str] = frozenset()


_FORMATS = {
    "csv": _Format("tables", frozenset({"columns", "dtype", "dtypes", "delimiter", "null_values", "encoding"})),
    "tsv": _Format("tables", frozenset({"columns", "dtype", "dtypes", "delimiter", "null_values", "encoding"})),
    "parquet": _Format("tables", frozenset({"columns", "dtypes"})),
    "arrow": _Format("tables", frozenset({"columns", "dtypes"})),
    "feather": _Format("tables", frozenset({"columns", "dtypes"})),
    "json": _Format("documents", frozenset({"frame", "columns"})),
    "jsonl": _Format("documents", frozenset({"frame", "columns"})),
    "npy": _Format("arrays"),
    "npz": _Format("arrays"),
    "pickle": _Format("objects", frozenset({"trusted"})),
    "joblib": _Format("objects", frozenset({"trusted"})),
    "keras": _Format("models", frozenset({"trusted"})),
}


def read(path: str | os.PathLike[str], **options: Any) -> Any:
    """
    Read a file in the format that its suffix names.

    Formats: csv, tsv, json, jsonl, parquet, arrow, feather, pickle, joblib, npy, npz, keras; each also compressed (gz,
    bz2, xz, zst, and zip with one file in it). The path is local or any fsspec URL (`s3://`, `memory://`, `https://`).
    A cached function that reads a file this way is computed again when the file changes.

    Tables come as DataFrames whose types are as exact as the format allows. Parquet and Arrow keep everything. CSV
    keeps no types, so they are found from the whole text: an integer column with gaps is `Int64`, a quoted `""` is an
    empty string and nothing at all is missing, ISO dates and times are timestamps. A json file that holds an array of
    objects is a table too, unless `frame=False`; any other json is the plain value. npz is a dict of arrays.

    A pickle can run any code when it is opened. One that lore wrote under the same `LORE_HOME` (or the same
    `LORE_SIGNING_KEY`) carries a signature and opens; another opens if it holds nothing but plain data (builtins,
    dates, numpy arrays, DataFrames); anything else, and every foreign joblib file, needs `trusted=True`.

    Args:
        path: a path or URL.
        options: `columns=[...]` for tables and records; `dtypes="arrow"` for Arrow-backed frames; for csv also
            `dtype={"zip": "str"}`, `delimiter`, `encoding` and `null_values` (unquoted texts that mean missing);
            `frame=True|False` for json and jsonl; `trusted=True` for pickle, joblib and keras.

    Raises:
        FormatError: an unknown suffix or option, or a file that is not what its suffix says (a `SourceError` and a
            `ValueError`).
        MissingFile: there is no such file (a `SourceError` and a `FileNotFoundError`).
        MissingDependencyError: the format needs a package that is not installed.
    """
    format_, compression = suffixes_of(path)
    _check_options(format_, options, _FORMATS[format_].options)
    if _inputs.active():
        _note(path)
    with places.reading(path) as file:
        try:
            return load(places.decompressed(file, compression), format_, **options)
        except FormatError as error:
            error.add_note(f"while reading {path}")
            raise


def write(value: object, path: str | os.PathLike[str]) -> None:
    """
    Write a value in the format that the suffix of the path names.

    The file is replaced as a whole: it is written under a temporary name beside, flushed to the disk and renamed, so a
    reader sees the old file or the new one, and a crash leaves the old one. Missing folders are made.

    A frame in csv, json or jsonl loses what text cannot hold: dtypes, time zone names, categories, attrs, and an index
    without a name that only counts rows (any other index becomes columns). NaN in json is null, infinity is refused.

    Args:
        value: a DataFrame (also a pyarrow or polars table) for the tables; any plain value for json, a list of them
            for jsonl; an array for npy, a dict of arrays for npz; a model for keras; anything for pickle and joblib.
        path: a path or URL.

    Raises:
        FormatError: an unknown suffix, or a value that the format cannot hold; the old file is untouched.
        MissingDependencyError: the format needs a package that is not installed.
    """
    format_, compression = suffixes_of(path)
    member = os.path.splitext(os.path.basename(os.fspath(path)))[0]
    with places.replacing(path) as file, places.compressed(file, compression, member) as plain:
        dump(value, plain, format_)


def load(file: BinaryIO, format_: str, **options: Any) -> Any:
    """Read a value from a seekable binary stream; `format_` is a name such as "parquet"."""
    return _engine(format_, "load")(file, format_, **options)


def dump(value: object, file: BinaryIO, format_: str) -> None:
    """Write a value to a binary stream; `format_` is a name such as "parquet"."""
    _engine(format_, "dump")(value, file, format_)


def _note(path: str | os.PathLike[str]) -> None:
    """
    Note a file as an input of the cached function around, also one that is missing.

    That comes before it is opened: a change in between makes the result look older than it is, never newer.
    """
    local = places.local_path(path)
    if local is None or not os.path.isdir(local):
        _inputs.note(_inputs.of_path(local or os.fspath(path)))


def _engine(format_: str, function: str) -> Callable[..., Any]:
    if format_ not in _FORMATS:
        raise FormatError(f"There is no format {format_!r}. Formats: {' '.join(dict.fromkeys(FORMATS.values()))}")
    module = importlib.import_module(f"lore._formats.{_FORMATS[format_].module}")
    return getattr(module, function)  # type: ignore[no-any-return]


def _check_options(format_: str, options: dict[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(set(options) - known - {"trusted"})
    if unknown:
        offered = f"It knows {', '.join(sorted(known))}." if known else "It has none."
        raise FormatError(f"Reading {format_} has no option {unknown[0]!r}. {offered}")
