"""
Durations as a histogram of narrow logarithmic buckets: exact counts, quantiles within five per cent.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate

KEPT = 128
"""So many durations are kept as they are; the quantiles of few calls are exact."""


def _bounds() -> tuple[float, ...]:
    """Give the upper bounds: thirty a decade from 10 ns to 28 hours, so that 1, 2.5 and 5 are among them."""
    shape = (
        [2.5 ** (i / 12) for i in range(12)]
        + [2.5 * 2 ** (i / 9) for i in range(9)]
        + [5 * 2 ** (i / 9) for i in range(9)]
    )
    return tuple(float(f"{mantissa * 10.0**decade:.12g}") for decade in range(-8, 5) for mantissa in shape)


BOUNDS = _bounds()


class Durations:
    """
    Count, total, extremes and quantiles of many durations in seconds.

    Neighbouring bounds lie at most 8.1 % apart, so that the middle of a bucket is within 4 % of everything in it.
    The first 128 durations are also kept one by one.

    Threads: whoever adds holds the lock of the owner; reading a copy needs none.
    """

    __slots__ = ("buckets", "count", "exact", "max_s", "min_s", "total_s")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.buckets: dict[int, int] = {}
        self.exact: list[float] = []
        self.count = 0
        self.total_s = 0.0
        self.min_s = float("inf")
        self.max_s = 0.0

    def add(self, durations: list[float]) -> dict[int, int]:
        """Add durations, sorting the list in place; return how many fell into which bucket."""
        durations.sort()
        added = bucketed(durations)
        self._join(added, len(durations), sum(durations), durations[0], durations[-1])
        if self.count <= KEPT:
            self.exact.extend(durations)
        return added

    def merge(self, other: Durations) -> None:
        """Add what another one has counted."""
        if other.count:
            self._join(other.buckets, other.count, other.total_s, other.min_s, other.max_s)
            if self.count <= KEPT:
                self.exact.extend(other.exact)

    def _join(self, buckets: dict[int, int], count: int, total_s: float, min_s: float, max_s: float) -> None:
        known = self.buckets
        for index, amount in buckets.items():
            known[index] = known.get(index, 0) + amount
        self.count += count
        self.total_s += total_s
        self.min_s = min(self.min_s, min_s)
        self.max_s = max(self.max_s, max_s)

    def quantiles(self, *shares: float) -> list[float]:
        """Give the durations below which these shares of all durations lie; zeros where there are none."""
        if not self.count:
            return [0.0] * len(shares)
        value_at = self._values()
        return [_between(value_at, share * (self.count - 1)) for share in shares]

    def _values(self) -> _Exact | _Bucketed:
        if self.count <= KEPT and len(self.exact) == self.count:
            return _Exact(self.exact)
        return _Bucketed(self)


class _Exact:
    """The n-th smallest of durations that were kept."""

    def __init__(self, durations: Iterable[float]) -> None:
        self.durations = sorted(durations)

    def __call__(self, rank: int) -> float:
        return self.durations[rank]


class _Bucketed:
    """The n-th smallest, estimated from where its bucket lies and how far inside the bucket it is."""

    def __init__(self, durations: Durations) -> None:
        self.durations = durations
        self.indices = sorted(durations.buckets)
        self.ends = list(accumulate(durations.buckets[index] for index in self.indices))

    def __call__(self, rank: int) -> float:
        if rank == 0 or rank == self.durations.count - 1:
            return self.durations.max_s if rank else self.durations.min_s
        place = bisect_right(self.ends, rank)
        index = self.indices[place]
        held = self.durations.buckets[index]
        inside = (rank - (self.ends[place] - held) + 0.5) / held
        low, high = edges(index)
        low, high = max(low, self.durations.min_s), min(high, self.durations.max_s)
        return low * (high / low) ** inside if 0 < low < high else high


def bucketed(durations: list[float]) -> dict[int, int]:
    """Count sorted durations by bucket."""
    counts = {}
    start, end = 0, len(durations)
    while start < end:
        index = bisect_left(BOUNDS, durations[start])
        after = bisect_right(durations, BOUNDS[index], start) if index < len(BOUNDS) else end
        counts[index] = after - start
        start = after
    return counts


def edges(index: int) -> tuple[float, float]:
    """Give the lower and upper bound of a bucket."""
    low = BOUNDS[index - 1] if index else 0.0
    return low, BOUNDS[index] if index < len(BOUNDS) else float("inf")


def _between(value_at: _Exact | _Bucketed, rank: float) -> float:
    low = int(rank)
    value = value_at(low)
    return value + (value_at(low + 1) - value) * (rank - low) if rank > low else value
