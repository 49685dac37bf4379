"""
Read and write data: from a database to a DataFrame and back, from a file to a value and back.

`sql_source` makes a function that writes a query return the query's rows. `query` and `write_sql` do the same without a
decorator, `read` and `write` are for files.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import time
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, overload

from lore import _inputs
from lore._formats import read, write
from lore._querying import connections
from lore._querying.progress import Progress
from lore._querying.selectables import is_selectable, write_selectable
from lore._querying.statements import Statement, bind
from lore._timing import spans
from lore._wrapping import Layer, decorate, finish, front, kind_of, name_of, signature_of
from lore.errors import DecorationError, StatementError

if TYPE_CHECKING:
    import pandas as pd

    from lore.typing import (
        Cached,
        CachedSource,
        OfClass,
        P,
        Q,
        S,
        Source,
        SourceDecorator,
        Timed,
        TimedCached,
        TimedCachedSource,
        TimedSource,
    )

__all__ = ["query", "read", "sql_source", "Statement", "write", "write_sql"]

_SPELLINGS = ("@lore.sql_source", '@lore.sql_source("$WAREHOUSE_URL", timeout_s=60)')
_ROWS = 65_536


class SourceLayer(Layer):
    """What `sql_source` knows about one function: where its query runs, and how."""

    name = "sql_source"

    def __init__(self, function: Callable[..., Any], url: Any, settings: _Settings) -> None:
        super().__init__(function, settings.shown(url))
        self.url = url
        self.settings = settings
        self.owner = name_of(function)
        self.tag = connections.tag_of(self.owner)

    def identity(self) -> object:
        """Tell what decides over the rows besides the text: which database, and how columns become types."""
        settings = self.settings
        return (connections.label_of(self.url), settings.freshness, settings.dtypes, settings.decimal)


class _Settings:
    """The options of one `sql_source`, checked."""

    __slots__ = ("decimal", "dtypes", "freshness", "progress", "retries", "timeout_s")

    def __init__(
        self,
        freshness: str | None = None,
        timeout_s: float | None = None,
        retries: int = 2,
        dtypes: Literal["pandas", "arrow"] = "pandas",
        decimal: Literal["float", "exact"] = "float",
        progress: bool | None = None,
    ) -> None:
        self.freshness = freshness
        self.timeout_s = timeout_s
        self.retries = retries
        self.dtypes: Literal["pandas", "arrow"] = dtypes
        self.decimal: Literal["float", "exact"] = decimal
        self.progress = progress

    def check(self) -> None:
        """Refuse values that make no sense; say which there are."""
        number = isinstance(self.timeout_s, int | float) and not isinstance(self.timeout_s, bool)
        whole = isinstance(self.retries, int) and not isinstance(self.retries, bool)
        for right, option, wanted in (
            (
                self.freshness is None or _is_text(self.freshness),
                "freshness",
                "a query, such as 'SELECT max(changed) FROM t'",
            ),
            (
                self.timeout_s is None or (number and 0 < self.timeout_s < 2_000_000),
                "timeout_s",
                "seconds, more than 0",
            ),
            (whole and self.retries >= 0, "retries", "a whole number, 0 or more"),
            (self.dtypes in ("pandas", "arrow"), "dtypes", "'pandas' or 'arrow'"),
            (self.decimal in ("float", "exact"), "decimal", "'float' or 'exact'"),
            (self.progress in (None, True, False), "progress", "True, False, or None for where a person looks"),
        ):
            if not right:
                given = getattr(self, option)
                raise DecorationError(
                    f"lore.sql_source was given {option}={given!r}; it takes {wanted}. "
                    f"Right: {'  or  '.join(_SPELLINGS)}"
                )

    def shown(self, url: Any) -> dict[str, Any]:
        """List the options that differ from their defaults, without a password."""
        plain = _Settings()
        options = {"": connections.label_of(url)} if url is not None else {}
        changed = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) != getattr(plain, name)}
        return options | dict(sorted(changed.items()))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


@overload  # above @classmethod
def sql_source(url: Callable[Concatenate[type[S], Q], Any], /) -> OfClass[S, Q, pd.DataFrame]: ...  # type: ignore[overload-overlap]
@overload
def sql_source(
    url: TimedCached[P, Coroutine[Any, Any, Any]], /
) -> TimedCachedSource[P, Coroutine[Any, Any, pd.DataFrame]]: ...
@overload
def sql_source(url: TimedCached[P, Any], /) -> TimedCachedSource[P, pd.DataFrame]: ...
@overload
def sql_source(url: Timed[P, Coroutine[Any, Any, Any]], /) -> TimedSource[P, Coroutine[Any, Any, pd.DataFrame]]: ...
@overload
def sql_source(url: Timed[P, Any], /) -> TimedSource[P, pd.DataFrame]: ...
@overload
def sql_source(url: Cached[P, Coroutine[Any, Any, Any]], /) -> CachedSource[P, Coroutine[Any, Any, pd.DataFrame]]: ...
@overload
def sql_source(url: Cached[P, Any], /) -> CachedSource[P, pd.DataFrame]: ...
@overload
def sql_source(url: Callable[P, Coroutine[Any, Any, Any]], /) -> Source[P, Coroutine[Any, Any, pd.DataFrame]]: ...
@overload
def sql_source(url: Callable[P, Any], /) -> Source[P, pd.DataFrame]: ...
@overload
def sql_source(
    url: Any = None,
    *,
    freshness: str | None = None,
    timeout_s: float | None = None,
    retries: int = 2,
    dtypes: Literal["pandas", "arrow"] = "pandas",
    decimal: Literal["float", "exact"] = "float",
    progress: bool | None = None,
) -> SourceDecorator: ...
@front(*_SPELLINGS)
def sql_source(
    url: Any = None,
    *,
    freshness: str | None = None,
    timeout_s: float | None = None,
    retries: int = 2,
    dtypes: Literal["pandas", "arrow"] = "pandas",
    decimal: Literal["float", "exact"] = "float",
    progress: bool | None = None,
) -> Any:
    """
    Make a function that writes a query return the query's rows.

    The function returns SQL text, a `Path` to a `.sql` file (found beside the function's module), an SQLAlchemy
    selectable, or a pair of one of these and a mapping of further parameters. Each `:name` in the text is bound to the
    function's argument of that name, never formatted into it; a list expands after `IN` (`IN :ids`, `IN (:ids)`; an
    empty one matches nothing) and is an array elsewhere, a dict is JSON. Casts (`::int`), strings, quoted names,
    comments and array slices are left alone.

    The query runs in a read-only transaction, marked with a comment that names the function. Ctrl-C, a cancelled task
    and `timeout_s` stop it at the server. Columns keep their types, as docs/sql_source.md has them: an integer column
    with NULLs is `Int64`.

    Args:
        url: the database: an SQLAlchemy URL, `"$NAME"` for an environment variable, or an engine. None stands for
            `LORE_DATABASE_URL`, then `DATABASE_URL`, then a DuckDB file in lore's home, which also reads
            `'file.parquet'` and `'file.csv'` in place. Looked up when the function is called.
        freshness: a query whose answer changes when the data does, such as `SELECT max(changed) FROM orders`. A cached
            function that calls this one is computed again when the answer is another.
        timeout_s: seconds after which the query is cancelled; None for no limit.
        retries: how often it is tried again after a lost connection, a deadlock or a serialization failure; a stream
            only before its first row.
        dtypes: "pandas", or "arrow" for Arrow-backed columns.
        decimal: "float", or "exact" for `decimal.Decimal`.
        progress: whether a line shows how far a query is that takes more than two seconds; None shows it where a
            person looks, on a terminal or in a notebook.

    Returns:
        The function, which now returns a DataFrame, with `sql(...)`, which shows the statement without running it, and
        `stream(..., rows=65_536)`, which yields the rows in frames of that length in constant memory.

    Raises:
        DecorationError: what stands below is no function that returns, or an option makes no sense.
        StatementError: (a call) the text uses a `:name` that no argument answers.
        QueryError: (a call) the database refused; no bound value and no password stands in the message.
        SourceTimeout: (a call) the query took longer than `timeout_s`.

    Threads: a decorated function may be called from any number of threads and tasks.

    >>> @sql_source
    ... def double(n: int) -> str:
    ...     return "SELECT 2 * :n AS doubled"
    >>> double(21)
       doubled
    0       42
    """
    settings = _Settings(freshness, timeout_s, retries, dtypes, decimal, progress)
    settings.check()
    if isinstance(url, classmethod | staticmethod) or (callable(url) and connections.engine_of(url) is None):
        return decorate(url, lambda function: _decorated(function, None, settings), _SPELLINGS[0])
    connections.check_url(url)
    return lambda target: decorate(target, lambda function: _decorated(function, url, settings), _SPELLINGS[1])


def query(sql: Any, url: Any = None, /, **parameters: Any) -> pd.DataFrame:
    """
    Run a query and return its rows.

    Args:
        sql: the text, with `:name` where a parameter stands; a `Path` to a `.sql` file; an SQLAlchemy selectable.
        url: the database, as for `sql_source`.
        **parameters: what each `:name` stands for.

    Raises:
        StatementError: a `:name` without a parameter.
        QueryError: the database refused.

    >>> query("SELECT :a + :b AS total", a=1, b=2)
       total
    0      3
    """
    database = connections.resolve(url)
    statement = _statement(sql, parameters, database, "query", Path())
    if _inputs.active():
        _note(url, database, statement)
    return _fetch(database, statement, connections.Plan("query", connections.tag_of("query")), None)


def write_sql(frame: pd.DataFrame, table: str, url: Any = None, if_exists: str = "fail") -> int:
    """
    Write a frame to a table, in bulk and in one transaction: all of it is there, or nothing of it.

    Column types follow the frame's: what is written reads back equal. The index is left out unless it has a name.

    Args:
        frame: what to write.
        table: the table, or `schema.table`.
        url: the database, as for `sql_source`.
        if_exists: "fail" refuses a table that exists. "append" adds to it, makes one that is missing, and refuses
            columns that do not fit. "replace" puts the frame in the place of what was there: other readers see the
            old table or the new one.

    Returns:
        The number of rows written.

    Raises:
        StatementError: the table exists, the frame does not fit it, or a column holds what no database has a type for.
        QueryError: the database refused; the table is as it was.

    >>> import pandas as pd
    >>> write_sql(pd.DataFrame({"a": [1, 2, 3]}), "numbers", "duckdb://")
    3
    """
    if if_exists not in ("fail", "append", "replace"):
        raise StatementError(f"if_exists={if_exists!r} is not known: it is 'fail', 'append' or 'replace'.")
    if not hasattr(frame, "iloc") or not hasattr(frame, "columns"):
        raise StatementError(f"write_sql writes a DataFrame, and was given a {type(frame).__name__}.")
    return connections.write(connections.resolve(url), frame, table, if_exists)


# ---------------------------------------------------------------------------------------------------------------------
# wrapping


def _decorated(function: Callable[..., Any], url: Any, settings: _Settings) -> Any:
    kind = kind_of(function)
    if kind in ("generator", "async_generator"):
        raise DecorationError(
            f"lore.sql_source decorates functions that return a statement, and {name_of(function)} yields: "
            f"return the statement; its stream(...) yields the rows."
        )
    layer = SourceLayer(function, url, settings)
    connections.remember(url)
    if kind == "async":
        return _wrap_async(layer)
    return _wrap(layer)


def _wrap(layer: SourceLayer) -> Any:
    """Wrap a plain function, or one that may turn out to hand on a coroutine."""
    function = layer.function

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        written = function(*args, **kwargs)
        if inspect.isawaitable(written):
            return _load_later(layer, written, args, kwargs)
        return _load(layer, written, args, kwargs)

    def sql(*args: Any, **kwargs: Any) -> Any:
        written = function(*args, **kwargs)
        if inspect.isawaitable(written):
            return _show_later(layer, written, args, kwargs)
        return _Call(layer, written, args, kwargs).shown()

    def stream(*args: Any, **kwargs: Any) -> Any:
        rows, kwargs = _rows(layer, kwargs)
        written = function(*args, **kwargs)
        if inspect.isawaitable(written):
            return _stream_later(layer, written, args, kwargs, rows)
        return _stream(_Call(layer, written, args, kwargs), rows)

    return finish(wrapper, layer, sql=sql, stream=stream)


def _wrap_async(layer: SourceLayer) -> Any:
    function = layer.function

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await _load_later(layer, function(*args, **kwargs), args, kwargs)

    def sql(*args: Any, **kwargs: Any) -> Any:
        return _show_later(layer, function(*args, **kwargs), args, kwargs)

    def stream(*args: Any, **kwargs: Any) -> Any:
        rows, kwargs = _rows(layer, kwargs)
        return _stream_later(layer, function(*args, **kwargs), args, kwargs, rows)

    return finish(wrapper, layer, sql=sql, stream=stream)


class _Call:
    """One call of a source: its statement, bound, and the database that it is for."""

    __slots__ = ("arguments", "database", "layer", "statement")

    def __init__(self, layer: SourceLayer, written: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.layer = layer
        self.database = connections.resolve(layer.url)
        self.arguments = _arguments(layer.function, args, kwargs)
        self.statement = _statement(written, self.arguments, self.database, layer.owner, _folder(layer.function))

    def shown(self) -> Statement:
        """Give the statement to be looked at, with the way its rows will travel."""
        self.statement.path = self.database.way(self.statement)
        return self.statement

    def plan(self) -> connections.Plan:
        """Say how the statement is run."""
        settings = self.layer.settings
        return connections.Plan(
            self.layer.owner, self.layer.tag, settings.timeout_s, settings.retries, settings.dtypes, settings.decimal
        )

    def freshness(self) -> Statement | None:
        """Bind the freshness query to the same arguments."""
        text = self.layer.settings.freshness
        if text is None:
            return None
        return bind(text, self.arguments, f"freshness of {self.layer.owner}", backslashes=self.database.backslashes)

    def note(self) -> None:
        """Tell the cached function around what is about to be read."""
        _note(self.layer.url, self.database, self.statement, self.freshness(), self.plan())


def _load(layer: SourceLayer, written: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> pd.DataFrame:
    call = _Call(layer, written, args, kwargs)
    if _inputs.active():
        call.note()
    return _fetch(call.database, call.statement, call.plan(), layer.settings.progress)


async def _load_later(layer: SourceLayer, written: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> pd.DataFrame:
    import asyncio

    call = _Call(layer, await written, args, kwargs)
    if _inputs.active():
        await asyncio.to_thread(call.note)
    began = time.perf_counter()
    frame = await connections.fetch_async(call.database, call.statement, call.plan())
    _measure(layer.owner, frame, time.perf_counter() - began)
    return frame


def _fetch(
    database: connections.Database, statement: Statement, plan: connections.Plan, wanted: bool | None
) -> pd.DataFrame:
    """Run a statement, show its progress to whoever looks, and tell the timing tree of it."""
    began = time.perf_counter()
    with _progress(plan, wanted) as watched:
        frame = connections.fetch(database, statement, watched)
    _measure(plan.owner, frame, time.perf_counter() - began)
    return frame


@contextlib.contextmanager
def _progress(plan: connections.Plan, wanted: bool | None) -> Iterator[connections.Plan]:
    progress = Progress(plan.owner, wanted)
    if not progress.shown:
        yield plan
        return
    try:
        yield plan._replace(on_progress=progress.update, tick=progress.tick)
    finally:
        progress.close()


def _stream(call: _Call, rows: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of a call in frames; nothing is asked of the database before the first is wanted."""
    layer = call.layer
    if _inputs.active():
        call.note()
    with _progress(call.plan(), layer.settings.progress) as watched:
        began = time.perf_counter()
        with contextlib.closing(connections.stream(call.database, call.statement, watched, rows)) as frames:
            for frame in frames:
                _measure(layer.owner, frame, time.perf_counter() - began)
                yield frame
                began = time.perf_counter()


