"""
Databases behind a server: PostgreSQL over psycopg2, and whatever else SQLAlchemy has a dialect for.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lore._extras import require
from lore._querying import frames, tables
from lore._querying.connections import Plan, qualified
from lore._querying.failures import Transient, hide_password, query_error
from lore._querying.running import Watch
from lore._querying.statements import Statement, render, to_json
from lore.errors import QueryError, SourceTimeout, StatementError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Alchemy", "Postgres", "raw"]

_FRESH_S = 1.0
_PORTION = 8192


@contextlib.contextmanager
def raw(engine: Any, label: str) -> Iterator[Any]:
    """Hold a driver's own connection out of an engine's pool; one that broke does not go back."""
    with _connecting(engine, label):
        fairy = engine.raw_connection()
    try:
        yield fairy.driver_connection
    finally:
        fairy.close()


@contextlib.contextmanager
def _connecting(engine: Any, label: str) -> Iterator[None]:
    """Make a failure to connect lore's own, without the password."""
    exc = require("sqlalchemy.exc", extra="sql")
    try:
        yield
        return
    except (exc.DBAPIError, engine.dialect.loaded_dbapi.Error) as error:
        message = re.sub(r"\s+", " ", str(getattr(error, "orig", error))).strip()
    except exc.TimeoutError:
        message = "all connections of the pool are in use"
    problem = QueryError(f"Cannot connect: {hide_password(message)} [{label}]")
    if _PASSING.search(message):
        raise Transient(problem)
    raise problem


_PASSING = re.compile(
    r"refused|timed? ?out|starting up|shutting down|recovery mode|too many clients|closed the connection|reset by peer",
    re.IGNORECASE,
)


