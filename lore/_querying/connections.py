"""
Which database a URL means, and how every query to it is run: watched, retried, timed.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import re
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

from lore import _home
from lore._extras import require
from lore._querying.failures import Transient, hide_password
from lore._querying.running import Cancelled, Watch, leave_to_parent, run, run_async
from lore._querying.tables import Shape
from lore.errors import DecorationError, QueryError, SourceError, SourceTimeout, StatementError

if TYPE_CHECKING:
    import pandas as pd

    from lore._querying.statements import Statement

__all__ = [
    "Database",
    "Plan",
    "check_url",
    "engine_of",
    "fetch",
    "fetch_async",
    "label_of",
    "qualified",
    "quoted",
    "recall",
    "remember",
    "resolve",
    "stream",
    "stream_async",
    "tag_of",
    "write",
]

T = TypeVar("T")

_PAUSE_S = 0.05


class Plan(NamedTuple):
    """
    How a statement is run.

    Attributes:
        owner: the function or call, as `module.qualname`.
        tag: the comment that marks its statements at the server.
        timeout_s: seconds until it is cancelled.
        retries: how often it is tried again after a transient failure.
        dtypes: "pandas" or "arrow".
        decimal: "float" or "exact".
        on_progress: called with the rows and bytes that have arrived so far.
        tick: called while somebody waits.
    """

    owner: str
    tag: str = ""
    timeout_s: float | None = None
    retries: int = 2
    dtypes: Literal["pandas", "arrow"] = "pandas"
    decimal: Literal["float", "exact"] = "float"
    on_progress: Callable[[int, int], None] | None = None
    tick: Callable[[], None] | None = None

    def shape(self, stable: bool = False) -> Shape:
        """Return how the frame is wanted; `stable` for the portions of a stream."""
        return Shape(self.dtypes, self.decimal, stable)

    def report(self, rows: int, nbytes: int) -> None:
        """Tell how much has arrived so far."""
        if self.on_progress is not None:
            self.on_progress(rows, nbytes)


class Database(Protocol):
    """
    One database: runs bound statements, writes frames.

    Attributes:
        label: what the user calls it, without its password.
        backslashes: whether a backslash escapes in its plain strings.
        bound_to_thread: whether it is another one in every thread, as SQLAlchemy's SQLite in memory is; its statements
            run in the caller's thread, where nothing interrupts them.
    """

    label: str
    backslashes: bool
    bound_to_thread: bool

    @property
    def dialect(self) -> Any:
        """SQLAlchemy's dialect object, for selectables; None for one that speaks PostgreSQL's SQL."""
        ...

    def read(self, statement: Statement, plan: Plan, watch: Watch) -> pd.DataFrame:
        """Run a statement and return its rows."""
        ...

    def stream(
        self, statement: Statement, plan: Plan, watch: Watch, rows: int
    ) -> contextlib.AbstractContextManager[Iterator[pd.DataFrame]]:
        """Run a statement and give its rows in frames of `rows`; leaving the context ends the query."""
        ...

    def write(self, frame: pd.DataFrame, table: str, if_exists: str, watch: Watch) -> int:
        """Write a frame in one transaction; return the number of rows."""
        ...

    def files(self, statement: Statement) -> list[str]:
        """List the local files, and the patterns of such, that a statement reads in place."""
        ...

    def way(self, statement: Statement) -> str:
        """Say in two words how rows travel from the database to the frame."""
        ...


# ---------------------------------------------------------------------------------------------------------------------
# which database


_databases: dict[str, Database] = {}
_databases_lock = threading.Lock()
_ENVIRONMENT = re.compile(r"\$(?:(\w+)|\{(\w+)\})\Z")


def resolve(url: Any) -> Database:
    """
    Find the database that a URL means, read the environment where it says so, and connect to nothing yet.

    Args:
        url: an SQLAlchemy URL, `"$NAME"` for an environment variable, an engine (also an async one, a connection or a
            session), or None: `LORE_DATABASE_URL`, then `DATABASE_URL`, then a DuckDB file in lore's home.

    Raises:
        SourceError: the variable is not set, or the URL makes no sense.
    """
    if url is None:
        url = os.environ.get("LORE_DATABASE_URL") or os.environ.get("DATABASE_URL")
        if not url:
            return _known(f"default:{_home.home()}", _embedded_default)
    if not isinstance(url, str):
        return _of_object(url)
    named = _ENVIRONMENT.match(url)
    if named:
        name = named.group(1) or named.group(2)
        url = os.environ.get(name)
        if not url:
            raise SourceError(f"The environment variable {name} is not set; it should hold the database's URL.")
    key = f"{url}\0{os.getcwd()}" if "///" in url else url
    return _known(key, lambda: _of_url(url))


def label_of(url: Any) -> str:
    """Say which database a URL means, without its password and without asking the environment."""
    if url is None:
        return "default"
    if isinstance(url, str):
        return hide_password(url)
    return hide_password(str(getattr(engine_of(url), "url", type(url).__name__)))


# Mutable: what an address without its password stands for in this process.
_addresses: dict[str, Any] = {}


def remember(url: Any) -> str | None:
    """Keep a URL or an engine under an address without password, which may be written down; return the address."""
    if url is None:
        return None
    address = hide_password(url) if isinstance(url, str) else f"engine of {label_of(url)}"
    if address != url:
        _addresses[address] = url
    return address


def recall(address: str | None) -> Any:
    """
    Return what an address stands for.

    Raises:
        SourceError: it stands for something that only another process knows.
    """
    if address is not None and address not in _addresses and ("***" in address or address.startswith("engine of ")):
        raise SourceError(f"{address} is not known in this process, which has decorated no source with it.")
    return _addresses.get(address, address) if address is not None else None


def tag_of(owner: str) -> str:
    """Write the comment that marks a function's statements at the server; it is the same for every call."""
    name = re.sub(r"[^\w.<>]", "_", owner)
    return f"/* lore:{name} */"


