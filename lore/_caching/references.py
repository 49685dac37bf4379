"""
References: a text that stands for a stored result.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from lore._caching import entries, values
from lore._caching.stores import Store
from lore.errors import CacheError, IntegrityError, StoreError

__all__ = ["Ref", "resolved"]

_FORM = re.compile(r"lore-ref:1:([0-9a-f]{32}):([0-9a-f]{32}):([^:]+/[0-9a-f]{32}):(.+)", re.DOTALL)

_NESTS = frozenset({list, tuple, dict})


class Ref(str):
    """
    Stands for a stored result: a text that travels as JSON, in a pickle or through XCom and finds the result again.

    It says in which store the result lies, under which name, and what the digest of its value is. Given to a cached
    function as an argument, it counts as the value itself: the key is that of the value, nothing is hashed or loaded to
    make it, and the function receives the value. Inside lists, tuples and the values of dicts, the function receives
    the value too, and the digest of the value counts; a list of references has a key of its own, though, which is not
    that of the list of values. Inside anything else (a dataclass, a named tuple, a set, a key of a dict) a reference is
    the text that it is, for the key and for the function.

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
        if values.digest(value) != self.digest:
            raise IntegrityError(f"The result {name} was computed again and is another one now. Make a new reference.")

    def _part(self, number: int) -> str:
        match = _FORM.fullmatch(self)
        assert match is not None
        return match[number]

    def __init_subclass__(cls) -> None:
        values.remember(cls, _token)

    def __lore_fingerprint__(self) -> tuple[str, bytes]:
        return "digest", self.digest

    def __reduce__(self) -> tuple[type[Ref], tuple[str]]:
        return Ref, (str(self),)


def _token(ref: Ref, walk: values.Walk) -> bytes:
    """Encode a reference: by the digest of its value where it is going to be replaced, elsewhere by its text."""
    return b"=" + ref.digest if walk.in_reach else values.node(b"reference", walk.token(str(ref)))


values.remember(Ref, _token)


def resolved(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the values in place of all references among the arguments of a call."""
    if not Ref.made:
        return args, kwargs
    memo: dict[int, Any] = {}
    return (
        tuple(_resolve(value, memo) for value in args),
        {name: _resolve(value, memo) for name, value in kwargs.items()},
    )


def _resolve(value: Any, memo: dict[int, Any]) -> Any:
    """Return a value with the references in it replaced; what holds none is returned as it is."""
    return _replaced(value, memo, set()) if _holds_reference(value) else value


def _holds_reference(value: Any) -> bool:
    """Look for a reference, level by level: neither depth nor a cycle stands in the way."""
    seen: set[int] = set()
    level = [value]
    while level:
        kinds = set(map(type, level))
        if any(issubclass(kind, Ref) for kind in kinds):
            return True
        if kinds.isdisjoint(_NESTS):
            return False
        nests = {id(item): item for item in level if type(item) in _NESTS and id(item) not in seen}
        seen.update(nests)
        level = [below for nest in nests.values() for below in (nest.values() if type(nest) is dict else nest)]
    return False


def _replaced(value: Any, memo: dict[int, Any], met_again: set[int]) -> Any:
    """Replace references in nested lists, tuples and dicts, which may contain themselves, and in what they refer to."""
    kind, key = type(value), id(value)
    if issubclass(kind, Ref):
        return _resolve(value.load(), {})
    if kind not in _NESTS:
        return value
    if key in memo:
        met_again.add(key)
        return memo[key]
    new: Any = [] if kind is list else {}
    if kind is not tuple:
        memo[key] = new  # before its items, which may lead back here
    olds = list(value.values()) if kind is dict else value
    items = [_replaced(item, memo, met_again) for item in olds]
    if key not in met_again and all(map(_same, items, olds)):
        new = value
    elif kind is list:
        new.extend(items)
    elif kind is dict:
        new.update(zip(value, items))
    else:
        new = memo.get(key, tuple(items))  # a tuple in a cycle was met, and made, on the way
    memo[key] = new
    return new


def _same(a: object, b: object) -> bool:
    return a is b
