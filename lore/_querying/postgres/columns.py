"""
From a statement to its columns: what the server says about their types, and the COPY that fetches them.
"""

from __future__ import annotations

import re
from typing import Any

from lore._querying.postgres.types import ArrayColumn, Column, Style, TextColumn, column_for
from lore.errors import QueryError

__all__ = ["check_encoding", "columns_of", "copy_statement", "describe", "is_copyable", "plain_cursor", "trim"]

_TOKEN = re.compile(
    r"""(?P<code>
          (?<!\w)[eE]'(?:[^'\\]|\\.|'')*'
        | '(?:[^']|'')*'
        | "(?:[^"]|"")*"
        | (?<!\w)\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$
        | [^\s;'"/$-]+
        | .
        )""",
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"(?:\s+|--[^\n]*(?:\n|$))+")
_COMMENT_MARK = re.compile(r"/\*|\*/")
_SELECTING = ("SELECT", "WITH", "VALUES", "TABLE")

_CATALOG = """
SELECT t.oid, t.typname, t.typtype, t.typcategory, t.typelem, t.typbasetype
FROM pg_catalog.pg_type t WHERE t.oid = ANY(%s)
"""


def check_encoding(connection: Any) -> None:
    """
    Make sure that the connection's texts are UTF-8.

    Raises:
        QueryError: they are something else.
    """
    if connection.encoding not in ("UTF8", "UNICODE"):
        raise QueryError(
            f"the connection speaks {connection.encoding}; lore needs UTF-8: add client_encoding=utf8 to the URL"
        )


def plain_cursor(connection: Any) -> Any:
    """Open a cursor whose rows are tuples of plain numbers and texts, whatever the connection's own cursors give."""
    from psycopg2 import extensions

    cursor = connection.cursor(cursor_factory=extensions.cursor)
    for caster in (extensions.INTEGER, extensions.LONGINTEGER, extensions.UNICODE):
        extensions.register_type(caster, cursor)
    return cursor


def trim(statement: str) -> str:
    """
    Take off the semicolon that ends a statement, and what follows it.

    >>> trim("SELECT ';' /* ; */ ; -- done;")
    "SELECT ';' /* ; */ "
    """
    end: int | None = None
    for at, token in _code(statement):
        if token != ";":
            end = None
        elif end is None:
            end = at
    return statement if end is None else statement[:end]


def is_copyable(statement: str) -> bool:
    """Tell whether a statement is a query that COPY takes, by its first word."""
    for _, token in _code(statement):
        if token.lstrip("("):
            word = re.match(r"\w*", token.lstrip("("))
            return word is not None and word[0].upper() in _SELECTING
    return False


def _code(statement: str) -> Any:
    """Yield (position, token) of everything that is neither space nor comment."""
    at = 0
    while at < len(statement):
        if space := _SPACE.match(statement, at):
            at = space.end()
        elif statement.startswith("/*", at):
            at = _after_comment(statement, at)
        else:
            token = _TOKEN.match(statement, at)
            assert token is not None
            yield at, token[0]
            at = token.end()


def _after_comment(statement: str, at: int) -> int:
    """Find the end of a comment; they nest."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(statement, at):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(statement)


def describe(connection: Any, statement: str, style: Style) -> list[Column]:
    """
    Ask the server for the columns of a query without running it.

    Raises:
        psycopg2.Error: the statement is wrong, as the server would say when running it.
    """
    with plain_cursor(connection) as cursor:
        cursor.execute(f"SELECT * FROM ({statement}\n) AS lore LIMIT 0")
        return columns_of(connection, cursor.description or (), style)


def columns_of(connection: Any, description: Any, style: Style) -> list[Column]:
    """Make the columns of a cursor's description."""
    types = {item.type_code for item in description}
    catalog: dict[int, Any] = {}
    unknown = {oid for oid in types if column_for("", oid, style) is None}
    while unknown:
        rows = _look_up(connection, unknown)
        catalog.update(rows)
        referred = {oid for row in rows.values() for oid in (row[3], row[4]) if oid}
        unknown = {oid for oid in referred if oid not in catalog and column_for("", oid, style) is None}
    return [_column(item.name, item.type_code, style, catalog, item.precision, item.scale) for item in description]


def _look_up(connection: Any, oids: set[int]) -> dict[int, Any]:
    with plain_cursor(connection) as cursor:
        cursor.execute(_CATALOG, (list(oids),))
        found = {row[0]: row[1:] for row in cursor.fetchall()}
    return {oid: found.get(oid, ("", "", "", 0, 0)) for oid in oids}


def _column(
    name: str, oid: int, style: Style, catalog: dict[int, Any], precision: int | None = None, scale: int | None = None
) -> Column:
    """Make one column; what the catalog does not explain either is fetched as its text."""
    if (known := column_for(name, oid, style, precision, scale)) is not None:
        return known
    label, kind, category, element, base = catalog[oid]
    if kind == "d":
        return _column(name, base, style, catalog)
    if kind == "e":
        return TextColumn(name, style)
    # A box's array is the one whose elements are not separated by commas.
    if category == "A" and element and label not in ("int2vector", "oidvector", "_box"):
        inner = _column(name, element, style, catalog)
        return ArrayColumn(name, style, inner, None if inner.cast is None else "{}::text[]")
    return TextColumn(name, style, "{}::text")


def copy_statement(statement: str, columns: list[Column]) -> str:
    """
    Write the COPY that fetches those columns.

    Casts are made around the statement, whose columns get names of our own, so that theirs may be anything.
    """
    query = f"{statement}\n"
    if any(column.cast for column in columns):
        names = [f"c{number}" for number in range(len(columns))]
        wanted = (column.cast.format(name) if column.cast else name for column, name in zip(columns, names))
        query = f"SELECT {', '.join(wanted)} FROM ({statement}\n) AS lore({', '.join(names)})"
    return f"COPY ({query}) TO STDOUT (FORMAT binary)"
