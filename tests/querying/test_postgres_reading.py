"""Results of every shape come out whole, by COPY or by a plain cursor, and queries end when they should."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lore._querying import postgres
from lore._querying.postgres.columns import is_copyable, trim
from lore.errors import QueryError

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
psycopg2 = pytest.importorskip("psycopg2")


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Any]:
    """A connection of the test's own."""
    connection = psycopg2.connect(postgres_url)
    yield connection
    connection.close()


@pytest.fixture
def observer(postgres_url: str) -> Iterator[Any]:
    """A cursor that looks at the server from outside."""
    connection = psycopg2.connect(postgres_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


def active(observer: Any, pid: int) -> bool:
    """Tell whether a backend is running a statement."""
    observer.execute("SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s", (pid,))
    row = observer.fetchone()
    return bool(row and row[0])


def test_duplicate_and_reserved_names(connection: Any) -> None:
    """Columns keep the names they have, though they be one name twice, a keyword, or in need of quotes."""
    frame = postgres.read(connection, 'SELECT 1 AS a, 2 AS a, 3 AS "select", 4 AS "A ""b""", 5, inet \'::1\'')

    assert ["a", "a", "select", 'A "b"', "?column?", "inet"] == list(frame.columns)
    assert [1, 2, 3, 4, 5, "::1"] == frame.iloc[0].tolist()


def test_no_columns(connection: Any) -> None:
    """Rows without columns are still counted."""
    assert (3, 0) == postgres.read(connection, "SELECT FROM generate_series(1, 3)").shape


def test_1600_columns(connection: Any) -> None:
    """As many columns as a table may have come out in order."""
    wanted = ", ".join(f"{n}{'::text' if n % 3 == 0 else ''} AS c{n}" for n in range(1600))

    frame = postgres.read(connection, f"SELECT {wanted} FROM generate_series(1, 3)")

    assert (3, 1600) == frame.shape
    assert [str(n) if n % 3 == 0 else n for n in range(1600)] == frame.iloc[2].tolist()
    frame["one more"] = 1


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 AS v;",
        "SELECT 1 AS v -- a comment;",
        "SELECT 1 AS v; -- a comment",
        "/* SHOW; /* nested */ */ SELECT 1 AS v /* ; */ ; ; ",
        "(SELECT 1 AS v)",
        "((SELECT 1 AS v) UNION ALL (SELECT 2)) LIMIT 1",
        "WITH x AS (SELECT 1 AS v) SELECT * FROM x",
        "with recursive x(v) AS (SELECT 1) TABLE x",
        "VALUES (1)",
        "-- first\nselect 1 AS v where ';' <> $$;--$$ AND ';' = E'\\;'",
        'SELECT 1 AS "v;--"',
    ],
)
def test_spellings_of_a_query(connection: Any, statement: str) -> None:
    """Semicolons, comments, parentheses, WITH and VALUES are all copied."""
    assert "copy binary" == postgres.plan(connection, statement)
    assert [[1]] == postgres.read(connection, statement).to_numpy().tolist()


@pytest.mark.parametrize(
    ("statement", "column"),
    [("SHOW server_encoding", "server_encoding"), ("EXPLAIN SELECT 1", "QUERY PLAN"), (" ; ", None)],
)
def test_what_copy_refuses(connection: Any, statement: str, column: str | None) -> None:
    """SHOW and EXPLAIN go through a plain cursor."""
    assert "cursor" == postgres.plan(connection, statement)
    if column is None:
        with pytest.raises(psycopg2.ProgrammingError):
            postgres.read(connection, statement)
    else:
        assert [column] == list(postgres.read(connection, statement).columns)


def test_explained_json(connection: Any) -> None:
    """EXPLAIN's JSON is parsed like any other."""
    frame = postgres.read(connection, "EXPLAIN (FORMAT json) SELECT 1")

    assert "Result" == frame.iloc[0, 0][0]["Plan"]["Node Type"]


