"""
DuckDB: the database that needs no server.

Rows come as Arrow and keep its memory where pandas allows. `lore._querying.sharing` sees to it that several processes
get along with one file.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lore._extras import require
from lore._querying import frames, tables
from lore._querying.connections import Plan, qualified, quoted
from lore._querying.failures import query_error, refuse_missing_folder
from lore._querying.running import Watch
from lore._querying.sharing import file_of, memory_of, prepared
from lore._querying.statements import Statement, render, to_json
from lore.errors import QueryError, StatementError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DuckDB"]

_INCOMING = "lore_incoming_frame"


class DuckDB:
    """
    A DuckDB file, or a database in this process's memory.

    Args:
        path: the file; None for memory.
        url: what the user calls it, for messages.
        optional: whether the file's folder, too, may be missing when queries run.
    """

    backslashes = False
    bound_to_thread = False
    dialect = None

    def __init__(self, path: str | None, url: str, *, optional: bool = False) -> None:
        self.label = url
        self.path = path
        self.optional = optional
        self._file = file_of(path) if path else None

    def read(self, statement: Statement, plan: Plan, watch: Watch) -> pd.DataFrame:
        """Run a statement and return its rows."""
        with self._failures(statement), self._reading(watch) as cursor:
            relation = self._start(cursor, statement, plan, watch)
            if relation is None:
                return tables.Collector([], plan.shape()).frame()
            relation, columns = _without_strangers(relation)
            table = relation.to_arrow_table()
        return _frame(table, columns, plan.shape())

    @contextlib.contextmanager
    def stream(self, statement: Statement, plan: Plan, watch: Watch, rows: int) -> Iterator[Iterator[pd.DataFrame]]:
        """Run a statement and give its rows in frames of `rows`; leaving the context ends the query."""
        hold = contextlib.ExitStack()
        with hold:
            with self._failures(statement):
                cursor = hold.enter_context(self._reading(watch))
                relation = self._start(cursor, statement, plan, watch)
                if relation is None:
                    yield iter(())
                    return
                relation, columns = _without_strangers(relation)
                reader = relation.to_arrow_reader(min(rows, 1_000_000))
            batches = _Batches(reader, hold.pop_all())
            if self._file is not None:
                self._file.streams.add(batches)
            try:
                yield self._frames(batches, columns, statement, plan, rows)
            finally:
                batches.close()

    def _frames(
        self, batches: _Batches, columns: list[tables.Column], statement: Statement, plan: Plan, rows: int
    ) -> Iterator[pd.DataFrame]:
        shape, nothing = plan.shape(stable=True), True
        with self._failures(statement):
            for table in _in_portions(batches, rows):
                nothing = False
                yield _frame(table, columns, shape)
            if nothing:
                yield _frame(batches.schema.empty_table(), columns, shape)

    def write(self, frame: pd.DataFrame, table: str, if_exists: str, watch: Watch) -> int:
        """Write a frame in one transaction; return the number of rows."""
        columns = frames.outgoing(frame)
        owner = f"write_sql to {table}"
        with _translated(owner, self.label, ()), self._writing(watch) as connection:
            watch.attach(connection.interrupt)
            prepared(connection)
            connection.execute("BEGIN TRANSACTION")
            try:
                _write(connection, columns, table, if_exists)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(Exception):
                    connection.execute("ROLLBACK")
                raise
            finally:
                watch.attach(None)
                with contextlib.suppress(Exception):
                    connection.unregister(_INCOMING)
        return len(frame)

    def files(self, statement: Statement) -> list[str]:
        """List the local files and patterns that a statement reads in place: those in its literals or values."""
        paths = [path.replace("''", "'") for path in _LITERAL.findall(statement.statement)]
        for value in statement.values.values():
            paths += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
        return [path for path in dict.fromkeys(paths) if _is_file(path)]

    def way(self, statement: Statement) -> str:
        """Say how rows travel: as Arrow, whatever the statement."""
        return "duckdb arrow"

    # -----------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self, watch: Watch) -> Iterator[Any]:
        """Hold a cursor that reads only."""
        file = self._file
        if file is None or not os.path.exists(file.path):
            if file is not None and not self.optional:
                refuse_missing_folder(file.path, self.label)
            root = memory_of(self.path or "")
            with _read_only(prepared(root.cursor()), True) as cursor:
                yield cursor
            return
        with file.reading(watch) as (cursor, shared), _read_only(cursor, shared):
            yield cursor

    @contextlib.contextmanager
    def _writing(self, watch: Watch) -> Iterator[Any]:
        if self._file is None:
            connection = memory_of("").cursor()
            try:
                yield connection
            finally:
                connection.close()
        else:
            with self._file.writing(watch) as connection:
                yield connection

    def _start(self, cursor: Any, statement: Statement, plan: Plan, watch: Watch) -> Any:
        """Begin a statement; nothing has run yet when this returns, except what cannot wait."""
        text, values = render(statement, placeholder="${}".format, adapt=_adapt, tag=plan.tag, long=_unnested)
        _refuse_writing(cursor, text, statement.owner)
        watch.attach(cursor.interrupt)
        return cursor.sql(text, params=values or None)

    @contextlib.contextmanager
    def _failures(self, statement: Statement) -> Iterator[None]:
        missing = self._file is not None and not os.path.exists(self._file.path)
        label = f"{self.label}, a file that does not exist yet" if missing else self.label
        with _translated(statement.owner, label, statement.values.values()):
            yield


def _adapt(value: Any) -> Any:
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
        return to_json(value)
    return value


def _unnested(members: list[Any]) -> str | None:
    """Spell a long list as one array, where its members are of one plain type."""
    types = {type(member) for member in members} - {type(None)}
    return "SELECT unnest({})" if len(types) == 1 and not types & {dict, list, tuple} else None


_READERS = frozenset({"SELECT", "EXPLAIN", "MULTI", "PRAGMA", "CALL", "RELATION"})


def _refuse_writing(cursor: Any, text: str, owner: str) -> None:
    """Refuse what writes outside of the database, which a read-only connection does not stop: COPY TO, ATTACH, SET."""
    duckdb = require("duckdb", extra="sql")
    try:
        kinds = [statement.type.name for statement in cursor.extract_statements(text)]
    except duckdb.Error:
        return  # running it gives the better message
    for kind in kinds:
        if kind not in _READERS:
            raise QueryError(f"{owner}: a source only reads, and this is a statement of kind {kind}.")


@contextlib.contextmanager
def _translated(owner: str, label: str, values: Any) -> Iterator[None]:
    duckdb = require("duckdb", extra="sql")
    try:
        yield
        return
    except duckdb.Error as error:
        message = _message(str(error))
        catalog = isinstance(error, duckdb.CatalogException | duckdb.BinderException)
    except (RuntimeError, UnicodeError) as error:
        message, catalog = str(error) if isinstance(error, RuntimeError) else "a text is not valid Unicode", False
    raise query_error(message, owner, label, () if catalog else values)


def _message(text: str) -> str:
    """Leave out the statement that DuckDB repeats below its message, and its guess where that is a table of its own."""
    text = re.sub(r'Did you mean "(?:pg_|sqlite_|duckdb_)\w*"\?', "", text.partition("\n\nLINE ")[0])
    return re.sub(r"\s+", " ", text).strip()


@contextlib.contextmanager
def _read_only(cursor: Any, shared: bool) -> Iterator[Any]:
    """Keep a cursor of a database that this process may also write to from writing."""
    if not shared:
        yield cursor
        return
    cursor.execute("BEGIN TRANSACTION READ ONLY")
    try:
        yield cursor
    finally:
        with contextlib.suppress(Exception):
            cursor.execute("ROLLBACK")


# ---------------------------------------------------------------------------------------------------------------------
# types


_KINDS = {
    "BOOLEAN": "boolean",
    "TINYINT": "integer",
    "SMALLINT": "integer",
    "INTEGER": "integer",
    "BIGINT": "integer",
    "UTINYINT": "integer",
    "USMALLINT": "integer",
    "UINTEGER": "integer",
    "UBIGINT": "integer",
    "HUGEINT": "huge",
    "UHUGEINT": "huge",
    "FLOAT": "real",
    "DOUBLE": "float",
    "VARCHAR": "text",
    "BLOB": "bytes",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp_ns",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "TIMESTAMPTZ": "timestamptz",
    "TIME": "time",
    "INTERVAL": "interval",
    "UUID": "uuid",
    "JSON": "json",
}
_FAMILIES = {"DECIMAL(": "decimal", "ENUM(": "text"}
# What Arrow has no faithful type for comes as text.
_STRANGERS = {"BIT": "text", "BIGNUM": "digits", "TIME WITH TIME ZONE": "text", "TIME_NS": "text", "GEOMETRY": "text"}


def _kind(sql_type: str) -> str:
    if sql_type in _KINDS:
        return _KINDS[sql_type]
    return next((kind for family, kind in _FAMILIES.items() if sql_type.startswith(family)), "object")


def _without_strangers(relation: Any) -> tuple[Any, list[tables.Column]]:
    """Cast columns to text whose types have no faithful counterpart in Arrow; return also the columns' kinds."""
    names, types = relation.columns, [str(of) for of in relation.types]
    columns = [tables.Column(name, _STRANGERS.get(of) or _kind(of)) for name, of in zip(names, types)]
    if not any(of in _STRANGERS for of in types):
        return relation, columns
    chosen = (f"CAST(#{n} AS VARCHAR)" if of in _STRANGERS else f"#{n}" for n, of in enumerate(types, 1))
    return relation.project(", ".join(chosen)), columns


