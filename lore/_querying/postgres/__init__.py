"""
Read from and write to PostgreSQL over psycopg2, at the speed of COPY.

A query is fetched as binary COPY and decoded by column while another thread reads on; what COPY refuses (SHOW,
EXPLAIN, EXECUTE ...) goes through a plain cursor. Types come from the server's own description of the result, never
from values, so an empty result and every chunk of a stream have the types of the whole. `types` has the table of them.

Transactions, timeouts and retries are the caller's: every function here runs in the connection's current transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lore._extras import require
from lore._querying.postgres.cells import padding, walk
from lore._querying.postgres.columns import (
    check_encoding,
    columns_of,
    copy_statement,
    describe,
    is_copyable,
    plain_cursor,
    trim,
)
from lore._querying.postgres.copying import pieces
from lore._querying.postgres.types import Column, Style
from lore._querying.postgres.writing import write

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Progress", "plan", "read", "stream", "write"]

Progress: TypeAlias = Callable[[int, int], object]
"""Called with the rows and bytes received so far."""

Dtypes: TypeAlias = Literal["pandas", "arrow"]
Decimals: TypeAlias = Literal["float", "exact"]

_CURSOR_ROWS = 10_000


def plan(connection: Any, statement: str) -> str:
    """Tell the way a statement would be fetched, without asking the server: "copy binary" or "cursor"."""
    return "copy binary" if is_copyable(statement) else "cursor"


def read(
    connection: Any,
    statement: str,
    *,
    dtypes: Dtypes = "pandas",
    decimal: Decimals = "float",
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """
    Run a query and give its whole result.

    Args:
        connection: a psycopg2 connection, in the transaction that the query should see; used by nobody else meanwhile.
        statement: one SQL statement with its parameters already in it; a semicolon and comments may end it.
        dtypes: "pandas" for numpy and pandas types, "arrow" for Arrow-backed columns.
        decimal: what becomes of numeric: "float", correctly rounded, or "exact" decimals.
        on_progress: called with rows and bytes so far, after every piece of about 1 MB.

    Returns:
        A frame with the result's columns, named as the server names them (twice, if it does). Integers and booleans are
        int64 and bool where no NULL occurs and Int64 and boolean where one does.

    Raises:
        psycopg2.Error: what the server reports.
        QueryError: a value has no counterpart (infinite dates, intervals with months ...); names the column.
    """
    result = _Result(connection, statement, _style(connection, dtypes, decimal), on_progress)
    parts = result.new()
    count = 0
    for rows, piece in result.fetch(None):
        count += rows
        _extend(parts, piece)
    return _frame(result.columns, parts, count, nullable=False)


def stream(
    connection: Any,
    statement: str,
    rows: int = 65_536,
    *,
    dtypes: Dtypes = "pandas",
    decimal: Decimals = "float",
    on_progress: Progress | None = None,
) -> Iterator[pd.DataFrame]:
    """
    Run a query and yield its result in frames, in constant memory.

    The server is read only as fast as frames are taken. All frames have the same types: integers are Int64 and booleans
    boolean, whether NULLs occur or not. An empty result is one empty frame.

    Args:
        rows: rows of every frame but the last.

    Yields:
        Frames; closing the iterator early cancels the query at the server.
    """
    result = _Result(connection, statement, _style(connection, dtypes, decimal), on_progress)
    parts = result.new()
    count = yielded = 0
    for found, piece in result.fetch(rows):
        _extend(parts, piece)
        count += found
        if count == rows:
            yield _frame(result.columns, parts, count, nullable=True)
            yielded += 1
            parts, count = result.new(), 0
    if count or not yielded:
        yield _frame(result.columns, parts, count, nullable=True)


def _style(connection: Any, dtypes: Dtypes, decimal: Decimals) -> Style:
    unchecked = connection.info.parameter_status("server_encoding") in (None, "SQL_ASCII")
    return Style(arrow=dtypes == "arrow", exact=decimal == "exact", unchecked=unchecked)


class _Result:
    """One query's columns, and its rows as parts of them."""

    def __init__(self, connection: Any, statement: str, style: Style, on_progress: Progress | None) -> None:
        for package in ("pandas", "pyarrow"):
            require(package, extra="sql")
        check_encoding(connection)
        self.connection = connection
        self.style = style
        self.statement = trim(statement)
        self.on_progress = on_progress
        self.columns: list[Column] = []
        self._rows: Any = None
        if is_copyable(self.statement):
            self.columns = describe(connection, self.statement, style)
        else:
            self._rows = self._run()

    def new(self) -> list[list[Any]]:
        """Make an empty list of parts for every column."""
        return [[] for _ in self.columns]

    def fetch(self, limit: int | None) -> Iterator[tuple[int, list[Any]]]:
        """Yield (rows, one part for every column); where a limit is given, a multiple of it is never crossed."""
        if self._rows is not None:
            return self._parsed(limit)
        return self._decoded(limit)

    def _decoded(self, limit: int | None) -> Iterator[tuple[int, list[Any]]]:
        pad = padding(self.columns)
        count = nbytes = 0
        source = pieces(self.connection, copy_statement(self.statement, self.columns), pad)
        try:
            for piece in source:
                nbytes += piece.nbytes
                first = 0
                while first < len(piece):
                    last = len(piece) if limit is None else min(len(piece), first + limit - count % limit)
                    part = piece.rows(first, last)
                    count += len(part)
                    first = last
                    yield len(part), self._decode(part)
                if self.on_progress is not None:
                    self.on_progress(count, nbytes)
        finally:
            source.close()  # type: ignore[attr-defined]

    def _decode(self, piece: Any) -> list[Any]:
        return [column.decode(cells) for column, cells in zip(self.columns, walk(piece, self.columns))]

    def _run(self) -> Any:
        """Run the statement with a plain cursor whose values are the server's texts."""
        from psycopg2 import extensions

        cursor = plain_cursor(self.connection)
        known = (*extensions.string_types, *self.connection.string_types)
        extensions.register_type(extensions.new_type(known, "LORE_TEXT", lambda value, _: value), cursor)
        cursor.execute(self.statement)
        self.columns = columns_of(self.connection, cursor.description or (), self.style)
        return cursor

    def _parsed(self, limit: int | None) -> Iterator[tuple[int, list[Any]]]:
        count = nbytes = 0
        size = _CURSOR_ROWS if limit is None else limit
        with self._rows as cursor:
            if cursor.description is None:
                return
            while rows := cursor.fetchmany(size):
                count += len(rows)
                nbytes += sum(len(text) for row in rows for text in row if text is not None)
                texts = zip(*rows) if self.columns else ()
                yield len(rows), [column.parse(values) for column, values in zip(self.columns, texts)]
                if self.on_progress is not None:
                    self.on_progress(count, nbytes)


def _extend(parts: list[list[Any]], piece: list[Any]) -> None:
    for collected, part in zip(parts, piece):
        collected.append(part)


def _frame(columns: list[Column], parts: list[list[Any]], count: int, *, nullable: bool) -> pd.DataFrame:
    """Join the parts, column after column, into a frame."""
    import pandas as pd

    built = {number: column.build(parts[number], nullable) for number, column in enumerate(columns)}
    for number, values in built.items():
        if values.dtype == object:  # a bare array of objects that are all texts (JSON) would become a column of text
            built[number] = pd.Series(values, dtype=object)
    # Many small blocks would make pandas warn about fragmentation when a column is added.
    frame = pd.DataFrame(built, index=pd.RangeIndex(count), copy=len(columns) > 100)
    frame.columns = pd.Index([column.name for column in columns], dtype="str")
    return frame
