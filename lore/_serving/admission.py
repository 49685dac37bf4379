"""
Who may run now: a queue in front of the endpoints of one process.

Threads that compute share one interpreter. A hundred of them at once finish no earlier than four, and each waits for
the other ninety-nine before it gets a word in, health checks too. So a few run, some wait in line, and what finds the
line full or has stood in it too long is refused with a 503. Where requests wait while the processor idles (they sleep,
or ask a database), more are let in, until it does not.
"""

from __future__ import annotations

import collections
import os
import threading
import time
from time import perf_counter

from lore._serving.limits import busy

__all__ = ["Admission"]

_TICK_S = 0.005
_IDLE_SHARE = 0.5
_LEAST_PATIENCE_S = 0.5
_PATIENCE_IN_SERVICES = 10.0


class Admission:
    """
    Lets requests in, keeps some waiting, refuses the rest.

    Args:
        most: requests inside and waiting together.
        running: how many run at once to begin with; the default suits work that computes.
    """

    def __init__(self, most: int, running: int | None = None) -> None:
        self._least = min(most, running or max(4, os.cpu_count() or 1))
        self._most = most
        self._allowed = self._least
        self._inside = 0
        self._waiting: collections.deque[_Ticket] = collections.deque()
        self._guards_the_line = threading.Lock()
        self._watching = False
        self._service_s = 0.0

    def enter(self) -> float:
        """
        Wait for a place; return when it was taken, for `leave`.

        Raises:
            Problem: 503, the line is full or did not move.
        """
        with self._guards_the_line:
            if self._inside < self._allowed and not self._waiting:
                self._inside += 1
                return perf_counter()
            if self._inside + len(self._waiting) >= self._most or self._wait_ahead_s() > self._patience_s():
                raise busy()
            ticket = _Ticket()
            self._waiting.append(ticket)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="lore-admission", daemon=True).start()
        if not ticket.called.acquire(timeout=self._patience_s()):
            self._step_out(ticket)
        return perf_counter()

    def _wait_ahead_s(self) -> float:
        """Estimate how long the line is, in seconds."""
        return len(self._waiting) * self._service_s / max(1, self._inside)

    def _patience_s(self) -> float:
        """Say how long a request may stand in line: an answer later than that is of no use to its client."""
        return max(_LEAST_PATIENCE_S, _PATIENCE_IN_SERVICES * self._service_s)

    def _step_out(self, ticket: _Ticket) -> None:
        with self._guards_the_line:
            try:
                self._waiting.remove(ticket)
            except ValueError:  # called at the last moment
                return
        raise busy()

    def leave(self, entered: float) -> None:
        """Give the place to the next in line."""
        took_s = perf_counter() - entered
        with self._guards_the_line:
            self._service_s += (took_s - self._service_s) * 0.1
            self._inside -= 1
            self._call_next()

    def _call_next(self) -> None:
        while self._waiting and self._inside < self._allowed:
            self._inside += 1
            self._waiting.popleft().called.release()

    def _watch(self) -> None:
        """While requests wait, let in more where the processor idles and fewer where it is busy."""
        spent_s = time.process_time()
        idle_ticks = 0
        while idle_ticks < 200:
            time.sleep(_TICK_S)
            before_s, spent_s = spent_s, time.process_time()
            idles = spent_s - before_s < _TICK_S * _IDLE_SHARE
            with self._guards_the_line:
                idle_ticks = 0 if self._waiting else idle_ticks + 1
                if self._waiting and idles:
                    self._allowed = min(self._most, self._allowed + max(1, self._allowed // 2))
                    self._call_next()
                elif self._allowed > self._least and not idles:
                    self._allowed -= 1
        with self._guards_the_line:
            self._allowed = self._least
            self._watching = False


class _Ticket:
    """One request in line."""

    __slots__ = ("called",)

    def __init__(self) -> None:
        self.called = threading.Lock()
        self.called.acquire()
