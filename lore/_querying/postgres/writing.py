"""
Write a frame to a table by binary COPY.

Where the table is there and stays, columns take the types that it has. Types that binary COPY would need another way
into (inet, ranges, money ...) are written as text into a temporary table first and cast from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from lore._querying import frames
from lore._querying.postgres.columns import check_encoding, plain_cursor
from lore._querying.postgres.encoding import HEADER, TRAILER, encode_rows
from lore.errors import StatementError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write"]

_CHUNK_BYTES = 1 << 22
_NAME_BYTES = 63

#: The type of a new column for every kind of column; its oid.
_TYPES = {
    "boolean": ("boolean", 16),
    "integer": ("bigint", 20),
    "unsigned": ("bigint", 20),
    "real": ("real", 700),
    "float": ("double precision", 701),
    "decimal": ("numeric", 1700),
    "text": ("text", 25),
    "bytes": ("bytea", 17),
    "date": ("date", 1082),
    "timestamp": ("timestamp", 1114),
    "timestamp_ns": ("timestamp", 1114),
    "timestamptz": ("timestamptz", 1184),
    "time": ("time", 1083),
    "interval": ("interval", 1186),
    "uuid": ("uuid", 2950),
    "json": ("jsonb", 3802),
    "null": ("text", 25),
}
_ARRAYS = {
    16: 1000, 17: 1001, 20: 1016, 25: 1009, 700: 1021, 701: 1022, 1082: 1182, 1083: 1183, 1114: 1115, 1184: 1185,
    1186: 1187, 1700: 1231, 2950: 2951, 3802: 3807,
}  # fmt: skip

#: What a table's columns are to `frames.check_fit`, by their types' oids.
_KINDS = {
    16: "boolean", 17: "bytes", 19: "text", 20: "integer", 21: "integer", 23: "integer", 25: "text", 26: "integer",
    114: "json", 700: "real", 701: "float", 1042: "text", 1043: "text", 1082: "date", 1083: "time",
    1114: "timestamp", 1184: "timestamptz", 1186: "interval", 1700: "decimal", 2950: "uuid", 3802: "json",
    **dict.fromkeys((1000, 1001, 1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1115, 1182, 1183, 1185, 1187, 1231,
                     2951, 3807, 199), "list"),
}  # fmt: skip


class _Present(NamedTuple):
    """A column of a table that is there."""

    name: str
    oid: int
    type_name: str

    @property
    def kind(self) -> str | None:
        return _KINDS.get(self.oid)


class _Table(NamedTuple):
    """A table that is there."""

    oid: int
    what: str
    columns: list[_Present]


def write(connection: Any, frame: pd.DataFrame, table: str, schema: str | None = None, if_exists: str = "fail") -> int:
    """
    Write a frame to a table in the connection's transaction; the caller commits.

    Args:
        connection: a psycopg2 connection, used by nobody else meanwhile.
        frame: what to write; its index only where it has names.
        table, schema: names, taken as they are. Without a schema the search path finds or places the table.
        if_exists: "fail", "append" or "replace". "replace" keeps a table whose columns are the frame's, with its
            grants, indexes and dependants; its rows are deleted, so that readers neither wait nor see it empty. A table
            of other columns is dropped and made anew, unless something would be lost with it.

    Returns:
        The number of rows written.

    Raises:
        StatementError: the table exists, or the frame does not fit it, or cannot be replaced without a loss.
        psycopg2.Error: what the server reports.
    """
    check_encoding(connection)
    columns = frames.outgoing(frame)
    _check_names([table, *(column.name for column in columns)])
    name = f"{_quoted(schema)}.{_quoted(table)}" if schema else _quoted(table)
    with plain_cursor(connection) as cursor:
        present = _find(cursor, name)
        if present is not None and if_exists == "fail":
            raise StatementError(f"Table {name} exists; say if_exists='append' or 'replace'.")
        if present is not None and if_exists == "replace":
            present = _emptied(cursor, name, present, columns)
        if present is None:
            columns = [frames.signed(column, "PostgreSQL") for column in columns]
            cursor.execute(_create(name, columns))
            _copy(cursor, name, columns, [_oid(column) for column in columns], len(frame))
        else:
            _append(cursor, name, present, columns, len(frame))
    return len(frame)


def _check_names(names: list[str]) -> None:
    for name in names:
        if not name or len(name.encode()) > _NAME_BYTES or "\0" in name:
            raise StatementError(f"{name!r} cannot be a name in PostgreSQL: it wants 1 to {_NAME_BYTES} bytes.")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# ---------------------------------------------------------------------------------------------------------------------
# the table


_FIND = """
SELECT c.oid::int8, c.relkind::text, a.attname, coalesce(b.oid, t.oid)::int8, format_type(a.atttypid, a.atttypmod),
    coalesce(b.typtype, t.typtype)::text
FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
WHERE c.oid = pg_catalog.to_regclass(%s) ORDER BY a.attnum
"""
_WHAT = {"r": "table", "p": "table", "f": "foreign table", "v": "view", "m": "materialized view"}
_OID_OF_TEXT = 25


def _find(cursor: Any, name: str) -> _Table | None:
    cursor.execute(_FIND, (name,))
    rows = cursor.fetchall()
    if not rows:
        return None
    what = _WHAT.get(rows[0][1], "relation")
    if "table" not in what:
        raise StatementError(f"{name} is a {what}, not a table.")
    columns = [
        _Present(column, _OID_OF_TEXT if kind == "e" else oid, type_name)
        for _, _, column, oid, type_name, kind in rows
        if column is not None
    ]
    return _Table(rows[0][0], what, columns)


def _create(name: str, columns: list[frames.Outgoing]) -> str:
    lines = ", ".join(f"{_quoted(column.name)} {_type(column)}" for column in columns)
    return f"CREATE TABLE {name} ({lines})"


def _type(column: frames.Outgoing) -> str:
    """Name the type of a new column."""
    if column.kind != "list":
        return _TYPES[column.kind][0]
    return f"{_TYPES[_element_kind(column)][0]}[]"


def _oid(column: frames.Outgoing) -> int:
    if column.kind != "list":
        return _TYPES[column.kind][1]
    return _ARRAYS[_TYPES[_element_kind(column)][1]]


def _element_kind(column: frames.Outgoing) -> str:
    kind, _ = frames.kind_of_type(column.array.type.value_type)
    if kind not in _TYPES:
        raise StatementError(f"Column {column.name!r} cannot be written: it holds lists of {kind}.")
    return str(kind)


_LOSSES = """
SELECT 'grants' FROM pg_catalog.pg_class WHERE oid = %(oid)s AND relacl IS NOT NULL
UNION ALL SELECT 'grants' FROM pg_catalog.pg_attribute WHERE attrelid = %(oid)s AND attacl IS NOT NULL
UNION ALL SELECT 'index ' || indexrelid::regclass FROM pg_catalog.pg_index WHERE indrelid = %(oid)s
UNION ALL SELECT 'constraint ' || conname FROM pg_catalog.pg_constraint
    WHERE (conrelid = %(oid)s AND contype NOT IN ('p', 'u', 'x', 'n')) OR confrelid = %(oid)s
UNION ALL SELECT 'trigger ' || tgname FROM pg_catalog.pg_trigger WHERE tgrelid = %(oid)s AND NOT tgisinternal
UNION ALL SELECT 'policy ' || polname FROM pg_catalog.pg_policy WHERE polrelid = %(oid)s
UNION ALL SELECT 'default of ' || a.attname FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = %(oid)s AND (a.atthasdef OR a.attidentity <> '') AND NOT a.attisdropped
UNION ALL SELECT DISTINCT 'view ' || r.ev_class::regclass FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_catalog.pg_rewrite'::regclass
    WHERE d.refobjid = %(oid)s AND r.ev_class <> %(oid)s
