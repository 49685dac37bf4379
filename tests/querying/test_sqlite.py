"""SQLite: declared types, values that do not fit them, what other programs wrote, locks."""

from __future__ import annotations

import datetime as dt
import decimal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lore.errors import QueryError, SourceTimeout, StatementError
from lore.io import query, sql_source, write_sql


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of Python's own, beside lore's."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture
def url(path: Path, plain: sqlite3.Connection) -> str:
    return f"sqlite:///{path}"


@pytest.mark.parametrize(
    ("declared", "stored", "dtype", "expected"),
    [
        ("INTEGER", 3, "int64", 3),
        ("BIGINT", None, "Int64", pd.NA),
        ("BOOLEAN", 1, "bool", True),
        ("DATE", "2020-02-29", "datetime64[s]", pd.Timestamp("2020-02-29")),
        ("DATETIME", "2020-02-29 01:02:03", "datetime64[us]", pd.Timestamp("2020-02-29 01:02:03")),
        ("TIMESTAMP", "2020-02-29T01:02:03.5", "datetime64[us]", pd.Timestamp("2020-02-29 01:02:03.5")),
        (
            "TIMESTAMP WITH TIME ZONE",
            "2020-01-01 02:00:00+02:00",
            "datetime64[us, UTC]",
            pd.Timestamp("2020-01-01", tz="UTC"),
        ),
        ("TIMESTAMPTZ", "2020-01-01 00:00:00", "datetime64[us, UTC]", pd.Timestamp("2020-01-01", tz="UTC")),
        ("TIME", "01:02:03", "object", dt.time(1, 2, 3)),
        ("REAL", 1, "float64", 1.0),
        ("DOUBLE PRECISION", None, "float64", pd.NA),
        ("DECIMAL(10, 2)", 0.3, "float64", 0.3),
        ("VARCHAR(20)", "", "str", ""),
        ("TEXT", None, "str", pd.NA),
        ("BLOB", b"\x00", "object", b"\x00"),
        ("JSON", '{"a": 1}', "object", {"a": 1}),
        ("", "anything", "str", "anything"),
    ],
)
def test_declared_types(
    url: str, plain: sqlite3.Connection, declared: str, stored: Any, dtype: str, expected: Any
) -> None:
    """A column has the type that its table declares."""
    plain.execute(f"CREATE TABLE t (c {declared})")
    plain.execute("INSERT INTO t VALUES (?)", [stored])
    column = query("SELECT c FROM t", url)["c"]
    assert dtype == str(column.dtype)
    assert pd.isna(column[0]) if expected is pd.NA else expected == column[0]
    empty = query("SELECT c FROM t WHERE 1 = 0", url)["c"]
    if declared:
        assert dtype.replace("Int64", "int64") == str(empty.dtype)


@pytest.mark.parametrize(
    ("declared", "odd"), [("INTEGER", "abc"), ("DATE", "yesterday"), ("BOOLEAN", 7), ("JSON", "{"), ("REAL", "x")]
)
def test_values_that_do_not_fit_their_declaration(url: str, plain: sqlite3.Connection, declared: str, odd: Any) -> None:
    """A value of another type, as SQLite allows, is kept as it is, and a stream says so instead of guessing."""
    plain.execute(f"CREATE TABLE t (c {declared})")
    plain.executemany("INSERT INTO t VALUES (?)", [[None], [odd]])
    column = query("SELECT c FROM t", url)["c"]
    assert ("object", odd) == (str(column.dtype), column[1])

    @sql_source(url)
    def f() -> str:
        return "SELECT c FROM t"

    with pytest.raises(QueryError, match="'c'"):
        list(f.stream())