def check_url(url: Any) -> None:
    """Refuse at decoration what can never be a database."""
    if not (url is None or isinstance(url, str) or engine_of(url) is not None or hasattr(url, "render_as_string")):
        raise DecorationError(
            f"lore.sql_source takes a URL, $NAME or an SQLAlchemy engine, and was given a {type(url).__name__}. "
            f'Right: @lore.sql_source("$WAREHOUSE_URL")'
        )
    if isinstance(url, str) and not (_ENVIRONMENT.match(url) or "://" in url):
        raise DecorationError(
            f"{_harmless(url)} is no database URL: write dialect://..., such as postgresql://user@host/name or "
            f"duckdb:///file.duckdb, or $NAME for an environment variable. "
            f'Right: @lore.sql_source("$WAREHOUSE_URL")'
        )


def _harmless(text: str) -> str:
    """Show what somebody took for a URL, where nothing in it can be a password."""
    _, sign, host = text.rpartition("@")
    if sign:
        return f"What ends in {hide_password(sign + host)!r}"
    return "This" if re.search(r"[:\s]", text) else repr(hide_password(text))


def _known(key: str, make: Callable[[], Database]) -> Database:
    found = _databases.get(key)
    if found is None:
        made = make()
        with _databases_lock:
            found = _databases.setdefault(key, made)
    return found


def _embedded_default() -> Database:
    from lore._querying.embedded import DuckDB

    path = str(_home.home() / "lore.duckdb")
    return DuckDB(path, f"duckdb:///{path}", optional=True)


def _of_url(url: str) -> Database:
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise SourceError(
            f"{_harmless(url)} is no database URL: write dialect://..., such as postgresql://user@host/name, "
            f"sqlite:///file.db or duckdb:///file.duckdb, or $NAME for an environment variable."
        )
    dialect, _, driver = scheme.partition("+")
    if dialect == "duckdb":
        from lore._querying.embedded import DuckDB

        return DuckDB(_path(rest), hide_password(url))
    if dialect == "sqlite" and driver in {"", "pysqlite", "aiosqlite"} and "?" not in rest:
        return _sqlite(url, _path(rest))
    return _of_engine(_make_engine(url), hide_password(url))


def _path(rest: str) -> str | None:
    """Read the file's path in what follows `dialect://`; None for memory."""
    path = rest.removeprefix("/").partition("?")[0]
    return None if path in {"", ":memory:"} else os.path.abspath(os.path.expanduser(path))


def _sqlite(url: str, path: str | None) -> Database:
    from lore._querying.sqlite import SQLite

    return SQLite(path, url) if path else SQLite(None, url, _in_memory())


