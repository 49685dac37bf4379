"""
How many calls run at once, how long one may take, and where the calls that need a thread or a loop run.

A slot is held for as long as the function really runs, also after its caller has been told that it took too long.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

from lore._serving.problems import Problem

__all__ = ["Slots", "in_loop", "iterate", "limited"]

_IDLE_S = 30.0
_DEFAULT_SLOTS = 64


class Slots:
    """
    A number of calls that may run at once; one more is refused, not queued.

    Taking and giving back are single operations on a list, which the interpreter keeps whole among threads.
    """

    def __init__(self, count: int) -> None:
        self._tokens: list[None] = [None] * count
        self.give = self._tokens.append

    def take(self) -> None:
        """
        Take a slot.

        Raises:
            Problem: 503 with Retry-After, when all are taken.
        """
        try:
            self._tokens.pop()
        except IndexError:
            raise busy() from None


def busy() -> Problem:
    """Make the 503 of a server that has no room for another call."""
    return Problem(503, "too many requests are being answered", headers=[("Retry-After", "1")])


def too_late(timeout_s: float) -> Problem:
    """Make the 504 of a call that takes longer than it may."""
    return Problem(504, f"no answer within {timeout_s:g} s")


# -- calls with a time limit -----------------------------------------------------------------------


def limited(
    call: Callable[..., Any], timeout_s: float, slots: Slots | None, late: Callable[[BaseException], None]
) -> Callable[..., Any]:
    """
    Wrap a call so that its caller waits for it no longer than `timeout_s`.

    Python cannot stop a thread: the call goes on until it is done, and keeps its slot until then.

    Args:
        call: what to run; it runs in a thread of its own, in the caller's context.
        timeout_s: seconds to wait.
        slots: what it takes from; None for a limit of its own, so that calls that never end cannot pile up.
        late: told what a call raised that nobody waits for any more.

    Raises:
        Problem: 503 where there is no slot, 504 after `timeout_s`.
    """
    room = slots or Slots(_DEFAULT_SLOTS)

    def run(*values: Any) -> Any:
        room.take()
        outcome = _Outcome()
        context = contextvars.copy_context()
        try:
            _crew().run(lambda: context.run(_work, call, values, outcome, room, late))
        except BaseException:
            room.give(None)
            raise
        return outcome.within(timeout_s)

    return run


def _work(
    call: Callable[..., Any],
    values: tuple[Any, ...],
    outcome: _Outcome,
    room: Slots,
    late: Callable[[BaseException], None],
) -> None:
    try:
        outcome.value = call(*values)
    except BaseException as error:
        outcome.error = error
    finally:
        room.give(None)
    if outcome.deliver() and outcome.error is not None:
        late(outcome.error)


class _Outcome:
    """What a call came to, handed from the thread that ran it to the one that waits."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()
        self._settling = threading.Lock()
        self._abandoned = False

    def deliver(self) -> bool:
        """Hand over; tell whether nobody waits any more."""
        with self._settling:
            self._done.release()
            return self._abandoned

    def within(self, timeout_s: float) -> Any:
        if not self._done.acquire(timeout=timeout_s):
            with self._settling:
                self._abandoned = self._done.locked()
            if self._abandoned:
                raise too_late(timeout_s)
        if self.error is not None:
            raise self.error
        return self.value


class _Crew:
    """Daemon threads that take one job after another; an idle one ends after a while."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._idle: collections.deque[queue.SimpleQueue[Callable[[], None]]] = collections.deque()

    def run(self, job: Callable[[], None]) -> None:
        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name="lore-endpoint", daemon=True).start()
        inbox.put(job)

    def _serve(self, inbox: queue.SimpleQueue[Callable[[], None]]) -> None:
        inbox.get()()
        while True:
            self._idle.append(inbox)
            try:
                job = inbox.get(timeout=_IDLE_S)
            except queue.Empty:
                try:
                    self._idle.remove(inbox)
                    return
                except ValueError:  # somebody has just picked this thread: the job is on its way
                    job = inbox.get()
            job()


_the_crew = _Crew()
_making = threading.Lock()


def _crew() -> _Crew:
    """Return this process's threads: those of the parent do not live through a fork."""
    global _the_crew
    if _the_crew.pid != os.getpid():
        with _making:
            if _the_crew.pid != os.getpid():
                _the_crew = _Crew()
    return _the_crew


# -- coroutines ------------------------------------------------------------------------------------


class _Loop:
    """One event loop in a daemon thread, on which all coroutine functions of the process run."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="lore-loop", daemon=True).start()


_the_loop: _Loop | None = None


def _loop() -> asyncio.AbstractEventLoop:
    global _the_loop
    known = _the_loop
    if known is None or known.pid != os.getpid():
        with _making:
            known = _the_loop
            if known is None or known.pid != os.getpid():
                known = _the_loop = _Loop()
    return known.loop


def in_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on the process's loop, in the caller's context, and wait for it."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop()).result()


def in_loop_within(call: Callable[..., Any], timeout_s: float, slots: Slots | None) -> Callable[..., Any]:
    """Wrap a coroutine function: after `timeout_s` it is cancelled, and its slot is free once it has ended."""
    room = slots or Slots(_DEFAULT_SLOTS)

    async def held(coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            async with asyncio.timeout(timeout_s) as limit:
                return await coroutine
        except TimeoutError:
            if limit.expired():
                raise too_late(timeout_s) from None
            raise
        finally:
            room.give(None)

    def run(*values: Any) -> Any:
        room.take()
        future = asyncio.run_coroutine_threadsafe(held(call(*values)), _loop())
        try:
            # a coroutine that will not be cancelled must not hold the caller as well
            return future.result(timeout_s + 0.1)
        except TimeoutError:
            if future.done():  # the function's own
                raise
            future.cancel()
            raise too_late(timeout_s) from None

    return run


def iterate(items: AsyncIterator[Any]) -> Iterator[Any]:
    """Iterate an asynchronous generator from a thread, item by item."""
    step = items.__anext__
    try:
        while True:
            try:
                yield in_loop(_awaited(step()))
            except StopAsyncIteration:
                return
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            in_loop(_awaited(close()))


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
