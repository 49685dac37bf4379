"""
Running a query so that it can be stopped: by Ctrl-C, by a timeout, by a cancelled task.

A driver that waits for its server does not notice signals. So the query runs in a worker thread while the caller waits,
awake for Ctrl-C; whoever wants the query to stop asks its `Watch`, which knows how to reach the server.
"""

from __future__ import annotations

import atexit
import collections
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from lore.errors import LoreError

__all__ = ["Cancelled", "Watch", "leave_to_parent", "run", "run_async"]

T = TypeVar("T")

_TICK_S = 0.2
_KEPT_WORKERS = 8
_IDLE_S = 10.0
_LAST_WAIT_S = 5.0


class Cancelled(BaseException):
    """Raised inside a worker whose query was stopped; it never reaches the caller."""


class Watch:
    """
    One query under way: its deadline, and how to stop it.

    Args:
        timeout_s: seconds until it is stopped; None for no limit.
        tick: called about five times a second by the thread that waits, to show progress.
        here: run in the calling thread, where nothing can stop the query.

    Threads:
        `cancel` may be called from any thread, at any time.
    """

    def __init__(
        self, timeout_s: float | None = None, tick: Callable[[], None] | None = None, here: bool = False
    ) -> None:
        self.here = here
        self.timeout_s = timeout_s
        self.tick = tick
        self.deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self.timed_out = False
        self.cancelled = threading.Event()
        self._stop: Callable[[], object] | None = None
        self._stop_lock = threading.Lock()

    def attach(self, stop: Callable[[], object] | None) -> None:
        """Say how the statement that runs now is stopped; None when nothing runs."""
        with self._stop_lock:
            self._stop = stop
            late = stop is not None and self.cancelled.is_set()
        if late:
            raise Cancelled

    def cancel(self) -> None:
        """Stop the query, now or as soon as it begins."""
        with self._stop_lock:
            self.cancelled.set()
            if self._stop is not None:  # under the lock: once detached, nobody stops what runs next
                self._stop()

    def left_s(self) -> float | None:
        """Return the seconds until the deadline, at least 0; None where there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def pause(self, seconds: float) -> None:
        """Wait for something outside, such as a lock, unless the query is stopped meanwhile."""
        if self.cancelled.wait(seconds):
            raise Cancelled

    def expire_if_due(self) -> None:
        """Stop the query where its time is over."""
        if self.deadline is not None and not self.timed_out and time.monotonic() >= self.deadline:
            self.timed_out = True
            self.cancel()


def run(work: Callable[[], T], watch: Watch) -> T:
    """
    Run `work` and wait for it; Ctrl-C stops the query and is raised once the connection is usable again.

    Where no signal can arrive and nothing needs watching, `work` runs in the calling thread.
    """
    if watch.here or (watch.deadline is None and threading.current_thread() is not threading.main_thread()):
        return _do(work)
    job = _start(work)
    try:
        # never for ever: a Ctrl-C that comes just before the thread falls asleep would be noticed by nobody
        while not job.done.wait(_next_look_s(watch) or _TICK_S):
            watch.expire_if_due()
            if watch.tick is not None:
                watch.tick()
    except BaseException:
        watch.cancel()
        job.done.wait(5.0)
        raise
    return job.result()


async def run_async(work: Callable[[], T], watch: Watch) -> T:
    """Run `work` in a worker and await it; cancelling the task stops the query at the server."""
    import asyncio

    if watch.here:
        return _do(work)
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()

    def tell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(finished.set)

    job = _start(work, tell)
    try:
        while not finished.is_set():
            try:
                await asyncio.wait_for(finished.wait(), _next_look_s(watch))
            except TimeoutError:
                watch.expire_if_due()
    except BaseException:
        _start(watch.cancel)
        raise
    return job.result()


def _next_look_s(watch: Watch) -> float | None:
    left = watch.left_s()
    if watch.tick is None and left is None:
        return None
    return min(_TICK_S, left) if left else _TICK_S


# ---------------------------------------------------------------------------------------------------------------------
# workers


class _Job(Generic[T]):
    """Something to do in a worker, and what came of it."""

    __slots__ = ("done", "error", "tell", "value", "work")

    def __init__(self, work: Callable[[], T], tell: Callable[[], None] | None) -> None:
        self.work = work
        self.tell = tell
        self.done = threading.Event()
        self.value: T | None = None
        self.error: BaseException | None = None

    def do(self) -> None:
        try:
            self.value = self.work()
        except BaseException as error:
            self.error = error
        self.done.set()
        if self.tell is not None:
            self.tell()

    def result(self) -> T:
        error, self.error = self.error, None
        if error is not None:
            if isinstance(error, LoreError):
                error.__context__ = None  # the driver's own exception may show bound values
            try:
                raise error
            finally:
                del error  # a traceback that refers to its own frame would keep the frame alive
        return self.value  # type: ignore[return-value]


def _do(work: Callable[[], T]) -> T:
    job = _Job(work, None)
    job.do()
    return job.result()


_idle: collections.deque[queue.SimpleQueue[_Job[Any]]] = collections.deque()
_busy: set[_Job[Any]] = set()


def _start(work: Callable[[], T], tell: Callable[[], None] | None = None) -> _Job[T]:
    """Give `work` to an idle worker or to a new one."""
    job = _Job(work, tell)
    _busy.add(job)
    try:
        _idle.pop().put(job)
    except IndexError:
        inbox: queue.SimpleQueue[_Job[Any]] = queue.SimpleQueue()
        inbox.put(job)
        threading.Thread(target=_serve, args=(inbox,), name="lore-query", daemon=True).start()
    return job


def _serve(inbox: queue.SimpleQueue[_Job[Any]]) -> None:
    """Do one job after another; leave after some seconds without one."""
    job: _Job[Any] | None = inbox.get()
    while job is not None:
        job.do()
        _busy.discard(job)
        job = None
        if len(_idle) >= _KEPT_WORKERS:
            return
        _idle.append(inbox)
        try:
            job = inbox.get(timeout=_IDLE_S)
        except queue.Empty:
            try:
                _idle.remove(inbox)
            except ValueError:  # somebody took this worker in the same moment: its job is on the way
                job = inbox.get()


def _wait_for_busy() -> None:
    """
    Let workers come back from their drivers, a cancelled query for one, before the interpreter goes.

    A thread that returns from C++ into an interpreter that is gone takes the process down with it.
    """
    until = time.monotonic() + _LAST_WAIT_S
    for job in list(_busy):
        job.done.wait(max(0.0, until - time.monotonic()))


def _leave_workers() -> None:
    _idle.clear()
    _busy.clear()


atexit.register(_wait_for_busy)
os.register_at_fork(after_in_child=_leave_workers)


def leave_to_parent(*inherited: object) -> None:
    """
    Never destroy, in a forked child, what belongs to its parent.

    The destructor of an inherited connection would wait for threads that are not here, or end the parent's query at
    the server.
    """
    if not inherited:
        return
    import ctypes

    for thing in inherited:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
