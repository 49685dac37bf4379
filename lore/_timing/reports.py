"""
The tree of what was measured: as text, as a table, as a page.
"""

from __future__ import annotations

import dis
import html
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lore._timing import spans
from lore._timing.quantiles import Durations
from lore._timing.spans import Node

if TYPE_CHECKING:
    from pandas import DataFrame

_COUNTED = ("errors", "hits", "misses", "stale", "saved_s", "queries", "rows", "bytes", "query_s")


@dataclass
class Row:
    """One node of the tree, all decorations of the same name together."""

    path: tuple[str, ...]
    durations: Durations = field(default_factory=Durations)
    total_s: float = 0.0
    children_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    children: list[Row] = field(default_factory=list)

    @property
    def title(self) -> str:
        return self.path[-1] if self.path else ""

    @property
    def self_s(self) -> float:
        """Seconds that no timed function below accounts for."""
        return max(0.0, self.total_s - self.children_s)

    def add(self, node: Node) -> None:
        self.durations.merge(node.durations)
        self.total_s += node.counted_s
        self.cpu_s += node.cpu_s
        self.memory_bytes = max(self.memory_bytes, node.memory_bytes)
        self.notes.update(node.notes)
        for what, amount in node.counts.items():
            self.counts[what] = self.counts.get(what, 0) + amount

    @property
    def calls(self) -> int:
        """Calls that were timed; of a function that is not timed itself, its queries."""
        return self.durations.count or int(self.counts.get("queries", 0))

    def settle(self) -> None:
        """Take the time of its queries for that of a function which is not timed itself."""
        if not self.durations.count:
            self.total_s = self.counts.get("query_s", 0.0)

    def walk(self) -> Iterator[Row]:
        """Give the rows below, parents first."""
        for child in self.children:
            yield child
            yield from child.walk()


