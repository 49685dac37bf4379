"""
The report as one page that needs nothing from outside: pipeline, icicle, timeline, table.

The pictures are SVG that is drawn here, without a script: the page opens anywhere, prints, and can be mailed. All that
comes from the user's code is escaped.
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from lore._timing import spans
from lore._timing.reports import _HEAD, Report, Row, _cells, _drawn, _short_names, remarks, seconds
from lore._timing.spans import Span

WIDTH = 1160
_MOST_BOXES = 48
_MOST_SPANS = 1_500
_LETTER = 6.7
"""The width of a letter at the size of the labels, on average."""


def of(report: Report) -> str:
    """Write the page."""
    names = _short_names({row.title for row in report.root.walk()} | {span.node.title for span in report.spans})
    body = "".join(
        [
            _summary(report),
            _section("Pipeline", "Left feeds right.", _pipeline(report, names), _LEGEND),
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


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def _fit(label: str, width: float) -> str:
    """Cut a label to what fits into so many pixels; nothing where not even three letters do."""
    room = int(width / _LETTER)
    if len(label) <= room:
        return label
    return label[: room - 1] + "…" if room >= 4 else ""


def _svg(height: float, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">{"".join(parts)}</svg>'


# --- figures ----------------------------------------------------------------------------------------------------------


def _summary(report: Report) -> str:
    rows = list(report.root.walk())

    def total(what: str) -> float:
        return sum(row.counts.get(what, 0) for row in rows)

    cards = [("measured", seconds(report.total_s)), ("calls", f"{sum(row.durations.count for row in rows):,}")]
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
    shown = "".join(f"<div><b>{_text(value)}</b><span>{_text(name)}</span></div>" for name, value in cards)
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
    name = f"<td title='{_text(row.title)}' style='{indent}'>{_text(names[row.title])}</td>"
    notes = ", ".join([*remarks(row), *(f"{key}={value}" for key, value in row.notes.items())])
    return f"<tr style='--share:{share:.1%}'>{name}{cells}<td class='remarks'>{_text(notes)}</td></tr>"


# --- pipeline ---------------------------------------------------------------------------------------------------------


@dataclass
class _Box:
    """A function in the picture, all its places in the tree together."""

    title: str
    total_s: float = 0.0
    calls: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    layer: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def look(self) -> str:
        """Say how its results came about."""
        hits = self.counts.get("hits", 0)
        computed = self.counts.get("misses", 0) + self.counts.get("stale", 0)
        if self.counts.get("errors"):
            return "failed"
        if hits and not computed:
            return "hit"
        return "mixed" if hits else "computed"


_BOX_WIDTH, _BOX_HEIGHT, _GAP = 190, 50, 22
_LEGEND = (
    "<i class='legend'><b class='computed'></b>computed <b class='hit'></b>from the cache <b class='mixed'></b>both "
    "<b class='failed'></b>with errors</i>"
)


def _pipeline(report: Report, names: dict[str, str]) -> str:
    """Draw which function fed which: results go from the called to the caller, and on to who got them as arguments."""
    boxes = _boxes(report)
    if not boxes:
        return ""
    edges = _edges(report, boxes)
    joined = {title for edge in edges for title in edge}
    layers = _layered([box for box in boxes.values() if box.title in joined], edges)
    between = max(len(layers) - 1, 1)
    width = min(_BOX_WIDTH, (WIDTH - 30 * between) / max(len(layers), 1))
    step = min((WIDTH - width) / between, width + 110)
    for number, layer in enumerate(layers):
        for box in layer:
            box.x = number * step
    bottom = _settled(layers, edges)
    alone = [box for box in boxes.values() if box.title not in joined]
    across = WIDTH // (_BOX_WIDTH + _GAP)
    for place, box in enumerate(alone):
        box.x = place % across * (_BOX_WIDTH + _GAP)
        box.y = bottom + place // across * (_BOX_HEIGHT + _GAP)
    height = max(box.y for box in boxes.values()) + _BOX_HEIGHT + 4
    parts = [_ARROW, *(_arrow(boxes[one], boxes[other], width) for one, other in sorted(edges))]
    parts += [_drawn_box(box, names[box.title], width if box.title in joined else _BOX_WIDTH) for box in boxes.values()]
    return _svg(height, parts)


def _settled(layers: list[list[_Box]], edges: set[tuple[str, str]]) -> float:
    """Set every box at the height of what feeds it, as far as there is room; return where the next row begins."""
    row = _BOX_HEIGHT + _GAP
    heights: dict[str, float] = {}
    for layer in layers:
        wanted = {
            box.title: _mean([heights[one] for one, other in edges if other == box.title and one in heights])
            for box in layer
        }
        first = max(0.0, _mean(list(wanted.values())) - (len(layer) - 1) * row / 2)
        free = 0.0
        for place, box in enumerate(sorted(layer, key=lambda box: wanted[box.title])):
            box.y = heights[box.title] = max(free, min(wanted[box.title], first + place * row))
            free = box.y + row
    return max(heights.values(), default=-row) + row


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _boxes(report: Report) -> dict[str, _Box]:
    found: dict[str, _Box] = {}
    for row in report.root.walk():
        box = found.setdefault(row.title, _Box(row.title))
        box.total_s += row.total_s
        box.calls += row.durations.count
        for what, amount in row.counts.items():
            box.counts[what] = box.counts.get(what, 0) + amount
    kept = sorted(found.values(), key=lambda box: -(box.total_s + box.counts.get("saved_s", 0)))[:_MOST_BOXES]
    order = list(found)
    return {box.title: box for box in sorted(kept, key=lambda box: order.index(box.title))}


def _edges(report: Report, boxes: dict[str, _Box]) -> set[tuple[str, str]]:
    """
    Collect who fed whom.

    A function feeds its caller, unless the caller only handed the result on to another function.
    """
    flows = {edge for edge in report.flows if edge[0] in boxes and edge[1] in boxes}
    called = {(row.path[-1], row.path[-2]) for row in report.root.walk() if len(row.path) > 1}
    siblings: dict[str, set[str]] = defaultdict(set)
    for child, parent in called:
        siblings[parent].add(child)
    handed_on = {
        (child, parent)
        for child, parent in called
        if any((child, other) in flows for other in siblings[parent] if other != child)
    }
    edges = flows | (called - handed_on)
    return {edge for edge in edges if edge[0] != edge[1] and edge[0] in boxes and edge[1] in boxes}


def _layered(joined: list[_Box], edges: set[tuple[str, str]]) -> list[list[_Box]]:
    """Put every box to the right of all that feed it, then order the layers so that few arrows cross."""
    boxes = {box.title: box for box in joined}
    for _ in range(len(boxes)):  # a longest path has no more steps; a circle ends here as well
        moved = False
        for one, other in edges:
            if boxes[other].layer <= boxes[one].layer < len(boxes) - 1 and not ((other, one) in edges and other < one):
                boxes[other].layer, moved = boxes[one].layer + 1, True
        if not moved:
            break
    used = sorted({box.layer for box in boxes.values()})
    layers = [[box for box in boxes.values() if box.layer == number] for number in used]
    for _ in range(4):
        for number, layer in enumerate(layers):
            place = {box.title: at for other in layers for at, box in enumerate(other)}
            layer.sort(key=lambda box: _middle(box, edges, place))
            layers[number] = layer
    return layers


def _middle(box: _Box, edges: set[tuple[str, str]], place: dict[str, int]) -> float:
    beside = [place[one] for one, other in edges if other == box.title]
    beside += [place[other] for one, other in edges if one == box.title]
    return sum(beside) / len(beside) if beside else place[box.title]


_ARROW = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0.5 8 4 0 7.5z" class="tip"/></marker></defs>'
)


def _arrow(one: _Box, other: _Box, width: float) -> str:
    x1, y1 = one.x + width, one.y + _BOX_HEIGHT / 2
    x2, y2 = other.x - 2, other.y + _BOX_HEIGHT / 2
    if x2 <= x1:  # back to the left, in a circle of functions
        over = min(one.y, other.y) - 14
        x1, x2 = one.x + width / 2, other.x + width / 2
        path = f"M{x1:.0f} {one.y:.0f} C {x1:.0f} {over:.0f} {x2:.0f} {over:.0f} {x2:.0f} {other.y:.0f}"
        return f'<path class="edge" marker-end="url(#tip)" d="{path}"/>'
    bend = (x2 - x1) / 2
    return (
        f'<path class="edge" marker-end="url(#tip)" '
        f'd="M{x1:.0f} {y1:.0f} C {x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"/>'
    )


def _drawn_box(box: _Box, name: str, width: float) -> str:
    row = Row((box.title,))
    row.counts = box.counts
    said = ", ".join(remarks(row))
    return (
        f'<g class="box {box.look}" transform="translate({box.x:.0f} {box.y:.0f})"><title>{_text(box.title)}\n'
        f"{_text(', '.join(filter(None, (_spent(box), said))))}</title>"
        f'<rect width="{width:.0f}" height="{_BOX_HEIGHT}" rx="7"/>'
        f'<rect class="stripe" width="5" height="{_BOX_HEIGHT}" rx="2.5"/>'
        f'<text x="14" y="20">{_text(_fit(name, (width - 20) / 1.1))}</text>'
        f'<text class="small" x="14" y="38">{_text(_fit(_spent(box), (width - 20) * 1.15))}</text></g>'
    )


def _spent(box: _Box) -> str:
    hits, rows = box.counts.get("hits", 0), box.counts.get("rows", 0)
    parts = []
    if hits:
        saved = box.counts.get("saved_s", 0.0)
        parts.append(_count(hits, "hit") + (f", saved {seconds(saved)}" if saved else ""))
    if box.look != "hit":
        parts.append(seconds(box.total_s) + (f", {_count(box.calls, 'call')}" if box.calls > 1 and not rows else ""))
    if rows:
        parts.append(_count(rows, "row"))
    return " · ".join(parts)


def _count(number: float, word: str) -> str:
    for unit, size in (("M", 1e6), ("k", 1e4)):
        if number >= size:
            return f"{number / (1e6 if unit == 'M' else 1e3):.3g}{unit} {word}s"
    return f"{number:,.0f} {word}{'' if number == 1 else 's'}"


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
            f"<title>{_text(row.title)}\n{seconds(row.total_s)} of {seconds(report.total_s)} ({share:.1%}), "
            f"itself {_text(seconds(row.self_s))}, {row.durations.count:,} calls</title>"
            f'<rect width="{max(width - 1, 0.7):.1f}" height="{_BAND - 2}" rx="3"/>'
            f'<text x="7" y="16">{_text(_fit(label, width - 12))}</text></g>'
        )
    return _svg((deepest + 1) * _BAND, parts)


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
    return _svg(top, parts)


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
        f'<g class="band {look}" transform="translate({x:.1f} {y:.0f})"><title>{_text(span.node.title)}\n'
        f"{_text(seconds(span.elapsed_s))} from {datetime.fromtimestamp(span.start_s + spans.EPOCH):%H:%M:%S.%f}"
        f"{_text(notes)}</title>"
        f'<rect width="{width:.1f}" height="{_LANE - 3}" rx="3"/>'
        f'<text x="6" y="14">{_text(_fit(label, width - 10))}</text></g>'
    )


def _axis(first: float, last: float, scale: float) -> Iterator[str]:
    length = max(last - first, 1e-9)
    step = next(size for size in _steps() if length / size <= 10)
    at = 0.0
    while at <= length:
        x = at * scale
        yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="14" y2="100%"/>'
        yield f'<text class="small" x="{x + 3:.1f}" y="11">{_text(seconds(at))}</text>'
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
