"""DuckDB: one file, several processes, threads, streams, forks; its types; files read in place."""

from __future__ import annotations

import decimal
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lore.errors import QueryError, StatementError
from lore.io import query, sql_source, write_sql

duckdb = pytest.importorskip("duckdb")


def value(sql: str, **options: Any) -> Any:
    """Read one value."""

    @sql_source("duckdb://", **options)
    def f() -> str:
        return f"SELECT {sql} AS v"

    return f()["v"][0]


@pytest.mark.parametrize(
    ("sql", "expected", "dtype"),
    [
        ("1::TINYINT", 1, "int64"),
        ("9007199254740993", 9007199254740993, "int64"),
        ("18446744073709551615::UBIGINT", 18446744073709551615, "uint64"),
        ("(SELECT sum(x) FROM range(3) t(x))", 3, "int64"),
        ("170141183460469231731687303715884105727::HUGEINT", 170141183460469231731687303715884105727, "object"),
        ("1.5::FLOAT", 1.5, "float32"),
        ("0.1::DOUBLE", 0.1, "float64"),
        ("0.3::DECIMAL(10,2)", 0.3, "float64"),
        ("-0.07::DECIMAL(30,2)", -0.07, "float64"),
        ("true", True, "bool"),
        ("''", "", "str"),
        ("'b'::ENUM('a', 'b')", "b", "str"),
        ("DATE '2020-02-29'", pd.Timestamp("2020-02-29"), "datetime64[s]"),
        ("DATE '0044-03-15 (BC)'", None, "datetime64[s]"),
        ("TIMESTAMP '2020-02-29 01:02:03.000004'", pd.Timestamp("2020-02-29 01:02:03.000004"), "datetime64[us]"),
        (
            "TIMESTAMP_NS '2020-02-29 01:02:03.000000004'",
            pd.Timestamp("2020-02-29 01:02:03.000000004"),
            "datetime64[ns]",
        ),
        ("TIMESTAMPTZ '2020-01-01 00:00:00+02'", pd.Timestamp("2019-12-31 22:00", tz="UTC"), "datetime64[us, UTC]"),
        ("INTERVAL '1 day 2 seconds'", pd.Timedelta("1D 2s"), "timedelta64[us]"),
        ("'\\x00\\xff'::BLOB", b"\x00\xff", "object"),
        ("'{\"a\": [1, null]}'::JSON", {"a": [1, None]}, "object"),
        ("[1, NULL]", [1, None], "object"),
        ("[['a']]", [["a"]], "object"),
        ("[1, 2]::INT[2]", [1, 2], "object"),
        ("{'a': 1, 'b': 'x'}", {"a": 1, "b": "x"}, "object"),
        ("MAP {'a': 1}", {"a": 1}, "object"),
        ("NULL", None, "object"),
        ("'101'::BIT", "101", "str"),
        ("1234567890123456789012345678901234567890123::BIGNUM", 1234567890123456789012345678901234567890123, "object"),
        ("TIMETZ '01:02:03+01'", "01:02:03+01", "str"),
    ],
)
def test_types(sql: str, expected: Any, dtype: str) -> None:
    """Each of DuckDB's types becomes its own, exactly."""
    frame = query(f"SELECT {sql} AS v", "duckdb://")
    assert dtype == str(frame["v"].dtype)
    if expected is not None:
        assert expected == frame["v"][0]
    elif sql == "NULL":
        assert frame["v"][0] is None
    else:
        assert np.datetime64("-0043-03-15") == frame["v"].to_numpy()[0]


@pytest.mark.parametrize(
    "sql", ["'infinity'::DATE", "'-infinity'::TIMESTAMP", "'infinity'::TIMESTAMPTZ", "INTERVAL '1 month'"]
)
def test_values_without_a_counterpart(sql: str) -> None:
    """Infinite dates and intervals with months are errors that name the column, never wrong values."""
    with pytest.raises(QueryError, match="'v'"):
        value(sql)


def test_exact_decimals() -> None:
    """Decimals are exact on request."""
    assert decimal.Decimal("0.10") == value("0.10::DECIMAL(10,2)", decimal="exact")