def test_computed_columns(url: str) -> None:
    """A computed column has the type of its values, integers beside floats being floats."""
    frame = query("SELECT 1 + 1 AS a, 'x' || 'y' AS b, 1.5 AS c, NULL AS d, count(*) AS e", url)
    assert ["int64", "str", "float64", "object", "int64"] == [str(dtype) for dtype in frame.dtypes]
    mixed = query("SELECT 1 AS a UNION ALL SELECT 2.5 UNION ALL SELECT NULL ORDER BY a", url)
    assert "float64" == str(mixed["a"].dtype)


def test_types_that_differ_between_portions(url: str) -> None:
    """A computed column whose first thousands of values are integers and whose later ones are not keeps every value."""
    text = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) "
        "SELECT n AS a, CASE WHEN n > 4000 THEN n + 0.5 ELSE n END AS b, CASE WHEN n > 4000 THEN 'x' ELSE n END AS c, "
        "CASE WHEN n > 4000 THEN n END AS d FROM c"
    )
    frame = query(text, url)
    assert ["int64", "float64", "object", "Int64"] == [str(dtype) for dtype in frame.dtypes]
    assert (5000, 5000.5, "x", 5000) == tuple(frame.iloc[-1])
    assert 1 == frame["c"][0]


def test_exact_decimals_beyond_floats(url: str) -> None:
    """Decimals that a float stands for are numbers in the database; where one is not, the column is exact text."""
    short = [decimal.Decimal("1.5"), decimal.Decimal("0.3"), None]
    long = [decimal.Decimal("12345678901234567890.123"), decimal.Decimal("1"), None]
    write_sql(pd.DataFrame({"a": short, "b": long}), "t", url)

    @sql_source(url, decimal="exact")
    def f() -> str:
        return "SELECT a, b FROM t WHERE a > 0.2 OR a IS NULL"

    frame = f()
    assert (short, long) == (list(frame["a"]), list(frame["b"]))


def test_locked_database_and_timeout(url: str, plain: sqlite3.Connection) -> None:
    """A query waits for a writer's lock, but not beyond its time."""
    plain.execute("CREATE TABLE t (c INTEGER)")

    @sql_source(url, timeout_s=0.4)
    def f() -> str:
        return "SELECT * FROM t"

    plain.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with pytest.raises(SourceTimeout):
        f()
    assert time.monotonic() - began < 2
    threading.Timer(0.3, lambda: None).start()
    plain.execute("COMMIT")
    assert 0 == len(f())


def test_replace_says_what_it_cannot_keep(url: str, plain: sqlite3.Connection) -> None:
    """A table with an index is replaced by one of the same columns; by one of others it is not."""
    write_sql(pd.DataFrame({"a": [1]}), "t", url)
    plain.execute("CREATE INDEX by_a ON t (a)")
    write_sql(pd.DataFrame({"a": [2]}), "t", url, if_exists="replace")
    assert 2 == query("SELECT a FROM t INDEXED BY by_a WHERE a > 0", url)["a"][0]
    with pytest.raises(StatementError, match="by_a"):
        write_sql(pd.DataFrame({"b": [2]}), "t", url, if_exists="replace")
    assert 2 == query("SELECT a FROM t", url)["a"][0]


def test_reading_makes_no_file(tmp_path: Path) -> None:
    """A query to a file that is not there answers as an empty database does and makes no file."""
    url = f"sqlite:///{tmp_path}/new.db"
    assert 1 == query("SELECT 1 AS a", url)["a"][0]
    with pytest.raises(QueryError, match=r"no such table: t.*does not exist yet"):
        query("SELECT * FROM t", url)
    assert not (tmp_path / "new.db").exists()
    with pytest.raises(QueryError, match="nowhere"):
        query("SELECT 1", f"sqlite:///{tmp_path}/nowhere/new.db")


def test_threads_in_memory() -> None:
    """All threads see the one database in memory."""
    write_sql(pd.DataFrame({"a": [1]}), "seen", "sqlite://", if_exists="replace")
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(int(query("SELECT a FROM seen", "sqlite://")["a"][0])))
    thread.start()
    thread.join()
    assert [1] == found