def test_trim_keeps_what_is_inside() -> None:
    """Only the semicolon that ends a statement is taken off."""
    assert "SELECT ';'" == trim("SELECT ';' ; -- x").rstrip()
    assert "SELECT 1; SELECT 2" == trim("SELECT 1; SELECT 2;")
    assert not is_copyable("/* SELECT */ EXPLAIN SELECT 1")
    assert not is_copyable("")


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO written VALUES (1) RETURNING v", "WITH w AS (DELETE FROM written RETURNING v) SELECT * FROM w"],
)
def test_writing_is_refused(connection: Any, statement: str) -> None:
    """In a read-only transaction nothing is written, whichever way a statement takes."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS written (v integer)")
    connection.commit()
    connection.readonly = True

    with pytest.raises(psycopg2.Error):
        postgres.read(connection, statement)

    connection.rollback()
    assert 0 == len(postgres.read(connection, "SELECT * FROM written"))


def test_order_is_kept(connection: Any) -> None:
    """Rows come in the query's order, also where casts stand around it."""
    frame = postgres.read(connection, "SELECT i, '::1'::inet AS a FROM generate_series(1, 20000) i ORDER BY -i")

    assert list(range(20000, 0, -1)) == frame["i"].tolist()


def test_error_in_the_middle(connection: Any) -> None:
    """What the server reports after a hundred thousand rows is raised, and the connection stays usable."""
    with pytest.raises(psycopg2.errors.DivisionByZero) as caught:
        postgres.read(connection, "SELECT 1 / (150000 - i) AS v FROM generate_series(1, 200000) i")

    assert "22012" == caught.value.pgcode
    assert "division by zero" == caught.value.diag.message_primary
    connection.rollback()
    assert [1] == postgres.read(connection, "SELECT 1 AS v")["v"].tolist()


def test_large_values(connection: Any) -> None:
    """Values larger than any buffer come out whole."""
    frame = postgres.read(connection, "SELECT i, repeat(i::text, 3000000) AS t FROM generate_series(1, 3) i")

    assert [3_000_000] * 3 == frame["t"].str.len().tolist()
    assert ["3" * 3_000_000] == frame["t"].tolist()[2:]


def test_progress(connection: Any) -> None:
    """Progress counts rows and bytes upwards to the whole."""
    seen: list[tuple[int, int]] = []

    postgres.read(connection, "SELECT i FROM generate_series(1, 300000) i", on_progress=lambda *now: seen.append(now))

    assert seen == sorted(seen)
    assert (300_000, 300_000 * 10) == seen[-1]