def _frame(table: Any, columns: list[tables.Column], shape: tables.Shape) -> pd.DataFrame:
    for position, column in enumerate(columns):
        if column.kind in {"date", "timestamp", "timestamptz", "timestamp_ns"}:
            _refuse_infinity(table.column(position), column.name)
    return tables.from_arrow(table, columns, shape)


def _refuse_infinity(column: Any, name: str) -> None:
    import pyarrow
    import pyarrow.compute as compute

    wide = pyarrow.types.is_date32(column.type)
    numbers = column.cast(pyarrow.int32() if wide else pyarrow.int64())
    ends = compute.min_max(numbers).as_py()
    limit = 2**31 - 1 if wide else 2**63 - 1
    if ends["max"] is not None and (ends["max"] == limit or ends["min"] <= -limit):
        raise QueryError(f"Column {name!r} holds infinity, which a DataFrame has no date for; cast it to text.")


# ---------------------------------------------------------------------------------------------------------------------
# files that a statement reads in place


_LITERAL = re.compile(r"'((?:[^']|'')+)'")
_SUFFIX = re.compile(r"\.(?:parquet|csv|tsv|txt|json|jsonl|ndjson|db|arrow)(?:\.\w+)?\Z", re.IGNORECASE)


def _is_file(path: str) -> bool:
    """Tell whether a text names a file, or at least one as a pattern with a suffix of data or inside a folder."""
    if not glob.has_magic(path):
        return os.path.isfile(path)
    return bool(_SUFFIX.search(path) or ("/" in path and "**" not in path)) and any(
        glob.iglob(path, recursive=True, include_hidden=True)
    )


