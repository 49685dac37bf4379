"""
Fetch the rows of a COPY statement as pieces, while another thread goes on reading.

Two ways lead from the server to a piece, and give the same bytes. `wire` reads the protocol's messages from the
connection's own socket in large gulps and finds the rows with numpy: that costs the interpreter next to nothing, so
decoding in the calling thread and reading in another do not fight over its lock. It needs a socket that carries the
protocol in the clear. Where the connection is encrypted, or something is unusual about it, psycopg2's own `copy_expert`
hands over one row after the other.

Both are generators with back-pressure: a reader is at most two pieces ahead. Closing one early cancels the statement at
the server and reads to its end, so that the connection can be used again.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import sys
import threading
import types
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .cells import Piece

if TYPE_CHECKING:
    from .cells import Array

__all__ = ["pieces", "reads_wire"]

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_FIRST_BYTES = 1 << 18
_PIECE_BYTES = 1 << 21
_ROOM = 1 << 16
_PATIENCE_S = 1_000_000.0
_ROW = ord("d")

_wire_of: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def pieces(connection: Any, statement: str, fields: int, padding: int) -> Iterator[Piece]:
    """
    Run `COPY ... TO STDOUT (FORMAT binary)` and yield its rows in pieces.

    Args:
        connection: a psycopg2 connection, used by nobody else until the generator ends.
        statement: the whole COPY statement.
        fields: how many columns a row has.
        padding: bytes to keep readable behind each piece.

    Yields:
        Pieces of about 2 MB. Each is valid only until the next one is asked for.

    Raises:
        psycopg2.Error: what the server reports, with `pgcode` and `diag`.
    """
    if reads_wire(connection):
        return _Wire(connection, fields, padding).pieces(statement)
    return _through_psycopg2(connection, statement, padding)


def reads_wire(connection: Any) -> bool:
    """Tell whether the connection's socket can be read directly: in the clear, blocking, on a POSIX system."""
    try:
        return _wire_of[connection]
    except KeyError:
        found = _wire_of[connection] = _is_clear(connection)
        return found


def _is_clear(connection: Any) -> bool:
    from psycopg2.extensions import get_wait_callback

    if sys.platform == "win32" or connection.async_ or get_wait_callback() is not None:
        return False
    if connection.info.ssl_in_use:
        return False
    if (connection.info.host or "").startswith(("/", "@")):
        return True
    return connection.info.dsn_parameters.get("gssencmode", "disable") == "disable" or not _is_gss_encrypted(connection)


def _is_gss_encrypted(connection: Any) -> bool:
    """Ask the server; whatever cannot answer counts as encrypted."""
    import psycopg2

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        if connection.autocommit:
            return True
        cursor.execute("SAVEPOINT lore_clear")
        try:
            cursor.execute("SELECT encrypted FROM pg_catalog.pg_stat_gssapi WHERE pid = pg_catalog.pg_backend_pid()")
            answer = cursor.fetchone()
            return answer is None or bool(answer[0])
        except psycopg2.Error:
            cursor.execute("ROLLBACK TO SAVEPOINT lore_clear")
            return True