@dataclass
class Report:
    """
    What this process has measured until now, as a tree of calls.

    `print` it, let a notebook show it, or take `to_frame()`, `to_dict()`, `to_html(path)`. A report does not change
    when more is measured: take a new one.
    """

    root: Row
    spans: list[spans.Span]
    flows: dict[tuple[str, str], int]
    requests: dict[str, Durations]
    failures: dict[str, int]
    overhead_s: float
    wall_s: float

    @property
    def total_s(self) -> float:
        """Seconds in timed functions that no other timed function called."""
        return sum(row.total_s for row in self.root.children)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dicts and lists that JSON takes."""
        return {
            "total_s": self.total_s,
            "overhead_s": self.overhead_s,
            "tree": [self._as_dict(row) for row in self.root.children],
            "requests": [
                {"endpoint": name, "errors": self.failures.get(name, 0), **_durations(durations)}
                for name, durations in sorted(self.requests.items())
            ],
            "flows": [{"from": source, "to": to, "count": count} for (source, to), count in sorted(self.flows.items())],
        }

    def _as_dict(self, row: Row) -> dict[str, Any]:
        return {"name": row.title, **self._record(row), "children": [self._as_dict(child) for child in row.children]}

    def to_frame(self) -> DataFrame:
        """
        Return a row for each node of the tree, parents before children, seconds throughout.

        Columns: path (titles joined by "/"), calls, total_s, self_s, share (of all time measured, 0 to 1), errors,
        p50_s, p95_s, max_s, hits, saved_s, misses, stale, queries, rows, query_s.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        from lore._extras import require

        frame: DataFrame = require("pandas", extra="report").DataFrame(
            [self._record(row) for row in self.root.walk()], columns=list(self._record(Row(())))
        )
        return frame

    def _record(self, row: Row) -> dict[str, Any]:
        p50_s, p95_s = row.durations.quantiles(0.5, 0.95)
        counts = row.counts
        return {
            "path": "/".join(row.path),
            "calls": row.calls,
            "total_s": row.total_s,
            "self_s": row.self_s,
            "share": row.total_s / self.total_s if self.total_s > 0 else 0.0,
            "errors": int(counts.get("errors", 0)),
            "p50_s": p50_s,
            "p95_s": p95_s,
            "max_s": row.durations.max_s,
            "hits": int(counts.get("hits", 0)),
            "saved_s": float(counts.get("saved_s", 0.0)),
            "misses": int(counts.get("misses", 0)),
            "stale": int(counts.get("stale", 0)),
            "queries": int(counts.get("queries", 0)),
            "rows": int(counts.get("rows", 0)),
            "query_s": float(counts.get("query_s", 0.0)),
        }

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """
        Write one self-contained page: the pipeline as a picture, where the time went, when what ran.

        Returns:
            The path of the page.
        """
        from lore._timing import page

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page.of(self), encoding="utf-8")
        return target

    def __str__(self) -> str:
        return "\n".join(_text(self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _notebook(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}


def take() -> Report:
    """Make the report of this moment."""
    cost_s = spans.overhead_s()
    rows: dict[tuple[str, ...], Row] = {(): Row(())}
    with spans._folding:
        for node in spans.nodes():
            _row(rows, node.path).add(node)
        requests = {name: _copy(durations) for name, durations in spans.requests.items()}
        statuses = dict(spans.statuses)
    for row in rows.values():
        row.settle()
    for row in rows.values():
        row.children_s = sum(child.total_s for child in row.children)
        row.children.sort(key=lambda child: -child.total_s)
    failures: dict[str, int] = {}
    for (endpoint, status), count in statuses.items():
        failures[endpoint] = failures.get(endpoint, 0) + (count if status >= 400 else 0)
    return Report(
        rows[()],
        list(spans.spans),
        dict(spans.flows),
        requests,
        failures,
        cost_s,
        spans.clock() - spans.STARTED_S,
    )


def _row(rows: dict[tuple[str, ...], Row], path: tuple[str, ...]) -> Row:
    row = rows.get(path)
    if row is None:
        row = rows[path] = Row(path)
        _row(rows, path[:-1]).children.append(row)
    return row


def _copy(durations: Durations) -> Durations:
    copied = Durations()
    copied.merge(durations)
    return copied


def _durations(durations: Durations) -> dict[str, Any]:
    p50_s, p95_s = durations.quantiles(0.5, 0.95)
    return {
        "count": durations.count,
        "total_s": durations.total_s,
        "p50_s": p50_s,
        "p95_s": p95_s,
        "max_s": durations.max_s,
    }


# --- text -------------------------------------------------------------------------------------------------------------

_HEAD = ("calls", "total", "self", "share", "p50", "p95", "max")


def _text(report: Report) -> Iterator[str]:
    """Draw the tree for a terminal: names left, numbers in columns, remarks behind."""
    rows = list(_drawn(report.root.children, ""))
    if not rows and not report.requests:
        yield "Nothing was timed yet: put @lore.timed above a def and call it."
        return
    names = _short_names({row.title for _, row in rows})
    labels = [branch + names[row.title] for branch, row in rows]
    cells = [_cells(report, row) for _, row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(_HEAD, *cells)]
    room = max(24, min(60, shutil.get_terminal_size((120, 40)).columns - sum(widths) - 2 * len(widths)))
    wide = min(room, max([8, *map(len, labels)]))
    yield _line("", _HEAD, widths, wide, "")
    for label, cell, (_, row) in zip(labels, cells, rows):
        yield _line(label, cell, widths, wide, _remarks(row))
    for name, durations in sorted(report.requests.items()):
        yield _request(name, durations, report.failures.get(name, 0))
    yield f"lore itself: {seconds(report.overhead_s)}" + (
        f" ({report.overhead_s / report.total_s:.2%} of {seconds(report.total_s)} measured)"
        if report.total_s > 0
        else ""
    )


def _drawn(rows: Iterable[Row], margin: str, is_top: bool = True) -> Iterator[tuple[str, Row]]:
    rows = list(rows)
    for at, row in enumerate(rows):
        is_last = at == len(rows) - 1
        yield "" if is_top else margin + ("└─ " if is_last else "├─ "), row
        yield from _drawn(row.children, "" if is_top else margin + ("   " if is_last else "│  "), False)


def _cells(report: Report, row: Row) -> tuple[str, ...]:
    if not row.calls:
        return ("-",) * len(_HEAD)
    share = row.total_s / report.total_s if report.total_s > 0 else 0.0
    quantiles = (*row.durations.quantiles(0.5, 0.95), row.durations.max_s)
    return (
        f"{row.calls:,}",
        seconds(row.total_s),
        seconds(row.self_s),
        f"{share:.1%}" if share < 0.1 else f"{share:.0%}",
        *(seconds(value) if row.durations.count else "-" for value in quantiles),
    )


def _line(label: str, cells: Iterable[str], widths: list[int], wide: int, remarks: str) -> str:
    label = label if len(label) <= wide else label[: wide - 1] + "…"
    numbers = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths))
    return f"{label.ljust(wide)}  {numbers}  {remarks}".rstrip()


def _remarks(row: Row) -> str:
    return ", ".join(remarks(row))


