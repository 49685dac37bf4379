"""
Results in formats that other programs read: a file of their own, and beside it an entry that vouches for it.

The entry holds no value. It says which file does, how long it is and what its checksum is; what does not fit is treated
like any damaged entry. A signed entry vouches for the file as well, so that nothing unsigned is ever opened.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO

from xxhash import xxh3_128_hexdigest

from lore import _inputs
from lore._caching.stores import OPEN_SUFFIXES, Store
from lore.errors import IntegrityError, StoreError

__all__ = ["file_name", "load", "save", "use_codec", "verify"]

# What a format gives back. A value of another type would come back as something else.
_TYPES = {"parquet": "DataFrame", "arrow": "DataFrame", "npy": "ndarray"}

Facts = dict[str, Any]

_dump: Callable[[object, BinaryIO, str], None]
_load: Callable[[BinaryIO, str], Any]


def use_codec(dump: Callable[[object, BinaryIO, str], None], load: Callable[[BinaryIO, str], Any]) -> None:
    """Say what writes and reads the formats; the cache itself knows only bytes."""
    global _dump, _load
    _dump, _load = dump, load


def file_name(name: str, format_: str) -> str:
    """Return the name of the file that belongs to an entry."""
    return f"{name}.{format_}"


def save(store: Store, name: str, value: object, format_: str) -> Facts:
    """
    Write a value in a format beside its entry-to-be, and return what the entry must say of it.

    Raises:
        StoreError: the format would not give this value back.
        FormatError, OSError: it cannot be written.
    """
    wanted = _TYPES.get(format_)
    if wanted is not None and type(value).__name__ != wanted:
        raise StoreError(f"format={format_!r} keeps a {wanted}, and the result is a {type(value).__name__}")
    place = file_name(name, format_)
    with _inputs.pause():
        store.save(place, lambda file: _dump(value, file, format_))
    data = store.open(place)
    if data is None:
        raise StoreError(f"the file {place} vanished while it was written")
    return {"name": format_, "nbytes": len(data), "checksum": xxh3_128_hexdigest(data)}


def load(store: Store, name: str, facts: Facts, check: bool) -> Any:
    """
    Return the value in the file that belongs to an entry.

    Raises:
        IntegrityError: the file is gone, is not the one that was stored, or cannot be read here.
    """
    place = file_name(name, facts["name"])
    data = _checked(store, place, facts, check)
    path_of = getattr(store, "path_of", None)
    try:
        with _inputs.pause(), open(path_of(place), "rb") if path_of else io.BytesIO(data) as file:
            return _load(file, facts["name"])
    except Exception as error:
        raise IntegrityError(f"The file {place} cannot be read here ({type(error).__name__}: {error}).") from error


def verify(store: Store, name: str, facts: Facts) -> None:
    """Check every byte of the file that belongs to an entry."""
    _checked(store, file_name(name, facts["name"]), facts, True)


def _checked(store: Store, place: str, facts: Facts, check: bool) -> Any:
    if not place.endswith(OPEN_SUFFIXES):
        raise IntegrityError(f"The entry names a file of no known format: {place}.")
    data = store.open(place)
    if data is None:
        raise IntegrityError(f"The file {place} is gone.")
    if len(data) != facts["nbytes"] or (check and xxh3_128_hexdigest(data) != facts["checksum"]):
        raise IntegrityError(f"The file {place} is not the one that was stored.")
    return data
