"""
SQLite: values have types there and columns only wishes; a frame's columns follow what the table declares.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import json
import os
import re
import sqlite3
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lore._extras import require
from lore._querying import frames, tables
from lore._querying.connections import Plan, qualified, quoted
from lore._querying.failures import query_error, refuse_missing_folder
from lore._querying.running import Watch
from lore._querying.statements import Statement, render, to_json
from lore.errors import QueryError, StatementError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SQLite"]

_PORTION = 1024  # few enough to stay in the processor's cache: a third faster than 8192
_BUSY_S = 30.0


class SQLite:
    """
    A SQLite file, or whatever an engine connects to.

    Args:
        path: the file, opened anew for every query and never kept open; None with `checkout`.
        url: what the user calls it, for messages.
        checkout: gives a connection and takes it back, for engines and for databases in memory.
        bound_to_thread: whether `checkout` gives another database in every thread.
    """

    backslashes = False

    def __init__(
        self,
        path: str | None,
        url: str,
        checkout: Callable[[], contextlib.AbstractContextManager[sqlite3.Connection]] | None = None,
        bound_to_thread: bool = False,
    ) -> None:
        self.bound_to_thread = bound_to_thread
        self.path = path
        self.label = url
        self._checkout = checkout or self._open

    @property
    def dialect(self) -> Any:
        """SQLAlchemy's dialect object, for selectables."""
        return require("sqlalchemy.dialects.sqlite", extra="sql").dialect()

    def read(self, statement: Statement, plan: Plan, watch: Watch) -> pd.DataFrame:
        """Run a statement and return its rows."""
        with self._failures(statement, watch), self._reading(watch) as connection:
            cursor, collector = self._start(connection, statement, plan)
            while rows := cursor.fetchmany(_PORTION):
                collector.add(rows)
                plan.report(collector.rows, 0)
            return collector.frame()

    @contextlib.contextmanager
    def stream(self, statement: Statement, plan: Plan, watch: Watch, rows: int) -> Iterator[Iterator[pd.DataFrame]]:
        """Run a statement and give its rows in frames of `rows`; leaving the context ends the query."""
        with self._failures(statement, watch), self._reading(watch) as connection:
            cursor, collector = self._start(connection, statement, plan, stable=True)
            yield self._frames(cursor, collector, rows, statement, watch)

    def _frames(
        self, cursor: sqlite3.Cursor, collector: tables.Collector, rows: int, statement: Statement, watch: Watch
    ) -> Iterator[pd.DataFrame]:
        with self._failures(statement, watch):
            portion = cursor.fetchmany(rows)
            while True:
                if portion:
                    collector.add(portion)
                collector.settle()
                yield collector.frame()
                portion = cursor.fetchmany(rows)
                if not portion:
                    return

    def write(self, frame: pd.DataFrame, table: str, if_exists: str, watch: Watch) -> int:
        """Write a frame in one transaction; return the number of rows."""
        columns = frames.outgoing(frame)
        with self._translated(f"write_sql to {table}", (), watch), self._writing(watch) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                _write(connection, columns, table, if_exists)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        return len(frame)

    def files(self, statement: Statement) -> list[str]:
        """List no files: this database reads none in place."""
        return []

    def way(self, statement: Statement) -> str:
        """Say how rows travel: as tuples of a cursor, a thousand at a time, into Arrow."""
        return "sqlite cursor"

    # -----------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self, watch: Watch) -> Iterator[sqlite3.Connection]:
        """Hold a connection on which nothing can be changed."""
        with self._existing() as connection, _attached(connection, watch):
            left_s = watch.left_s()
            if left_s is not None:
                connection.execute(f"PRAGMA busy_timeout = {round(min(left_s, _BUSY_S) * 1000)}")
            connection.execute("PRAGMA query_only = ON")
            try:
                yield connection
            finally:
                watch.attach(None)
                connection.execute("PRAGMA query_only = OFF")

    @contextlib.contextmanager
    def _existing(self) -> Iterator[sqlite3.Connection]:
        """Hold a connection to the file; while there is none, to an empty database: reading makes no file."""
        if self.path is None or os.path.exists(self.path):
            with self._checkout() as connection:
                yield connection
            return
        refuse_missing_folder(self.path, self.label)
        with contextlib.closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self, watch: Watch) -> Iterator[sqlite3.Connection]:
        if self.path is not None:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with self._checkout() as connection, _by_hand(connection), _attached(connection, watch):
            yield connection

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one use."""
        assert self.path is not None
        url = f"file:{urllib.parse.quote(self.path)}?mode=rwc"
        connection = sqlite3.connect(url, uri=True, timeout=_BUSY_S, check_same_thread=False)
        try:
            yield connection
        finally:
            connection.close()

    def _start(
        self, connection: sqlite3.Connection, statement: Statement, plan: Plan, stable: bool = False
    ) -> tuple[sqlite3.Cursor, tables.Collector]:
        text, values = render(
            statement, placeholder=lambda _: "?", adapt=_adapt, tag=plan.tag, rows="VALUES", long=_from_json
        )
        _refuse_writing(statement)
        declared = _declared(connection, statement)
        cursor = connection.execute(text, values)
        names = [description[0] for description in cursor.description or ()]
        kinds = declared if len(declared) == len(names) else [None] * len(names)
        columns = [tables.Column(name, kind) for name, kind in zip(names, kinds)]
        return cursor, tables.Collector(columns, plan.shape(stable=stable), _PREPARE)

    def _failures(self, statement: Statement, watch: Watch) -> contextlib.AbstractContextManager[None]:
        return self._translated(statement.owner, statement.values.values(), watch)

    @contextlib.contextmanager
    def _translated(self, owner: str, values: Any, watch: Watch) -> Iterator[None]:
        try:
            yield
            return
        except (sqlite3.Error, sqlite3.Warning) as error:
            message = str(error)
        except OverflowError:
            message = "a parameter is an integer beyond 64 bits, which SQLite does not have"
        except UnicodeError:
            message = "a text is not valid Unicode"
        named = message.startswith(("no such", "near "))
        if message.startswith("no such table") and self.path is not None and not os.path.exists(self.path):
            message = f"{message} (the database file does not exist yet)"
        raise query_error(message, owner, self.label, () if named else values)


@contextlib.contextmanager
def _attached(connection: sqlite3.Connection, watch: Watch) -> Iterator[None]:
    watch.attach(connection.interrupt)
    try:
        yield
    finally:
        watch.attach(None)


@contextlib.contextmanager
def _by_hand(connection: sqlite3.Connection) -> Iterator[None]:
    """Let transactions begin where we say so, and not where the driver guesses."""
    before = connection.isolation_level
    connection.isolation_level = None
    try:
        yield
    finally:
        connection.isolation_level = before


def _refuse_writing(statement: Statement) -> None:
    """Refuse what a connection does that may only query: ATTACH and VACUUM INTO make files, PRAGMA has settings."""
    verb = statement.template.verb
    if verb in {"ATTACH", "DETACH", "VACUUM"} or (verb == "PRAGMA" and "=" in statement.statement):
        raise QueryError(f"{statement.owner}: a source only reads, and this is a statement of kind {verb}.")


def _adapt(value: Any) -> Any:
    """Turn a value into one of SQLite's five types, in the spelling that `write_sql` stores."""
    if isinstance(value, bool | int | float | str | bytes) or value is None:
        return value
    if isinstance(value, datetime.datetime):
        return (value.astimezone(datetime.UTC) if value.tzinfo else value).isoformat(" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value // datetime.timedelta(microseconds=1)
    if isinstance(value, decimal.Decimal):
        return float(value) if _is_float(value) else str(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    return to_json(value)


def _from_json(members: list[Any]) -> str | None:
    """Spell a long list as one JSON text, where JSON holds its members as they are."""
    types = {type(member) for member in members}
    return "SELECT value FROM json_each({})" if types <= {int, str, type(None)} else None


def _is_float(value: decimal.Decimal) -> bool:
    """Tell whether a float stands for exactly this decimal."""
    return value.is_finite() and decimal.Decimal(repr(float(value))) == value


# ---------------------------------------------------------------------------------------------------------------------
# declared types


_NAMES: tuple[tuple[str, str], ...] = (
    (r"INTERVAL", "interval"),
    (r"BOOL", "boolean"),
    (r"INT", "integer"),
    (r"DECIMAL|NUMERIC", "decimal"),
    (r"JSON", "json"),
    (r"UUID", "uuid"),
    (r"CHAR|CLOB|TEXT|STRING|ENUM", "text"),
    (r"BLOB|BYTEA|BINARY", "bytes"),
    (r"TIMESTAMPTZ|WITH TIME ZONE", "timestamptz"),
    (r"TIMESTAMP|DATETIME", "timestamp"),
    (r"DATE", "date"),
    (r"TIME", "time"),
    (r"REAL|FLOA|DOUB", "float"),
)


def _declared(connection: sqlite3.Connection, statement: Statement) -> list[str | None]:
    """Ask SQLite what types the tables behind a result's columns declare; None for computed columns."""
    text, _ = render(
        statement, placeholder=lambda _: "NULL", adapt=lambda value: value, rows="VALUES", long=lambda _: "NULL"
    )
    connection.execute("PRAGMA query_only = OFF")
    try:
        connection.execute(f"CREATE TEMP VIEW lore_columns AS {text}\n")
        try:
            rows = connection.execute("PRAGMA temp.table_info(lore_columns)").fetchall()
        finally:
            connection.execute("DROP VIEW temp.lore_columns")
    except sqlite3.Error:  # no view can be made of EXPLAIN or PRAGMA, nor of what is wrong
        rows = []
    finally:
        connection.execute("PRAGMA query_only = ON")
    return [_kind(row[2]) for row in rows]


def _kind(declared: str) -> str | None:
    return next((kind for names, kind in _NAMES if re.search(names, declared or "", re.IGNORECASE)), None)


def _truths(values: Sequence[Any]) -> list[bool | None]:
    if set(values) <= {0, 1, None}:
        return [None if value is None else bool(value) for value in values]
    raise ValueError("neither true nor false")


def _texts(values: Sequence[Any]) -> Any:
    import pyarrow

    return pyarrow.array(values, pyarrow.string())


def _exact(values: Sequence[Any]) -> list[decimal.Decimal | None]:
    return [None if value is None else decimal.Decimal(str(value)) for value in values]


def _each(make: Callable[[Any], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda values: [None if value is None else make(value) for value in values]


_PREPARE: dict[str, Callable[[Any], Any]] = {
    "boolean": _truths,
    "date": _texts,
    "timestamp": _texts,
    "timestamptz": lambda values: _texts([_with_zone(value) for value in values]),
    "time": _each(datetime.time.fromisoformat),
    "decimal": _exact,
    "uuid": _each(uuid.UUID),
    "json": _each(lambda value: json.loads(value) if isinstance(value, str) else value),
}


def _with_zone(value: Any) -> Any:
    """Read a moment without a zone as UTC."""
    return (
        f"{value}+00:00"
        if isinstance(value, str) and not re.search(r"(?:Z|[+-]\d\d(?::?\d\d)?)$", value[10:])
        else value
    )


# ---------------------------------------------------------------------------------------------------------------------
# writing


_TYPES = {
    "boolean": "BOOLEAN",
    "integer": "INTEGER",
    "unsigned": "INTEGER",
    "real": "REAL",
    "float": "REAL",
    "text": "TEXT",
    "null": "TEXT",
    "bytes": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamp_ns": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "time": "TIME",
    "interval": "INTERVAL",
    "uuid": "UUID",
    "json": "JSON_TEXT",
    "list": "JSON_TEXT",
    "decimal": "DECIMAL",
}


def _write(connection: sqlite3.Connection, columns: list[frames.Outgoing], table: str, if_exists: str) -> None:
    schema, name = qualified(table)
    target = quoted(schema, name)
    present = _present(connection, schema, name)
    if present and if_exists == "fail":
        raise StatementError(
            f"Table {table} exists. Say what to do with it: if_exists='append' or if_exists='replace'."
        )
    if present and if_exists == "append":
        columns = frames.check_fit(columns, {key: _kind(of) for key, of in present.items()}, table)
    columns = [frames.signed(column, "SQLite") for column in columns]
    values = [_storable(column) for column in columns]
    wanted = {column.name: _type(column, stored) for column, stored in zip(columns, values)}
    if present and if_exists == "replace":
        if list(present) == list(wanted) and all(map(_is_like, present.values(), wanted.values())):
            connection.execute(f"DELETE FROM {target}")
        else:
            _refuse_loss(connection, schema, name)
            connection.execute(f"DROP TABLE {target}")
            present = {}
    if not present:
        inside = ", ".join(f"{quoted(None, key)} {of}" for key, of in wanted.items())
        connection.execute(f"CREATE TABLE {target} ({inside})")
    into = ", ".join(quoted(None, key) for key in wanted)
    places = ", ".join("?" * len(wanted))
    connection.executemany(f"INSERT INTO {target} ({into}) VALUES ({places})", zip(*values))


def _is_like(present: str, wanted: str) -> bool:
    """Tell whether a declared type reads back as another does."""
    return present == wanted or _kind(present) == _kind(wanted) != "decimal"


def _refuse_loss(connection: sqlite3.Connection, schema: str | None, name: str) -> None:
    """Refuse to replace a table by one of other columns while indexes or triggers would go with it."""
    catalog = f"{quoted(None, schema)}.sqlite_master" if schema else "sqlite_master"
    rows = connection.execute(
        f"SELECT name FROM {catalog} WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL", [name]
    ).fetchall()
    if rows:
        raise StatementError(
            f"Table {name} cannot be replaced by one of other columns: {', '.join(row[0] for row in rows)} depends on "
            f"it. Drop that first, or the table."
        )


def _present(connection: sqlite3.Connection, schema: str | None, name: str) -> dict[str, str]:
    where = f"{quoted(None, schema)}." if schema else ""
    return {row[1]: row[2] for row in connection.execute(f"PRAGMA {where}table_info({quoted(None, name)})")}


def _storable(column: frames.Outgoing) -> list[Any]:
    """List a column's values as SQLite stores them, in the same spelling as parameters."""
    if column.kind == "decimal":
        return _storable_decimals(column.array.to_pylist())
    if column.kind == "timestamp_ns":
        raise StatementError(f"Column {column.name!r} holds nanoseconds, which SQLite's timestamps here do not.")
    if column.kind in _SPELLED:
        return _SPELLED[column.kind](column.array).to_pylist()  # type: ignore[no-any-return]
    values: list[Any] = column.array.to_pylist()
    return [_adapt(value) for value in values] if column.kind == "list" else values


def _spell_moments(array: Any) -> Any:
    """Write timestamps and times of day as ISO text, fractions of a second only where there are any."""
    import pyarrow
    import pyarrow.compute as compute

    if pyarrow.types.is_timestamp(array.type):
        array, seconds = array.cast(pyarrow.timestamp("us")), pyarrow.timestamp("s")
        whole = compute.equal(compute.floor_temporal(array, unit="second"), array)
    else:
        seconds = pyarrow.time32("s")
        whole = compute.equal(compute.microsecond(array), 0)
        whole = compute.and_(whole, compute.equal(compute.millisecond(array), 0))
    coarse = array.cast(seconds, safe=False).cast(pyarrow.string())
    return compute.if_else(whole, coarse, array.cast(pyarrow.string()))


def _spell_moments_in_utc(array: Any) -> Any:
    import pyarrow.compute as compute

    return compute.binary_join_element_wise(_spell_moments(array), "+00:00", "")


_SPELLED: dict[str, Callable[[Any], Any]] = {
    "date": lambda array: array.cast("string"),
    "timestamp": _spell_moments,
    "timestamptz": _spell_moments_in_utc,
    "time": _spell_moments,
    "interval": lambda array: array.cast("int64"),
    "boolean": lambda array: array.cast("int8"),
}


def _storable_decimals(values: list[Any]) -> list[Any]:
    """Store decimals as numbers where floats stand for them all, else as text, which is exact."""
    exact = [None if value is None else decimal.Decimal(value) for value in values]
    if all(value is None or _is_float(value) for value in exact):
        return [None if value is None else float(value) for value in exact]
    return [None if value is None else str(value) for value in exact]


def _type(column: frames.Outgoing, stored: list[Any]) -> str:
    if column.kind == "decimal" and any(isinstance(value, str) for value in stored):
        return "DECIMAL_TEXT"
    return _TYPES[column.kind]
