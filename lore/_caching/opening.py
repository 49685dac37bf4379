"""
From what a user writes (a path, a URL, an object) to a store.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from lore import _home
from lore._caching.stores import FolderStore, Store
from lore.errors import StoreError

__all__ = ["Opener", "current", "opened", "set_current"]

_stores: dict[str, Store] = {}
_own: weakref.WeakValueDictionary[str, Store] = weakref.WeakValueDictionary()
_chosen: Store | None = None
_home_seen: Path | None = None
_home_store: Store | None = None
# Asked on every call. While the variable holds the very same object and says an absolute path, nothing has changed.
_environment: Mapping[bytes, bytes] = getattr(os.environ, "_data", os.environb)
_named: bytes | None = None


def current() -> Store:
    """Return the store of all functions that name none: what `use` has set, else the folder `cache` in lore's home."""
    global _home_seen, _home_store, _named
    if _chosen is not None:
        return _chosen
    named = _environment.get(b"LORE_HOME")
    if named is not None and named is _named and _home_store is not None:
        return _home_store
    home = _home.home()
    _named = named if named is not None and os.path.isabs(named) else None
    if home is not _home_seen or _home_store is None:
        _home_store = opened(home / "cache")
        _home_seen = home
    return _home_store


def set_current(store: Store | None) -> Store | None:
    """Set the store that `current` returns, None for the default; return the one set before."""
    global _chosen
    before, _chosen = _chosen, store
    return before


def opened(place: str | os.PathLike[str] | Store) -> Store:
    """
    Return the store at a path or URL, the same object each time; a store is returned as it is.

    Environment variables in a path or URL (`$BUCKET`) are filled in.

    Raises:
        StoreError: a variable is not set, or there is no such file system.
        MissingDependencyError: a URL needs fsspec or one of its file systems, which is not installed.
    """
    if not isinstance(place, str | os.PathLike):
        _own[place.url] = place
        return place
    text = os.path.expandvars(os.fspath(place))
    if text.startswith("$"):
        raise StoreError(f"The store {os.fspath(place)!r} names an environment variable that is not set.")
    if text in _own:
        return _own[text]
    local = _local(text)
    name = text if local is None else os.path.abspath(os.path.expanduser(local))
    store = _stores.get(name)
    if store is None:
        store = _stores.setdefault(name, _remote(text) if local is None else FolderStore(name))
    return store


def _local(text: str) -> str | None:
    for scheme in ("file://", "local://"):
        if text.startswith(scheme):
            return unquote(text[len(scheme) :])
    return None if "://" in text else text


def _remote(url: str) -> Store:
    from lore._caching.remote import remote_store

    return remote_store(url)


class Opener:
    """Opens a store at first use; travels with the function, as a path or URL wherever the user wrote one."""

    __slots__ = ("_place", "_store")

    def __init__(self, place: str | os.PathLike[str] | Store) -> None:
        self._place = place
        self._store: Store | None = None

    def __call__(self) -> Store:
        store = self._store
        if store is None:
            store = self._store = opened(self._place)
        return store

    def __reduce__(self) -> tuple[type[Opener], tuple[str | os.PathLike[str] | Store]]:
        return Opener, (self._place,)
