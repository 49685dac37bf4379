"""The report: a tree that adds up, as text, table, dict, notebook and page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import xml.etree.ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import lore
from lore._timing import page, reports, spans
from lore._timing import pipeline as pipeline_picture
from lore._timing.reports import seconds
from lore.timing import timed


class Frame:
    """Something that can be told apart."""


@pytest.fixture(autouse=True)
def empty_tree() -> Iterator[None]:
    """Show each test only what it measured."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    spans.collect()
    for node in spans.nodes():
        node.clear()
    for store in (spans.spans, spans.flows, spans.requests, spans.statuses):
        store.clear()  # type: ignore[attr-defined]


def pipeline() -> None:
    """Run a small pipeline: two sources feed a join, that feeds a fit; the cache answers once; one call fails."""

    @timed("departures")
    def departures() -> Frame:
        time.sleep(0.012)
        spans.query_event("departures", 28_000, 4_000_000, 0.01)
        return Frame()

    @timed("weather")
    def weather() -> Frame:
        spans.cache_event("weather", "hit", 1.5)
        return Frame()

    @timed("join")
    def join(one: Frame, other: Frame) -> Frame:
        time.sleep(0.011)
        return Frame()

    @timed("features")
    def features() -> Frame:
        return join(departures(), weather())

    @timed("fit <b>&\"'")
    def fit(data: Frame, depth: int = 3) -> Frame:
        lore.timing.note(depth=depth)
        time.sleep(0.013)
        return Frame()

    @timed("broken")
    def broken() -> None:
        raise ValueError

    fit(features())
    with pytest.raises(ValueError):
        broken()
    spans.request_event("POST /delay", 200, 0.002)
    spans.request_event("POST /delay", 422, 0.004)


def test_the_frame_adds_up() -> None:
    """Self time is total less what is below; shares are of all that was measured; counts stand in their columns."""
    pipeline()
    frame = lore.timing.report().to_frame()
    assert list(frame.columns)[:11] == [
        "path", "calls", "total_s", "self_s", "share", "errors", "p50_s", "p95_s", "max_s", "hits", "saved_s",
    ]  # fmt: skip
    by_path = frame.set_index("path")
    inside = by_path.loc[["features/join", "features/departures", "features/weather"], "total_s"].sum()
    assert by_path.loc["features", "self_s"] == pytest.approx(by_path.loc["features", "total_s"] - inside)
    assert by_path.loc["features/weather", ["hits", "saved_s"]].tolist() == [1, 1.5]
    assert by_path.loc["features/departures", "rows"] == 28_000
    assert by_path.loc["broken", "errors"] == 1
    roots = frame[~frame["path"].str.contains("/")]
    assert roots["share"].sum() == pytest.approx(1.0)


def test_the_dict_is_json() -> None:
    """Everything in `to_dict` goes through JSON, with children inside parents, flows and requests."""
    pipeline()
    report = json.loads(json.dumps(lore.timing.report().to_dict()))
    features = next(row for row in report["tree"] if row["name"] == "features")
    assert {child["name"] for child in features["children"]} == {"departures", "weather", "join"}
    assert {(flow["from"], flow["to"]) for flow in report["flows"]} >= {("departures", "join"), ("weather", "join")}
    assert ("features", "fit <b>&\"'") in {(flow["from"], flow["to"]) for flow in report["flows"]}
    assert [(row["endpoint"], row["count"], row["errors"]) for row in report["requests"]] == [("POST /delay", 2, 1)]


def test_the_tree_as_text() -> None:
    """A line for each node below its caller, figures in columns, remarks behind, lore's own cost last."""
    pipeline()
    lines = str(lore.timing.report()).splitlines()
    assert lines[0].split() == ["calls", "total", "self", "share", "p50", "p95", "max"]
    at = next(number for number, line in enumerate(lines) if line.startswith("features"))
    assert [line[:3] for line in lines[at + 1 : at + 4]] == ["├─ ", "├─ ", "└─ "]
    text = "\n".join(lines)
    assert "1 query, 28,000 rows (2,800,000 rows/s)" in text
    assert "1 hit saved 1.5 s" in text
    assert "1 error" in text
    assert "POST /delay  2 requests" in text
    assert lines[-1].startswith("lore itself: ")


def test_hits_of_functions_that_never_ran() -> None:
    """A cached function whose timed body was not called stands below its caller, with its hits and no time."""

    @timed("caller")
    def caller() -> None:
        spans.cache_event("m.answer", "hit", 2.0)

    caller()
    row = lore.timing.report().to_frame().set_index("path").loc["caller/m.answer"]
    assert (row["calls"], row["total_s"], row["hits"], row["saved_s"]) == (0, 0.0, 1, 2.0)
    assert "1 hit saved 2 s" in str(lore.timing.report())


def test_an_empty_report_says_what_to_do() -> None:
    """Before anything was timed every form of the report works."""
    report = lore.timing.report()
    assert "put @lore.timed above a def" in str(report)
    assert report.to_frame().empty
    assert report.to_dict()["tree"] == []
    assert "<h1>" in page.of(report)
    assert report._repr_html_()


