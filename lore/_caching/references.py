"""
References: a text that stands for a stored result.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from lore._caching import entries
from lore._caching.stores import Store
from lore.errors import CacheError, IntegrityError, StoreError

__all__ = ["Ref", "resolved"]

_FORM = re.compile(r"lore-ref:1:([0-9a-f]{32}):([0-9a-f]{32}):([^:]+/[0-9a-f]{32}):(.+)", re.DOTALL)


class Ref(str):
    """
    Stands for a stored result: a text that travels as JSON, in a pickle or through XCom and finds the result again.

    It says in which store the result lies, under which name, and what the digest of its value is. Given to a cached
    function as an argument, also inside lists, tuples and dicts, it counts as the value itself: the key is that of the
    value, nothing is hashed or loaded to make it, and the function receives the value.

    Args:
        text: what `cache_ref` returned, possibly in another process. JSON gives back a plain `str`: `Ref(text)` makes
            a reference of it again.

    Raises:
        CacheError: the text is no reference.

    >>> Ref("flights.csv")
    Traceback (most recent call last):
    ...
    lore.errors.CacheError: 'flights.csv' is no reference: cache_ref makes one.
    """

    __slots__ = ()
    made: ClassVar[bool] = False
    find_store: ClassVar[Callable[[str], Store]]

    def __new__(cls, text: str) -> Ref:
        if _FORM.fullmatch(text) is None:
            raise CacheError(f"{str(text)[:80]!r} is no reference: cache_ref makes one.")
        Ref.made = True
        return super().__new__(cls, text)

    @classmethod
    def to(cls, store: Store, name: str, digest: bytes, checksum: str) -> Ref:
        """Make the reference to an entry whose value has a digest and whose bytes have a checksum."""
        return cls(f"lore-ref:1:{digest.hex()}:{checksum}:{name}:{store.url}")

    @property
    def digest(self) -> bytes:
        """The digest of the value, as `lore.cache.fingerprint` gives it in hexadecimal digits."""
        return bytes.fromhex(self._part(1))

    @property
    def key(self) -> str:
        """The key of the call whose result this is."""
        return self._part(3).rpartition("/")[2]

    @property
    def url(self) -> str:
        """The store's URL."""
        return self._part(4)

    def load(self) -> Any:
        """
        Return the value, private to the caller.

        Raises:
            StoreError: the entry is gone, or the store cannot be reached from here.
            IntegrityError: the entry is damaged, or was computed again with another result.
        """
        store, name = Ref.find_store(self.url), self._part(3)
        try:
            stored = entries.read(store, name)
        except OSError as error:
            raise StoreError(f"The result cannot be read from {self.url}: {error}") from error
        if stored is None:
            raise StoreError(
                f"The result {name} is no longer in {self.url}: it was dropped or evicted. Compute it again."
            )
        value = stored.load()
        if stored.checksum != self._part(2):
            self._compare(value, name)
        return value

    def _compare(self, value: Any, name: str) -> None:
        """Accept other bytes only where they hold an equal value."""
        from lore._caching import values

        if values.digest(value) != self.digest:
            raise IntegrityError(f"The result {name} was computed again and is another one now. Make a new reference.")

    def _part(self, number: int) -> str:
        match = _FORM.fullmatch(self)
        assert match is not None
        return match[number]

    def __lore_fingerprint__(self) -> tuple[str, bytes]:
        return "digest", self.digest

    def __reduce__(self) -> tuple[type[Ref], tuple[str]]:
        return Ref, (str(self),)


def resolved(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the values in place of all references among the arguments of a call."""
    if not Ref.made:
        return args, kwargs
    return tuple(map(_resolve, args)), {name: _resolve(value) for name, value in kwargs.items()}


def _resolve(value: Any) -> Any:
    """Return a value with the references in it replaced; what holds none is returned as it is."""
    kind = type(value)
    if kind is Ref:
        return value.load()
    if kind in (list, tuple):
        items = [_resolve(item) for item in value]
        return value if all(map(_same, items, value)) else kind(items)
    if kind is dict:
        changed = {name: _resolve(item) for name, item in value.items()}
        return value if all(map(_same, changed.values(), value.values())) else changed
    return value


def _same(a: object, b: object) -> bool:
    return a is b
