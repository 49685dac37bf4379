"""
One endpoint: a function with everything that stands between it and a request.

`Endpoint.answer` is put together once, from the function's kind and the options; a request goes through no question
about configuration.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from lore._extras import require
from lore._serving import limits, logs, tables
from lore._serving.access import Auth, guard_of
from lore._serving.answers import Answers, Format
from lore._serving.arguments import Arguments, Values
from lore._serving.batching import Batcher
from lore._serving.bodies import Reader, query_arguments
from lore._serving.hints import resolve, unwrapped, wire_of
from lore._serving.options import Options
from lore._serving.problems import Invalid, Problem, pointer
from lore._wrapping import kind_of, layers, name_of
from lore.errors import DecorationError

__all__ = ["Endpoint", "Reply"]

Reply = tuple[Format, "bytes | Iterator[bytes]"]
"""A content type and a body, or the blocks of one."""

_FROM_QUERY = ("GET", "DELETE", "HEAD")


class Endpoint:
    """
    A function as an application serves it.

    Args:
        function: the outermost function, which is what gets called.
        options: what its `lore.endpoint` was given.
        names: names that its hints may use besides the function's globals.
        auth: the application's, where the endpoint has none of its own.

    Raises:
        DecorationError: hints that cannot be resolved or carried by a request.
    """

    def __init__(self, function: Callable[..., Any], options: Options, names: dict[str, Any], auth: Auth) -> None:
        self.function = function
        self.options = options
        self.name = name_of(function)
        self.title = function.__name__
        self.path = options.path or f"/{function.__name__}"
        self.doc = inspect.getdoc(function) or ""
        self.kind = kind_of(function)
        self.arguments = Arguments(function, f"endpoint {self.name}", names, rows=options.batch is not None)
        self.returns = self._return_hint(names)
        self.streams = self.kind in ("generator", "async_generator")
        self.answers = Answers(self._one_answer(self.returns), self.streams)
        self.slots = limits.Slots(options.max_concurrency) if options.max_concurrency is not None else None
        self._guard = guard_of(options.auth if options.auth is not None else auth, f"endpoint {self.name}")
        self._read = Reader(self.arguments, options.max_body_bytes)
        self._call = self._make_call()

    def answer(self, environ: dict[str, Any]) -> Reply:
        """
        Answer one request with a body.

        Raises:
            Problem: the request cannot be answered.
            BaseException: what the function raised.
        """
        if self._guard is not None:
            self._guard(environ)
        form = self.answers.choose(environ.get("HTTP_ACCEPT"))
        result = self._call(*self._read(environ))
        if type(result) in _RUNNING:
            return self._run_on(result, form)
        return form, self.answers.write(result, form)

    def answer_query(self, environ: dict[str, Any]) -> Reply:
        """Answer one request that has its arguments in the query string."""
        if self._guard is not None:
            self._guard(environ)
        form = self.answers.choose(environ.get("HTTP_ACCEPT"))
        result = self._call(*query_arguments(self.arguments, environ))
        if type(result) in _RUNNING:
            return self._run_on(result, form)
        return form, self.answers.write(result, form)

    @property
    def is_guarded(self) -> bool:
        """Whether callers need a token."""
        return self._guard is not None

    def can_answer(self, status: int) -> bool:
        """Tell whether this endpoint may ever answer with a status."""
        limited = self.options.timeout_s is not None
        if status == 401:
            return self.is_guarded
        return limited if status == 504 else True

    def answer_types(self) -> list[Any]:
        """Return what msgspec can describe of the answer: one type or none."""
        try:
            wire = wire_of(self._one_answer(self.returns), "")
            require("msgspec", "serve").json.schema(wire.type)
        except (DecorationError, TypeError):
            return []
        return [wire.type]

    def answer_for(self, method: str) -> Callable[[dict[str, Any]], Reply]:
        """Return what answers one HTTP method."""
        return self.answer_query if method in _FROM_QUERY else self.answer

    # -- hints -----------------------------------------------------------------------------------------

    def _return_hint(self, names: dict[str, Any]) -> Any:
        """Resolve the return hint; one that cannot be resolved says nothing, since no request depends on it."""
        if any(layer.name == "sql_source" for layer in layers(self.function)):
            import sys

            return getattr(sys.modules.get("pandas"), "DataFrame", Any)
        hint = inspect.signature(self.function).return_annotation
        if hint is inspect.Signature.empty:
            return Any
        try:
            return resolve(hint, inspect.unwrap(self.function), names, f"endpoint {self.name}, return value")
        except DecorationError:
            return Any

    def _one_answer(self, hint: Any) -> Any:
        """Take the hint of one row's answer out of that of many."""
        if self.options.batch is None:
            return hint
        args = typing.get_args(hint)
        return args[0] if typing.get_origin(hint) is list and args else Any

    # -- calling ---------------------------------------------------------------------------------------

    def _make_call(self) -> Callable[..., Any]:
        call = self._plain_call()
        timeout_s, slots = self.options.timeout_s, self.slots
        if self.streams:
            return self._stream_call(call) if slots is not None else call
        if timeout_s is not None:
            if self.kind == "async" and self.options.batch is None:
                return limits.in_loop_within(self.arguments.call, timeout_s, slots)
            return limits.limited(call, timeout_s, slots, self._late)
        return _held(call, slots) if slots is not None else call

    def _plain_call(self) -> Callable[..., Any]:
        call = self.arguments.call
        if self.kind == "async":
            call = _in_loop(call)
        if self.options.batch is None:
            return call
        return Batcher(_Rows(call, self.arguments), self.options.batch, _alike)

    def _stream_call(self, call: Callable[..., Any]) -> Callable[..., Any]:
        slots = self.slots
        assert slots is not None

        def run(*values: Any) -> Any:
            slots.take()
            try:
                return _giving_back(_as_iterator(call(*values)), slots)
            except BaseException:
                slots.give(None)
                raise

        return run

    def _late(self, error: BaseException) -> None:
        logs.failure("a call that had timed out failed", error, endpoint=self.name)

    def _run_on(self, result: Any, form: Format) -> Reply:
        """Go on with a coroutine or generator that the call came back with."""
        if inspect.iscoroutine(result):
            value = limits.in_loop(result)
            return form, self.answers.write(value, form)
        return form, self.answers.stream(_as_iterator(result), form)