# ---------------------------------------------------------------------------------------------------------------------
# writing


_TYPES = {
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "unsigned": "UBIGINT",
    "real": "FLOAT",
    "float": "DOUBLE",
    "text": "VARCHAR",
    "null": "VARCHAR",
    "bytes": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamp_ns": "TIMESTAMP_NS",
    "timestamptz": "TIMESTAMPTZ",
    "time": "TIME",
    "interval": "INTERVAL",
    "uuid": "UUID",
    "json": "JSON",
}


def _write(connection: Any, columns: list[frames.Outgoing], table: str, if_exists: str) -> None:
    import pyarrow

    schema, name = qualified(table)
    target = quoted(schema, name)
    present = _present(connection, schema, name)
    if present is not None and if_exists == "fail":
        raise StatementError(
            f"Table {table} exists. Say what to do with it: if_exists='append' or if_exists='replace'."
        )
    if present is not None and if_exists == "append":
        columns = frames.check_fit(columns, {key: _kind_of_column(of) for key, of in present.items()}, table)
    arrays = [_writable(column) for column in columns]
    names = [column.name for column in columns]
    connection.register(_INCOMING, pyarrow.table(arrays, names=[f"c{n}" for n in range(len(arrays))]))
    if present is None or if_exists == "replace":
        _create(connection, columns, arrays, schema, name, present)
    into = ", ".join(quoted(None, column) for column in names)
    chosen = ", ".join(_cast(column, array, n) for n, (column, array) in enumerate(zip(columns, arrays)))
    connection.execute(f"INSERT INTO {target} ({into}) SELECT {chosen} FROM {_INCOMING}")


def _create(
    connection: Any,
    columns: list[frames.Outgoing],
    arrays: list[Any],
    schema: str | None,
    name: str,
    present: dict[str, str] | None,
) -> None:
    """Make the table anew; one that already has these columns is emptied instead and keeps its indexes."""
    target = quoted(schema, name)
    wanted = {column.name: _type(column, array) for column, array in zip(columns, arrays)}
    if present is not None and list(present) == list(wanted) and all(map(_is_like, present.values(), wanted.values())):
        connection.execute(f"DELETE FROM {target}")
        return
    if schema is not None:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(None, schema)}")
    if present is not None:
        _refuse_loss(connection, schema, name)
        connection.execute(f"DROP TABLE {target}")
    inside = ", ".join(f"{quoted(None, column)} {of}" for column, of in wanted.items())
    connection.execute(f"CREATE TABLE {target} ({inside})")


