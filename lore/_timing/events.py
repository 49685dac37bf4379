"""
Events and errors: one structured line when something is worth a line, scrubbed of secrets, silent where nobody asked.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from lore import _warning

request_id: ContextVar[str | None] = ContextVar("lore_request_id", default=None)
run_id: ContextVar[str | None] = ContextVar("lore_run_id", default=None)

Sink = Callable[[str, Mapping[str, Any]], object]
_sinks: list[Sink] = []

_SECRET = re.compile(r"pass(word|wd|phrase)?$|secret|token|authorization|api_?key|credential|cookie|private_?key", re.I)
_URL_PASSWORD = re.compile(r"(\b[\w.+-]+://[^\s:/@]*:)[^\s@]+(?=@)")
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.I)


def emit(event: str, **fields: Any) -> None:
    """
    Send one event to structlog, if somebody configured it, and to whoever listens.

    Adds the ids of the run and of the request in progress, and hides what looks like a secret. Never raises:
    a log that fails costs one warning.

    Args:
        event: its name, such as `"timed"`.
        fields: what it says.
    """
    logger = _structlog()
    if logger is None and not _sinks:
        return
    try:
        told = scrub(_with_ids(fields))
        if logger is not None:
            logger.info(event, **told)
        for sink in _sinks:
            sink(event, told)
    except Exception as error:
        _warning.warn(f"the log refused an event ({event}): {error!r}", once="events.emit")


def listen(sink: Sink) -> Callable[[], None]:
    """
    Call `sink(event, fields)` for every event from now on; the answer is a function that ends it.
    """
    _sinks.append(sink)

    def stop() -> None:
        if sink in _sinks:
            _sinks.remove(sink)

    return stop


def wanted() -> bool:
    """
    Tell whether an event emitted now would reach anybody.
    """
    return bool(_sinks) or _structlog() is not None


def scrub(fields: Mapping[str, Any]) -> dict[str, Any]:
    """
    Copy `fields` with every secret hidden: by the name of the field, and passwords inside URLs and headers.
    """
    return {name: _hidden(name, value) for name, value in fields.items()}


def _hidden(name: str, value: Any) -> Any:
    if _SECRET.search(name):
        return "***"
    if isinstance(value, str):
        return _BEARER.sub(r"\1 ***", _URL_PASSWORD.sub(r"\1***", value))
    if isinstance(value, Mapping):
        return {key: _hidden(str(key), inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return [_hidden("", inner) for inner in value]
    return value


def _with_ids(fields: dict[str, Any]) -> dict[str, Any]:
    run, request = run_id.get(), request_id.get()
    if run is not None:
        fields.setdefault("run", run)
    if request is not None:
        fields.setdefault("request", request)
    return fields


def _structlog() -> Any:
    structlog = sys.modules.get("structlog")
    if structlog is None or not structlog.is_configured():
        return None
    return structlog.get_logger("lore")