async def _stream_later(
    layer: SourceLayer, written: Any, args: tuple[Any, ...], kwargs: dict[str, Any], rows: int
) -> AsyncIterator[pd.DataFrame]:
    import asyncio

    call = _Call(layer, await written, args, kwargs)
    if _inputs.active():
        await asyncio.to_thread(call.note)
    began = time.perf_counter()
    async with contextlib.aclosing(
        connections.stream_async(call.database, call.statement, call.plan(), rows)
    ) as frames:
        async for frame in frames:
            _measure(layer.owner, frame, time.perf_counter() - began)
            yield frame
            began = time.perf_counter()


def _show_later(layer: SourceLayer, written: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """
    Show the statement of an async function at once where it awaits nothing, as most do not.

    Else what comes back must be awaited; the statement itself may be awaited too, so `await f.sql()` always works.
    """
    task = written.__await__()
    try:
        waited_for = task.send(None)
    except StopIteration as finished:
        return _Call(layer, finished.value, args, kwargs).shown()
    return _show_after(layer, _go_on(task, waited_for), args, kwargs)


async def _show_after(layer: SourceLayer, written: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Statement:
    return _Call(layer, await written, args, kwargs).shown()


@types.coroutine
def _go_on(task: Any, waited_for: Any) -> Any:
    """Go on with a coroutine that was already sent into once."""
    while True:
        try:
            sent = yield waited_for
        except BaseException as error:
            step = functools.partial(task.throw, error)
        else:
            step = functools.partial(task.send, sent)
        try:
            waited_for = step()
        except StopIteration as finished:
            return finished.value


# ---------------------------------------------------------------------------------------------------------------------
# from what a function returned to a statement


def _arguments(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Name the arguments of a call, defaults included; those of `**kwargs` stand under their own names."""
    signature = signature_of(function)
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name)
    return arguments


def _statement(
    written: Any, arguments: Mapping[str, Any], database: connections.Database, owner: str, folder: Path
) -> Statement:
    """Read what a function returned: text, a file, a selectable, or one of these with parameters."""
    if isinstance(written, tuple):
        written, arguments = _pair(written, arguments, owner)
    if isinstance(written, os.PathLike):
        written = _text_of(Path(written), folder, owner)
    elif is_selectable(written):
        written, values = write_selectable(written, database.dialect, arguments, owner)
        arguments = {**arguments, **values}
    if not isinstance(written, str):
        raise StatementError(
            f"{owner} returned a {type(written).__name__}; a source returns SQL text, a Path to a .sql file, an "
            f"SQLAlchemy selectable, or (sql, parameters)."
        )
    return bind(written, arguments, owner, backslashes=database.backslashes)


def _pair(written: tuple[Any, ...], arguments: Mapping[str, Any], owner: str) -> tuple[Any, dict[str, Any]]:
    if len(written) != 2 or not isinstance(written[1], Mapping):
        raise StatementError(f"{owner} returned a tuple that is not (sql, parameters), with parameters a mapping.")
    return written[0], {**arguments, **written[1]}


def _text_of(path: Path, folder: Path, owner: str) -> str:
    """Read a `.sql` file, and note it as an input of the cached function around."""
    path = folder / path
    try:
        if _inputs.active():
            _inputs.note(_inputs.of_path(path))
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is not UTF-8 text"
    raise StatementError(f"{owner}: the statement's file {path} cannot be read: {problem}.")


def _folder(function: Callable[..., Any]) -> Path:
    """Find the folder of a function's module; the working folder where it has no file."""
    try:
        return Path(inspect.getfile(inspect.unwrap(function))).resolve().parent
    except (TypeError, OSError):
        return Path()


def _rows(layer: SourceLayer, kwargs: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Take `rows` out of a stream's keywords, unless the function has a parameter of that name."""
    if "rows" in signature_of(layer.function).parameters:
        return _ROWS, kwargs
    rows = kwargs.get("rows", _ROWS)
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise StatementError(f"stream(rows={rows!r}): rows is how many each frame holds, 1 or more.")
    return rows, {name: value for name, value in kwargs.items() if name != "rows"}


# ---------------------------------------------------------------------------------------------------------------------
# what is told to the other rooms


def _note(
    url: Any,
    database: connections.Database,
    statement: Statement,
    fresh: Statement | None = None,
    plan: connections.Plan | None = None,
) -> None:
    """Note the database, its freshness and the files that a statement reads as inputs of the cached function around."""
    from lore._querying import freshness

    freshness.note(url, database, fresh, plan)
    for path in database.files(statement):
        _inputs.note(_inputs.of_pattern(path))


def _measure(owner: str, frame: pd.DataFrame, elapsed_s: float) -> None:
    nbytes = int(frame.memory_usage(index=False).sum()) if len(frame) > 1000 else 0
    spans.query_event(owner, len(frame), nbytes, elapsed_s)