def test_the_report_does_not_change() -> None:
    """A report shows the moment it was taken."""
    with timed("moment"):
        pass
    report = lore.timing.report()
    before = str(report)
    with timed("moment"):
        pass
    assert str(report) == before


class Tags(HTMLParser):
    """Collects tags, and what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)
        self.fetched += [value for name, value in attributes if name in ("src", "href", "xlink:href")]


def test_the_page_is_whole_and_escaped(tmp_path: Path) -> None:
    """One file that fetches nothing, runs nothing, closes its pictures, and shows names as they are."""
    pipeline()
    path = lore.timing.report().to_html(tmp_path / "deep" / "report.html")
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.fetched == []
    assert not {"script", "b&", "link", "img", "iframe"} & set(tags.tags)
    assert "fit &lt;b&gt;&amp;&quot;&#x27;" in text
    assert "<b>&\"'" not in text
    assert "url(http" not in text
    assert "prefers-color-scheme:dark" in text
    pictures = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(pictures) == 3
    for picture in pictures:
        xml.etree.ElementTree.fromstring(picture)


def test_the_pipeline_shows_who_fed_whom() -> None:
    """Sources stand left, what they feed to the right; what was handed on inside feeds not the caller itself."""
    pipeline()
    report = lore.timing.report()
    boxes = pipeline_picture.boxes_of(report)
    edges = pipeline_picture.edges_of(report, boxes)
    assert edges == {
        ("departures", "join"),
        ("weather", "join"),
        ("join", "features"),
        ("features", "fit <b>&\"'"),
    }
    pipeline_picture.layered(list(boxes.values()), edges)
    assert [boxes[name].layer for name in ("departures", "weather", "join", "features")] == [0, 0, 1, 2]
    assert boxes["weather"].look == "hit"
    assert boxes["broken"].look == "failed"
    assert boxes["join"].look == "computed"


def test_circles_end() -> None:
    """Functions that call each other in a circle are drawn, and the drawing ends."""

    @timed("ping")
    def ping(n: int) -> int:
        return pong(n - 1) if n else 0

    @timed("pong")
    def pong(n: int) -> int:
        return ping(n - 1) if n else 0

    ping(4)
    pong(4)
    assert page.of(lore.timing.report()).count('class="box') == 2


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.slow
def test_a_browser_draws_the_page(tmp_path: Path) -> None:
    """Chromium lays the page out: every picture has a size, and nothing is wider than the window."""
    pipeline()
    path = lore.timing.report().to_html(tmp_path / "report.html")
    probe = tmp_path / "probe.html"
    probe.write_text(
        path.read_text().replace(
            "</body>",
            "<script>document.title=[...document.querySelectorAll('svg')].map(s=>Math.round(s.getBoundingClientRect()"
            ".height)).join(',')+';'+(document.documentElement.scrollWidth<=innerWidth)</script></body>",
        )
    )
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/c", "--window-size=1280,900",
         "--dump-dom", probe.as_uri()],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    title = re.search(r"<title>([\d,]+);(\w+)</title>", done.stdout)
    assert title is not None, done.stderr[-2000:]
    assert all(int(height) > 20 for height in title[1].split(","))
    assert title[2] == "true"


def test_the_notebook_table() -> None:
    """A notebook gets a table with the same figures, escaped, and text beside it."""
    pipeline()
    bundle = lore.timing.report()._repr_mimebundle_()
    assert bundle["text/html"].count("<tr>") == 1 + 6
    assert "fit &lt;b&gt;" in bundle["text/html"]
    assert "features" in bundle["text/plain"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 s"),
        (5e-8, "50 ns"),
        (1.234e-6, "1.23 us"),
        (0.0256, "25.6 ms"),
        (0.9999, "1000 ms"),
        (12.34, "12.3 s"),
        (75, "1 min 15 s"),
        (7_260, "2 h 01 min"),
    ],
)
def test_durations_are_spelled_for_people(value: float, text: str) -> None:
    """Three digits and a unit that suits."""
    assert seconds(value) == text


def test_short_names_stay_unique() -> None:
    """Modules are dropped only where no two names become alike; methods keep their class."""
    names = reports._short_names({"a.b.f", "a.c.f", "a.b.g", "a.b.Model.fit", "x.<locals>.h"})
    assert names == {
        "a.b.f": "a.b.f",
        "a.c.f": "a.c.f",
        "a.b.g": "g",
        "a.b.Model.fit": "Model.fit",
        "x.<locals>.h": "h",
    }


def test_concurrent_tasks_may_exceed_their_caller() -> None:
    """Threads that work at the same time add up to more than passed: self time is never negative, bands stay inside."""

    @timed("worker")
    def worker() -> None:
        time.sleep(0.02)

    @timed("boss")
    def boss() -> None:
        import contextvars

        threads = [threading.Thread(target=contextvars.copy_context().run, args=(worker,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    boss()
    report = lore.timing.report()
    row = report.to_frame().set_index("path")
    assert row.loc["boss/worker", "calls"] == 4
    assert row.loc["boss", "self_s"] == 0.0
    bands = list(page._bands(report.root.children, 0.0, 1000.0, 0))
    assert max(x + width for _, x, width, _ in bands) <= bands[0][2] + 1e-6