class Postgres:
    """
    PostgreSQL over psycopg2.

    Args:
        engine: whose pool lends the connections.
        label: the database for messages, without its password.
    """

    backslashes = False
    bound_to_thread = False

    def __init__(self, engine: Any, label: str) -> None:
        self.engine = engine
        self.label = label
        self.dialect = engine.dialect
        self._process = os.getpid()

    def read(self, statement: Statement, plan: Plan, watch: Watch) -> pd.DataFrame:
        """Run a statement in a read-only transaction and return its rows."""
        from lore._querying import postgres

        with self._transaction(statement.owner, watch, statement, plan) as connection:
            text = _mogrified(connection, statement, plan.tag)
            return postgres.read(
                connection, text, dtypes=plan.dtypes, decimal=plan.decimal, on_progress=plan.on_progress
            )

    @contextlib.contextmanager
    def stream(self, statement: Statement, plan: Plan, watch: Watch, rows: int) -> Iterator[Iterator[pd.DataFrame]]:
        """Run a statement and give its rows in frames of `rows`; leaving the context ends the query."""
        from lore._querying import postgres

        with self._transaction(statement.owner, watch, statement, plan) as connection:
            text = _mogrified(connection, statement, plan.tag)
            portions = postgres.stream(
                connection, text, rows, dtypes=plan.dtypes, decimal=plan.decimal, on_progress=plan.on_progress
            )
            with contextlib.ExitStack() as hold:
                hold.callback(portions.close)  # type: ignore[attr-defined]
                yield self._explained(portions, statement, watch, connection)

    def write(self, frame: pd.DataFrame, table: str, if_exists: str, watch: Watch) -> int:
        """Write a frame in one transaction; return the number of rows."""
        from lore._querying import postgres

        schema, name = qualified(table)
        with self._transaction(f"write_sql to {table}", watch) as connection:
            written: int = postgres.write(connection, frame, name, schema, if_exists)
        return written

    def files(self, statement: Statement) -> list[str]:
        """List no files: this database reads none in place."""
        return []

    def way(self, statement: Statement) -> str:
        """Say how rows travel: by COPY where the statement allows, else by a cursor."""
        from lore._querying import postgres

        return postgres.plan(None, statement.statement)

    # -----------------------------------------------------------------------------------------------------------------

    def _explained(
        self, portions: Iterator[pd.DataFrame], statement: Statement, watch: Watch, connection: Any
    ) -> Iterator[pd.DataFrame]:
        with self._failures(statement.owner, statement.values.values(), watch, connection):
            yield from portions

    @contextlib.contextmanager
    def _transaction(
        self, owner: str, watch: Watch, statement: Statement | None = None, plan: Plan | None = None
    ) -> Iterator[Any]:
        """
        Hold a connection inside a transaction: of a statement, read-only with the server's own timeout; for writing.

        It is committed at the end of a write and rolled back otherwise; a connection that broke is thrown away, and
        the pool's others with it.
        """
        values = statement.values.values() if statement is not None else ()
        fairy = self._connect()
        connection = fairy.driver_connection
        manual = connection.autocommit
        try:
            with self._failures(owner, values, watch, connection):
                if manual:
                    connection.autocommit = False
                connection.readonly = statement is not None
                watch.attach(connection.cancel)
                if plan is not None and plan.timeout_s is not None:
                    left = watch.left_s()
                    assert left is not None
                    with connection.cursor() as cursor:
                        cursor.execute(f"SET LOCAL statement_timeout = {max(1, round(left * 1000))}")
                yield connection
                watch.attach(None)
                if statement is None:
                    connection.commit()
        finally:
            watch.attach(None)
            self._release(fairy, connection, manual)

    def _connect(self) -> Any:
        if self._process != os.getpid():
            self.engine.dispose(close=False)  # the connections in the pool belong to the parent
            self._process = os.getpid()
        with _connecting(self.engine, self.label):
            fairy = self.engine.raw_connection()
            if time.monotonic() - fairy.info.get("lore_used", 0.0) > _FRESH_S and not _answers(fairy):
                fairy.invalidate()
                fairy.close()
                self.engine.dispose()
                fairy = self.engine.raw_connection()
        return fairy

    def _release(self, fairy: Any, connection: Any, manual: bool) -> None:
        psycopg2 = require("psycopg2", extra="sql")
        try:
            if not connection.closed:
                connection.rollback()
                connection.readonly = None
                connection.autocommit = manual
        except psycopg2.Error:
            connection.close()
        if connection.closed:
            fairy.invalidate()
            self.engine.dispose()
        else:
            fairy.info["lore_used"] = time.monotonic()
        fairy.close()

    @contextlib.contextmanager
    def _failures(self, owner: str, values: Any, watch: Watch, connection: Any) -> Iterator[None]:
        psycopg2 = require("psycopg2", extra="sql")
        try:
            yield
            return
        except psycopg2.Error as error:
            code = error.pgcode or ""
            primary = error.diag.message_primary if error.pgcode else str(error)
            lost = bool(connection.closed) or code.startswith(("08", "57P"))
        message = re.sub(r"\s+", " ", primary or "the query failed").strip()
        if code == "57014" and "statement timeout" in message:
            raise SourceTimeout(f"{owner}: the query took longer than its timeout and was cancelled at the server.")
        hidden = () if code in _NAMES_ONLY else values
        failure = query_error(message, owner, self.label, hidden)
        if lost or code in _PASSING_CODES:
            raise Transient(failure)
        raise failure


_PASSING_CODES = frozenset({"40001", "40P01"})
# Undefined table, column, function, schema: such messages hold names from the text and never values.
_NAMES_ONLY = frozenset({"42P01", "42703", "42883", "3F000", "42501"})


def _answers(fairy: Any) -> bool:
    """Tell whether a connection that lay in the pool for a while still reaches its server."""
    psycopg2 = require("psycopg2", extra="sql")
    connection = fairy.driver_connection
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg2.Error:
        return False
    return True


# Statements that a read-only transaction would let pass: they end it, or write files.
_NO_READING = frozenset({"COPY", "COMMIT", "END", "ROLLBACK", "ABORT", "BEGIN", "START", "PREPARE", "DISCARD"})