class _Wire:
    """One COPY statement, spoken over the connection's socket."""

    def __init__(self, connection: Any, fields: int, padding: int) -> None:
        import numpy as np

        self.connection = connection
        self.fields = fields
        self.padding = padding
        self.count = 0
        self._data: Array = np.empty(0, np.uint8)
        self._at = self._end = 0
        self._last = b""
        self._started = self._finished = False
        self._error: Exception | None = None

    def pieces(self, statement: str) -> Iterator[Piece]:
        """Send the statement and yield its rows."""
        text = statement.encode() + b"\0"
        self.socket = socket.socket(fileno=os.dup(self.connection.fileno()))
        # A timeout, however long, leaves the socket non-blocking, as libpq wants to find it.
        self.socket.settimeout(_PATIENCE_S)
        try:
            self.socket.sendall(b"Q" + struct.pack(">i", len(text) + 4) + text)
            yield from self._parse()
        except OSError as error:
            raise self._lost(error) from error
        finally:
            self.socket.close()
        if self._error is not None:
            raise self._error

    def _parse(self) -> Iterator[Piece]:
        """Turn filled buffers into pieces until the server is ready for the next query."""
        reader = _Reader(self)
        try:
            while not self._finished:
                self._load(reader)
                yield from self._rows()
        finally:
            if not self._finished:
                self._abandon(reader)
            reader.close()

    def _load(self, reader: _Reader) -> None:
        self._data, self._at, self._end = reader.next(self._data[self._at : self._end].copy(), self.padding)

    def _rows(self) -> Iterator[Piece]:
        """Yield the rows of the current buffer; what is left begins at `_at`."""
        import numpy as np

        while self._at < self._end and not self._finished:
            if self._started:
                first = self._at
                starts, self._at = _find_rows(self._data, first, self._end, self.fields)
                if len(starts):
                    yield Piece(self._data, starts, self._at - first)
            size = _message_bytes(self._data[self._at : self._end])
            if self._at + size > self._end:
                return
            row = self._message(self._at, self._at + size)
            self._at += size
            if row:
                yield Piece(self._data, np.array([row], "i8"), size)

    def _message(self, first: int, end: int) -> int:
        """Take one message that is no ordinary row; give the start of a row that follows COPY's header, or 0."""
        kind, body = bytes(self._data[first : first + 1]), first + 5
        if kind != b"d":
            self._control(kind, bytes(self._data[body:end]))
        elif not self._started:
            self._started = True
            row = body + _header_bytes(bytes(self._data[body : body + 19]))
            if end - row >= 2 and bytes(self._data[row : row + 2]) != b"\xff\xff":
                return row + 2
        return 0

    def _control(self, kind: bytes, body: bytes) -> None:
        if kind == b"Z":
            self._finished = True
        elif kind == b"E":
            self._error = self._error or _server_error(body)
        elif kind == b"N":
            notice = _fields(body)
            self.connection.notices.append(f"{notice.get('S', 'NOTICE')}:  {notice.get('M', '')}\n")
        elif kind not in (b"H", b"c", b"C", b"S", b"A"):
            raise OSError(f"unexpected message {kind!r}")

    def _abandon(self, reader: _Reader) -> None:
        """Cancel the statement and read on until the server is ready; where that fails, give the connection up."""
        try:
            self.connection.cancel()
            reader.patience_s = 30.0
            for _ in self._rows():
                pass
            while not self._finished:
                self._load(reader)
                for _ in self._rows():
                    pass
        except Exception:
            self._hang_up()

    def _lost(self, error: OSError) -> Exception:
        from psycopg2 import OperationalError

        self._hang_up()
        lost: Exception = OperationalError(f"the connection was lost while rows were read: {error}")
        return lost

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def fill(self, view: memoryview) -> bool:
        """
        Read into a buffer until it is full or the server may have come to its end; `count` tells how much was read.

        Returns:
            Whether the last bytes look like the server's last message.
        """
        self.count = 0
        while self.count < len(view):
            size = self.socket.recv_into(view[self.count :])
            if not size:
                raise OSError("server closed the connection unexpectedly")
            self.count += size
            self._last = (self._last + bytes(view[self.count - min(size, 6) : self.count]))[-6:]
            if self._last.startswith(b"Z\0\0\0\5"):
                return True
        return False


