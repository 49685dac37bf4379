"""
The guard of "less than one per cent": what it measures, what it compares with, when it says no.

Comparing whole fits cannot show one per cent: two runs of the same fit differ by more. So lore's own cost is measured
by itself, at its worst, and set against the fastest fit: calls times the cost of a call, bytes times the cost of a byte,
and the cost of storing. Against slow creep, which such a sum would hide, the cost of a call stands beside a closure that
only reads the clock twice, and the cost of a byte beside the bare hash; both in processor time, in alternating blocks.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

MOST_TIMED_RATIO = 4.0
"""A timed call costs at most so many times what a closure with two clocks and an append costs."""

MOST_HIT_RATIO = 6.0
"""A warm hit costs at most so many times what opening, reading, closing and unpickling a tiny file costs."""

MOST_HASH_RATIO = 1.07
"""Keying an array costs at most so many times what the bare hash over its bytes costs."""

MOST_SHARE = 0.01
MOST_TIMED_SHARE = 0.001
MOST_TRIPWIRE = 0.10


class TooSlow(AssertionError):
    """The guard says no."""


@dataclass
class PerCall:
    """Seconds of processor time that one call costs beyond the bare one, and beside the reference."""

    best_s: float
    worst_s: float
    reference_s: float

    @property
    def ratio(self) -> float:
        return self.best_s / self.reference_s

    def check(self, what: str, most: float) -> None:
        if self.ratio > most:
            raise TooSlow(
                f"{what}: {self.best_s * 1e9:,.0f} ns a call is {self.ratio:.1f} times the reference "
                f"({self.reference_s * 1e9:,.0f} ns); {most} are allowed"
            )


@dataclass
class PerByte:
    """Seconds of processor time for a byte, and beside the bare hash."""

    best_s: float
    worst_s: float
    ratio: float
    same_ratio: float
    """The bare hash beside itself, measured alike: how well the ratio is known."""

    def check(self, what: str, most: float) -> None:
        if self.ratio > most:
            raise TooSlow(
                f"{what}: {self.best_s * 1e9:.3f} ns a byte is {self.ratio:.3f} times the bare hash; {most} are allowed "
                f"(the bare hash beside itself: {self.same_ratio:.3f})"
            )


@dataclass
class Share:
    """What lore costs of one fit, item by item, in seconds, and how well whole fits can be compared at all."""

    fit_s: float
    costs_s: dict[str, float]
    same_p95: float = 0.0
    tripwire: float = 0.0
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        return sum(self.costs_s.values()) / self.fit_s

    def check(self, what: str, most: float) -> None:
        if self.share >= most:
            parts = ", ".join(f"{name} {cost * 1e3:.2f} ms" for name, cost in self.costs_s.items())
            raise TooSlow(
                f"{what}: lore costs {self.share:.3%} of a fit of {self.fit_s:.2f} s ({parts}); "
                f"under {most:.1%} is allowed"
            )
        if self.tripwire > max(MOST_TRIPWIRE, self.same_p95):
            raise TooSlow(f"{what}: decorated fits take {self.tripwire:.1%} longer than bare ones in alternating runs")

    def extra_info(self) -> dict[str, float]:
        return {
            "fit_s": round(self.fit_s, 4),
            "lore_share": round(self.share, 6),
            "AA_p95": round(self.same_p95, 4),
            "ABBA_median": round(self.tripwire, 4),
            **{f"{name}_ms": round(cost * 1e3, 3) for name, cost in self.costs_s.items()},
            **self.notes,
        }


def two_clocks(function: Callable[[int], Any]) -> Callable[[int], Any]:
    """Make the reference: what any timing decorator must at least do."""
    spent: list[float] = []
    append, clock = spent.append, time.perf_counter

    def reference(value: int) -> Any:
        start = clock()
        result = function(value)
        append(clock() - start)
        if len(spent) >= 4096:
            spent.clear()
        return result

    return reference


def per_call(
    bare: Callable[[int], Any],
    lore: Callable[[int], Any],
    reference: Callable[[int], Any],
    *,
    calls: int = 5_000,
    blocks: int = 40,
) -> PerCall:
    """Measure in alternating blocks; the best block of each for the ratio, the worst of lore's for the share."""
    times: dict[str, list[float]] = {"bare": [], "lore": [], "reference": []}
    functions = {"bare": bare, "lore": lore, "reference": reference}
    for function in functions.values():
        _block(function, calls)
    for _ in range(blocks):
        for name, function in functions.items():
            times[name].append(_block(function, calls))
    nothing = min(times["bare"])
    return PerCall(
        max(min(times["lore"]) - nothing, 1e-12) / calls,
        max(max(times["lore"]) - nothing, 1e-12) / calls,
        max(min(times["reference"]) - nothing, 1e-12) / calls,
    )


def _block(function: Callable[[int], Any], calls: int) -> float:
    start = time.thread_time()
    for value in range(calls):
        function(value)
    return time.thread_time() - start


def per_byte(
    lore: Callable[[Any], Any], bare: Callable[[Any], Any], value: Any, nbytes: int, *, rounds: int = 15
) -> PerByte:
    """Measure the keying of one large value beside the bare hash, and the bare hash beside itself."""
    times: dict[str, list[float]] = {"lore": [], "bare": [], "again": []}
    for name, function in (("lore", lore), ("bare", bare), ("again", bare)) * rounds:
        start = time.thread_time()
        function(value)
        times[name].append(time.thread_time() - start)
    best = {name: min(found) for name, found in times.items()}
    return PerByte(
        best["lore"] / nbytes, max(times["lore"]) / nbytes, best["lore"] / best["bare"], best["again"] / best["bare"]
    )


def alternating(bare: Callable[[], Any], lore: Callable[[], Any], rounds: int = 3) -> tuple[float, float, float]:
    """
    Run whole fits as A B B A, which is A A as well.

    Returns:
        The fastest bare fit in seconds, the median relative difference of B to A, and the 95th percentile of |A/A|; both
        in processor time of all threads, which a busy machine disturbs less.
    """
    bares, differences, same = [], [], []
    for _ in range(rounds):
        (first, cpu_1), (_, cpu_2), (_, cpu_3), (fourth, cpu_4) = (_measured(run) for run in (bare, lore, lore, bare))
        bares += [first, fourth]
        differences.append((cpu_2 + cpu_3) / (cpu_1 + cpu_4) - 1)
        same.append(abs(cpu_1 / cpu_4 - 1))
    same.sort()
    return min(bares), statistics.median(differences), same[min(len(same) - 1, round(0.95 * len(same)))]


def _measured(run: Callable[[], Any]) -> tuple[float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - cpu


def _spent(run: Callable[[], Any]) -> float:
    return _measured(run)[0]


def worst(run: Callable[[], Any], blocks: int = 4, each: int = 3) -> float:
    """Return the mean of the worst block of runs, after one that warms up."""
    run()
    return max(_spent(lambda: [run() for _ in range(each)]) for _ in range(blocks)) / each


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Lay out rows in columns."""
    rows = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
