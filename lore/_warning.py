"""
How lore says that its own machinery failed while the user's function went on.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Hashable

from lore.errors import LoreWarning

__all__ = ["warn"]

_given: set[Hashable] = set()


def warn(message: str, once: Hashable = None) -> None:
    """
    Give one `LoreWarning` that points at the user's code; never raise.

    Where warnings are turned into errors the message goes to stderr instead: a failing store must not take a result
    away.

    Args:
        message: what failed, what it means for the result (nothing), and what to do.
        once: a key; a second warning with the same key in this process is dropped. None warns each time.
    """
    if once is not None:
        if once in _given:
            return
        _given.add(once)
    try:
        warnings.warn(message, LoreWarning, stacklevel=_frames_inside_lore())
    except LoreWarning:
        print(f"LoreWarning: {message}", file=sys.stderr)


def _frames_inside_lore() -> int:
    """Count the frames from `warn` up to the first that is not lore's own, for `stacklevel`."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "lore":
        frame = frame.f_back
        level += 1
    return level