def _in_memory() -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Keep one SQLite database in memory, for one user at a time."""
    import sqlite3

    connection = sqlite3.connect(":memory:", check_same_thread=False)
    turn_lock = threading.Lock()

    @contextlib.contextmanager
    def checkout() -> Iterator[sqlite3.Connection]:
        with turn_lock:
            yield connection

    return checkout


def _make_engine(url: str) -> Any:
    sqlalchemy = require("sqlalchemy", extra="sql")
    exc = require("sqlalchemy.exc", extra="sql")
    url = re.sub(r"\Apostgres(ql)?(\+asyncpg)?://", "postgresql+psycopg2://", url)
    options: dict[str, Any] = {}
    if url.startswith("postgresql+psycopg2:"):
        require("psycopg2", extra="sql")
        options["client_encoding"] = "utf8"  # whatever PGCLIENTENCODING and the server's settings say
    problem = None
    try:
        engine = sqlalchemy.create_engine(url, **options)
    except exc.ArgumentError as error:  # its subclass for dialects that are not installed names them
        problem = hide_password(str(error))
    except ValueError:  # its message shows the port, or what a password with an @ in it made of that
        problem = "its port is not a number (a password with special characters wants them percent-encoded)"
    except ImportError as error:
        problem = f"its driver is not installed ({error.name})"
    if problem:
        raise SourceError(f"The URL {hide_password(url)} cannot be used: {problem}")
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine


_KEPT_ENGINES = 64
_engines: collections.OrderedDict[int, tuple[Any, Database]] = collections.OrderedDict()


def _of_object(url: Any) -> Database:
    engine = engine_of(url)
    if engine is None:
        if hasattr(url, "render_as_string"):
            return resolve(url.render_as_string(hide_password=False))
        raise SourceError(
            f"A database is given as a URL, as $NAME, or as an SQLAlchemy engine, not as {type(url).__name__}."
        )
    kept = _engines.get(id(engine))
    if kept is None or kept[0] is not engine:
        kept = _engines[id(engine)] = (engine, _of_engine(engine, hide_password(str(engine.url))))
        while len(_engines) > _KEPT_ENGINES:
            _engines.popitem(last=False)  # in one step: other threads may be doing the same
    return kept[1]


def engine_of(url: Any) -> Any:
    """Find the engine in an engine, an async engine, a connection or a session; None in anything else."""
    for attribute in ("sync_engine", "bind", "engine"):
        inner = getattr(url, attribute, None)
        if inner is not None:
            url = inner
    return url if hasattr(url, "raw_connection") and hasattr(url, "dialect") else None


def _of_engine(engine: Any, label: str) -> Database:
    from lore._querying import servers

    if engine.dialect.is_async:  # an async driver runs in its loop only: go by its URL, with a driver of our own
        return _of_url(engine.url.render_as_string(hide_password=False))
    if engine.dialect.name == "sqlite" and engine.dialect.driver == "pysqlite":
        from lore._querying.sqlite import SQLite

        alone = type(engine.pool).__name__ == "SingletonThreadPool"
        return SQLite(None, label, lambda: servers.raw(engine, label), alone)
    if engine.dialect.name == "postgresql" and engine.dialect.driver == "psycopg2":
        return servers.Postgres(engine, label)
    return servers.Alchemy(engine, label)


# ---------------------------------------------------------------------------------------------------------------------
# names


_NAME = r'"(?:[^"]|"")+"|[^."]+'
_QUALIFIED = re.compile(rf"(?:{_NAME})(?:\.(?:{_NAME}))?")


def qualified(table: str) -> tuple[str | None, str]:
    """
    Split `schema.table`; a name in double quotes may hold dots.

    >>> qualified('sales.orders')
    ('sales', 'orders')
    >>> qualified('"odd.name"')
    (None, 'odd.name')
    """
    if not _QUALIFIED.fullmatch(table):
        raise StatementError(
            f"{table!r} is no table name: write name or schema.name. One with dots or quotes in it stands in double "
            f'quotes, and its own quotes are doubled: "odd.name", "5"" disk".'
        )
    names = [part[1:-1].replace('""', '"') if part[0] == '"' else part for part in re.findall(_NAME, table)]
    return (names[0], names[1]) if len(names) == 2 else (None, names[0])


def quoted(schema: str | None, name: str) -> str:
    """Write a name so that any character in it is allowed."""
    escaped = '"' + name.replace('"', '""') + '"'
    return escaped if schema is None else f"{quoted(None, schema)}.{escaped}"


# ---------------------------------------------------------------------------------------------------------------------
# running


def _require_frames() -> None:
    """Load what every frame is made with, or say which extra brings it."""
    require("pandas", extra="sql")
    require("pyarrow", extra="sql")


def fetch(database: Database, statement: Statement, plan: Plan) -> pd.DataFrame:
    """Run a statement and return its rows; Ctrl-C and the timeout stop it at the server."""
    _require_frames()
    watch = Watch(plan.timeout_s, plan.tick, database.bound_to_thread)
    with _explained(watch, plan):
        return run(lambda: _persist(lambda: database.read(statement, plan, watch), plan, watch), watch)
    raise AssertionError


async def fetch_async(database: Database, statement: Statement, plan: Plan) -> pd.DataFrame:
    """Run a statement in a worker and await its rows; cancelling the task stops it at the server."""
    _require_frames()
    watch = Watch(plan.timeout_s, here=database.bound_to_thread)
    with _explained(watch, plan):
        return await run_async(lambda: _persist(lambda: database.read(statement, plan, watch), plan, watch), watch)
    raise AssertionError


def stream(database: Database, statement: Statement, plan: Plan, rows: int) -> Generator[pd.DataFrame, None, None]:
    """Yield the rows in frames of `rows`; a stream that is dropped ends its query and its transaction."""
    source = _Stream(database, statement, plan, rows)
    try:
        while (frame := run(source.next, source.watch)) is not None:
            yield frame
    finally:
        source.close()


async def stream_async(
    database: Database, statement: Statement, plan: Plan, rows: int
) -> AsyncGenerator[pd.DataFrame, None]:
    """Yield the rows in frames of `rows` without holding up the loop."""
    import asyncio

    source = _Stream(database, statement, plan, rows)
    try:
        while (frame := await run_async(source.next, source.watch)) is not None:
            yield frame
    finally:
        await asyncio.to_thread(source.close)


def write(database: Database, frame: pd.DataFrame, table: str, if_exists: str) -> int:
    """Write a frame; Ctrl-C stops it and leaves the table as it was."""
    _require_frames()
    watch = Watch(here=database.bound_to_thread)
    once = Plan(f"write_sql to {table}", retries=0)
    return run(lambda: _persist(lambda: database.write(frame, table, if_exists, watch), once, watch), watch)


class _Stream:
    """A stream under way: opened by its first `next`, which may be tried again."""

    def __init__(self, database: Database, statement: Statement, plan: Plan, rows: int) -> None:
        _require_frames()
        self._database = database
        self._statement = statement
        self._plan = plan
        self._rows = rows
        self.watch = Watch(plan.timeout_s, plan.tick, database.bound_to_thread)
        self._step_lock = threading.RLock()
        self._process = os.getpid()
        _streams.add(self)
        self._open = contextlib.ExitStack()
        self._frames: Iterator[pd.DataFrame] | None = None

    def next(self) -> pd.DataFrame | None:
        """Give the next frame; None at the end."""
        with self._step_lock, _explained(self.watch, self._plan):
            if self._frames is None:
                return _persist(self._first, self._plan, self.watch)
            frames = self._frames
            return _persist(lambda: next(frames, None), self._plan._replace(retries=0), self.watch)
        raise AssertionError

    def _first(self) -> pd.DataFrame | None:
        hold = contextlib.ExitStack()
        with hold:
            frames = hold.enter_context(self._database.stream(self._statement, self._plan, self.watch, self._rows))
            first = next(frames, None)
            self._open = hold.pop_all()
        self._frames = frames
        return first

    def close(self) -> None:
        """End the query; wait for a step that is under way. In a forked child, leave it to the parent."""
        if os.getpid() == self._process:
            with self._step_lock:
                self._open.close()

    def leave(self) -> None:
        """Be of no use in a forked child, and do no harm to the parent's query."""
        leave_to_parent(self._open, self._frames)


_streams: weakref.WeakSet[_Stream] = weakref.WeakSet()


def _leave_streams() -> None:
    for stream in list(_streams):
        stream.leave()


os.register_at_fork(after_in_child=_leave_streams)


def _persist(work: Callable[[], T], plan: Plan, watch: Watch) -> T:
    """Try again what failed in a way that may pass, after a pause that grows."""
    attempt = 0
    while True:
        try:
            return work()
        except Transient as failure:
            error = failure.error
        if attempt >= plan.retries:
            raise error
        watch.pause(_PAUSE_S * 2**attempt * (0.5 + random.random()))
        attempt += 1


@contextlib.contextmanager
def _explained(watch: Watch, plan: Plan) -> Iterator[None]:
    """Turn what a stopped query raises into a `SourceTimeout` where it was the time that stopped it."""
    try:
        yield
        return
    except (QueryError, Cancelled):
        if not watch.timed_out:
            raise
    raise SourceTimeout(
        f"{plan.owner}: the query took longer than timeout_s={plan.timeout_s:g} and was cancelled."
    ) from None
