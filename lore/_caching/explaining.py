"""
Why a call hits or misses, in words.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

from lore._caching import code, entries
from lore._caching.entries import Entry, Stored, ago
from lore._caching.keeping import Keeper, disabled
from lore._caching.stores import Item
from lore.errors import IntegrityError

__all__ = ["Explanation", "explain"]

_MOST_COMPARED = 2_000


class Explanation:
    """
    Whether a call would be a hit, and why. `str()` says it in words.

    Attributes:
        hit: whether the stored result would be used.
        key: of the call.
        reasons: what decided, in words: one for each thing that changed.
        nearest: the stored entry that was compared; None where the function has none.
    """

    __slots__ = ("function", "hit", "key", "nearest", "reasons")

    def __init__(self, function: str, key: str, hit: bool, reasons: list[str], nearest: Entry | None = None) -> None:
        self.function = function
        self.key = key
        self.hit = hit
        self.reasons = tuple(reasons)
        self.nearest = nearest

    def __str__(self) -> str:
        head = f"{'hit' if self.hit else 'miss'}: {self.function}"
        if len(self.reasons) == 1:
            return f"{head}: {self.reasons[0]}"
        return "\n".join([f"{head}:", *(f"  - {reason}" for reason in self.reasons)])

    def __repr__(self) -> str:
        return f"<{self}>"

    def __bool__(self) -> bool:
        return self.hit


class _Call(NamedTuple):
    """The call that is explained."""

    key: str
    code: str
    version: str
    arguments: dict[str, list[str]]


def explain(keeper: Keeper, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explanation:
    """Find out what would happen to a call and what it has to do with what is stored."""
    parts = keeper.parts(args, kwargs)
    key = keeper.key_of(parts)
    if disabled.get():
        return Explanation(keeper.name, key, False, ["caching is disabled here (lore.cache.disabled)"])
    if keeper.remembers(key):
        return Explanation(keeper.name, key, True, ["kept in this process (memory=), and nothing it came from changed"])
    name = f"{keeper.folder}/{key}"
    try:
        stored = entries.read(keeper.store, name)
        if stored is not None:
            return _of_entry(keeper, stored, name)
    except IntegrityError as error:
        return Explanation(keeper.name, key, False, [f"the entry is damaged: {error}"])
    except OSError as error:
        return Explanation(keeper.name, key, False, [f"the store {keeper.store.url} cannot be read: {error}"])
    story = keeper.story(args, kwargs, parts)
    call = _Call(key, story["code"], story["version"], story["arguments"])
    nearest = _nearest(keeper, call)
    if nearest is None:
        return Explanation(keeper.name, key, False, ["nothing is stored for this function yet"])
    other, item = nearest
    return Explanation(
        keeper.name, key, False, _differences(keeper, call, other), entries.described(other, keeper.store, item)
    )


def _of_entry(keeper: Keeper, stored: Stored, name: str) -> Explanation:
    """Explain a call whose entry is there."""
    entry = entries.described(stored, keeper.store, Item(name, stored.nbytes, stored.created_s))
    until_s = stored.until(keeper.plan.ttl_s)
    reasons = stored.why_invalid(keeper.plan.ttl_s)
    if not reasons and keeper.plan.verify:
        try:
            stored.verify()
        except IntegrityError as error:
            reasons = [f"the entry is damaged: {error}"]
    if reasons:
        return Explanation(keeper.name, stored.key, False, reasons, entry)
    age = f"made {ago(max(0.0, time.time() - stored.created_s))} ago in {stored.elapsed_s:.3g} s"
    left = "" if until_s == math.inf else f", valid for another {ago(until_s - time.time())}"
    inputs = f", {len(stored.inputs)} inputs unchanged" if stored.inputs else ""
    return Explanation(keeper.name, stored.key, True, [f"{age}{inputs}{left}"], entry)


def _nearest(keeper: Keeper, call: _Call) -> tuple[Stored, Item] | None:
    """Return the entry of the function that differs least from the call; among equals the youngest."""
    items = sorted(keeper.store.scan(keeper.folder), key=lambda item: item.used_s, reverse=True)
    best: tuple[tuple[int, float], Stored, Item] | None = None
    for item in [item for item in items if entries.is_entry(item.name)][:_MOST_COMPARED]:
        try:
            stored = entries.read(keeper.store, item.name)
            rank = (
                0 if stored is None else _distance(call, stored.story),
                0.0 if stored is None else -stored.created_s,
            )
        except (IntegrityError, OSError):
            continue
        if stored is not None and (best is None or rank < best[0]):
            best = (rank, stored, item)
    return None if best is None else best[1:]


def _distance(call: _Call, story: dict[str, Any]) -> int:
    """Count in how many things an entry differs from a call."""
    differs = (bool(story["code"] != call.code), bool(story["version"] != call.version))
    return len(_other_arguments(call, story)) + sum(differs)


def _other_arguments(call: _Call, story: dict[str, Any]) -> list[str]:
    """Return the names of the arguments that differ."""
    before = story["arguments"]
    return [
        name for name in {**call.arguments, **before} if before.get(name, [""])[0] != call.arguments.get(name, [""])[0]
    ]


def _differences(keeper: Keeper, call: _Call, stored: Stored) -> list[str]:
    """Say in words what a call has that the nearest entry has not."""
    story = stored.story
    reasons = []
    if story["code"] != call.code:
        reasons += _code_differences(keeper, story["code"])
    if story["version"] != call.version:
        reasons.append(f"version changed from {story['version']} to {call.version}")
    reasons += [_argument_difference(name, call, story) for name in _other_arguments(call, story)]
    age = ago(max(0.0, time.time() - stored.created_s))
    return reasons or [f"an entry like it, made {age} ago, lies under another name: lore itself changed since"]


def _code_differences(keeper: Keeper, before: str) -> list[str]:
    if keeper.code is None:
        return ["code=False is new: the entry was made with its code followed"]
    if not before:
        return ["code=False is gone: the code counts now"]
    facts = entries.read_facts(keeper.store, keeper.folder, before)
    changes = code.explain(facts, keeper.code.facts()) if facts is not None else []
    return changes or ["the code changed (what it was before is no longer known)"]


def _argument_difference(name: str, call: _Call, story: dict[str, Any]) -> str:
    now, before = call.arguments.get(name), story["arguments"].get(name)
    if before is None:
        return f"parameter {name} is new"
    if now is None:
        return f"parameter {name} is gone"
    if name == "key":
        return "what key= returns is another value"
    if now[1] == before[1]:
        return f"argument {name} has other content: {now[1]}"
    return f"argument {name} is {now[1]}, the nearest entry has {before[1]}"
