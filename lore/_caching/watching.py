"""
Has anything changed since? A list of identities, checked in about thirty nanoseconds each.

Whoever looks at objects to digest them notes here what it looked at: a name in a namespace, the code of a function, the
items of a list. As long as each of them is still the very same object, and what is compared by content still has it, a
second look would see the same. What is immutable needs no more than that; every container that can change is noted
with its items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter, getitem, is_
from typing import Any

__all__ = ["Watch"]

_MISSING = object()
_WORTH_COMPILING = 200  # what compiling costs is earned back by about a thousand checks
_MOST_COMPILED = 2000


class Watch:
    """
    What one look saw.

    Attributes:
        MISSING: stands for what is not set.

    Threads: filled by one thread, then only read; `holds` may be called by any number at once.
    """

    MISSING = _MISSING

    def __init__(self) -> None:
        self._items: dict[tuple[int, object], tuple[Any, Any, Any]] = {}
        self._missing: dict[int, tuple[Any, Any, set[str]]] = {}
        self._attributes: dict[str, tuple[list[Any], list[Any]]] = {}
        self._sequences: list[tuple[Any, tuple[Any, ...]]] = []
        self._mappings: list[tuple[Mapping[Any, Any], tuple[Any, ...], tuple[Any, ...]]] = []
        self._sizes: list[tuple[Any, int]] = []
        self._contents: list[tuple[Any, bytes]] = []
        self._slots: list[tuple[Any, str, Any]] = []
        self._answers: list[tuple[Callable[[], object], object]] = []
        self._held = 0
        self._same_names: Callable[[], bool] = self._compare_names

    def item(self, mapping: Mapping[Any, Any], key: str, value: object) -> None:
        """Note that `mapping[key]` is `value`."""
        self._items[id(mapping), key] = (mapping, key, value)

    def missing(self, mapping: Mapping[Any, Any], key: str) -> None:
        """Note that there is no `key` in `mapping`."""
        # with the mapping itself: a class hands out another one each time, whose id would soon be that of the next
        self._missing.setdefault(id(mapping), (mapping, mapping.keys(), set()))[2].add(key)

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

    def answer(self, ask: Callable[[], object], value: object) -> None:
        """Note what a cheap question is answered with."""
        self._answers.append((ask, value))

    def seal(self) -> None:
        """Lay the notes out for checking; nothing is noted afterwards."""
        self._flat: tuple[list[Any], ...] = tuple(map(list, zip(*self._items.values()))) or ([], [], [])
        self._owned = [(attrgetter(name), *lists) for name, lists in self._attributes.items()]

    def holds(self, digest: Callable[[Any], bytes]) -> bool:
        """
        Tell whether everything is as it was noted.

        Args:
            digest: computes the digest of what is compared by content.
        """
        try:
            if not self._same_names():
                return False
            for container, items in self._sequences:
                if len(container) != len(items) or not all(map(is_, container, items)):
                    return False
            for mapping, keys, values in self._mappings:
                if len(mapping) != len(keys) or not all(map(is_, mapping, keys)):
                    return False
                if not all(map(is_, mapping.values(), values)):
                    return False
            for owner, name, value in self._slots:
                if getattr(owner, name, _MISSING) is not value:
                    return False
            for ask, value in self._answers:
                if ask() != value:
                    return False
            for value, known in self._contents:
                if digest(value) != known:
                    return False
        except Exception:  # a deleted name, a container that another thread changes: whatever it is, look again
            return False
        return True

    # --- names and attributes, compared one by one, and after a while by a function made for just these ---------------

    def _compare_names(self) -> bool:
        mappings, keys, values = self._flat
        if not all(map(is_, map(getitem, mappings, keys), values)):
            return False
        for _, names, absent in self._missing.values():
            if not names.isdisjoint(absent):
                return False
        for get, owners, values in self._owned:
            if not all(map(is_, map(get, owners), values)):
                return False
        for mapping, size in self._sizes:
            if len(mapping) != size:
                return False
        self._held += 1
        if self._held == _WORTH_COMPILING and len(keys) <= _MOST_COMPILED:
            self._same_names = self._compiled()
        return True

    def _compiled(self) -> Callable[[], bool]:
        """Write `a["x"] is b and f.__code__ is c and ...` for everything noted: less than half the time."""
        scope: dict[str, Any] = {}

        def named(value: object) -> str:
            name = f"_{len(scope)}"
            scope[name] = value
            return name

        names = {id(mapping): named(mapping) for mapping, _, _ in self._items.values()}
        checks = [f"{names[id(mapping)]}[{key!r}] is {named(value)}" for mapping, key, value in self._items.values()]
        checks += [
            f"{named(keys.isdisjoint)}({named(frozenset(absent))})" for _, keys, absent in self._missing.values()
        ]
        for name, (owners, values) in self._attributes.items():
            checks += [f"{named(owner)}.{name} is {named(value)}" for owner, value in zip(owners, values)]
        checks += [f"{named(mapping.__len__)}() == {size}" for mapping, size in self._sizes]
        exec(f"def same_names():\n    return {' and '.join(checks) or True}", scope)
        compiled: Callable[[], bool] = scope["same_names"]
        return compiled
