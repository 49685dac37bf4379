"""
What a timed call costs, beside what others cost: `python benchmarks/bench_timing.py` prints the table.

Each round times every contender once, in blocks of 10,000 calls of a function that returns its argument; the best block
of 40 rounds counts, less the best block of the bare function. Processor time, so that a busy machine does not matter.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import guard
import pytest

import lore

CALLS, ROUNDS = 10_000, 40


def bare(value: int) -> int:
    """Do nothing."""
    return value


def ours() -> dict[str, Callable[[int], Any]]:
    """Make lore's contenders: with the tree, below another timed function, aggregates only, switched off."""
    found: dict[str, Callable[[int], Any]] = {"lore, with the call tree": lore.timed(bare)}
    os.environ["LORE_TIMING"] = "aggregates"
    found["lore, aggregates"] = lore.timed(bare)
    os.environ["LORE_TIMING"] = "off"
    found["lore, LORE_TIMING=off"] = lore.timed(bare)
    del os.environ["LORE_TIMING"]
    return found


def peers() -> dict[str, Callable[[int], Any]]:
    """Make the peers' contenders, those that are installed."""
    found: dict[str, Callable[[int], Any]] = {
        "two clocks and an append": guard.two_clocks(bare),
        "functools.wraps, two clocks": wraps(bare),
    }
    if importlib.util.find_spec("codetiming"):
        from codetiming import Timer

        found["codetiming, named"] = Timer(name="bare", logger=None)(bare)
    if importlib.util.find_spec("prometheus_client"):
        from prometheus_client import CollectorRegistry, Histogram

        found["prometheus_client Histogram"] = Histogram("bare", "bare", registry=CollectorRegistry()).time()(bare)
    if importlib.util.find_spec("opentelemetry.sdk"):
        found |= opentelemetry()
    return found


def wraps(function: Callable[[int], int]) -> Callable[[int], int]:
    """Time as everybody's own decorator does."""
    spent: list[float] = []

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent.append(time.perf_counter() - start)
            if len(spent) > 4096:
                spent.clear()

    return wrapper


def opentelemetry() -> dict[str, Callable[[int], Any]]:
    """Trace with the SDK: without a provider, and with a batch processor whose exporter drops everything."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Drop(SpanExporter):
        def export(self, spans: Any) -> Any:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Drop()))
    return {
        "OpenTelemetry, no provider": trace.NoOpTracer().start_as_current_span("bare")(bare),
        "OpenTelemetry, batch": provider.get_tracer("bench").start_as_current_span("bare")(bare),
    }


def measure() -> dict[str, float]:
    """Return nanoseconds that each contender adds to a call."""
    contenders = {"bare": bare, **ours(), **peers()}
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(ROUNDS):
        for name, function in contenders.items():
            start = time.thread_time()
            for value in range(CALLS):
                function(value)
            best[name] = min(best[name], time.thread_time() - start)
    return {name: (seconds - best["bare"]) / CALLS * 1e9 for name, seconds in best.items() if name != "bare"}


@pytest.mark.parametrize("name", ours())
def test_a_timed_call(benchmark: Any, name: str) -> None:
    """The absolute figure, for the table."""
    benchmark(ours()[name], 1)


def test_cheaper_than_every_peer(benchmark: Any) -> None:
    """With the tree lore costs at most 0.8 of codetiming, without it 0.4; switched off nothing."""
    found = benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info.update({name: round(nanoseconds) for name, nanoseconds in found.items()})
    pytest.importorskip("codetiming")
    assert found["lore, with the call tree"] <= 0.8 * found["codetiming, named"]
    assert found["lore, aggregates"] <= 0.4 * found["codetiming, named"]
    assert found["lore, LORE_TIMING=off"] < 15


if __name__ == "__main__":
    print(guard.table([("ns added to a call", ""), *((name, f"{ns:8,.0f}") for name, ns in measure().items())]))