def _is_like(present: str, wanted: str) -> bool:
    """Tell whether a column's type reads back as another does and holds as much."""
    same = _kind(present) == _kind(wanted) and _kind(wanted) in {"timestamptz", "text", "timestamp"}
    return present == wanted or (same and present != "TIMESTAMP_S")


def _refuse_loss(connection: Any, schema: str | None, name: str) -> None:
    """Refuse to replace a table by one of other columns while indexes would go with it."""
    rows = connection.execute(
        "SELECT index_name FROM duckdb_indexes() WHERE table_name = $1 AND schema_name = coalesce($2, "
        "current_schema()) AND database_name = current_database()",
        [name, schema],
    ).fetchall()
    if rows:
        raise StatementError(
            f"Table {name} cannot be replaced by one of other columns: index {', '.join(row[0] for row in rows)} "
            f"depends on it. Drop that first, or the table."
        )


def _present(connection: Any, schema: str | None, name: str) -> dict[str, str] | None:
    rows = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = $1 AND schema_name = coalesce($2, "
        "current_schema()) AND database_name = current_database() ORDER BY column_index",
        [name, schema],
    ).fetchall()
    return dict(rows) or None


def _kind_of_column(sql_type: str) -> str | None:
    if sql_type.startswith("ENUM("):
        return "enum"
    if sql_type.endswith("]"):
        return "list"
    return _kind(sql_type)


def _type(column: frames.Outgoing, array: Any) -> str:
    if column.kind == "decimal":
        of = array.type
        if not hasattr(of, "scale"):
            raise StatementError(f"Column {column.name!r} holds decimals beyond 38 digits or NaN, which DuckDB lacks.")
        return f"DECIMAL({max(of.precision, of.scale)},{max(0, of.scale)})"
    if column.kind == "list":
        inner, _ = frames.kind_of_type(array.type.value_type)
        return f"{_TYPES[inner]}[]" if inner in _TYPES else "DOUBLE[]"
    return _TYPES[column.kind]


def _writable(column: frames.Outgoing) -> Any:
    import pyarrow

    array = column.array
    return array.cast(pyarrow.string()) if column.kind == "null" else array


def _cast(column: frames.Outgoing, array: Any, position: int) -> str:
    if column.kind in {"uuid", "json", "decimal", "list"}:
        return f"CAST(c{position} AS {_type(column, array)})"
    return f"c{position}"


# ---------------------------------------------------------------------------------------------------------------------
# streams


class _Batches:
    """
    The Arrow batches of a stream, read from the query or, once it had to make way for a writer, from a file.

    Threads: one reader; any thread may `spool` or `close`.
    """

    def __init__(self, reader: Any, hold: contextlib.ExitStack) -> None:
        self.schema = reader.schema
        self._source: Any = reader
        self._hold = hold
        self._reading_lock = threading.RLock()

    def __iter__(self) -> Iterator[Any]:
        while True:
            with self._reading_lock:
                try:
                    batch = self._source.read_next_batch() if self._source is not None else None
                except StopIteration:
                    batch = None
            if batch is None:
                return
            yield batch

    def spool(self) -> None:
        """Move what is left to a temporary file and let the database go."""
        import pyarrow

        with self._reading_lock:
            if self._source is None or isinstance(self._source, _Spooled):
                return
            rest = tempfile.TemporaryFile(prefix="lore-stream-")  # noqa: SIM115
            with pyarrow.ipc.new_stream(rest, self.schema) as writer:
                for batch in self._source:
                    writer.write_batch(batch)
            rest.seek(0)
            self._source = _Spooled(rest, pyarrow.ipc.open_stream(rest))
            self._hold.close()

    def close(self) -> None:
        """End the query."""
        with self._reading_lock:
            if isinstance(self._source, _Spooled):
                self._source.close()
            self._source = None
            self._hold.close()


class _Spooled:
    """What was left of a stream, in a file without a name."""

    def __init__(self, file: Any, reader: Any) -> None:
        self._file = file
        self._reader = reader

    def read_next_batch(self) -> Any:
        return self._reader.read_next_batch()

    def close(self) -> None:
        self._file.close()


def _in_portions(batches: _Batches, rows: int) -> Iterator[Any]:
    """Give tables of exactly `rows` rows, the last one with what is left."""
    import pyarrow

    held: list[Any] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        while count >= rows:
            table = pyarrow.Table.from_batches(held, batches.schema)
            yield table.slice(0, rows)
            rest = table.slice(rows)
            held, count = rest.to_batches(), rest.num_rows
            del table, rest
    if count:
        yield pyarrow.Table.from_batches(held, batches.schema)
