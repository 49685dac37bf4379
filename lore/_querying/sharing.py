"""
Who has a DuckDB file open: one process that writes, or many that read.

A file is opened read-only for queries and let go soon after the last of them; it is opened for writing only while
somebody writes. A writer announces itself in a file beside the database: readers that see it finish what they do and
make way, streams by moving what is left of them to a temporary file.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from lore._extras import require
from lore._querying.running import Watch, leave_to_parent
from lore.errors import QueryError

__all__ = ["SharedFile", "file_of", "memory_of", "prepared"]

_PATIENCE_S = 30.0
_LINGER_S = 0.5
_SETTINGS = "SET TimeZone = 'UTC'; SET python_enable_replacements = false"


class Spoolable(Protocol):
    """A stream that can be moved out of the way."""

    def spool(self) -> None:
        """Let go of the database; go on from elsewhere."""
        ...


def prepared(cursor: Any) -> Any:
    """Set a new cursor up: UTC, and no reading of Python variables that happen to have a table's name."""
    cursor.execute(_SETTINGS)
    return cursor


_files: dict[str, SharedFile] = {}
_memories: dict[str, Any] = {}
_files_lock = threading.Lock()


def file_of(path: str) -> SharedFile:
    """Return this process's part in a file, one for all paths that lead to it."""
    path = os.path.realpath(path)
    with _files_lock:
        if path not in _files:
            _files[path] = SharedFile(path)
        return _files[path]


def memory_of(name: str) -> Any:
    """Return the database in memory that stands for one that is not there; the nameless one may be written to."""
    with _files_lock:
        if name not in _memories:
            _memories[name] = require("duckdb", extra="sql").connect(":memory:")
        return _memories[name]


class SharedFile:
    """
    A database file and this process's connections to it.

    Threads: any number read at once; a writer is alone.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.forget()

    def forget(self) -> None:
        """Start anew, as in a forked child: what is open belongs to the parent, whose threads are not here."""
        self.streams: weakref.WeakSet[Spoolable] = weakref.WeakSet()
        self._changed = threading.Condition()
        self._root: Any = None
        self._is_shared = False
        self._readers = 0
        self._writers = 0
        self._idle: collections.deque[Any] = collections.deque()
        self._idle_since = 0.0

    @property
    def opened(self) -> tuple[Any, ...]:
        """What is open at this moment."""
        return (self._root, *self._idle)

    @contextlib.contextmanager
    def reading(self, watch: Watch) -> Iterator[tuple[Any, bool]]:
        """Hold a cursor for reading; tells also whether its connection could write."""
        cursor = self._wait(self._enter, watch)
        try:
            yield cursor, self._is_shared
        finally:
            watch.attach(None)
            with self._changed:
                self._readers -= 1
                self._idle.append(cursor)
                self._idle_since = time.monotonic()

    @contextlib.contextmanager
    def writing(self, watch: Watch) -> Iterator[Any]:
        """Hold a connection for writing, alone among all processes."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with self._changed:
            self._writers += 1
        try:
            self._wait(self._enter_alone, watch)
            try:
                with _announced(self.path, watch):
                    connection = self._wait(lambda: self._open(read_only=False), watch)
                    try:
                        yield connection
                    finally:
                        connection.close()
            finally:
                with self._changed:
                    self._readers -= 1
        finally:
            with self._changed:
                self._writers -= 1

    def make_way(self, linger_s: float = 0.0) -> bool:
        """
        Let the file go where nobody here needs it, or somebody elsewhere waits to write; tell whether it is closed.

        Args:
            linger_s: seconds since the last query before it is let go unasked.
        """
        if self._root is None:
            return True
        is_wanted = _is_announced(self.path)
        if is_wanted:
            self._spool_streams()
        with self._changed:
            is_over = time.monotonic() - self._idle_since >= linger_s
            if self._root is not None and self._readers == 0 and (is_over or is_wanted):
                self._close()
            return self._root is None

    def _wait(self, enter: Callable[[], Any], watch: Watch) -> Any:
        """Try until `enter` returns something, up to the query's time or half a minute."""
        patience = _Patience(self.path, watch)
        while (entered := enter()) is None:
            patience.wait()
        return entered

    def _enter(self) -> Any:
        """Return a cursor for reading; None while somebody writes or waits to."""
        if _is_announced(self.path):
            self.make_way()
            return None
        with self._changed:
            if self._writers:
                return None
            if self._root is None:
                self._root = self._open(read_only=True)
                if self._root is None:
                    return None
                _keep_house()
            cursor = self._idle.pop() if self._idle else prepared(self._root.cursor())
            self._readers += 1
            return cursor

    def _enter_alone(self) -> bool | None:
        """Close what is open and count as a reader, so that no second writer enters; None while others read."""
        self._spool_streams()
        with self._changed:
            if self._readers:
                return None
            self._close()
            self._readers += 1
            return True

    def _spool_streams(self) -> None:
        for stream in list(self.streams):
            stream.spool()

    def _close(self) -> None:
        for cursor in self._idle:
            cursor.close()
        self._idle.clear()
        if self._root is not None:
            self._root.close()
            self._root = None

    def _open(self, *, read_only: bool) -> Any:
        """Open the file; None while another process has it."""
        duckdb = require("duckdb", extra="sql")
        self._is_shared = False
        try:
            return duckdb.connect(self.path, read_only=read_only)
        except duckdb.ConnectionException as error:
            if not read_only or "different configuration" not in str(error):
                raise
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error):
                raise
            return None
        # Somebody in this process has it open for writing, and different settings cannot stand side by side: join.
        self._is_shared = True
        return duckdb.connect(self.path)