def _in_loop(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: limits.in_loop(call(*values))


def _held(call: Callable[..., Any], slots: limits.Slots) -> Callable[..., Any]:
    take, give = slots.take, slots.give

    def run(*values: Any) -> Any:
        take()
        try:
            return call(*values)
        finally:
            give(None)

    return run


def _as_iterator(items: Any) -> Iterator[Any]:
    return limits.iterate(items) if hasattr(items, "__anext__") else items


def _giving_back(items: Iterator[Any], slots: limits.Slots) -> Iterator[Any]:
    return _Held(items, slots)


class _Held:
    """An iterator that gives its slot back when it ends, fails or is closed, whether it was started or not."""

    def __init__(self, items: Iterator[Any], slots: limits.Slots) -> None:
        self._items = items
        self._give: Callable[[None], None] | None = slots.give

    def __iter__(self) -> _Held:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._items)
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        try:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
        finally:
            self._release()

    def _release(self) -> None:
        give, self._give = self._give, None
        if give is not None:
            give(None)


_RUNNING = frozenset({types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, _Held})


# -- rows ------------------------------------------------------------------------------------------


class _Rows:
    """Calls a function written for many rows with the rows of several requests."""

    def __init__(self, call: Callable[..., Any], arguments: Arguments) -> None:
        self._call = call
        self._stacks = [_stack_of(name, hint) for name, hint in arguments.hints.items()]

    def __call__(self, rows: Sequence[Values]) -> Sequence[Any]:
        columns = [stack(list(values)) for stack, values in zip(self._stacks, zip(*rows))]
        return _answers_of(self._call(*columns))


def _stack_of(name: str, hint: Any) -> Callable[[list[Any]], Any]:
    """Return what makes a parameter's value of one item per row."""
    bare = unwrapped(hint)
    if tables.is_frame(bare):
        return tables.frame_of
    if tables.is_series(bare):
        return tables.series_of
    if tables.is_array(bare) or tables.is_array(typing.get_origin(bare)):
        make = tables.array_of(_dtype_of(bare))

        def array(values: list[Any]) -> Any:
            try:
                return make(values)
            except Invalid as error:
                # where it stands inside the stack is nobody's business: the request sent one row
                raise Problem.unprocessable([(pointer([name]), error.why)]) from None

        return array
    return lambda values: values


def _dtype_of(hint: Any) -> Any:
    args = typing.get_args(hint)
    dtypes = typing.get_args(args[1]) if len(args) > 1 else ()
    return dtypes[0] if dtypes and isinstance(dtypes[0], type) else None


def _answers_of(result: Any) -> Sequence[Any]:
    if tables.is_frame(type(result)):
        return tables.records_of(result)
    if tables.is_series(type(result)):
        return tables.plain_values(result)
    if isinstance(result, dict | str | bytes) or not hasattr(result, "__len__"):
        raise TypeError(f"an endpoint with batch= returns one answer per row, not a {type(result).__name__}")
    return result  # type: ignore[no-any-return]


def _alike(row: Values) -> Hashable:
    """
    Tell rows apart that would change each other in one frame or array.

    A column holds numbers or text: a row with other columns, or with text where others have numbers, would give them
    another dtype than they have alone.
    """
    return tuple(map(_shape, row))


def _shape(value: Any) -> Hashable:
    if isinstance(value, dict):
        return tuple([(name, _shape(inner)) for name, inner in value.items()])
    if isinstance(value, list):
        return (len(value), *{_shape(inner) for inner in value}) if value else ()
    kind = type(value)
    if kind is float or (kind is int and -(2**53) <= value <= 2**53):
        return "number"
    return kind.__name__