@pytest.mark.parametrize(("total", "rows"), [(0, 10), (1, 10), (10, 10), (25, 10), (200_001, 65_536)])
def test_stream_in_portions(connection: Any, total: int, rows: int) -> None:
    """A stream's frames have the rows asked for, one type, and together the whole result."""
    query = f"SELECT i, nullif(i, {total}) AS n, i % 2 = 0 AS b, 'r' || i AS t FROM generate_series(1, {total}) i"

    frames = list(postgres.stream(connection, query, rows))

    sizes = [rows] * (total // rows) + ([total % rows] if total % rows or not total else [])
    assert sizes == [len(frame) for frame in frames]
    assert {("Int64", "Int64", "boolean", "str")} == {tuple(map(str, frame.dtypes)) for frame in frames}
    assert list(range(1, total + 1)) == pd.concat(frames)["i"].tolist()
    assert all(frame.index.equals(pd.RangeIndex(len(frame))) for frame in frames)


def test_stream_through_a_cursor(connection: Any) -> None:
    """What COPY refuses can be streamed too."""
    with connection.cursor() as cursor:
        cursor.execute("PREPARE numbers AS SELECT i FROM generate_series(1, 25) i")

    assert [10, 10, 5] == [len(frame) for frame in postgres.stream(connection, "EXECUTE numbers", 10)]


def test_abandoned_stream_ends_its_query(connection: Any, observer: Any) -> None:
    """Closing a stream cancels its query within a second and leaves the connection usable."""
    frames = postgres.stream(connection, "SELECT generate_series(1, 1000000000) AS i", 1000)
    next(frames)
    assert active(observer, connection.info.backend_pid)

    started = time.monotonic()
    frames.close()
    took = time.monotonic() - started

    assert took < 1
    assert not active(observer, connection.info.backend_pid)
    connection.rollback()
    assert [1] == postgres.read(connection, "SELECT 1 AS v")["v"].tolist()


def test_stream_holds_the_server_back(connection: Any, observer: Any) -> None:
    """The server sends no further than a few pieces beyond what was taken."""
    frames = postgres.stream(connection, "SELECT i, repeat('x', 1000) AS t FROM generate_series(1, 500000) i", 100)
    next(frames)
    time.sleep(0.3)

    observer.execute("SELECT wait_event FROM pg_stat_activity WHERE pid = %s", (connection.info.backend_pid,))
    assert ("ClientWrite",) == observer.fetchone()
    frames.close()


def test_cancel_from_another_thread(connection: Any) -> None:
    """A cancel ends a read at once, with the server's own error."""
    timer = threading.Timer(0.2, connection.cancel)
    timer.start()
    started = time.monotonic()

    with pytest.raises(psycopg2.errors.QueryCanceled):
        postgres.read(connection, "SELECT pg_sleep(20)")

    assert time.monotonic() - started < 5
    timer.join()


def test_interrupted_by_the_keyboard(connection: Any, observer: Any) -> None:
    """Ctrl-C ends the query at the server within a second and leaves the connection usable."""
    timer = threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    started = time.monotonic()

    with pytest.raises(KeyboardInterrupt):
        postgres.read(connection, "SELECT pg_sleep(20)")

    assert time.monotonic() - started < 5
    timer.join()
    assert not active(observer, connection.info.backend_pid)
    connection.rollback()
    assert [1] == postgres.read(connection, "SELECT 1 AS v")["v"].tolist()


def test_lost_server(connection: Any, observer: Any) -> None:
    """A connection that is terminated raises an OperationalError."""
    timer = threading.Timer(0.2, observer.execute, ("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,)))
    timer.start()

    with pytest.raises(psycopg2.OperationalError):
        postgres.read(connection, "SELECT pg_sleep(20)")

    timer.join()


def test_other_encodings_are_refused_or_read(postgres_url: str) -> None:
    """A connection that does not speak UTF-8 is told how to."""
    connection = psycopg2.connect(postgres_url, client_encoding="latin1")
    try:
        with pytest.raises(QueryError, match="client_encoding=utf8"):
            postgres.read(connection, "SELECT 'ä'")
    finally:
        connection.close()


def test_a_connection_with_habits_of_its_own(postgres_url: str) -> None:
    """Cursors that give dicts and typecasters that change values do not reach lore."""
    from psycopg2 import extensions, extras

    connection = psycopg2.connect(postgres_url, cursor_factory=extras.RealDictCursor)
    try:
        for oid in (20, 23, 25, 114, 1700):
            extensions.register_type(extensions.new_type((oid,), "HABIT", lambda value, _: f"<{value}>"), connection)
        with connection.cursor() as cursor:
            cursor.execute(
                "PREPARE habit AS SELECT 1 AS i, 'x' AS t, 1.5 AS q, '[1]'::json AS j, '(1,2)'::int4range AS r"
            )

        found = postgres.read(connection, "EXECUTE habit")

        assert [1, "x", 1.5, [1], "empty"] == found.iloc[0].tolist()
        assert 1 == postgres.write(connection, found[["i", "t"]], "habits")
        assert 1 == postgres.write(connection, found[["i", "t"]], "habits", None, "append")
    finally:
        connection.close()


NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)
TEXTS = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
FLAGS = st.none() | st.booleans()
ROWS = st.lists(st.tuples(NUMBERS, TEXTS, FLAGS, TEXTS, NUMBERS), max_size=30)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_nulls_anywhere(connection: Any, rows: list[Any]) -> None:
    """Wherever NULLs and texts stand, every cell is found."""
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE cells (a int8, b text, c boolean, d text, e int8) ON COMMIT DROP")
        cursor.executemany("INSERT INTO cells VALUES (%s, %s, %s, %s, %s)", rows)

    frame = postgres.read(connection, "SELECT * FROM cells")

    found = [
        tuple(None if pd.isna(value) else value for value in row) for row in frame.astype(object).to_numpy().tolist()
    ]
    assert rows == found


@pytest.mark.slow
def test_many_pieces_agree_with_a_cursor(connection: Any) -> None:
    """A result of many pieces, its NULLs beginning late, equals what a plain cursor brings."""
    query = """
        SELECT i, CASE WHEN i > 90000 AND i % 7 = 0 THEN NULL ELSE i * 3 END AS n,
            CASE WHEN i % 5 = 0 THEN NULL ELSE repeat('d' || chr(0 + 1 + i % 100), i % 40) END AS t,
            (i % 977)::numeric / 13 AS q, CASE WHEN i < 100 THEN NULL ELSE i % 2 = 0 END AS b, array[i, NULL] AS l
        FROM generate_series(1, 100000) i
    """
    with connection.cursor() as cursor:
        cursor.execute(query)
        expected = cursor.fetchall()

    frame = postgres.read(connection, query)

    for number, name in enumerate(frame.columns):
        wanted = [row[number] for row in expected]
        if name == "q":
            wanted = [float(value) for value in wanted]
        found = frame[name].astype(object)
        assert wanted == found.where(found.notna(), None).tolist()


GROWTH = """
import sys
from pathlib import Path
import psycopg2
from lore._querying import postgres

def peak_mb():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

connection = psycopg2.connect(sys.argv[1])
list(postgres.stream(connection, "SELECT i, 'name ' || i AS t FROM generate_series(1, 10) i"))
before, rows = peak_mb(), 0
for frame in postgres.stream(connection, "SELECT generate_series(1, 2000000) AS i, 'name ' || random() AS t, now() AS at"):
    rows += len(frame)
print(rows, peak_mb() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_stream_in_constant_memory(postgres_url: str) -> None:
    """Two million rows, 100 MB of them, make a fresh process grow by less than 60 MB."""
    output = subprocess.run(
        [sys.executable, "-c", GROWTH, postgres_url], check=True, capture_output=True, text=True
    ).stdout

    rows, grown_mb = output.split()
    assert 2_000_000 == int(rows)
    assert float(grown_mb) < 60


@pytest.mark.parametrize("count", [1, 3, 2000])
def test_arrays_of_all_lengths(connection: Any, count: int) -> None:
    """Arrays long and short, empty, NULL, nested, with NULLs inside, equal what a plain cursor brings."""
    query = f"""
        SELECT CASE i % 7 WHEN 0 THEN NULL WHEN 1 THEN '{{}}' WHEN 2 THEN ARRAY[[i, NULL], [3, 4]]
            ELSE (SELECT array_agg(nullif(j, i)) FROM generate_series(1, i % 50) j) END AS l,
            (SELECT array_agg(repeat('x', j % 7)) FROM generate_series(1, i % 13) j) AS t,
            CASE WHEN i = 1 THEN (SELECT array_agg(j) FROM generate_series(1, 5000) j) END AS one
        FROM generate_series(1, {count}) i
    """
    with connection.cursor() as cursor:
        cursor.execute(query)
        expected = cursor.fetchall()

    frame = postgres.read(connection, query)

    assert expected == [tuple(row) for row in frame.to_numpy().tolist()]