def _mogrified(connection: Any, statement: Statement, tag: str) -> str:
    """Write a statement with its values quoted by the driver: COPY takes no parameters."""
    if statement.template.verb in _NO_READING:
        raise QueryError(
            f"{statement.owner}: a source only reads, and this is a statement of kind {statement.template.verb}."
        )
    names: list[str] = []

    def place(n: int) -> str:
        names.append(f"p{n}")
        return f"%(p{n})s"

    text, values = render(statement, placeholder=place, adapt=_adapt, tag=tag, percent=True, empty=_empty)
    try:
        with connection.cursor() as cursor:
            written: bytes = cursor.mogrify(text, dict(zip(names, values)))
        return written.decode(require("psycopg2.extensions", extra="sql").encodings[connection.encoding])
    except ValueError as error:  # a NUL in a text, half a surrogate pair
        problem = "a NUL" if "NUL" in str(error) else "a character that the connection's encoding lacks"
    raise StatementError(f"{statement.owner}: a parameter holds {problem}, which PostgreSQL does not take.")


def _empty(negated: bool, width: int) -> str:
    """Spell an IN over nothing; an empty array takes the type of what stands left of it."""
    array = "'{}'" if width == 1 else "CAST('{}' AS record[])"
    return f"<> ALL ({array})" if negated else f"= ANY ({array})"


def _adapt(value: Any) -> Any:
    import uuid

    extras = require("psycopg2.extras", extra="sql")
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
        return extras.Json(value, dumps=to_json)
    if isinstance(value, uuid.UUID):
        return extras.UUID_adapter(value)
    if isinstance(value, list):
        return [_adapt(item) for item in value]
    return value


# ---------------------------------------------------------------------------------------------------------------------
# any other dialect


class Alchemy:
    """
    Any database that SQLAlchemy has a dialect for; types are what the driver's values are.

    Args:
        engine: whose connections are used.
        label: the database for messages, without its password.
    """

    bound_to_thread = False

    def __init__(self, engine: Any, label: str) -> None:
        self.engine = engine
        self.label = label
        self.dialect = engine.dialect
        self.backslashes = engine.dialect.name in {"mysql", "mariadb"}

    def read(self, statement: Statement, plan: Plan, watch: Watch) -> pd.DataFrame:
        """Run a statement and return its rows."""
        with self._running(statement, plan, watch) as (result, collector):
            while rows := result.fetchmany(_PORTION):
                collector.add([tuple(row) for row in rows])
                plan.report(collector.rows, 0)
            return collector.frame()

    @contextlib.contextmanager
    def stream(self, statement: Statement, plan: Plan, watch: Watch, rows: int) -> Iterator[Iterator[pd.DataFrame]]:
        """Run a statement and give its rows in frames of `rows`; leaving the context ends the query."""
        with self._running(statement, plan, watch, stable=True) as (result, collector):
            yield self._frames(result, collector, rows, statement)

    def _frames(
        self, result: Any, collector: tables.Collector, rows: int, statement: Statement
    ) -> Iterator[pd.DataFrame]:
        with self._failures(statement.owner, statement.values.values()):
            portion = result.fetchmany(rows)
            while True:
                if portion:
                    collector.add([tuple(row) for row in portion])
                collector.settle()
                yield collector.frame()
                portion = result.fetchmany(rows)
                if not portion:
                    return

    def write(self, frame: pd.DataFrame, table: str, if_exists: str, watch: Watch) -> int:
        """Write a frame in one transaction, where the database's transactions cover tables."""
        sqlalchemy = require("sqlalchemy", extra="sql")
        columns = frames.outgoing(frame)
        schema, name = qualified(table)
        with self._failures(f"write_sql to {table}", ()), self.engine.begin() as connection:
            inspector = sqlalchemy.inspect(connection)
            present: dict[str, str | None] | None = (
                {column["name"]: None for column in inspector.get_columns(name, schema)}
                if inspector.has_table(name, schema)
                else None
            )
            if present is not None and if_exists == "fail":
                raise StatementError(
                    f"Table {table} exists. Say what to do with it: if_exists='append' or if_exists='replace'."
                )
            if present is not None and if_exists == "append":
                columns = frames.check_fit(columns, present, table)
            else:
                columns = [frames.signed(column, self.engine.dialect.name) for column in columns]
            made = sqlalchemy.Table(
                name,
                sqlalchemy.MetaData(),
                *(sqlalchemy.Column(column.name, _sql_type(column)) for column in columns),
                schema=schema,
            )
            if present is not None and if_exists == "replace":
                made.drop(connection)
            if present is None or if_exists == "replace":
                made.create(connection)
            values = [column.array.to_pylist() for column in columns]
            names = [column.name for column in columns]
            if len(frame):
                connection.execute(made.insert(), [dict(zip(names, row)) for row in zip(*values)])
        return len(frame)

    def files(self, statement: Statement) -> list[str]:
        """List no files: this database reads none in place."""
        return []

    def way(self, statement: Statement) -> str:
        """Say how rows travel: by a cursor of SQLAlchemy's."""
        return f"{self.engine.dialect.name} cursor"

    # -----------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _running(
        self, statement: Statement, plan: Plan, watch: Watch, stable: bool = False
    ) -> Iterator[tuple[Any, tables.Collector]]:
        sqlalchemy = require("sqlalchemy", extra="sql")
        text, values = render(
            statement, placeholder=":lore_{}".format, adapt=_adapt_plainly, tag=plan.tag, escape_colons=True
        )
        named = {f"lore_{n}": value for n, value in enumerate(values, 1)}
        with contextlib.ExitStack() as hold:
            with self._failures(statement.owner, statement.values.values()):
                with _connecting(self.engine, self.label):
                    connection = hold.enter_context(self.engine.connect())
                watch.attach(_stopper(connection))
                hold.callback(watch.attach, None)
                _read_only(connection)
                result = connection.execute(sqlalchemy.text(text), named, execution_options={"stream_results": stable})
                columns = [tables.Column(name, None) for name in result.keys()]  # noqa: SIM118
                yield result, tables.Collector(columns, plan.shape(stable=stable))

    @contextlib.contextmanager
    def _failures(self, owner: str, values: Any) -> Iterator[None]:
        exc = require("sqlalchemy.exc", extra="sql")
        lost = False
        try:
            yield
            return
        except exc.DBAPIError as error:
            # Below its first lines PostgreSQL repeats the statement, with values where the driver put them in.
            message, lost = re.split(r"\n(?:LINE|DETAIL|CONTEXT)", str(error.orig))[0], error.connection_invalidated
        except exc.SQLAlchemyError as error:
            message = str(error).partition("\n[")[0]
        failure = query_error(re.sub(r"\s+", " ", message).strip(), owner, self.label, values)
        if lost:
            raise Transient(failure)
        raise failure