@pytest.mark.parametrize("digits", [4, 9, 15, 18, 30])
def test_decimals_round_as_python_does(digits: int) -> None:
    """A decimal becomes the float nearest to it, whatever its width."""
    texts = [f"{'-' if n % 2 else ''}0.{n * 7 % 10}{n:03d}" for n in range(50)] + ["123.4567", "0.3"]
    rows = ", ".join(f"({text}::DECIMAL({max(digits, 8)},4))" for text in texts)
    assert [float(text) for text in texts] == list(query(f"SELECT * FROM (VALUES {rows}) t(v)", "duckdb://")["v"])


def test_python_variables_are_no_tables() -> None:
    """A frame that happens to be called like a table is not read by a query."""
    secrets = pd.DataFrame({"a": [1]})
    with pytest.raises(QueryError, match="secrets"):
        query("SELECT * FROM secrets")
    assert len(secrets)


@pytest.mark.parametrize(
    "wrong",
    [
        "COPY (SELECT 1) TO '{folder}/x.csv'",
        "ATTACH '{folder}/x.duckdb' AS other",
        "CREATE TEMP TABLE x AS SELECT 1",
        "SET threads = 1",
        "EXPORT DATABASE '{folder}/x'",
        "INSTALL httpfs",
    ],
)
@pytest.mark.parametrize("url", [None, "duckdb://"])
def test_reading_writes_no_file(wrong: str, url: Any, tmp_path: Path) -> None:
    """A source can write neither tables nor files, nor change settings."""
    write_sql(pd.DataFrame({"a": [1]}), "exists", url, if_exists="replace")
    with pytest.raises(QueryError, match="only reads"):
        query(wrong.format(folder=tmp_path / "out"), url)
    assert not (tmp_path / "out").exists()


def test_reading_makes_no_file(own_home: Path, tmp_path: Path) -> None:
    """A query before anything was written finds no table, and makes neither file nor folder."""
    with pytest.raises(QueryError, match=r"flights.*does not exist yet"):
        query("SELECT * FROM flights")
    assert 1 == query("SELECT 1 AS a")["a"][0]
    assert not own_home.exists()
    with pytest.raises(QueryError, match="nowhere"):
        query("SELECT 1 AS a", f"duckdb:///{tmp_path}/nowhere/x.duckdb")


def test_file_that_is_no_database(tmp_path: Path) -> None:
    """A file of something else is an error that names it."""
    path = tmp_path / "x.duckdb"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(QueryError, match=r"x\.duckdb"):
        query("SELECT 1", f"duckdb:///{path}")


def test_schema(own_home: Path) -> None:
    """A table in a schema of its own; the schema is made."""
    write_sql(pd.DataFrame({"a": [1]}), "shop.orders")
    assert 1 == query("SELECT a FROM shop.orders")["a"][0]
    with pytest.raises(StatementError, match="no table name"):
        write_sql(pd.DataFrame({"a": [1]}), "a.b.c")


def test_replace_keeps_an_index_of_equal_columns() -> None:
    """Replacing a table by one of the same columns keeps what depends on it."""
    write_sql(pd.DataFrame({"a": [1, 2]}), "indexed")
    connection = duckdb.connect(os.path.join(os.environ["LORE_HOME"], "lore.duckdb"))
    connection.execute("CREATE INDEX by_a ON indexed (a)")
    connection.close()
    write_sql(pd.DataFrame({"a": [2, 3]}), "indexed", if_exists="replace")
    assert [2, 3] == list(query("SELECT a FROM indexed ORDER BY a")["a"])
    assert ["by_a"] == list(query("SELECT index_name FROM duckdb_indexes()")["index_name"])
    with pytest.raises(StatementError, match="by_a"):
        write_sql(pd.DataFrame({"b": ["x"]}), "indexed", if_exists="replace")
    assert [2, 3] == list(query("SELECT a FROM indexed ORDER BY a")["a"])


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start another Python process in the same home."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert 0 == process.returncode, err
    return out.strip()


READER = """
    from lore.io import query
    import sys, time
    until = time.monotonic() + 2
    totals = set()
    while time.monotonic() < until:
        totals.add(int(query("SELECT sum(a) AS t FROM shared")["t"][0]))
    print(sorted(totals))
"""


@pytest.mark.stress
def test_readers_and_a_writer_in_several_processes() -> None:
    """While processes read without pause another one writes; nobody fails, and all see whole tables only."""
    write_sql(pd.DataFrame({"a": [1] * 1000}), "shared")
    readers = [run_python(READER) for _ in range(2)]
    time.sleep(1.0)
    began = time.monotonic()
    for n in range(2, 6):
        write_sql(pd.DataFrame({"a": [n] * 1000}), "shared", if_exists="replace")
    assert time.monotonic() - began < 10
    seen = [eval(finish(reader)) for reader in readers]
    assert all(set(totals) <= {1000, 2000, 3000, 4000, 5000} for totals in seen)


