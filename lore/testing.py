"""
Fixtures for pytest: a home and a store of the test's own, a clock that the test sets, and what was timed and cached.

In a `conftest.py`:

    pytest_plugins = ["lore.testing"]

- `lore_home`: a `LORE_HOME` of its own for the test, and nothing configured from outside.
- `lore_store`: a cache store of its own.
- `lore_clock`: a clock that stands still until `lore_clock.advance(seconds)`.
- `lore_timing`: which timed functions were called since the test began, and the events they told.
- `lore_cache`: which cached functions found their results since the test began.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

import lore
from lore._timing import events, spans
from lore._wrapping import find, name_of
from lore.timing import TimedLayer

__all__ = ["CacheProbe", "Clock", "lore_cache", "lore_clock", "lore_home", "lore_store", "lore_timing", "TimingProbe"]

R = TypeVar("R")

_CONFIGURED = (
    "LORE_CACHE",
    "LORE_CACHE_MAX_BYTES",
    "LORE_DATABASE_URL",
    "LORE_SIGNING_KEY",
    "LORE_TIMING",
    "DATABASE_URL",
)


@pytest.fixture
def lore_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    Give the test a `LORE_HOME` of its own, and take away what the environment configures.

    `LORE_TIMING` and `LORE_CACHE` are read when a function is decorated: what they switched off before stays off.
    """
    home = tmp_path / "lore"
    monkeypatch.setenv("LORE_HOME", str(home))
    for name in _CONFIGURED:
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def lore_store(lore_home: Path) -> Iterator[Any]:
    """Give the test a cache store of its own: every first call computes, and nothing is left behind."""
    with lore.cache.use(lore_home / "store") as store:
        yield store


class Clock:
    """
    A clock that stands still.

    `lore_clock.advance(2.5)` makes 2.5 seconds pass for `lore.timed`, for `ttl` and for all code that asks
    `time.time()`. Nothing sleeps shorter or longer for it.
    """

    def __init__(self) -> None:
        self.now_s = time.time()
        self.since_s = 1_000.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0:
            raise ValueError(f"time does not go back: advance({seconds})")
        self.now_s += seconds
        self.since_s += seconds

    def time(self) -> float:
        """Return the seconds since 1970."""
        return self.now_s

    def perf_counter(self) -> float:
        """Return the seconds since some moment."""
        return self.since_s


@pytest.fixture
def lore_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the clock; the test lets time pass by `lore_clock.advance(seconds)`."""
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    monkeypatch.setattr(spans, "clock", clock.perf_counter)
    return clock


class TimingProbe:
    """
    What was timed since the test began.

    Attributes:
        events: what was emitted meanwhile, whether structlog is configured or not: `(event, fields)`.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self._before = {id(site): _counted(site) for site in spans._living_sites()}

    def calls(self, function: Callable[..., Any]) -> int:
        """Count the calls of a timed function."""
        return self._since(function)[0]

    def errors(self, function: Callable[..., Any]) -> int:
        """Count the calls that ended with an exception."""
        return self._since(function)[1]

    def assert_called(self, function: Callable[..., Any], times: int = 1, errors: int = 0) -> None:
        """Assert how often a timed function was called, and how often it failed."""
        found = self._since(function)
        assert found == (times, errors), (
            f"{name_of(function)} was called {found[0]} times with {found[1]} errors; "
            f"expected were {times} with {errors}"
        )

    def assert_within(self, function: Callable[..., Any], seconds: float) -> None:
        """Assert that no call of a timed function took longer, since it was decorated or cleared."""
        slowest_s = _site(function).info()[0].max_s
        assert slowest_s <= seconds, f"a call of {name_of(function)} took {slowest_s:.3g} s, more than {seconds:.3g} s"

    def _since(self, function: Callable[..., Any]) -> tuple[int, int]:
        site = _site(function)
        calls, errors = _counted(site)
        earlier_calls, earlier_errors = self._before.get(id(site), (0, 0))
        return calls - earlier_calls, errors - earlier_errors


def _site(function: Callable[..., Any]) -> spans.Site:
    layer = find(function, TimedLayer)
    assert layer is not None, f"{function!r} is not under lore.timed"
    site: spans.Site = layer.state
    return site


def _counted(site: spans.Site) -> tuple[int, int]:
    durations, _, counts = site.info()
    return durations.count, int(counts.get("errors", 0))


@pytest.fixture
def lore_timing() -> Iterator[TimingProbe]:
    """Tell which timed functions were called since the test began."""
    probe = TimingProbe()
    stop = events.listen(lambda event, fields: probe.events.append((event, fields)))
    yield probe
    stop()


class CacheProbe:
    """What cached functions answered since the test began, in order."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str]] = []

    def outcomes(self, function: Callable[..., Any]) -> list[str]:
        """List how the calls of one function were answered: "hit", "miss", "stale", "error"."""
        return [outcome for name, outcome in self.answers if name == name_of(function)]

    def assert_hit(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Call a cached function and assert that its result was found; the message says why not."""
        return self._assert("hit", function, args, kwargs)

    def assert_computed(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Call a cached function and assert that its result was computed."""
        return self._assert("computed", function, args, kwargs)

    def _assert(self, wanted: str, function: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
        explain = getattr(function, "cache_explain", None)
        assert explain is not None, f"{function!r} is not under lore.cached"
        why = explain(*args, **kwargs)
        seen = len(self.answers)
        result = function(*args, **kwargs)
        answered = [
            outcome for name, outcome in itertools.islice(self.answers, seen, None) if name == name_of(function)
        ]
        found = "hit" if answered and set(answered) == {"hit"} else "computed"
        assert found == wanted, f"{name_of(function)} was expected to be {wanted} and was {found}: {why}"
        return result


@pytest.fixture
def lore_cache(lore_store: Any) -> Iterator[CacheProbe]:
    """Tell how cached functions answered since the test began; the store is empty at first."""
    probe = CacheProbe()

    def watch(function: str, outcome: str) -> None:
        probe.answers.append((function, outcome))

    spans._cache_watchers.append(watch)
    yield probe
    spans._cache_watchers.remove(watch)