def remarks(row: Row) -> Iterator[str]:
    """Say in words what has no column: errors, cache, queries, processor, memory."""
    counts = row.counts
    if counts.get("errors"):
        yield _many(counts["errors"], "error")
    if counts.get("hits"):
        saved = f" saved {seconds(counts['saved_s'])}" if counts.get("saved_s") else ""
        yield _many(counts["hits"], "hit") + saved
    if counts.get("misses"):
        yield _many(counts["misses"], "miss", "misses")
    if counts.get("stale"):
        yield f"{counts['stale']:,.0f} stale"
    if counts.get("queries"):
        rate = f" ({counts['rows'] / counts['query_s']:,.0f} rows/s)" if counts.get("query_s") else ""
        yield f"{_many(counts['queries'], 'query', 'queries')}, {_many(counts['rows'], 'row')}{rate}"
    if row.cpu_s:
        yield f"cpu {seconds(row.cpu_s)}"
    if row.memory_bytes:
        yield f"memory +{row.memory_bytes / 1e6:,.0f} MB"


def _many(count: float, word: str, words: str | None = None) -> str:
    return f"{count:,.0f} {word if count == 1 else words or word + 's'}"


def _request(name: str, durations: Durations, failures: int) -> str:
    p50_s, p95_s = durations.quantiles(0.5, 0.95)
    rate = _many(durations.count, "request")
    failed = f", {_many(failures, 'error')}" if failures else ""
    return f"{name}  {rate}, p50 {seconds(p50_s)}, p95 {seconds(p95_s)}, max {seconds(durations.max_s)}{failed}"


def seconds(value: float) -> str:
    """Spell a duration with three digits and the unit that suits it."""
    if value >= 60:
        minutes, rest = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value / size < 999.5 else f"{value / size:.0f} {unit}"
    return f"{value / 1e-9:.0f} ns" if value else "0 s"


def _short_names(titles: set[str]) -> dict[str, str]:
    """Drop the modules where that leaves no two titles alike."""
    short = {title: _without_module(title) for title in titles}
    return {title: name if list(short.values()).count(name) == 1 else title for title, name in short.items()}


def _without_module(title: str) -> str:
    if " " in title or "/" in title:
        return title
    last = title.rpartition("<locals>.")[2] if "<locals>." in title else title
    parts = last.split(".")
    # a method keeps its class, which is spelled with a capital as a rule
    return ".".join(parts[-2:] if len(parts) > 1 and parts[-2][:1].isupper() else parts[-1:])


# --- notebook ---------------------------------------------------------------------------------------------------------


def _notebook(report: Report) -> str:
    rows = list(_drawn(report.root.children, ""))
    if not rows and not report.requests:
        return "<pre>Nothing was timed yet.</pre>"
    names = _short_names({row.title for _, row in rows})
    body = "".join(_html_row(report, row, names[row.title]) for _, row in rows)
    head = "".join(f"<th style='text-align:right'>{name}</th>" for name in _HEAD)
    asked = "".join(
        f"<div>{html.escape(_request(name, durations, report.failures.get(name, 0)))}</div>"
        for name, durations in sorted(report.requests.items())
    )
    return (
        f"<table><thead><tr><th style='text-align:left'>function</th>{head}<th></th></tr></thead><tbody>{body}</tbody>"
        f"</table>{asked}<div>lore itself: {seconds(report.overhead_s)}</div>"
    )


def _html_row(report: Report, row: Row, name: str) -> str:
    share = row.total_s / report.total_s if report.total_s > 0 else 0.0
    bar = f"background:linear-gradient(90deg,rgba(64,128,224,.25) {share:.1%},transparent {share:.1%})"
    indent = 16 * (len(row.path) - 1)
    cells = "".join(f"<td style='text-align:right'>{cell}</td>" for cell in _cells(report, row))
    return (
        f"<tr><td title='{html.escape(row.title, quote=True)}' style='text-align:left;{bar}'>"
        f"<span style='padding-left:{indent}px'>{html.escape(name)}</span></td>{cells}"
        f"<td style='text-align:left'>{html.escape(_remarks(row))}</td></tr>"
    )


# --- whether to print -------------------------------------------------------------------------------------------------


def is_discarded(frame: FrameType) -> bool:
    """
    Tell whether the call in progress in `frame` is a statement of its own, whose value nobody takes.

    `report()` alone on a line should show itself, `print(report())` and `r = report()` should not show it twice. A REPL
    and a notebook display such a value themselves and compile it to something else.
    """
    try:
        following = (step for step in dis.get_instructions(frame.f_code) if step.offset > frame.f_lasti)
        return next(following).opname == "POP_TOP"
    except Exception:
        return sys.stdout is not None and sys.stdout.isatty()
