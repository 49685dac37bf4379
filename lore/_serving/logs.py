"""
What a server writes down: one event per request, and the traceback of a handler that failed, once.

Events go to structlog where somebody configured it, and to a stream where `python -m lore.serve --log` asked for it;
with neither, requests are not logged and a failed handler's traceback goes to the standard library's logger
`lore.serve`.
"""

from __future__ import annotations

import atexit
import datetime
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from lore import _warning
from lore._timing import events

__all__ = ["failure", "flush", "note", "request", "use"]

Writer = Callable[[dict[str, Any]], None]
_writers: list[Writer] = []
_waiting_lines: list[_Lines] = []
_PAUSE_S = 0.05


def use(form: str) -> None:
    """Write events to stderr from now on, as "json" or for the "console"."""
    _writers[:] = [json_writer() if form == "json" else _to_console]


def request(method: str, path: str, status: int, elapsed_s: float, nbytes: int, request_id: str, endpoint: str) -> None:
    """Write the event of one answered request, where anybody reads it. Never raises."""
    is_configured = _is_configured()
    if not (_writers or is_configured or events.wanted()):
        return
    fields = {
        "event": "request",
        "method": method,
        "path": path,
        "status": status,
        "elapsed_s": round(elapsed_s, 6),
        "bytes": nbytes,
        "endpoint": endpoint,
        "request": request_id,
    }
    try:
        if _writers and not is_configured:
            _writers[0](fields)
            return
        del fields["event"]
        events.emit("request", **fields)
    except Exception as error:
        _failed(error)


def note(event: str, **fields: Any) -> None:
    """Write an event of the server's own life. Never raises."""
    try:
        if _writers:
            _writers[0]({"event": event, **fields})
        else:
            events.emit(event, **fields)
    except Exception as error:
        _failed(error)


def failure(event: str, error: BaseException, **fields: Any) -> None:
    """Write an exception with its traceback, to one place. Never raises."""
    try:
        if _is_configured():
            sys.modules["structlog"].get_logger("lore").error(event, exc_info=_info(error), **fields)
        elif _writers:
            text = "".join(traceback.format_exception(error))
            _writers[0]({"event": event, "level": "error", **fields, "exception": text})
        else:
            import logging

            said = " ".join(f"{name}={value}" for name, value in fields.items())
            logging.getLogger("lore.serve").error("%s %s", event, said, exc_info=_info(error))
    except Exception as problem:
        _failed(problem)


def _info(error: BaseException) -> tuple[Any, BaseException, Any]:
    return type(error), error, error.__traceback__


def _is_configured() -> bool:
    structlog = sys.modules.get("structlog")
    return structlog is not None and bool(structlog.is_configured())


def _failed(error: Exception) -> None:
    _warning.warn(f"The log of requests failed: {error!r}. Answers are not affected.", once="serving.logs")


def flush() -> None:
    """Write the lines that are still waiting."""
    for lines in _waiting_lines:
        lines.write()


# -- writers ---------------------------------------------------------------------------------------


def json_writer(fd: int = 2) -> Writer:
    """Return what writes one JSON line per event to a file descriptor."""
    try:
        import msgspec

        encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=str).encode
    except ImportError:
        encode = lambda fields: json.dumps(fields, default=str).encode()
    now = _Clock()
    lines = _Lines(fd)
    _waiting_lines.append(lines)
    add = lines.add

    def write_line(fields: dict[str, Any]) -> None:
        add(encode({"timestamp": now(), "level": "info", **fields}))

    return write_line


class _Lines:
    """
    Lines on their way to a file descriptor, written together a few times a second.

    A write per line would cost more than the rest of a request, and let go of the interpreter in the middle of it. What
    a process had not written when it was killed is lost: a twentieth of a second of requests.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: list[bytes] = []
        self._wake = threading.Event()
        self._guards_writing = threading.Lock()
        self._pid = 0

    def add(self, line: bytes) -> None:
        is_first = not self._lines
        self._lines.append(line)
        if is_first:
            if self._pid != os.getpid():
                self._start()
            self._wake.set()

    def _start(self) -> None:
        self._pid = os.getpid()
        threading.Thread(target=self._run, name="lore-log", daemon=True).start()
        atexit.register(self.write)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self.write()
            time.sleep(_PAUSE_S)

    def write(self) -> None:
        """Write what waits, in as few calls as the descriptor takes."""
        with self._guards_writing:
            count = len(self._lines)
            if not count:
                return
            data = b"\n".join(self._lines[:count]) + b"\n"
            del self._lines[:count]
            if self._lines:
                self._wake.set()  # came in between: nobody else will call
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError as error:
                _failed(error)


class _Clock:
    """The time as ISO 8601 in UTC; the text of a second is made once."""

    def __init__(self) -> None:
        self.second, self.text = 0, ""

    def __call__(self) -> str:
        now = time.time()
        second = int(now)
        if second != self.second:
            moment = datetime.datetime.fromtimestamp(second, datetime.UTC)
            self.text, self.second = moment.strftime("%Y-%m-%dT%H:%M:%S."), second
        # another thread may have made the text of the next second meanwhile: a line may be a second ahead
        return f"{self.text}{int((now - second) * 1_000_000):06d}Z"


def _to_console(fields: dict[str, Any]) -> None:
    """Write an event for a person at a terminal; control characters in it cannot reach the terminal."""
    clock = time.strftime("%H:%M:%S")
    if fields["event"] == "request":
        elapsed_ms = fields["elapsed_s"] * 1000
        line = (
            f"{clock} {fields['status']} {fields['method']} {fields['path']} {elapsed_ms:.1f} ms  {fields['request']}"
        )
        sys.stderr.write(_printable(line) + "\n")
        return
    exception = fields.get("exception", "")
    rest = " ".join(f"{name}={value}" for name, value in fields.items() if name not in ("event", "exception", "level"))
    sys.stderr.write(_printable(f"{clock} {fields['event']} {rest}") + "\n" + exception)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
