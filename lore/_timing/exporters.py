"""
Measurements for other people's instruments: spans and metrics for OpenTelemetry, runs for MLflow.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

from lore import _warning
from lore._extras import require
from lore._timing import events, metrics, spans
from lore._timing.runs import Record
from lore._timing.spans import Span

_MOST_WAITING = 10_000


def opentelemetry(tracer_provider: Any = None, meter_provider: Any = None) -> Callable[[], None]:
    """See `lore.timing.export_opentelemetry`."""
    trace = require("opentelemetry.trace", extra="opentelemetry")
    meters = require("opentelemetry.metrics", extra="opentelemetry")
    tracer = trace.get_tracer("lore", tracer_provider=tracer_provider)
    sender = _Sender(trace, tracer)
    spans._watchers.append(sender)
    _observe(meters, meters.get_meter("lore", meter_provider=meter_provider))

    def stop() -> None:
        if sender in spans._watchers:
            spans._watchers.remove(sender)
        sender.flush()

    return stop


class _Sender:
    """
    Hands remembered calls to a tracer, callers before what they called.

    A call is known when it ends, and what it called has ended before: so a call waits for the outermost one around it.
    """

    def __init__(self, trace: Any, tracer: Any) -> None:
        self.trace = trace
        self.tracer = tracer
        self.waiting: list[Span] = []
        self.keeping = threading.Lock()

    def __call__(self, span: Span) -> None:
        try:
            with self.keeping:
                self.waiting.append(span)
                is_outermost = len(span.node.path) == 1 or len(self.waiting) >= _MOST_WAITING
                sent = self._take_inside(span) if is_outermost else []
            self._send(sent)
        except Exception as error:
            _warning.warn(f"OpenTelemetry did not take a span: {error!r}", once="exporters.opentelemetry")

    def after_fork(self) -> None:
        """Start anew in a forked child: the lock may have been held, and what waits is the parent's to send."""
        self.keeping = threading.Lock()
        self.waiting = []

    def flush(self) -> None:
        """Send what is still waiting for its caller to end."""
        with self.keeping:
            sent, self.waiting = self.waiting, []
        self._send(sent)

    def _take_inside(self, outer: Span) -> list[Span]:
        if len(self.waiting) >= _MOST_WAITING:
            taken, self.waiting = self.waiting, []
            return taken
        taken = [span for span in self.waiting if _is_inside(span, outer)]
        self.waiting = [span for span in self.waiting if not _is_inside(span, outer)]
        return taken

    def _send(self, sent: list[Span]) -> None:
        opened: list[tuple[Span, Any]] = []
        for span in sorted(sent, key=lambda span: (span.start_s, -span.elapsed_s, len(span.node.path))):
            around = [known for other, known in opened if _is_inside(span, other) and other is not span]
            context = self.trace.set_span_in_context(around[-1]) if around else None
            opened.append((span, self._start(span, context)))
        for span, known in reversed(opened):
            known.end(end_time=_nanoseconds(span.start_s + span.elapsed_s))

    def _start(self, span: Span, context: Any) -> Any:
        attributes = {"code.function": span.node.function, "lore.path": "/".join(span.node.path)}
        attributes |= {"lore.run": span.run} if span.run else {}
        attributes |= {"lore.request": span.request} if span.request else {}
        notes = {name: _attribute(value) for name, value in events.scrub(span.notes).items()}
        known = self.tracer.start_span(
            span.node.title, context=context, start_time=_nanoseconds(span.start_s), attributes=attributes | notes
        )
        if span.outcome == "error":
            known.set_status(self.trace.Status(self.trace.StatusCode.ERROR))
        return known


def _is_inside(span: Span, outer: Span) -> bool:
    is_below = span.node.path[: len(outer.node.path)] == outer.node.path
    end_s, outer_end_s = span.start_s + span.elapsed_s, outer.start_s + outer.elapsed_s
    return is_below and span.start_s >= outer.start_s - 1e-9 and end_s <= outer_end_s + 1e-4


def _nanoseconds(clock_s: float) -> int:
    return int((clock_s + spans.EPOCH) * 1e9)


def _attribute(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else json.dumps(value, default=str)


def _observe(api: Any, meter: Any) -> None:
    """Let OpenTelemetry read this process's counters whenever it collects."""

    def reading(name: str, place: int | None) -> Callable[[Any], Iterator[Any]]:
        def read(options: Any) -> Iterator[Any]:
            spans.collect()
            for (known, labels), one in list(metrics._series.items()):
                if known == name:
                    value = sum(one.values[1:]) if place is None else one.values[place]
                    yield api.Observation(value, dict(labels))

        return read

    for name, source, place, unit in (
        ("lore.timed.calls", "lore_timed_seconds", None, "{call}"),
        ("lore.timed.time", "lore_timed_seconds", 0, "s"),
        ("lore.timed.errors", "lore_timed_errors_total", 0, "{error}"),
        ("lore.cache.requests", "lore_cache_requests_total", 0, "{request}"),
        ("lore.cache.saved", "lore_cache_saved_seconds_total", 0, "s"),
        ("lore.http.requests", "lore_http_requests_total", 0, "{request}"),
    ):
        meter.create_observable_counter(name, callbacks=[reading(source, place)], unit=unit)


def mlflow(record: Record, tracking_uri: str | None = None, experiment: str = "lore") -> str:
    """See `lore.timing.export_mlflow`."""
    require("mlflow", extra="mlflow")
    entities = require("mlflow.entities", extra="mlflow")
    client = require("mlflow.tracking", extra="mlflow").MlflowClient(tracking_uri=tracking_uri)
    known = client.get_experiment_by_name(experiment)
    place = known.experiment_id if known is not None else client.create_experiment(experiment)
    started_ms = int(record.started.timestamp() * 1000)
    run = client.create_run(place, start_time=started_ms, run_name=record.name, tags=_tags(record))
    identity: str = run.info.run_id
    measured = [
        entities.Metric(_allowed(name), float(value), started_ms + int(since_s * 1000), step)
        for name, values in record.history.items()
        for step, (since_s, value) in enumerate(values)
    ]
    spent = [
        entities.Metric(f"seconds/{_allowed(row['path'])}", row["total_s"], started_ms, 0) for row in record.tree[:100]
    ]
    given = [entities.Param(_allowed(name), str(value)[:6000]) for name, value in record.parameters.items()]
    for part in _parts(measured + spent, 1000):
        client.log_batch(identity, metrics=part)
    for part in _parts(given, 100):
        client.log_batch(identity, params=part)
    if record.status != "running":
        ended = record.started + timedelta(seconds=record.elapsed_s)
        client.set_terminated(
            identity,
            status={"finished": "FINISHED", "failed": "FAILED"}.get(record.status, "KILLED"),
            end_time=int(ended.timestamp() * 1000),
        )
    return identity


def _tags(record: Record) -> dict[str, str]:
    tags = {"lore.run": record.id, "lore.dirty": record.dirty, "lore.error": record.error or ""}
    tags |= {"mlflow.source.git.commit": record.commit} if record.commit else {}
    tags |= {f"lore.version.{name}": version for name, version in record.versions.items()}
    tags |= {f"lore.seed.{name}": str(value) for name, value in record.seeds.items()}
    tags |= {f"lore.cached.{_allowed(answer['function'])}": answer["key"] for answer in record.cached[:50]}
    return {name: value[:5000] for name, value in tags.items()}


def _allowed(name: str) -> str:
    """Keep what MLflow takes in a name."""
    return "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in name)[:240]


def _parts(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
