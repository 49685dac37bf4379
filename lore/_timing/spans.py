"""
What a process measured: the call tree, and what the other rooms report into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from lore._timing.events import emit, request_id, run_id

__all__ = ["add_overhead", "cache_event", "emit", "query_event", "request_event", "request_id", "run_id"]


def cache_event(
    function: str, outcome: str, saved_s: float = 0.0, key: str | None = None, sources: Sequence[str] = ()
) -> None:
    """
    Report one cached call: `outcome` is hit, miss, stale or error; `saved_s` what a hit spared.
    """


def query_event(function: str, rows: int, nbytes: int, elapsed_s: float) -> None:
    """
    Report one query: what it brought and how long it took.
    """


def request_event(endpoint: str, status: int, elapsed_s: float) -> None:
    """
    Report one answered request.
    """


def add_overhead(seconds: float) -> None:
    """
    Add to what lore itself has cost this process.
    """
