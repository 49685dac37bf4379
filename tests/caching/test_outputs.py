"""What a function only writes to does not decide over its result; what it reads does."""

from __future__ import annotations

import ast
import collections
from collections.abc import Callable
from typing import Any

import pytest

import lore
from lore._caching.outputs import outputs_of

calls: list[int] = []
number = 0
counts: dict[str, int] = {"n": 0}
tally: collections.Counter[int] = collections.Counter()
limits = [1]


class Stats:
    """A class that counts in an attribute."""

    calls = 0


stats = Stats()
stats.calls = 0


@lore.cached
def appends(x: int) -> int:
    calls.append(x)
    return x


@lore.cached
def counts_up(x: int) -> int:
    global number
    number += 1
    return x


@lore.cached
def counts_item(x: int) -> int:
    counts["n"] += 1
    counts["m"] = counts.get("m", 0) + 1
    tally[x] += 1
    return x


@lore.cached
def counts_attribute(x: int) -> int:
    stats.calls += 1
    Stats.calls = Stats.calls + 1
    return x


def note(x: int) -> None:
    calls.append(x)


@lore.cached
def through_helper(x: int) -> int:
    note(x)
    return x


def enclosed() -> Callable[[int], int]:
    seen: list[int] = []
    count = 0

    @lore.cached
    def counts_enclosed(x: int) -> int:
        nonlocal count
        count += 1
        seen.append(x)
        return x

    return counts_enclosed


@pytest.mark.parametrize(
    "function",
    [appends, counts_up, counts_item, counts_attribute, through_helper, enclosed()],
    ids=lambda f: f.__name__,
)
def test_counting_calls_does_not_make_them_stale(function: Any) -> None:
    """A function that notes its own calls in memory finds its results again, whatever was noted since."""
    for x in (1, 2, 1, 2, 1):
        assert function(x) == x
    info = function.cache_info()
    assert (info.hits, info.misses) == (3, 2)


@lore.cached
def appends_and_looks(x: int) -> int:
    limits.append(x)
    return len(limits)


@lore.cached
def reads(x: int) -> int:
    return x * limits[0]


def test_what_is_read_counts() -> None:
    """A container that is also looked at is compared by content."""
    limits[:] = [1]
    assert (appends_and_looks(5), appends_and_looks(5)) == (2, 3)
    limits[:] = [2]
    assert reads(3) == 6
    limits[0] = 4
    assert reads(3) == 12


TEXTS = [
    ("calls.append(x)", {"calls"}),
    ("y = calls.append(x)", {"y"}),
    ("calls.append(x); return calls", set()),
    ("calls.append(len(calls))", set()),
    ("calls.pop()", set()),
    ("if calls: calls.append(x)", set()),
    ("calls[x] = 1", {"calls"}),
    ("calls[x] += f(calls)", set()),
    ("calls[x] = f(calls)", set()),
    ("calls['n'] = calls['n'] + 1", {"calls"}),
    ("calls['n'] = calls['m'] = calls['n'] + 1", set()),
    ("calls = calls + 1", {"calls"}),
    ("model.fit(calls)", set()),
    ("calls.append(x)\n    def g(): return calls", set()),
    ("stats.n += 1", {"stats.n"}),
    ("stats.n += 1; stats.show()", set()),
    ("print(stats.m); stats.n += 1", set()),
    ("del calls[0]", {"calls"}),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_only_what_is_never_read_is_an_output(text: str, expected: set[str]) -> None:
    """A name is an output only where nothing of it can flow anywhere else."""
    body = text.replace("; ", "\n    ")
    assert outputs_of(ast.parse(f"def f(x):\n    {body}")) - {"x"} == expected