UNION ALL SELECT 'child ' || inhrelid::regclass FROM pg_catalog.pg_inherits WHERE inhparent = %(oid)s
UNION ALL SELECT 'parent ' || inhparent::regclass FROM pg_catalog.pg_inherits WHERE inhrelid = %(oid)s
UNION ALL SELECT 'comments' FROM pg_catalog.pg_description WHERE objoid = %(oid)s
"""
_REFERRED = """
SELECT conrelid::regclass::text FROM pg_catalog.pg_constraint
WHERE contype = 'f' AND confrelid = %s AND conrelid <> confrelid
"""


def _emptied(cursor: Any, name: str, present: _Table, columns: list[frames.Outgoing]) -> _Table | None:
    """Take away what a table holds, or the table itself: then give None."""
    cursor.execute(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")
    losses = _losses(cursor, present)
    same = [(column.name, _oid(column)) for column in columns] == [
        (column.name, column.oid) for column in present.columns
    ]
    if same or losses:
        _check_keepable(cursor, name, present, columns, losses)
        cursor.execute(f"DELETE FROM {name}")
        return present
    cursor.execute(f"DROP TABLE {name}")
    return None


def _losses(cursor: Any, present: _Table) -> list[str]:
    cursor.execute(_LOSSES, {"oid": present.oid})
    return sorted({row[0] for row in cursor.fetchall()})


def _check_keepable(cursor: Any, name: str, present: _Table, columns: list[frames.Outgoing], losses: list[str]) -> None:
    """Raise where a table cannot take the frame in place of its rows."""
    cursor.execute(_REFERRED, (present.oid,))
    referring = [row[0] for row in cursor.fetchall()]
    if referring:
        raise StatementError(
            f"Table {name} cannot be replaced: rows of {', '.join(referring)} refer to its rows. "
            "Drop the foreign key first."
        )
    if {column.name for column in columns} == {column.name for column in present.columns}:
        frames.check_fit(columns, {column.name: column.kind for column in present.columns}, name)
        return
    raise StatementError(
        f"Table {name} has other columns than the frame, and replacing it would lose {', '.join(losses)}. "
        f"Drop the table first, or write its own columns: {', '.join(column.name for column in present.columns)}."
    )


# ---------------------------------------------------------------------------------------------------------------------
# the rows


def _append(cursor: Any, name: str, present: _Table, columns: list[frames.Outgoing], count: int) -> None:
    """Add rows to a table that is there, in its types."""
    known = {column.name: column for column in present.columns}
    columns = frames.check_fit(columns, {column.name: column.kind for column in present.columns}, name)
    columns = [_as_json(column) if known[column.name].kind == "json" else column for column in columns]
    targets = [known[column.name] for column in columns]
    odd = [target for target in targets if target.kind is None]
    if not odd:
        _copy(cursor, name, columns, [target.oid for target in targets], count)
        return
    staged = [_as_text(column) if target.kind is None else column for column, target in zip(columns, targets)]
    stage = '"lore_staged"'
    lines = ", ".join(
        f"{_quoted(target.name)} {'text' if target.kind is None else _bare(target.type_name)}" for target in targets
    )
    cursor.execute(f"CREATE TEMPORARY TABLE {stage} ({lines}) ON COMMIT DROP")
    oids = [_OID_OF_TEXT if target.kind is None else target.oid for target in targets]
    _copy(cursor, f"pg_temp.{stage}", staged, oids, count)
    names = ", ".join(_quoted(target.name) for target in targets)
    casts = ", ".join(
        f"{_quoted(target.name)}::{target.type_name}" if target.kind is None else _quoted(target.name)
        for target in targets
    )
    cursor.execute(f"INSERT INTO {name} ({names}) SELECT {casts} FROM pg_temp.{stage}")
    cursor.execute(f"DROP TABLE pg_temp.{stage}")


def _bare(type_name: str) -> str:
    """Drop a type's length, so that it is the table that refuses what does not fit."""
    return re.sub(r"\(\d+(,-?\d+)?\)", "", type_name)


def _as_text(column: frames.Outgoing) -> frames.Outgoing:
    import pyarrow as pa

    if column.kind not in ("text", "null"):
        raise StatementError(
            f"Column {column.name!r} holds {column.kind}; for its type in the table, write it as text."
        )
    return column._replace(array=column.array.cast(pa.string()))


def _as_json(column: frames.Outgoing) -> frames.Outgoing:
    """Write lists as JSON, where the table wants that."""
    import pyarrow as pa

    from lore._querying.statements import to_json

    if column.kind != "list":
        return column
    texts = [None if value is None else to_json(value) for value in column.array.to_pylist()]
    return column._replace(kind="json", array=pa.array(texts, pa.string()))


def _copy(cursor: Any, name: str, columns: list[frames.Outgoing], oids: list[int], count: int) -> None:
    names = ", ".join(_quoted(column.name) for column in columns)
    rows = _Source(_chunks(columns, oids, count))
    try:
        cursor.copy_expert(f"COPY {name} ({names}) FROM STDIN (FORMAT binary)", rows, size=1 << 17)
    except Exception:
        # psycopg2 has cancelled the COPY, and reports that rather than the reason.
        if rows.error is not None:
            raise rows.error from None
        raise


def _chunks(columns: list[frames.Outgoing], oids: list[int], count: int) -> Iterator[memoryview]:
    """Encode some rows at a time."""
    yield memoryview(HEADER)
    nbytes = sum(column.array.nbytes for column in columns)
    step = max(1, min(65_536, _CHUNK_BYTES * count // max(nbytes, 1)))
    for first in range(0, count, step):
        size = min(step, count - first)
        parts = [(column.name, column.array.slice(first, size), oid) for column, oid in zip(columns, oids)]
        yield encode_rows(parts, size)
    yield memoryview(TRAILER)


class _Source:
    """What `copy_expert` reads from; an error of ours on the way reaches the caller as it is."""

    def __init__(self, chunks: Iterator[memoryview]) -> None:
        self.error: BaseException | None = None
        self._chunks = chunks
        self._chunk = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Give the next bytes, none at the end."""
        try:
            while not self._chunk:
                self._chunk = next(self._chunks)
        except StopIteration:
            return b""
        except BaseException as error:
            self.error = error
            raise
        part, self._chunk = self._chunk[:size], self._chunk[size:]
        return bytes(part)