def test_idle_reader_lets_the_file_go() -> None:
    """A process that has read and lives on does not keep others from writing, not even those who do not know lore."""
    write_sql(pd.DataFrame({"a": [1]}), "t")
    query("SELECT * FROM t")
    time.sleep(1.2)
    code = "import duckdb, os; duckdb.connect(os.environ['LORE_HOME'] + '/lore.duckdb').execute('DELETE FROM t'); print('done')"
    assert "done" == finish(run_python(code))
    assert 0 == len(query("SELECT * FROM t"))


def test_stream_makes_way_for_another_process() -> None:
    """A stream whose reader is busy with something else does not keep another process from writing."""
    write_sql(pd.DataFrame({"a": range(300_000)}), "t")

    @sql_source
    def rows() -> str:
        return "SELECT a FROM t ORDER BY a"

    stream = iter(rows.stream(rows=100_000))
    total = len(next(stream))
    code = """
        import pandas as pd
        from lore.io import write_sql
        print(write_sql(pd.DataFrame({"a": [7]}), "t", if_exists="replace"))
    """
    assert "1" == finish(run_python(code))
    assert 1 == len(rows())
    assert 300_000 == total + sum(len(part) for part in stream)


def test_waiting_for_a_foreign_writer() -> None:
    """A query waits for another process that has the file open for writing, and goes on when that is done."""
    write_sql(pd.DataFrame({"a": [1]}), "t")
    code = """
        import duckdb, os, sys
        connection = duckdb.connect(os.environ['LORE_HOME'] + '/lore.duckdb')
        print("open", flush=True)
        sys.stdin.readline()
        connection.close()
    """
    time.sleep(0.8)
    holder = run_python(code)
    assert holder.stdout is not None
    assert "open" == holder.stdout.readline().strip()
    threading.Timer(0.5, lambda: holder.stdin and (holder.stdin.write("\n"), holder.stdin.flush())).start()
    assert 1 == query("SELECT a FROM t")["a"][0]
    finish(holder)


def test_timeout_while_waiting_for_a_foreign_writer() -> None:
    """Waiting counts as time of the query."""

    @sql_source(timeout_s=0.5)
    def rows() -> str:
        return "SELECT a FROM t"

    write_sql(pd.DataFrame({"a": [1]}), "t")
    code = """
        import duckdb, os, sys
        connection = duckdb.connect(os.environ['LORE_HOME'] + '/lore.duckdb')
        print("open", flush=True)
        sys.stdin.readline()
    """
    time.sleep(0.8)
    holder = run_python(code)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(TimeoutError):
        rows()
    finish(holder)
    assert 1 == rows()["a"][0]


def test_own_connection_of_the_user(own_home: Path) -> None:
    """A connection that the user holds open in the same process is no obstacle to reading or writing."""
    write_sql(pd.DataFrame({"a": [1]}), "t")
    time.sleep(0.8)
    connection = duckdb.connect(str(own_home / "lore.duckdb"))
    connection.execute("INSERT INTO t VALUES (2)")
    assert [1, 2] == list(query("SELECT a FROM t ORDER BY a")["a"])
    with pytest.raises(QueryError):
        query("DELETE FROM t RETURNING a")
    write_sql(pd.DataFrame({"a": [3]}), "t", if_exists="append")
    assert [(6,)] == connection.execute("SELECT sum(a) FROM t").fetchall()
    connection.close()
    time.sleep(0.8)
    assert 6 == query("SELECT sum(a) AS t FROM t")["t"][0]


def test_threads_read_and_write() -> None:
    """Threads of one process read and write one file without failing."""
    write_sql(pd.DataFrame({"a": [0]}), "t")

    def work(n: int) -> int:
        if n % 4 == 0:
            return write_sql(pd.DataFrame({"a": [1]}), "t", if_exists="append")
        return int(query("SELECT count(*) AS n FROM t")["n"][0])

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(work, range(40)))
    assert all(1 <= result <= 11 for result in results)
    assert 11 == query("SELECT count(*) AS n FROM t")["n"][0]


