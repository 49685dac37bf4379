"""
What the pictures of the page have in common: their width, their letters, their frame.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

WIDTH = 1160

_LETTER = 6.7
"""The width of a letter at the size of the labels, on average."""


def text(value: object) -> str:
    """Escape what comes from the user's code."""
    return html.escape(str(value), quote=True)


def fit(label: str, width: float) -> str:
    """Cut a label to what fits into so many pixels; nothing where not even three letters do."""
    room = int(width / _LETTER)
    if len(label) <= room:
        return label
    return label[: room - 1] + "…" if room >= 4 else ""


def svg(height: float, parts: Iterable[str]) -> str:
    """Frame a picture; it scales with the window."""
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">{"".join(parts)}</svg>'
