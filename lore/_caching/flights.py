"""
Single flight: of all who want the same result, one computes and the others wait.

Inside a process a table of flights does it, for threads and for tasks of any event loop alike. Between processes the
store lends a claim per key (see `stores`). Here is also what keeps a function that calls itself with the same arguments
from waiting for itself.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

__all__ = ["Flight", "board", "computing", "inside", "land"]


class Flight:
    """
    One computation that is under way in this process, and who waits for it.

    Attributes:
        lost: the result was computed and could not be kept, so that whoever waited has nothing to find.
        thread: the identifier of the thread that computes.
    """

    __slots__ = ("_landed", "_waiting", "lost", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.lost = False
        self._landed = False
        self._waiting: list[Callable[[], object]] = []

    def wait(self) -> bool:
        """
        Block this thread until the flight has landed, whatever came of it.

        Returns:
            False where that would never be: the computing thread itself waits for this one, or is this one.
        """
        landed = threading.Event()
        pause_s = 0.02
        if self._wake(landed.set):
            while not landed.wait(0 if self.thread == threading.get_ident() else pause_s):
                if _waits_for_us(self.thread):
                    return False
                pause_s = min(pause_s * 2, 1.0)
        return True

    async def wait_async(self) -> None:
        """Suspend this task until the flight has landed; cancelling it touches nobody else."""
        import asyncio  # most processes never need it, and it takes 30 ms

        loop = asyncio.get_running_loop()
        landed = loop.create_future()

        def wake() -> None:
            if not landed.done():
                landed.set_result(None)

        if self._wake(lambda: loop.call_soon_threadsafe(wake)):
            await landed

    def _wake(self, how: Callable[[], object]) -> bool:
        """Ask to be woken; False where the flight has landed already."""
        with _table.guard:
            if not self._landed:
                self._waiting.append(how)
            return not self._landed

    def _land(self, lost: bool) -> list[Callable[[], object]]:
        self._landed, self.lost = True, lost
        return self._waiting


class _Table:
    """The flights of this process, and the lock that guards them."""

    def __init__(self) -> None:
        self.guard = threading.RLock()  # a signal handler may call what the signal interrupted
        self.flights: dict[str, Flight] = {}

    def renew(self) -> None:
        """Forget everything: after a fork the computing threads exist only in the parent."""
        self.__init__()  # type: ignore[misc]


_table = _Table()
_computing: ContextVar[frozenset[str]] = ContextVar("lore_computing", default=frozenset())

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_table.renew)


def board(key: str) -> Flight | None:
    """Take the flight for a key: None means that the caller computes now and must `land`; else somebody else does."""
    with _table.guard:
        flight = _table.flights.get(key)
        if flight is None:
            _table.flights[key] = Flight()
        return flight


def land(key: str, lost: bool = False) -> None:
    """End the caller's own flight and wake everybody who waits for it."""
    with _table.guard:
        flight = _table.flights.pop(key, None)
        waiting = flight._land(lost) if flight is not None else []
    for wake in waiting:
        try:
            wake()
        except RuntimeError:  # the waiter's event loop is closed: nobody waits there any more
            continue


def computing(key: str) -> bool:
    """Tell whether this very call chain (thread or task) is computing the key: waiting would never end."""
    return key in _computing.get()


@contextmanager
def inside(key: str) -> Iterator[None]:
    """Mark this call chain as computing a key."""
    token = _computing.set(_computing.get() | {key})
    try:
        yield
    finally:
        _computing.reset(token)


# ---------------------------------------------------------------------------------------------------------------------
# Who waits for whom


def _waits_for_us(thread: int) -> bool:
    """
    Tell whether a thread is, or waits for, the running one: for a flight, the end of a thread, or a pool's answer.

    Nobody writes down such waiting, but it shows in the stacks. Only who has waited for a while looks.
    """
    stacks = {ident: list(_stack_of(frame)) for ident, frame in sys._current_frames().items()}
    workers = {id(future): ident for ident, stack in stacks.items() for future in _answering(stack)}
    seen: set[int] = set()
    ahead = [thread]
    while ahead:
        ident = ahead.pop()
        if ident == threading.get_ident():
            return True
        if ident not in seen:
            seen.add(ident)
            ahead += _awaited(stacks.get(ident, []), workers)
    return False


def _stack_of(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _answering(stack: list[FrameType]) -> Iterator[object]:
    """Yield the futures of `concurrent.futures` that a thread is computing the answers of."""
    for frame in stack:
        if frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "concurrent.futures.thread":
            work = frame.f_locals.get("self")
            yield getattr(work, "future", None)


def _awaited(stack: list[FrameType], workers: dict[int, int]) -> Iterator[int]:
    """Yield the threads that a thread waits for, by the innermost frames of its stack."""
    for frame in stack[:8]:
        name, module = frame.f_code.co_name, frame.f_globals.get("__name__")
        if frame.f_code is Flight.wait.__code__:
            yield frame.f_locals["self"].thread
        elif module == "threading" and name == "join":
            yield frame.f_locals["self"].ident or 0
        elif module == "concurrent.futures._base" and name in ("result", "exception"):
            yield workers.get(id(frame.f_locals.get("self")), 0)
        elif module == "concurrent.futures._base" and name in ("wait", "as_completed"):
            yield from (workers.get(id(future), 0) for future in frame.f_locals.get("fs", ()))
