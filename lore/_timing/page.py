"""
The report as one page that needs nothing from outside: pipeline, icicle, timeline, table.

The pictures are SVG that is drawn here, without a script: the page opens anywhere, prints, and can be mailed. All that
comes from the user's code is escaped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from lore._timing import pipeline, spans
from lore._timing.pictures import WIDTH, fit, svg, text
from lore._timing.reports import _HEAD, Report, Row, _cells, _drawn, _short_names, remarks, seconds
from lore._timing.spans import Span

_MOST_SPANS = 1_500


def of(report: Report) -> str:
    """Write the page."""
    names = _short_names({row.title for row in report.root.walk()} | {span.node.title for span in report.spans})
    body = "".join(
        [
            _summary(report),
            _section("Pipeline", *pipeline.draw(report, names), pipeline.LEGEND),
            _section(
                "Where the time went", "Width is time; below each function what it called.", _icicle(report, names)
            ),
            _section("When", "Calls of 10 ms and more, and the first few of each function.", _timeline(report, names)),
            _section("All figures", "", _table(report, names)),
        ]
    )
    return _PAGE.replace("{body}", body).replace("{style}", _STYLE)


def _section(title: str, explains: str, picture: str, legend: str = "") -> str:
    if not picture:
        return ""
    return f"<section><h2>{title} <small>{explains}</small>{legend}</h2>{picture}</section>"


# --- figures ----------------------------------------------------------------------------------------------------------


def _summary(report: Report) -> str:
    rows = list(report.root.walk())

    def total(what: str) -> float:
        return sum(row.counts.get(what, 0) for row in rows)

    cards = [("measured", seconds(report.total_s)), ("calls", f"{sum(row.calls for row in rows):,}")]
    if total("hits") or total("misses"):
        answered = total("hits") + total("misses") + total("stale")
        cards.append(("from the cache", f"{total('hits') / answered:.0%}"))
        cards.append(("saved by it", seconds(total("saved_s"))))
    if total("rows"):
        cards.append(("rows read", f"{total('rows'):,.0f}"))
    if report.requests:
        cards.append(("requests", f"{sum(durations.count for durations in report.requests.values()):,}"))
    if total("errors"):
        cards.append(("error" if total("errors") == 1 else "errors", f"{total('errors'):,.0f}"))
    share = f" ({report.overhead_s / report.total_s:.2%})" if report.total_s > 0 else ""
    cards.append(("lore itself", seconds(report.overhead_s) + share))
    shown = "".join(f"<div><b>{text(value)}</b><span>{text(name)}</span></div>" for name, value in cards)
    head = f"<header><h1>Timing report</h1><time>{datetime.now():%Y-%m-%d %H:%M}</time></header>"
    return f"{head}<div class='cards'>{shown}</div>"


def _table(report: Report, names: dict[str, str]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("function", *_HEAD, ""))
    rows = "".join(_table_row(report, row, names) for _, row in _drawn(report.root.children, ""))
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _table_row(report: Report, row: Row, names: dict[str, str]) -> str:
    share = row.total_s / report.total_s if report.total_s > 0 else 0.0
    cells = "".join(f"<td>{cell}</td>" for cell in _cells(report, row))
    indent = f"padding-left:{12 + 18 * (len(row.path) - 1)}px"
    name = f"<td title='{text(row.title)}' style='{indent}'>{text(names[row.title])}</td>"
    notes = ", ".join([*remarks(row), *(f"{key}={value}" for key, value in row.notes.items())])
    return f"<tr style='--share:{share:.1%}'>{name}{cells}<td class='remarks'>{text(notes)}</td></tr>"


# --- icicle -----------------------------------------------------------------------------------------------------------

_BAND = 26


def _icicle(report: Report, names: dict[str, str]) -> str:
    """Draw the tree with time as width, the outermost functions on top."""
    if report.total_s <= 0:
        return ""
    parts: list[str] = []
    colours = _colours(report)
    deepest = 0
    for row, x, width, depth in _bands(report.root.children, 0.0, WIDTH / report.total_s, 0):
        if width < 0.7:
            continue
        deepest = max(deepest, depth)
        share = row.total_s / report.total_s
        label = names[row.title] + (f"  {seconds(row.total_s)}" if width > 170 else "")
        parts.append(
            f'<g class="band c{colours[row.title]}" transform="translate({x:.1f} {depth * _BAND})">'
            f"<title>{text(row.title)}\n{seconds(row.total_s)} of {seconds(report.total_s)} ({share:.1%}), "
            f"itself {text(seconds(row.self_s))}, {row.calls:,} calls</title>"
            f'<rect width="{max(width - 1, 0.7):.1f}" height="{_BAND - 2}" rx="3"/>'
            f'<text x="7" y="16">{text(fit(label, width - 12))}</text></g>'
        )
    return svg((deepest + 1) * _BAND, parts)


def _bands(rows: list[Row], x: float, scale: float, depth: int) -> Iterator[tuple[Row, float, float, int]]:
    for row in rows:
        width = row.total_s * scale
        yield row, x, width, depth
        # what ran at the same time, in tasks or threads, may add up to more than the caller took: it is drawn to scale
        below = sum(child.total_s for child in row.children)
        inner = scale if below <= row.total_s else scale * row.total_s / below
        yield from _bands(row.children, x, inner, depth + 1)
        x += width


def _colours(report: Report) -> dict[str, int]:
    """Give every function a colour, the dearest first, so that neighbours differ."""
    titles = dict.fromkeys(row.title for row in sorted(report.root.walk(), key=lambda row: -row.total_s))
    return {title: number % 8 for number, title in enumerate(titles)}


# --- timeline ---------------------------------------------------------------------------------------------------------

_LANE = 22


def _timeline(report: Report, names: dict[str, str]) -> str:
    """Draw the remembered calls over time, threads below each other and what was called inside below its caller."""
    kept = sorted(report.spans, key=lambda span: -span.elapsed_s)[:_MOST_SPANS]
    if not kept:
        return ""
    first = min(span.start_s for span in kept)
    last = max(span.start_s + span.elapsed_s for span in kept)
    scale = (WIDTH - 10) / max(last - first, 1e-9)
    parts = list(_axis(first, last, scale))
    colours = _colours(report)
    top = 24.0
    threads: dict[int, list[Span]] = defaultdict(list)
    for span in sorted(kept, key=lambda span: (span.start_s, -span.elapsed_s)):
        threads[span.thread].append(span)
    for number, inside in enumerate(threads.values(), 1):
        if len(threads) > 1:
            parts.append(f'<text class="small" x="0" y="{top + 11:.0f}">thread {number}</text>')
            top += 16
        ends: list[float] = []  # where each lane is free again
        for span in inside:
            lane = _lane(span, ends)
            look = "failed" if span.outcome == "error" else f"c{colours.get(span.node.title, 7)}"
            parts.append(_bar(span, look, (span.start_s - first) * scale, top + lane * _LANE, scale, names))
        top += len(ends) * _LANE + 8
    return svg(top, parts)


def _lane(span: Span, ends: list[float]) -> int:
    """Choose the first lane from its depth on that is free, and take it."""
    lane = len(span.node.path) - 1
    while lane < len(ends) and ends[lane] > span.start_s + 1e-9:
        lane += 1
    ends.extend([0.0] * (lane + 1 - len(ends)))
    ends[lane] = span.start_s + span.elapsed_s
    return lane


def _bar(span: Span, look: str, x: float, y: float, scale: float, names: dict[str, str]) -> str:
    width = max(span.elapsed_s * scale, 1.5)
    notes = "".join(f"\n{key} = {value}" for key, value in span.notes.items())
    label = names.get(span.node.title, span.node.title)
    return (
        f'<g class="band {look}" transform="translate({x:.1f} {y:.0f})"><title>{text(span.node.title)}\n'
        f"{text(seconds(span.elapsed_s))} from {datetime.fromtimestamp(span.start_s + spans.EPOCH):%H:%M:%S.%f}"
        f"{text(notes)}</title>"
        f'<rect width="{width:.1f}" height="{_LANE - 3}" rx="3"/>'
        f'<text x="6" y="14">{text(fit(label, width - 10))}</text></g>'
    )


def _axis(first: float, last: float, scale: float) -> Iterator[str]:
    length = max(last - first, 1e-9)
    step = next(size for size in _steps() if length / size <= 10)
    at = 0.0
    while at <= length:
        x = at * scale
        yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="14" y2="100%"/>'
        yield f'<text class="small" x="{x + 3:.1f}" y="11">{text(seconds(at))}</text>'
        at += step


def _steps() -> Iterator[float]:
    size = 1e-6
    while True:
        yield from (size, 2 * size, 5 * size)
        size *= 10


# --- clothes ----------------------------------------------------------------------------------------------------------

_STYLE = """
:root{color-scheme:light dark;--page:#fbfbfa;--card:#fff;--ink:#1d2329;--soft:#5f6b76;--line:#dfe3e8;--edge:#9aa5b1;
--computed:#3d6fd6;--computed-bg:#eaf0fd;--hit:#1f9254;--hit-bg:#e5f6ec;--failed:#cf3f37;--failed-bg:#fdeceb;
--mixed:#0f8b8d;--mixed-bg:#e2f5f4;
--c0:#cfe0fb;--c1:#d6efdf;--c2:#fbe3cc;--c3:#e6dbf7;--c4:#f9d9e0;--c5:#d3eef2;--c6:#eee9c6;--c7:#dfe3e8}
@media(prefers-color-scheme:dark){:root{
--page:#14171a;--card:#1c2024;--ink:#e6e9ec;--soft:#98a3ae;--line:#30363c;--edge:#66717c;
--computed:#7ea6f5;--computed-bg:#1d2b47;--hit:#56c98a;--hit-bg:#16352a;--failed:#f2827b;--failed-bg:#43201f;
--mixed:#4fc3c4;--mixed-bg:#153536;
--c0:#27406e;--c1:#22513a;--c2:#66441f;--c3:#46366b;--c4:#662f40;--c5:#1f505a;--c6:#565022;--c7:#3d444b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:14px/1.45 system-ui,sans-serif}
main{max-width:1240px;margin:0 auto;padding:24px 28px 60px}
header{display:flex;align-items:baseline;gap:14px}
h1{font-size:22px;margin:0}
time,small,.legend,.cards span{color:var(--soft)}
h2{font-size:16px;margin:0 0 12px}
h2 small{font-weight:400;font-size:13px;margin-left:6px}
.legend{float:right;font:13px system-ui,sans-serif}
.legend b{display:inline-block;width:11px;height:11px;border-radius:3px;margin:0 5px 0 14px}
b.computed{background:var(--computed)}b.hit{background:var(--hit)}
b.failed{background:var(--failed)}b.mixed{background:var(--mixed)}
.cards{display:flex;flex-wrap:wrap;gap:10px;margin:16px 0 22px}
.cards div{background:var(--card);border:1px solid var(--line);border-radius:9px;padding:9px 16px}
.cards b{display:block;font-size:19px;font-variant-numeric:tabular-nums}
.cards span{font-size:13px}
section{background:var(--card);border:1px solid var(--line);border-radius:11px;padding:16px 18px;margin-bottom:18px}
svg{width:100%;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
svg text.small{font-size:11px;fill:var(--soft)}
.edge{fill:none;stroke:var(--edge);stroke-width:1.6}.tip{fill:var(--edge)}.tick{stroke:var(--line)}
.box text{font-weight:600}.box text.small{font-weight:400}
.box.computed rect{fill:var(--computed-bg)}.box.computed .stripe{fill:var(--computed)}
.box.hit rect{fill:var(--hit-bg)}.box.hit .stripe{fill:var(--hit)}
.box.failed rect{fill:var(--failed-bg)}.box.failed .stripe{fill:var(--failed)}
.box.mixed rect{fill:var(--mixed-bg)}.box.mixed .stripe{fill:var(--mixed)}
.band.failed rect{fill:var(--failed)}
.band:hover rect,.box:hover rect{filter:brightness(.93)}
.c0 rect{fill:var(--c0)}.c1 rect{fill:var(--c1)}.c2 rect{fill:var(--c2)}.c3 rect{fill:var(--c3)}
.c4 rect{fill:var(--c4)}.c5 rect{fill:var(--c5)}.c6 rect{fill:var(--c6)}.c7 rect{fill:var(--c7)}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:500;text-align:right;padding:4px 10px;border-bottom:1px solid var(--line)}
td{text-align:right;padding:4px 10px;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
td.remarks{text-align:left;color:var(--soft);white-space:normal}
tbody tr{background:linear-gradient(90deg,var(--computed-bg) var(--share),transparent var(--share))}
""".replace("\n", "")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Timing report</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><style>{style}</style></head>
<body><main>{body}</main></body></html>
"""
