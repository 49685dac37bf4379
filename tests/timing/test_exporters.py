"""Exporters: real SDK exporters receive what was measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lore
from lore.timing import timed

sdk = pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk")


@pytest.fixture
def exported() -> Iterator[Any]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    stop = lore.timing.export_opentelemetry(tracer_provider=provider)
    yield exporter
    stop()
    provider.shutdown()


def test_spans_have_their_callers(exported: Any) -> None:
    """A call's span is the child of its caller's, and both lie where they were in time."""

    @timed("otel leaf")
    def leaf() -> None:
        lore.timing.note(rows=3, password="x")
        time.sleep(0.012)

    @timed("otel root")
    def root() -> None:
        leaf()
        leaf()

    began = time.time_ns()
    root()
    spans = {(span.name, span.start_time): span for span in exported.get_finished_spans()}
    by_name: dict[str, list[Any]] = {}
    for span in spans.values():
        by_name.setdefault(span.name, []).append(span)
    assert {name: len(found) for name, found in by_name.items()} == {"otel leaf": 2, "otel root": 1}
    (outer,) = by_name["otel root"]
    assert outer.parent is None
    for span in by_name["otel leaf"]:
        assert span.parent.span_id == outer.context.span_id
        assert outer.start_time <= span.start_time <= span.end_time <= outer.end_time + 1_000_000
        assert (span.attributes["rows"], span.attributes["password"]) == (3, "***")
    assert abs(outer.start_time - began) < 50_000_000


def test_spans_of_tasks_and_errors(exported: Any) -> None:
    """Tasks that run at the same time are children of the one that made them; errors are marked."""

    @timed("otel task")
    async def task(fails: bool) -> None:
        await asyncio.sleep(0.012)
        if fails:
            raise ValueError

    @timed("otel gather")
    async def gather() -> None:
        await asyncio.gather(task(False), task(True), return_exceptions=True)

    asyncio.run(gather())
    found = exported.get_finished_spans()
    outer = next(span for span in found if span.name == "otel gather")
    tasks = [span for span in found if span.name == "otel task"]
    assert [span.parent.span_id for span in tasks] == [outer.context.span_id] * 2
    assert sorted(span.status.is_ok for span in tasks) == [False, True]


def test_counters_are_read_by_a_real_reader() -> None:
    """Calls, seconds and errors arrive when OpenTelemetry collects."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    stop = lore.timing.export_opentelemetry(meter_provider=provider)

    @timed("otel counted")
    def counted() -> None: ...

    for _ in range(5):
        counted()
    data: Any = reader.get_metrics_data()
    points = {
        metric.name: {point.attributes["function"]: point.value for point in metric.data.data_points}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name.startswith("lore.timed")
    }
    assert points["lore.timed.calls"]["otel counted"] == 5
    assert points["lore.timed.time"]["otel counted"] > 0
    stop()
    provider.shutdown()


@pytest.mark.giants
def test_a_run_goes_to_mlflow(tmp_path: Path) -> None:
    """A real MLflow on SQLite has the run with parameters, metrics and their history, status and commit."""
    pytest.importorskip("mlflow", reason="needs mlflow")
    from mlflow.tracking import MlflowClient

    with lore.timing.run("to mlflow", depth=6) as run:
        for auc in (0.7, 0.8):
            lore.timing.note(auc=auc)
        with timed("inside"):
            pass
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    identity = lore.timing.export_mlflow("to mlflow", tracking_uri=uri)
    client = MlflowClient(tracking_uri=uri)
    found = client.get_run(identity)
    assert found.info.status == "FINISHED"
    assert found.data.params["depth"] == "6"
    assert found.data.metrics["auc"] == 0.8
    assert [metric.value for metric in client.get_metric_history(identity, "auc")] == [0.7, 0.8]
    assert found.data.tags["lore.run"] == run.id
    assert "seconds/inside" in found.data.metrics