class _Reader:
    """
    Fills buffers, the first in the calling thread (small results need no other), the rest in one of its own.

    A buffer is handed out only when the caller is done with the one before, so three are in use. Where what was read
    looks like the server's last message, the thread waits to be told whether it is: what comes after belongs to libpq.
    """

    def __init__(self, wire: _Wire) -> None:
        self.wire = wire
        self.patience_s: float | None = None
        self._filled: queue.SimpleQueue[tuple[Array, int, bool] | Exception] = queue.SimpleQueue()
        self._spare: queue.SimpleQueue[Array | None] = queue.SimpleQueue()
        self._go_on: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._first: Array | None = None
        self._lent: Array | None = None
        self._asked = False

    def next(self, rest: Array, padding: int) -> tuple[Array, int, int]:
        """
        Give the next bytes behind the `rest` of those before, as (buffer, first, last).

        A message longer than a buffer is put together here, in one copy.
        """
        import numpy as np

        data, count = self._buffer(padding)
        if len(rest) <= _ROOM:
            data[_ROOM - len(rest) : _ROOM] = rest
            return data, _ROOM - len(rest), _ROOM + count
        long, have, need = [rest], len(rest), _message_bytes(rest)
        while True:
            long.append(data[_ROOM : _ROOM + count].copy())
            have += count
            if have >= need:
                return np.concatenate([*long, np.zeros(padding, np.uint8)]), 0, have
            data, count = self._buffer(padding)

    def _buffer(self, padding: int) -> tuple[Array, int]:
        if self._thread is None:
            if self._first is None:
                return self._fill_first(padding)
            self._start(padding)
        if self._lent is not None:
            self._spare.put(self._lent)
            self._lent = None
        if self._asked:
            self._asked = False
            self._go_on.put(True)
        filled = self._filled.get(timeout=self.patience_s)
        if isinstance(filled, Exception):
            raise filled
        self._lent, count, self._asked = filled
        return self._lent, count

    def _fill_first(self, padding: int) -> tuple[Array, int]:
        self._first = data = _empty(_FIRST_BYTES, padding)
        try:
            self.wire.fill(_space(data, _FIRST_BYTES))
        except KeyboardInterrupt:
            # What came so far must be read, or the protocol is lost; the caller cancels and reads on.
            self._filled.put((data, self.wire.count, False))
            raise
        return data, self.wire.count

    def _start(self, padding: int) -> None:
        for _ in range(3):
            self._spare.put(_empty(_PIECE_BYTES, padding))
        self._thread = threading.Thread(target=self._run, name="lore-copy", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while (data := self._spare.get()) is not None:
                ending = self.wire.fill(_space(data, _PIECE_BYTES))
                self._filled.put((data, self.wire.count, ending))
                if ending and not self._go_on.get():
                    return
        except Exception as error:
            self._filled.put(error)

    def close(self) -> None:
        """End the thread."""
        self._go_on.put(False)
        self._spare.put(None)
        if self._thread is not None:
            self._thread.join()


def _through_psycopg2(connection: Any, statement: str, padding: int) -> Iterator[Piece]:
    """Let `copy_expert` read in a thread of its own; it hands over row after row."""
    sink = _Sink(padding)
    thread = threading.Thread(target=sink.run, args=(connection, statement), name="lore-copy", daemon=True)
    thread.start()
    try:
        while (piece := sink.pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        sink.abandon(connection)
        thread.join()


class _Sink:
    """What `copy_expert` writes rows to: collects them into pieces."""

    def __init__(self, padding: int) -> None:
        self.pieces: queue.Queue[Piece | BaseException | None] = queue.Queue(2)
        self._padding = bytes(padding)
        self._abandoned = self._done = False
        self._rows = bytearray()
        self._starts = array("q")
        self._header = True

    def run(self, connection: Any, statement: str) -> None:
        """Run the statement; the last thing in `pieces` is an error or None."""
        try:
            with connection.cursor() as cursor:
                cursor.copy_expert(statement, self, size=1 << 16)
            self._starts.pop()
            self._flush()
            self.pieces.put(None)
        except BaseException as error:
            if not self._abandoned:
                self.pieces.put(error)
        finally:
            self._done = True

    def write(self, row: bytes) -> None:
        """Take what psycopg2 brings: one row, the first with COPY's header."""
        if self._header:
            self._header = False
            row = row[_header_bytes(row) :]
            if not row:
                return
        self._starts.append(len(self._rows) + 2)
        self._rows += row
        if len(self._rows) > _PIECE_BYTES:
            self._flush()

    def _flush(self) -> None:
        import numpy as np

        if not self._abandoned and self._starts:
            size = len(self._rows)
            self._rows += self._padding
            self.pieces.put(Piece(np.frombuffer(self._rows, np.uint8), np.frombuffer(self._starts, "i8"), size))
        self._rows = bytearray()
        self._starts = array("q")

    def abandon(self, connection: Any) -> None:
        """Cancel the statement if it still runs, and let what comes fall on the floor."""
        self._abandoned = True
        while not self._done:
            with contextlib.suppress(Exception):
                connection.cancel()
            with contextlib.suppress(queue.Empty):
                while self.pieces.get(timeout=0.1) is not None:
                    pass


def _find_rows(data: Array, at: int, end: int, fields: int) -> tuple[Array, int]:
    """
    Find the row messages that follow one another from `at` on.

    Every place that looks like the beginning of a row (the letter, and the number of fields behind the length) is a
    candidate, found at the speed of memory; a candidate counts if the one before ends where it begins. Only where a
    value happens to contain what looks like a row are single steps taken.

    Returns:
        The positions of the rows' first fields, and the position behind the last whole row.
    """
    import numpy as np

    if end - at < 7:
        return np.empty(0, "i8"), at
    found = np.flatnonzero(data[at : end - 6] == _ROW)
    found += at
    counts = np.ndarray((len(data) - 6,), ">u2", data, 5, (1,))
    found = found[counts[found] == fields]
    sizes = np.ndarray((len(data) - 4,), ">u4", data, 1, (1,))
    ends = sizes[found] + (found + 1)
    whole = int(np.searchsorted(ends, end, "right")) if _ascends(ends) else None
    if whole is not None and len(found) and found[0] == at and bool((ends[: len(found) - 1] == found[1:]).all()):
        return found[:whole] + 7, int(ends[whole - 1]) if whole else at
    return _chain(found, ends, at, end)


def _ascends(ends: Array) -> bool:
    return bool((ends[1:] > ends[:-1]).all())


def _chain(found: Array, ends: Array, at: int, end: int) -> tuple[Array, int]:
    """Follow rows from candidate to candidate, in strides of as many as follow each other directly."""
    import numpy as np

    breaks = np.flatnonzero(ends[:-1] != found[1:])
    kept: list[Array] = []
    while True:
        first = int(np.searchsorted(found, at))
        if first == len(found) or found[first] != at:
            break
        stop = int(np.searchsorted(breaks, first))
        last = int(breaks[stop]) + 1 if stop < len(breaks) else len(found)
        last = first + int(np.searchsorted(ends[first:last], end, "right"))
        if last == first:
            break
        kept.append(found[first:last] + 7)
        at = int(ends[last - 1])
    return np.concatenate([np.empty(0, "i8"), *kept]), at


def _message_bytes(data: Array) -> int:
    """How long the message that begins here is; 5 where too little is there to tell."""
    return 1 + int.from_bytes(data[1:5].tobytes(), "big") if len(data) >= 5 else 5


def _header_bytes(data: bytes) -> int:
    """The length of COPY's header: signature, flags, and an extension that carries its length."""
    if not data.startswith(_SIGNATURE):
        raise OSError("not a binary COPY stream")
    return 19 + int.from_bytes(data[15:19], "big")


def _empty(size: int, padding: int) -> Array:
    """Make a buffer with room in front for the rest of the one before."""
    import numpy as np

    return np.empty(_ROOM + size + padding, np.uint8)


def _space(data: Array, size: int) -> memoryview:
    return data[_ROOM : _ROOM + size].data


def _fields(body: bytes) -> dict[str, str]:
    """Read the fields of an error or a notice."""
    return {part[:1].decode(): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}


_DIAGNOSTICS = {
    "severity": "S", "severity_nonlocalized": "V", "sqlstate": "C", "message_primary": "M", "message_detail": "D",
    "message_hint": "H", "statement_position": "P", "internal_position": "p", "internal_query": "q", "context": "W",
    "schema_name": "s", "table_name": "t", "column_name": "c", "datatype_name": "d", "constraint_name": "n",
    "source_file": "F", "source_line": "L", "source_function": "R",
}  # fmt: skip


def _server_error(body: bytes) -> Exception:
    """Make what psycopg2 would raise: the class that belongs to the SQLSTATE, with `pgcode` and `diag`."""
    import psycopg2
    from psycopg2 import errors

    fields = _fields(body)
    try:
        known: type[psycopg2.Error] = errors.lookup(fields.get("C", ""))
    except KeyError:
        known = psycopg2.DatabaseError
    message = f"{fields.get('M', '')}\n" + "".join(
        f"{word}:  {fields[key]}\n" for word, key in (("DETAIL", "D"), ("HINT", "H")) if key in fields
    )
    facts = types.SimpleNamespace(**{name: fields.get(key) for name, key in _DIAGNOSTICS.items()})
    kind = type(known.__name__, (known,), {"diag": facts, "__module__": known.__module__})
    error: Exception = kind(message)
    error.__setstate__({"pgcode": fields.get("C"), "pgerror": message})
    return error