class _Patience:
    """Waits for other users of a file, up to the query's time or half a minute."""

    def __init__(self, path: str, watch: Watch) -> None:
        self.path = path
        self._watch = watch
        self._until = time.monotonic() + _PATIENCE_S
        self._step_s = 0.002

    def wait(self) -> None:
        """Wait a little, longer each time."""
        if time.monotonic() > self._until:
            raise QueryError(
                f"{self.path} is in use by another process or thread; gave up after {_PATIENCE_S:.0f} s. DuckDB lets "
                f"one process write to a file, or many read it."
            )
        self._watch.pause(self._step_s)
        self._step_s = min(0.05, self._step_s * 1.5)


@contextlib.contextmanager
def _announced(path: str, watch: Watch) -> Iterator[None]:
    """Tell other processes that this one waits to write, or writes."""
    patience = _Patience(path, watch)
    with open(f"{path}.writing", "a") as notice:
        while True:
            try:
                fcntl.flock(notice, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                patience.wait()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(notice.name)


def _is_announced(path: str) -> bool:
    """Tell whether a living process waits to write; the lock of one that died is released by the kernel."""
    try:
        handle = os.open(f"{path}.writing", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


# ---------------------------------------------------------------------------------------------------------------------
# housekeeping


_keeper: list[threading.Thread] = []
_ending = threading.Event()


def _keep_house() -> None:
    """See to it that idle files are let go: one thread that lives while any file is open."""
    if not _keeper or not _keeper[0].is_alive():
        thread = threading.Thread(target=_housekeeping, name="lore-duckdb-idle", daemon=True)
        _keeper[:] = [thread]
        thread.start()


def _housekeeping() -> None:
    while not _ending.wait(_LINGER_S / 2):
        with _files_lock:
            files = list(_files.values())
        closed = [file.make_way(_LINGER_S) for file in files]
        if all(closed):
            _keeper.clear()
            return


def _at_exit() -> None:
    """End the thread before the interpreter does: one that is closing a file just then would not survive it."""
    _ending.set()
    for thread in list(_keeper):
        thread.join(5.0)


def _before_fork() -> None:
    for file in list(_files.values()):
        file.make_way()


def _after_fork_in_child() -> None:
    global _files_lock, _ending
    _files_lock = threading.Lock()
    _ending = threading.Event()
    _keeper.clear()
    leave_to_parent(*_memories.values())
    _memories.clear()
    for file in _files.values():
        leave_to_parent(*file.opened)
        file.forget()


atexit.register(_at_exit)
os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
