"""
The picture of the pipeline: boxes for functions, arrows from who made a value to who used it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from lore._timing.pictures import WIDTH, fit, svg, text
from lore._timing.reports import Report, Row, remarks, seconds

_MOST_BOXES = 48


@dataclass
class Box:
    """A function in the picture, all its places in the tree together."""

    title: str
    total_s: float = 0.0
    calls: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    layer: int = 0
    at: float = 0.0
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


_WIDTH, _HEIGHT, _GAP = 190, 50, 22
LEGEND = (
    "<i class='legend'><b class='computed'></b>computed <b class='hit'></b>from the cache <b class='mixed'></b>both "
    "<b class='failed'></b>with errors</i>"
)


def draw(report: Report, names: dict[str, str]) -> tuple[str, str]:
    """
    Draw which function fed which: results go from the called to the caller, and on to who got them as arguments.

    Short pipelines are drawn from left to right, long ones from top to bottom.

    Returns:
        How to read the picture, and the picture; nothing where nothing was called.
    """
    boxes = boxes_of(report)
    if not boxes:
        return "", ""
    edges = edges_of(report, boxes)
    joined = {title for edge in edges for title in edge}
    layers = layered([box for box in boxes.values() if box.title in joined], edges)
    layout = _layout(len(layers), _settled(layers, edges) + 1)
    for number, layer in enumerate(layers):
        for box in layer:
            layout.place(box, number)
    bottom = max((box.y + _HEIGHT + _GAP for layer in layers for box in layer), default=0.0)
    across = WIDTH // (_WIDTH + _GAP)
    for place, box in enumerate(box for box in boxes.values() if box.title not in joined):
        box.x = place % across * (_WIDTH + _GAP)
        box.y = bottom + place // across * (_HEIGHT + _GAP)
    height = max(box.y for box in boxes.values()) + _HEIGHT + 4
    parts = [_TIP, *(layout.arrow(boxes[one], boxes[other]) for one, other in sorted(edges))]
    parts += [_drawn(box, names[box.title], layout.width if box.title in joined else _WIDTH) for box in boxes.values()]
    return layout.reads, svg(height, parts)


@dataclass
class _Layout:
    """Where boxes and arrows go: layers are columns, or rows."""

    reads: str
    is_across: bool
    width: float
    step: float
    left: float = 0.0

    def place(self, box: Box, layer: int) -> None:
        if self.is_across:
            box.x, box.y = layer * self.step, box.at * (_HEIGHT + _GAP)
        else:
            box.x, box.y = self.left + box.at * (self.width + _GAP), layer * self.step

    def arrow(self, one: Box, other: Box) -> str:
        middle, half = self.width / 2, _HEIGHT / 2
        if self.is_across:
            x1, y1, x2, y2 = one.x + self.width, one.y + half, other.x - 2, other.y + half
            bend = max((x2 - x1) / 2, 0)
            path = f"{x1:.0f} {y1:.0f} C {x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
        else:
            x1, y1, x2, y2 = one.x + middle, one.y + _HEIGHT, other.x + middle, other.y - 2
            bend = max((y2 - y1) / 2, 0)
            path = f"{x1:.0f} {y1:.0f} C {x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
        return f'<path class="edge" marker-end="url(#tip)" d="M{path}"/>'


def _layout(layers: int, slots: float) -> _Layout:
    """Choose the direction in which the boxes have room for their names."""
    between = max(layers - 1, 1)
    column = min(_WIDTH + 40, (WIDTH - 36 * between) / max(layers, 1))
    row = min(_WIDTH, WIDTH / slots - _GAP)
    if column >= min(120, row):
        return _Layout("Left feeds right.", True, column, min((WIDTH - column) / between, column + 130))
    return _Layout("Above feeds below.", False, row, _HEIGHT + 40, (WIDTH - slots * (row + _GAP) + _GAP) / 2)


def _settled(layers: list[list[Box]], edges: set[tuple[str, str]]) -> float:
    """Set every box beside what feeds it, as far as there is room, in slots; return the last slot."""
    slots: dict[str, float] = {}
    for layer in layers:
        wanted = {
            box.title: _mean([slots[one] for one, other in edges if other == box.title and one in slots])
            for box in layer
        }
        first = max(0.0, _mean(list(wanted.values())) - (len(layer) - 1) / 2)
        free = 0.0
        for place, box in enumerate(sorted(layer, key=lambda box: wanted[box.title])):
            box.at = slots[box.title] = max(free, min(wanted[box.title], first + place))
            free = box.at + 1
    return max(slots.values(), default=0.0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def boxes_of(report: Report) -> dict[str, Box]:
    found: dict[str, Box] = {}
    for row in report.root.walk():
        box = found.setdefault(row.title, Box(row.title))
        box.total_s += row.total_s
        box.calls += row.calls
        for what, amount in row.counts.items():
            box.counts[what] = box.counts.get(what, 0) + amount
    kept = sorted(found.values(), key=lambda box: -(box.total_s + box.counts.get("saved_s", 0)))[:_MOST_BOXES]
    order = list(found)
    return {box.title: box for box in sorted(kept, key=lambda box: order.index(box.title))}


def edges_of(report: Report, boxes: dict[str, Box]) -> set[tuple[str, str]]:
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


def layered(joined: list[Box], edges: set[tuple[str, str]]) -> list[list[Box]]:
    """Put every box behind all that feed it, then order the layers so that few arrows cross."""
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


def _middle(box: Box, edges: set[tuple[str, str]], place: dict[str, int]) -> float:
    beside = [place[one] for one, other in edges if other == box.title]
    beside += [place[other] for one, other in edges if one == box.title]
    return sum(beside) / len(beside) if beside else place[box.title]


_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0.5 8 4 0 7.5z" class="tip"/></marker></defs>'
)


def _drawn(box: Box, name: str, width: float) -> str:
    row = Row((box.title,))
    row.counts = box.counts
    said = ", ".join(remarks(row))
    return (
        f'<g class="box {box.look}" transform="translate({box.x:.0f} {box.y:.0f})"><title>{text(box.title)}\n'
        f"{text(', '.join(filter(None, (_spent(box), said))))}</title>"
        f'<rect width="{width:.0f}" height="{_HEIGHT}" rx="7"/>'
        f'<rect class="stripe" width="5" height="{_HEIGHT}" rx="2.5"/>'
        f'<text x="14" y="20">{text(fit(name, (width - 20) / 1.1))}</text>'
        f'<text class="small" x="14" y="38">{text(fit(_spent(box), (width - 20) * 1.15))}</text></g>'
    )


def _spent(box: Box) -> str:
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
    for unit, size, least in (("M", 1e6, 1e6), ("k", 1e3, 1e4)):
        if number >= least:
            return f"{number / size:.3g}{unit} {word}s"
    return f"{number:,.0f} {word}{'' if number == 1 else 's'}"
