"""
Has anything changed since? A list of identities, checked in about thirty nanoseconds each.

Whoever looks at objects to digest them notes here what it looked at: a name in a namespace, the code of a function, the
items of a list. As long as each of them is still the very same object, and what is compared by content still has it, a
second look would see the same. What is immutable needs no more than that; every container that can change is noted
with its items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter, is_, itemgetter
from typing import Any

__all__ = ["Watch"]

_MISSING = object()
_getter: Callable[..., Callable[[Any], Any]] = itemgetter


class Watch:
    """
    What one look saw.

    Attributes:
        MISSING: stands for what is not set.

    Threads: filled by one thread, then only read; `holds` may be called by any number at once.
    """

    MISSING = _MISSING

    def __init__(self) -> None:
        self._items: dict[int, tuple[Any, dict[Any, Any]]] = {}
        self._missing: dict[int, tuple[Any, set[str]]] = {}
        self._attributes: dict[str, tuple[list[Any], list[Any]]] = {}
        self._sequences: list[tuple[Any, tuple[Any, ...]]] = []
        self._mappings: list[tuple[Mapping[Any, Any], tuple[Any, ...], tuple[Any, ...]]] = []
        self._sizes: list[tuple[Any, int]] = []
        self._contents: list[tuple[Any, bytes]] = []
        self._slots: list[tuple[Any, str, Any]] = []
        self._plan: tuple[list[Any], list[Any], list[Any]] | None = None

    def item(self, mapping: Mapping[Any, Any], key: object, value: object) -> None:
        """Note that `mapping[key]` is `value`."""
        self._items.setdefault(id(mapping), (mapping, {}))[1][key] = value

    def missing(self, mapping: Mapping[Any, Any], key: str) -> None:
        """Note that there is no `key` in `mapping`."""
        self._missing.setdefault(id(mapping), (mapping, set()))[1].add(key)

    def attribute(self, owner: object, name: str, value: object) -> None:
        """Note that `owner.name` is `value`; for the few attributes that many objects have, such as `__code__`."""
        owners, values = self._attributes.setdefault(name, ([], []))
        owners.append(owner)
        values.append(value)

    def slot(self, owner: object, name: str, value: object) -> None:
        """Note that `owner.name` is `value`, or is not set where `value` is `Watch.MISSING`."""
        self._slots.append((owner, name, value))

    def sequence(self, container: Any) -> tuple[Any, ...]:
        """Note the items of a list, set or deque, and return them."""
        items = tuple(container)
        self._sequences.append((container, items))
        return items

    def mapping(self, container: Mapping[Any, Any]) -> tuple[tuple[Any, Any], ...]:
        """Note the keys and values of a mapping, and return its items."""
        items = tuple(container.items())
        self._mappings.append((container, tuple(key for key, _ in items), tuple(value for _, value in items)))
        return items

    def size(self, mapping: Mapping[Any, Any]) -> None:
        """Note how many names a namespace has, where all of them count."""
        self._sizes.append((mapping, len(mapping)))

    def content(self, value: object, digest: bytes) -> None:
        """Note that a value, which cannot be watched from outside, has this digest."""
        self._contents.append((value, digest))

    def seal(self) -> None:
        """Lay the notes out for checking; nothing is noted afterwards."""
        namespaces = [
            (mapping, _getter(*keys) if len(keys) > 1 else _getter(*keys, *keys), _twice(list(keys.values())))
            for mapping, keys in self._items.values()
        ]
        absent = [(mapping.keys(), frozenset(names)) for mapping, names in self._missing.values()]
        attributes = [(attrgetter(name), *lists) for name, lists in self._attributes.items()]
        self._plan = (namespaces, absent, attributes)

    def holds(self, digest: Callable[[Any], bytes]) -> bool:
        """
        Tell whether everything is as it was noted.

        Args:
            digest: computes the digest of what is compared by content.
        """
        assert self._plan is not None
        namespaces, absent, attributes = self._plan
        try:
            for mapping, get, values in namespaces:
                if not all(map(is_, get(mapping), values)):
                    return False
            for keys, names in absent:
                if not keys.isdisjoint(names):
                    return False
            for get, owners, values in attributes:
                if not all(map(is_, map(get, owners), values)):
                    return False
            return self._same_items() and all(digest(value) == known for value, known in self._contents)
        except Exception:  # a deleted name, a container that another thread changes: whatever it is, look again
            return False

    def _same_items(self) -> bool:
        for container, items in self._sequences:
            if len(container) != len(items) or not all(map(is_, container, items)):
                return False
        for mapping, keys, values in self._mappings:
            same = (
                len(mapping) == len(keys) and all(map(is_, mapping, keys)) and all(map(is_, mapping.values(), values))
            )
            if not same:
                return False
        if any(len(mapping) != size for mapping, size in self._sizes):
            return False
        return all(getattr(owner, name, _MISSING) is value for owner, name, value in self._slots)


def _twice(values: list[Any]) -> list[Any]:
    return values if len(values) > 1 else values * 2
