"""
NumPy's own files: npy holds one array, npz several by name. Neither may hold pickled objects.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from lore._extras import require
from lore._formats.problems import FormatError

__all__ = ["dump", "load"]


def load(file: BinaryIO, format_: str, *, trusted: bool = False) -> Any:
    """Return the array, or the dict of arrays."""
    numpy = require("numpy", extra="sql")
    try:
        loaded = numpy.load(file, allow_pickle=False)
        return loaded if format_ == "npy" else {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(f"This is not a sound {format_} file: {error}") from error


def dump(value: object, file: BinaryIO, format_: str) -> None:
    """Write an array, or for npz a dict of arrays."""
    numpy = require("numpy", extra="sql")
    if format_ == "npy":
        numpy.save(file, _array(value, "the value"), allow_pickle=False)
        return
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise FormatError(f"npz holds a dict of arrays by name, not a {type(value).__name__}.")
    arrays = {name: _array(item, repr(name)) for name, item in value.items()}
    import zipfile

    # numpy.savez takes names as keywords and trips over one called "file".
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                numpy.lib.format.write_array(member, array, allow_pickle=False)


def _array(value: object, what: str) -> Any:
    numpy = require("numpy", extra="sql")
    if hasattr(value, "iloc") or isinstance(value, numpy.ma.MaskedArray):
        raise FormatError(
            f"{what} is a {type(value).__name__}: npy would lose its labels or mask. Use parquet or pickle."
        )
    array = numpy.asanyarray(value)
    if array.dtype.hasobject:
        raise FormatError(f"{what} holds Python objects, which only a pickle can keep. Use the suffix .pickle.")
    return array
