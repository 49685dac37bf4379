"""
Events and errors: one structured line when something is worth a line, scrubbed of secrets, silent where nobody asked.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import CodeType, TracebackType
from typing import Any, TextIO

from lore import _warning

request_id: ContextVar[str | None] = ContextVar("lore_request_id", default=None)
run_id: ContextVar[str | None] = ContextVar("lore_run_id", default=None)

Sink = Callable[[str, Mapping[str, Any]], object]
_sinks: list[Sink] = []

_SECRET = re.compile(
    r"(^|_)pass$|passw(or)?d|passphrase|pwd|secret|token|authorization|api_?key|credential|cookie|private_?key|access_?key",
    re.I,
)
_URL_PASSWORD = re.compile(r"(\b[\w.+-]+://[^\s:/@]*:)\S+(?=@)")
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.I)


def emit(event: str, /, **fields: Any) -> None:
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
        if "event" in told:  # structlog's own word
            told["event_"] = told.pop("event")
        if logger is not None:
            logger.info(event, **told)
        for sink in list(_sinks):
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


# --- errors -----------------------------------------------------------------------------------------------------------

Hook = Callable[[BaseException, Mapping[str, Any]], object]
_hooks: list[Hook] = []
_passed: ContextVar[tuple[int, CodeType, int] | None] = ContextVar("lore_passed", default=None)
"""The exception that left a block, and where: a block leaves no trace in the traceback, as a wrapper does."""

WRAPPERS = "<lore.timed>"
"""The file name of wrappers in tracebacks."""


def on_error(hook: Hook) -> Hook:
    """Call `hook(exception, context)` once for every exception that leaves a timed function or block."""
    _hooks.append(hook)
    return hook


def off_error(hook: Hook) -> None:
    """Stop calling a hook."""
    if hook in _hooks:
        _hooks.remove(hook)


def report_error(error: BaseException, **context: Any) -> None:
    """Tell the hooks of an exception, unless they know it already. A hook that fails costs one warning."""
    if not _hooks or _is_known(error):
        return
    context = _with_ids(context)
    for hook in list(_hooks):
        try:
            hook(error, dict(context))
        except Exception as problem:
            _warning.warn(f"the error hook {hook!r} failed: {problem!r}", once=("on_error", id(hook)))


def leaves_block(error: BaseException, traceback: TracebackType | None) -> None:
    """Note that an exception leaves a block, after its report."""
    if _hooks and traceback is not None:
        _passed.set((id(error), traceback.tb_frame.f_code, traceback.tb_lineno))


def enters_block() -> None:
    """Forget which exception left the block before: another one may get its address."""
    if _hooks:
        _passed.set(None)


def _is_known(error: BaseException) -> bool:
    """
    Tell whether an exception has passed a wrapper or block on its way.

    Its traceback tells. Nothing is written on the exception, and none is kept: it would keep all its frames alive.
    """
    passed = _passed.get()
    traceback = error.__traceback__
    is_own_frame = True
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == WRAPPERS and not is_own_frame:
            return True
        if passed is not None and passed == (id(error), code, traceback.tb_lineno):
            return True
        is_own_frame, traceback = False, traceback.tb_next
    return False


# --- structlog for people who have none -------------------------------------------------------------------------------


def configure_logging(level: str = "info", json: bool | None = None, stream: TextIO | None = None) -> bool:
    """See `lore.timing.configure_logging`."""
    import logging

    structlog = importlib.import_module("structlog")
    if structlog.is_configured():
        return False
    out = sys.stderr if stream is None else stream
    readable = out.isatty() if json is None else not json
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _scrubbed,
            *(
                [structlog.dev.ConsoleRenderer(colors=out.isatty())]
                if readable
                else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    return True


def _scrubbed(logger: object, method: str, fields: dict[str, Any]) -> dict[str, Any]:
    return scrub(fields)


# --- secrets ----------------------------------------------------------------------------------------------------------


def _hidden(name: str, value: Any) -> Any:
    if _SECRET.search(name) and not (name.endswith("tokens") and isinstance(value, int | float)):
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
    return structlog.get_logger()