def _adapt_plainly(value: Any) -> Any:
    return to_json(value) if isinstance(value, dict | list) else value


def _read_only(connection: Any) -> None:
    """Ask for a read-only transaction where the dialect has a word for it."""
    sqlalchemy = require("sqlalchemy", extra="sql")
    if connection.dialect.name in {"postgresql", "mysql", "mariadb", "oracle"}:
        connection.execute(sqlalchemy.text("SET TRANSACTION READ ONLY"))


def _stopper(connection: Any) -> Callable[[], object]:
    """Find how the driver's connection stops a statement; one that has no way is waited for."""
    driver = connection.connection.driver_connection
    stop = getattr(driver, "cancel", None) or getattr(driver, "interrupt", None)
    return stop if callable(stop) else lambda: None


def _sql_type(column: frames.Outgoing) -> Any:
    import sqlalchemy as sa

    simple: dict[str, Callable[[], Any]] = {
        "boolean": sa.Boolean,
        "integer": sa.BigInteger,
        "unsigned": lambda: sa.Numeric(20, 0),
        "real": sa.Float,
        "float": lambda: sa.Float(53),
        "text": sa.Text,
        "null": sa.Text,
        "bytes": sa.LargeBinary,
        "date": sa.Date,
        "timestamp": sa.DateTime,
        "timestamp_ns": sa.DateTime,
        "timestamptz": lambda: sa.DateTime(timezone=True),
        "time": sa.Time,
        "interval": sa.Interval,
        "uuid": sa.Text,
        "json": sa.Text,
        "list": sa.JSON,
    }
    if column.kind == "decimal":
        return sa.Numeric(getattr(column.array.type, "precision", 38), getattr(column.array.type, "scale", 10))
    return simple[column.kind]()
