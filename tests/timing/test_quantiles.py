"""Durations in buckets: exact counts, quantiles within five per cent."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore._timing.quantiles import BOUNDS, KEPT, Durations, bucketed, edges

seconds = st.floats(min_value=1e-7, max_value=1e4)
SHARES = (0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0)


def filled(values: list[float], chunk: int = 4096) -> Durations:
    durations = Durations()
    for start in range(0, len(values), chunk):
        durations.add(values[start : start + chunk])
    return durations


def test_bounds_are_narrow() -> None:
    """Two neighbours differ by less than 8.1 %, and what Prometheus is told by lies among them."""
    ratios = [above / below for below, above in itertools.pairwise(BOUNDS)]
    assert max(ratios) < 1.081
    assert {0.001, 0.0025, 0.005, 0.01, 1.0, 2.5, 10.0} <= set(BOUNDS)


@given(st.lists(seconds, max_size=300))
def test_every_duration_is_counted_once(values: list[float]) -> None:
    """Buckets add up to the number of durations, and each duration lies inside its bucket."""
    counts = bucketed(sorted(values))
    assert sum(counts.values()) == len(values)
    for index in counts:
        low, high = edges(index)
        assert any(low < value <= high for value in values)


@given(st.lists(seconds, min_size=1, max_size=KEPT))
def test_quantiles_of_few_are_exact(values: list[float]) -> None:
    """Up to 128 durations: the same quantiles as numpy's."""
    assert filled(list(values), 7).quantiles(*SHARES) == pytest.approx(list(np.quantile(values, SHARES)))


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.lognormal(-7, 2, 20_000),
        lambda rng: rng.exponential(0.01, 20_000),
        lambda rng: rng.uniform(0.001, 0.002, 20_000),
        lambda rng: np.concatenate([rng.normal(1e-4, 1e-6, 15_000), rng.normal(2.0, 0.1, 5_000)]),
        lambda rng: np.full(1_000, 0.0123),
    ],
)
def test_quantiles_of_many_are_within_five_per_cent(draw: object) -> None:
    """Whatever the distribution: p50, p90, p95 and p99 within 5 % of numpy's."""
    values = np.abs(draw(np.random.default_rng(7)))  # type: ignore[operator]
    found = filled(values.tolist()).quantiles(0.5, 0.9, 0.95, 0.99)
    assert found == pytest.approx(list(np.quantile(values, (0.5, 0.9, 0.95, 0.99))), rel=0.05)


@given(st.lists(st.lists(seconds, max_size=90), max_size=5))
def test_merging_is_adding(parts: list[list[float]]) -> None:
    """Merged counts are those of all durations together."""
    merged = Durations()
    for part in parts:
        merged.merge(filled(list(part)) if part else Durations())
    whole = filled([value for part in parts for value in part])
    assert (merged.count, merged.buckets) == (whole.count, whole.buckets)
    assert merged.total_s == pytest.approx(whole.total_s)
    assert (merged.min_s, merged.max_s) == (whole.min_s, whole.max_s)
    assert merged.quantiles(*SHARES) == pytest.approx(whole.quantiles(*SHARES))


def test_zero_and_huge_durations() -> None:
    """A clock that did not move and a call of a year have their places."""
    durations = filled([0.0, 3e7])
    assert (durations.count, durations.max_s) == (2, 3e7)
    assert filled([0.0] * 200 + [3e7] * 200).quantiles(0.0, 1.0) == [0.0, 3e7]