def _child(answers: Any) -> None:
    total = int(query("SELECT sum(a) AS t FROM t")["t"][0])
    write_sql(pd.DataFrame({"a": [10]}), "t", if_exists="append")
    answers.put((total, int(query("SELECT :n + 1 AS n", "duckdb://", n=1)["n"][0])))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork() -> None:
    """A forked child reads and writes by itself, whatever its parent had open."""
    write_sql(pd.DataFrame({"a": [1, 2]}), "t")
    query("SELECT * FROM t")
    query("SELECT 1", "duckdb://")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_child, args=(answers,))
    child.start()
    assert (3, 2) == answers.get(timeout=30)
    child.join(10)
    assert 0 == child.exitcode
    assert 13 == query("SELECT sum(a) AS t FROM t")["t"][0]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork_while_a_stream_is_open() -> None:
    """A child forked in the middle of its parent's stream reads by itself, and the stream goes on."""
    write_sql(pd.DataFrame({"a": range(100_000)}), "t")

    @sql_source
    def rows() -> str:
        return "SELECT a FROM t"

    stream = iter(rows.stream(rows=10_000))
    next(stream)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_read_total, args=(answers,))
    child.start()
    assert 4999950000 == answers.get(timeout=30)
    child.join(10)
    assert 0 == child.exitcode
    assert 90_000 == sum(len(part) for part in stream)


def _read_total(answers: Any) -> None:
    answers.put(int(query("SELECT sum(a) AS t FROM t")["t"][0]))


def test_forked_child_ends_in_peace() -> None:
    """A child that exits as usual, destructors and all, neither crashes nor hangs, and its parent's stream goes on."""
    code = """
        import os, sys
        import pandas as pd
        from lore.io import query, sql_source, write_sql
        write_sql(pd.DataFrame({"a": range(100_000)}), "t")
        query("SELECT * FROM t"), query("SELECT 1", "duckdb://")
        @sql_source
        def rows():
            return "SELECT a FROM t"
        stream = rows.stream(rows=1000)
        next(stream)
        child = os.fork()
        if not child:
            query("SELECT * FROM t"), query("SELECT 1", "duckdb://")
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sum(map(len, stream)))
    """
    assert "7 99000" == finish(run_python(code))


def test_killed_writer_leaves_the_old_table() -> None:
    """A process killed while it writes leaves the table as it was, and nobody waits for it."""
    write_sql(pd.DataFrame({"a": [1]}), "t")
    code = """
        import pandas as pd, numpy as np, os, threading, time
        from lore.io import write_sql
        threading.Thread(target=lambda: (print("go", flush=True), time.sleep(0.15), os.kill(os.getpid(), 9))).start()
        while True:
            write_sql(pd.DataFrame({"a": np.arange(2_000_000)}), "t", if_exists="replace")
    """
    time.sleep(0.8)
    with run_python(code) as writer:
        writer.wait(30)
    total = query("SELECT count(*) AS n FROM t")["n"][0]
    assert total in (1, 2_000_000)
    assert 1 == write_sql(pd.DataFrame({"a": [1]}), "t", if_exists="replace")


def test_a_process_ends_well_after_a_cancelled_query() -> None:
    """A program whose last query was cancelled a moment ago ends with status zero."""
    code = """
        import asyncio
        from lore.io import sql_source
        @sql_source("duckdb://")
        async def rows(n): return "SELECT sum(a.range * b.range) AS s FROM range(:n) a, range(:n) b"
        async def main():
            await rows(2)
            task = asyncio.create_task(rows(1_000_000))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.wait([task])
            print(task.cancelled())
        asyncio.run(main())
    """
    for _ in range(3):
        assert "True" == finish(run_python(code)).strip()


@pytest.mark.slow
def test_stream_memory_is_constant(tmp_path: Path) -> None:
    """Ten million rows pass through a stream in little memory."""
    code = """
        import resource
        from lore.io import sql_source
        @sql_source("duckdb://")
        def rows(n):
            return "SELECT range AS a, range * 1.5 AS b, 'x' || range AS c FROM range(:n)"
        total = 0
        for part in rows.stream(200_000): total += len(part)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for part in rows.stream(10_000_000): total += len(part)
        print(total, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    total, grown_mb = map(int, finish(run_python(code)).split())
    assert 10_200_000 == total
    assert grown_mb < 120
