"""
Batching: concurrent requests for one row each, answered by one call for many rows.

There is no thread and no clock in it. A request that finds nobody at work becomes the leader and calls at once, so a
lone request waits for nothing; requests that arrive meanwhile wait together, and when the call returns the first of
them leads all of them into the next one. One call runs at a time, so the function needs no lock of its own.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from lore.errors import EncodingError

__all__ = ["Batcher"]

Row = tuple[Any, ...]


class Batcher:
    """
    Answers single rows by calls of a function that takes many.

    Args:
        call: takes a list of rows and returns one answer per row, in order.
        most: the most rows in one call.
        alike: rows of which this differs never share a call; a row must get the answer it would get alone.
    """

    def __init__(
        self, call: Callable[[list[Row]], Sequence[Any]], most: int, alike: Callable[[Row], Hashable] | None = None
    ) -> None:
        self._call = call
        self._most = most
        self._alike = alike
        self._waiting: collections.deque[_Ticket] = collections.deque()
        self._guards_waiting_and_leading = threading.Lock()
        self._led = False

    def __call__(self, *row: Any) -> Any:
        """Return the answer for one row, or raise what this row alone causes."""
        ticket = _Ticket(row, self._alike(row) if self._alike is not None else None)
        with self._guards_waiting_and_leading:
            leads = not self._led
            self._led = True
            if not leads:
                ticket.prepare()
                self._waiting.append(ticket)
        if not leads and not ticket.wait():
            return ticket.outcome()
        self._lead(ticket)
        return ticket.outcome()

    def _lead(self, ticket: _Ticket) -> None:
        """Answer this ticket and those that wait with it, then hand over to the next in line."""
        try:
            batch = self._gather(ticket)
            self._answer(batch)
            for other in batch[1:]:
                other.wake()
        finally:
            with self._guards_waiting_and_leading:
                heir = self._waiting.popleft() if self._waiting else None
                self._led = heir is not None
            if heir is not None:
                heir.wake(leads=True)

    def _gather(self, ticket: _Ticket) -> list[_Ticket]:
        batch = [ticket]
        with self._guards_waiting_and_leading:
            if not self._waiting:
                return batch
            others: list[_Ticket] = []
            while self._waiting and len(batch) < self._most:
                other = self._waiting.popleft()
                (batch if other.kind == ticket.kind else others).append(other)
            self._waiting.extendleft(reversed(others))
        return batch

    def _answer(self, batch: list[_Ticket]) -> None:
        """Call for a batch; where that fails, halve it until the rows that cause it stand alone."""
        try:
            answers = self._call([ticket.row for ticket in batch])
        except BaseException as error:
            if len(batch) == 1 or not isinstance(error, Exception):
                for ticket in batch:
                    ticket.error = error
                return
            half = len(batch) // 2
            self._answer(batch[:half])
            self._answer(batch[half:])
            return
        if len(answers) != len(batch):
            wrong = EncodingError(f"The function returned {len(answers)} answers for {len(batch)} rows.")
            for ticket in batch:
                ticket.error = wrong
            return
        for ticket, answer in zip(batch, answers):
            ticket.answer = answer


class _Ticket:
    """One request that waits for its answer."""

    __slots__ = ("_called", "_leads", "answer", "error", "kind", "row")

    def __init__(self, row: Row, kind: Hashable) -> None:
        self.row = row
        self.kind = kind
        self.answer: Any = None
        self.error: BaseException | None = None
        self._leads = False
        self._called: Any = None

    def prepare(self) -> None:
        self._called = threading.Lock()
        self._called.acquire()

    def wait(self) -> bool:
        """Wait to be called; tell whether it is to lead."""
        self._called.acquire()
        return self._leads

    def wake(self, leads: bool = False) -> None:
        self._leads = leads
        self._called.release()

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.answer
