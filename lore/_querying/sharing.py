"""
Who has a DuckDB file open: one process that writes, or many that read.

A file is opened read-only for queries and let go soon after the last of them; it is opened for writing only while
somebody writes. A writer announces itself in a file beside the database: readers that see it finish what they do and
make way, streams by moving what is left of them to a temporary file.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import re
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

from lore._extras import require
from lore._querying.running import Watch
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
    path = os.path.realpath(path)
    with _files_lock:
        return _files.setdefault(path, SharedFile(path)) if path not in _files else _files[path]


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
        self.streams: weakref.WeakSet[Spoolable] = weakref.WeakSet()
        self._changed = threading.Condition()
        self._root: Any = None
        self._shared = False
        self._readers = 0
        self._writers = 0
        self._idle: collections.deque[Any] = collections.deque()
        self._idle_since = 0.0

    @contextlib.contextmanager
    def reading(self, watch: Watch) -> Iterator[tuple[Any, bool]]:
        """Hold a cursor for reading; tells also whether its connection could write."""
        cursor, shared = self._acquire(watch)
        try:
            yield cursor, shared
        finally:
            watch.attach(None)
            with self._changed:
                self._readers -= 1
                self._idle.append(cursor)
                self._idle_since = time.monotonic()
                self._changed.notify_all()

    @contextlib.contextmanager
    def writing(self, watch: Watch) -> Iterator[Any]:
        """Hold a connection for writing, alone among all processes."""
        with self._changed:
            self._writers += 1
        try:
            self._drain(watch)
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with _announced(self.path, watch):
                connection = self._open(watch, read_only=False)
                try:
                    yield connection
                finally:
                    connection.close()
        finally:
            with self._changed:
                self._writers -= 1
                self._readers -= 1
                self._changed.notify_all()

    def close_if_idle(self, linger_s: float = 0.0) -> bool:
        """Let the file go where nobody reads it; tell whether it is closed now."""
        with self._changed:
            over = time.monotonic() - self._idle_since >= linger_s or _is_announced(self.path)
            if self._root is not None and self._readers == 0 and over:
                self._close()
            return self._root is None

    def forget(self) -> None:
        """Start anew in a forked child: what is open belongs to the parent, whose threads are not here."""
        _graveyard.append((self._root, self._idle))
        streams = weakref.WeakSet[Spoolable]()
        self.__init__(self.path)  # type: ignore[misc]
        self.streams = streams

    def _acquire(self, watch: Watch) -> tuple[Any, bool]:
        patience = _Patience(self.path, watch)
        while True:
            announced = _is_announced(self.path)
            with self._changed:
                if not announced and self._writers == 0:
                    if self._root is None:
                        self._root = self._open(watch, read_only=True)
                        _keep_house()
                    cursor = self._idle.pop() if self._idle else prepared(self._root.cursor())
                    self._readers += 1
                    return cursor, self._shared
                if self._readers == 0 and self._writers == 0:
                    self._close()
            self._spool_streams()
            patience.wait()

    def _drain(self, watch: Watch) -> None:
        """Wait until this process reads no more, close, and count as a reader, so that no second writer enters."""
        patience = _Patience(self.path, watch)
        while True:
            self._spool_streams()
            with self._changed:
                if self._readers == 0:
                    self._close()
                    self._readers += 1
                    return
            patience.wait()

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

    def _open(self, watch: Watch, *, read_only: bool) -> Any:
        """Open the file, waiting for other processes to let it go."""
        duckdb = require("duckdb", extra="sql")
        patience = _Patience(self.path, watch)
        self._shared = False
        while True:
            try:
                return duckdb.connect(self.path, read_only=read_only)
            except duckdb.ConnectionException as error:
                if not read_only or "different configuration" not in str(error):
                    raise
                self._shared = True
            except duckdb.IOException as error:
                if "lock" not in str(error):
                    raise
                patience.holder = _holder(str(error))
            if self._shared:  # somebody in this process has it open for writing: join there
                return duckdb.connect(self.path)
            patience.wait()


class _Patience:
    """Waits for other users of a file, up to the query's time or half a minute."""

    def __init__(self, path: str, watch: Watch) -> None:
        self.path = path
        self.holder: str | None = None
        self._watch = watch
        self._until = time.monotonic() + _PATIENCE_S
        self._step = 0.002

    def wait(self) -> None:
        if time.monotonic() > self._until:
            who = self.holder or "another query or writer"
            raise QueryError(f"{self.path} is in use by {who}; gave up after {_PATIENCE_S:.0f} s.")
        self._watch.pause(self._step)
        self._step = min(0.05, self._step * 1.5)


def _holder(message: str) -> str:
    found = re.search(r"PID (\d+)", message)
    return f"process {found.group(1)}" if found else "another process"


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


_graveyard: list[Any] = []
_keeper: list[threading.Thread] = []


def _keep_house() -> None:
    """See to it that idle files are let go: one thread that lives while any file is open."""
    if not _keeper or not _keeper[0].is_alive():
        thread = threading.Thread(target=_housekeeping, name="lore-duckdb-idle", daemon=True)
        _keeper[:] = [thread]
        thread.start()


def _housekeeping() -> None:
    while True:
        time.sleep(_LINGER_S / 2)
        with _files_lock:
            files = list(_files.values())
        closed = [file.close_if_idle(_LINGER_S) for file in files]
        if all(closed):
            _keeper.clear()
            return


def _before_fork() -> None:
    for file in list(_files.values()):
        file.close_if_idle()


def _after_fork_in_child() -> None:
    global _files_lock
    _files_lock = threading.Lock()
    _keeper.clear()
    _graveyard.append(dict(_memories))
    _memories.clear()
    for file in _files.values():
        file.forget()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
