"""The guard of the benchmarks lets lore pass and says no to a planted slow-down."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import lore
from lore._timing import spans

pytest.importorskip("numpy")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SLOW_S = 20e-6


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("bench_overhead")
    for name in ("bench_overhead", "guard"):
        sys.modules.pop(name, None)


def burn(seconds: float) -> None:
    """Keep the processor busy."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_timed_passes(bench: Any) -> None:
    """A timed call costs at most four times a closure with two clocks."""
    bench.timed_cost(calls=2_000, blocks=30).check("lore.timed", bench.guard.MOST_TIMED_RATIO)


def test_twenty_microseconds_a_timed_call_are_seen(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clocks that take 10 us each: no."""

    def slow_clock() -> float:
        burn(SLOW_S / 2)
        return time.perf_counter()

    monkeypatch.setattr(spans, "clock", slow_clock)
    with pytest.raises(bench.guard.TooSlow, match="times the reference"):
        bench.timed_cost(calls=200, blocks=5).check("lore.timed", bench.guard.MOST_TIMED_RATIO)


def test_a_hit_passes(bench: Any) -> None:
    """A warm hit costs at most six times reading a tiny file."""
    bench.hit_cost(calls=100, blocks=20).check("a hit", bench.guard.MOST_HIT_RATIO)


def test_twenty_microseconds_a_hit_are_seen(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a hit takes 20 us longer: no."""
    report = spans.cache_event

    def slow_report(*args: Any, **kwargs: Any) -> None:
        burn(SLOW_S)
        report(*args, **kwargs)

    monkeypatch.setattr(spans, "cache_event", slow_report)
    with pytest.raises(bench.guard.TooSlow, match="a hit"):
        bench.hit_cost(calls=100, blocks=10).check("a hit", bench.guard.MOST_HIT_RATIO)


def test_hashing_passes(bench: Any) -> None:
    """Keying an array costs at most 7 % more than the bare hash."""
    bench.hash_cost(100_000_000, rounds=15).check("keying", bench.guard.MOST_HASH_RATIO)


def test_ten_per_cent_a_gigabyte_are_seen(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the bytes is hashed once more: no."""
    import xxhash

    fingerprint = lore.cache.fingerprint

    def slow_fingerprint(value: Any) -> str:
        xxhash.xxh3_128_digest(memoryview(value[: len(value) // 8]).cast("B"))
        return fingerprint(value)

    monkeypatch.setattr(lore.cache, "fingerprint", slow_fingerprint)
    with pytest.raises(bench.guard.TooSlow, match="times the bare hash"):
        bench.hash_cost(100_000_000, rounds=15).check("keying", bench.guard.MOST_HASH_RATIO)


def test_a_share_says_no(bench: Any) -> None:
    """One per cent of a fit and a tripwire of ten per cent beyond A/A are not let through."""
    share = bench.guard.Share
    share(2.0, {"key": 0.019}, same_p95=0.05, tripwire=0.08).check("a fit", 0.01)
    with pytest.raises(bench.guard.TooSlow, match=r"1\.050% of a fit"):
        share(2.0, {"key": 0.021}).check("a fit", 0.01)
    with pytest.raises(bench.guard.TooSlow, match="alternating"):
        share(2.0, {}, same_p95=0.05, tripwire=0.2).check("a fit", 0.01)
