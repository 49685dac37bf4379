"""
A line that moves while a long query runs, for a person who waits: on a terminal or in a notebook, after two seconds.
"""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]

_PATIENCE_S = 2.0
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Progress:
    """
    Counts what has arrived and shows it.

    Args:
        owner: the function whose query it is.
        wanted: True shows it everywhere, False nowhere, None where a person looks.
    """

    def __init__(self, owner: str, wanted: bool | None = None) -> None:
        self.owner = owner
        self.rows = 0
        self.nbytes = 0
        self.shown = _is_watched() if wanted is None else wanted
        self._began = time.monotonic()
        self._drawn = 0

    def update(self, rows: int, nbytes: int) -> None:
        """Say how many rows and bytes have arrived so far."""
        self.rows = rows
        self.nbytes = nbytes

    def tick(self) -> None:
        """Draw the line anew, if it is time."""
        elapsed_s = time.monotonic() - self._began
        if self.shown and elapsed_s >= _PATIENCE_S:
            self._drawn += 1
            sys.stderr.write(f"\r\x1b[2K{_FRAMES[self._drawn % len(_FRAMES)]} {self.line(elapsed_s)}")
            sys.stderr.flush()

    def line(self, elapsed_s: float) -> str:
        """Say how far the query is."""
        if not self.rows:
            return f"{self.owner}  waiting for rows  {elapsed_s:.0f} s"
        megabytes = f"  {self.nbytes / 1e6:,.1f} MB" if self.nbytes else ""
        return f"{self.owner}  {self.rows:,} rows  {self.rows / elapsed_s:,.0f} rows/s{megabytes}  {elapsed_s:.0f} s"

    def close(self) -> None:
        """Take the line away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _is_watched() -> bool:
    """Tell whether stderr is a terminal, or a notebook shows it."""
    try:
        if sys.stderr.isatty():
            return True
    except (AttributeError, ValueError):
        return False
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")
