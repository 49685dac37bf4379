"""How queries are run: stopped, retried, pooled, forked, kept apart; on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lore._querying import connections, servers
from lore._querying.failures import hide_password, scrub
from lore._querying.progress import Progress
from lore._querying.statements import bind
from lore.errors import DecorationError, LoreError, QueryError, SourceError, SourceTimeout, StatementError
from lore.io import query, sql_source, write_sql

psycopg2 = pytest.importorskip("psycopg2")


@pytest.fixture
def admin(postgres_url: str) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """A connection of our own, beside lore's."""
    connection = psycopg2.connect(postgres_url)
    connection.autocommit = True

    def ask(sql: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    yield ask
    connection.close()


OTHERS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def eventually(check: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Wait until something is true."""
    until = time.monotonic() + within_s
    while not (found := check()):
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)
    return found


def running(admin: Callable[[str], list[tuple[Any, ...]]], text: str) -> list[tuple[Any, ...]]:
    return admin(f"SELECT pid {OTHERS} AND state = 'active' AND query LIKE '%{text}%'")


def once_running(admin: Any, text: str, then: Callable[[int], object]) -> threading.Thread:
    """Do something to a query's backend as soon as it runs."""

    def watch() -> None:
        ((pid,),) = eventually(lambda: running(admin, text))
        then(pid)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def interrupt_soon(after_s: float = 0.3) -> None:
    """Press Ctrl-C in a while."""
    threading.Timer(after_s, lambda: os.kill(os.getpid(), signal.SIGINT)).start()


# ---------------------------------------------------------------------------------------------------------------------
# stopping


@pytest.mark.parametrize("kind", ["postgres", "duckdb", "sqlite"])
def test_ctrl_c_stops_within_a_second(kind: str, postgres_url: str, tmp_path: Path) -> None:
    """Ctrl-C ends the query at the server at once, and the next query is answered."""
    url, slow = {
        "postgres": (postgres_url, "SELECT pg_sleep(20)"),
        "duckdb": (None, "SELECT count(*) FROM range(100000000) a, range(1000000) b WHERE a.range + b.range = 7"),
        "sqlite": (
            f"sqlite:///{tmp_path}/a.db",
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c",
        ),
    }[kind]
    write_sql(pd.DataFrame({"a": [1]}), f"ctrl_c_{kind}", url, if_exists="replace")
    began = time.monotonic()
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        query(slow, url)
    assert time.monotonic() - began < 1.3
    assert 1 == query(f"SELECT a FROM ctrl_c_{kind}", url)["a"][0]


def test_ctrl_c_leaves_nothing_at_the_server(postgres_url: str, admin: Any) -> None:
    """After Ctrl-C no backend runs the query or sits in its transaction."""
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        query("SELECT pg_sleep(20) AS left_behind", postgres_url)
    assert [] == running(admin, "left_behind")
    assert [] == admin(f"SELECT pid {OTHERS} AND state LIKE 'idle in%'")


def test_ctrl_c_in_a_stream(postgres_url: str) -> None:
    """A stream that waits for its first row can be interrupted too."""

    @sql_source(postgres_url)
    def slow() -> str:
        return "SELECT pg_sleep(20)"

    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        next(iter(slow.stream()))
    assert 1 == query("SELECT 1 AS a", postgres_url)["a"][0]


def test_timeout_is_the_servers(postgres_url: str, admin: Any) -> None:
    """`timeout_s` stops the query at the server, with a SourceTimeout, and the connection serves the next query."""

    @sql_source(postgres_url, timeout_s=0.3)
    def slow(seconds: float) -> str:
        return "SELECT pg_sleep(:seconds), 1 AS a"

    began = time.monotonic()
    with pytest.raises(SourceTimeout, match="slow"):
        slow(20)
    assert time.monotonic() - began < 1.3
    assert [] == running(admin, "pg_sleep")
    assert 1 == slow(0)["a"][0]
    assert "0" == query("SHOW statement_timeout", postgres_url).iloc[0, 0]


def test_timeout_covers_the_whole_answer(postgres_url: str) -> None:
    """Rows that trickle count too."""

    @sql_source(postgres_url, timeout_s=0.4)
    def trickle() -> str:
        return "SELECT pg_sleep(0.1), i FROM generate_series(1, 100) AS i"

    with pytest.raises(SourceTimeout):
        trickle()


def test_cancelled_task_stops_at_the_server(postgres_url: str, admin: Any) -> None:
    """Cancelling an async call ends its query at the server."""

    @sql_source(postgres_url)
    async def slow() -> str:
        return "SELECT pg_sleep(20) AS async_sleep"

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow(), 0.3)

    asyncio.run(main())
    eventually(lambda: not running(admin, "async_sleep"))


def test_abandoned_stream_ends_at_the_server(postgres_url: str, admin: Any) -> None:
    """A stream that is dropped ends its query and its transaction."""

    @sql_source(postgres_url)
    def rows() -> str:
        return "SELECT i, repeat('x', 1000) AS dropped_stream FROM generate_series(1, 1000) AS i, generate_series(1, 100000) AS j"

    stream = iter(rows.stream(rows=100))
    assert 100 == len(next(stream))
    assert running(admin, "dropped_stream")
    del stream
    eventually(lambda: not running(admin, "dropped_stream"))
    eventually(lambda: not admin(f"SELECT pid {OTHERS} AND state LIKE 'idle in%'"))


# ---------------------------------------------------------------------------------------------------------------------
# trying again


def test_lost_connection_is_tried_again(postgres_url: str, admin: Any) -> None:
    """A backend that dies under a query costs a second attempt and nothing else."""
    killer = once_running(admin, "lost_once", lambda pid: admin(f"SELECT pg_terminate_backend({pid})"))
    assert 7 == query("SELECT pg_sleep(0.5), 7 AS lost_once", postgres_url)["lost_once"][0]
    killer.join()


def test_no_retries_means_none(postgres_url: str, admin: Any) -> None:
    """With retries=0 a lost connection is an error, and the next call connects anew."""

    @sql_source(postgres_url, retries=0)
    def rows(seconds: float) -> str:
        return "SELECT pg_sleep(:seconds), 7 AS lost_for_good"

    killer = once_running(admin, "lost_for_good", lambda pid: admin(f"SELECT pg_terminate_backend({pid})"))
    with pytest.raises(QueryError, match=r"rows: .*connection"):
        rows(0.5)
    killer.join()
    assert 7 == rows(0)["lost_for_good"][0]


def test_connections_that_died_in_the_pool(postgres_url: str, admin: Any) -> None:
    """Connections that the server closed while they lay in the pool are noticed, all of them."""

    @sql_source(postgres_url, retries=1)
    def rows() -> str:
        return "SELECT pg_sleep(0.1), 1 AS a"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: rows(), range(4)))
    admin(f"SELECT pg_terminate_backend(pid) {OTHERS}")
    eventually(lambda: not admin(f"SELECT pid {OTHERS}"))
    for _ in range(4):
        assert 1 == rows()["a"][0]


def test_stream_is_tried_again_before_its_first_row_only(postgres_url: str, admin: Any) -> None:
    """A stream that lost its connection after some rows fails: half of it was used already."""

    @sql_source(postgres_url)
    def rows() -> str:
        return "SELECT i, repeat('x', 1000) AS lost_stream FROM generate_series(1, 10000000) AS i"

    stream = iter(rows.stream(rows=100))
    next(stream)
    ((pid,),) = running(admin, "lost_stream")
    admin(f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(QueryError):
        for _ in stream:
            pass
    assert 1 == query("SELECT 1 AS a", postgres_url)["a"][0]


@pytest.mark.parametrize(("code", "tried"), [("40001", 3), ("40P01", 3), ("22012", 1), ("P0001", 1)])
def test_what_is_tried_again(postgres_url: str, admin: Any, code: str, tried: int) -> None:
    """Serialization failures and deadlocks are tried again, other errors are not."""
    admin("CREATE SEQUENCE IF NOT EXISTS tried")
    admin(
        "CREATE OR REPLACE FUNCTION fail(code text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'no luck' USING ERRCODE = code; END $$"
    )
    seen: list[int] = []
    original = connections.Watch.attach

    def attach(self: Any, stop: Any) -> None:
        seen.append(1) if stop is not None else None
        original(self, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections.Watch, "attach", attach)
        with pytest.raises(QueryError, match="no luck"):
            query("SELECT fail(:code)", postgres_url, code=code)
    assert tried == len(seen)


def test_function_that_writes_is_refused(postgres_url: str, admin: Any) -> None:
    """A function that writes is stopped by the read-only transaction; so is a way out of it."""
    admin("CREATE TABLE IF NOT EXISTS written (a int)")
    admin(
        "CREATE OR REPLACE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO written VALUES (1) RETURNING a'"
    )
    for wrong in (
        "SELECT writes()",
        "INSERT INTO written VALUES (1) RETURNING a",
        "SELECT set_config('transaction_read_only', 'off', true), writes()",
        "WITH x AS (INSERT INTO written VALUES (1) RETURNING a) SELECT * FROM x",
    ):
        with pytest.raises(LoreError):
            query(wrong, postgres_url)
        assert [(0,)] == admin("SELECT count(*) FROM written")


# ---------------------------------------------------------------------------------------------------------------------
# pooling, threads, processes


def test_pool_does_not_leak(postgres_url: str, admin: Any) -> None:
    """Many calls, failed ones and dropped streams among them, use a handful of connections and leave no transaction."""

    @sql_source(postgres_url)
    def rows(n: int) -> str:
        return "SELECT i, 1 / :n AS x FROM generate_series(1, 1000) AS i"

    for n in range(60):
        with pytest.MonkeyPatch.context():
            if n % 3 == 0:
                with pytest.raises(QueryError):
                    rows(0)
            elif n % 3 == 1:
                next(iter(rows.stream(1, rows=10)))
            else:
                rows(1)
    assert len(admin(f"SELECT pid {OTHERS}")) <= 6
    eventually(lambda: not admin(f"SELECT pid {OTHERS} AND state LIKE 'idle in%'"))


def test_threads(postgres_url: str) -> None:
    """Threads share a source and get each their own answer."""

    @sql_source(postgres_url)
    def rows(n: int) -> str:
        return "SELECT :n AS n, pg_sleep(0.01)"

    with ThreadPoolExecutor(8) as pool:
        assert list(range(64)) == [frame["n"][0] for frame in pool.map(rows, range(64))]


def _child(url: str, answers: Any) -> None:
    answers.put([int(query("SELECT :n AS n", url, n=n)["n"][0]) for n in range(3)])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork(postgres_url: str) -> None:
    """A forked child has connections of its own and leaves its parent's alone."""
    query("SELECT 1", postgres_url)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    children = [context.Process(target=_child, args=(postgres_url, answers)) for _ in range(2)]
    for child in children:
        child.start()
    assert [[0, 1, 2]] * 2 == [answers.get(timeout=20) for _ in children]
    for child in children:
        child.join()
    assert 5 == query("SELECT 5 AS n", postgres_url)["n"][0]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_leaves_its_parents_stream(postgres_url: str) -> None:
    """A child that drops a stream it inherited does not end its parent's query."""

    @sql_source(postgres_url)
    def rows() -> str:
        return "SELECT i, repeat('x', 100) AS x FROM generate_series(1, 200000) AS i"

    stream = iter(rows.stream(rows=1000))
    next(stream)
    child = os.fork()
    if not child:
        stream.close()  # type: ignore[attr-defined]
        os._exit(0)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert 199_000 == sum(len(part) for part in stream)


def test_engines(postgres_url: str) -> None:
    """An engine, and what knows one, is a database; its settings are as they were afterwards."""
    sa = pytest.importorskip("sqlalchemy")
    engine = sa.create_engine(
        postgres_url.replace("postgresql://", "postgresql+psycopg2://"), isolation_level="AUTOCOMMIT"
    )
    for url in (engine, engine.url):
        assert 1 == query("SELECT 1 AS a", url)["a"][0]
    with pytest.raises(QueryError, match="read-only"):
        query("CREATE TABLE from_engine (a int)", engine)
    with engine.connect() as connection:
        assert 1 == query("SELECT 1 AS a", connection)["a"][0]
        connection.execute(sa.text("CREATE TEMP TABLE still_writes (a int)"))
    engine.dispose()


def test_engine_of_sqlite_in_memory() -> None:
    """SQLAlchemy's SQLite in memory is another database in every thread: it is asked in the caller's."""
    sa = pytest.importorskip("sqlalchemy")
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (a INTEGER)"))
        connection.execute(sa.text("INSERT INTO t VALUES (5)"))

    @sql_source(engine, timeout_s=5)
    def rows() -> str:
        return "SELECT a FROM t"

    assert 5 == rows()["a"][0]
    assert 5 == next(iter(rows.stream()))["a"][0]
    write_sql(rows(), "u", engine)
    with engine.connect() as connection:
        assert 5 == connection.execute(sa.text("SELECT a FROM u")).scalar()
    engine.dispose()


def test_any_other_dialect(postgres_url: str) -> None:
    """A dialect that lore has no road of its own for is read through SQLAlchemy, with the same rules."""
    sa = pytest.importorskip("sqlalchemy")
    engine = sa.create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg2://"))
    database = servers.Alchemy(engine, "other")
    frame = pd.DataFrame(
        {"a": [1, 2], "b": pd.array([1, None], dtype="Int64"), "c": ["x", None], "d": [0.5, 1.5], "e": [True, False]}
    )
    assert 2 == connections.write(database, frame, "other_table", "replace")
    with pytest.raises(StatementError, match="append"):
        connections.write(database, frame, "other_table", "fail")
    assert 2 == connections.write(database, frame, "other_table", "append")
    text = "SELECT a, b, c, d, e, ':x' AS f, now()::date AS g FROM other_table WHERE a IN :ids AND c = :c"
    statement = bind(text, {"ids": [1, 3], "c": "x"}, "test")
    read = connections.fetch(database, statement, connections.Plan("test", "/* lore:test */"))
    assert [(1, 1, "x", 0.5, True, ":x")] * 2 == list(read.iloc[:, :6].itertuples(index=False, name=None))
    assert ["int64", "int64", "str", "float64", "bool", "str", "datetime64[s]"] == [str(d) for d in read.dtypes]
    parts = list(connections.stream(database, bind("SELECT a FROM other_table", {}, "t"), connections.Plan("t"), 3))
    assert [(3, "Int64"), (1, "Int64")] == [(len(part), str(part["a"].dtype)) for part in parts]
    for wrong, named in (("SELECT * FROM nowhere", "nowhere"), ("DELETE FROM other_table", "read-only")):
        with pytest.raises(QueryError, match=named):
            connections.fetch(database, bind(wrong, {}, "test"), connections.Plan("test"))
    with pytest.raises(QueryError) as caught:
        connections.fetch(database, bind("SELECT CAST(:s AS INT)", {"s": "geheim"}, "t"), connections.Plan("t"))
    assert "geheim" not in "".join(traceback.format_exception(caught.value)).replace('"s": "geheim"', "")
    engine.dispose()


def test_cancelled_async_stream(postgres_url: str, admin: Any) -> None:
    """A task cancelled in the middle of a stream ends its query and its transaction."""

    @sql_source(postgres_url)
    async def rows() -> str:
        return "SELECT i, pg_sleep(0.001) AS cancelled_stream FROM generate_series(1, 100000) AS i"

    async def main() -> None:
        async def use() -> None:
            async for _ in rows.stream(rows=100):
                pass

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(use(), 0.4)

    asyncio.run(main())
    eventually(lambda: not admin(f"SELECT pid {OTHERS} AND (state = 'active' OR state LIKE 'idle in%')"))


def test_several_databases(postgres_url: str, tmp_path: Path) -> None:
    """Sources of several databases live side by side."""
    write_sql(pd.DataFrame({"a": ["lite"]}), "which", f"sqlite:///{tmp_path}/a.db")
    write_sql(pd.DataFrame({"a": ["duck"]}), "which")
    write_sql(pd.DataFrame({"a": ["post"]}), "which", postgres_url, if_exists="replace")
    urls = (f"sqlite:///{tmp_path}/a.db", None, postgres_url)
    assert ["lite", "duck", "post"] == [query("SELECT a FROM which", url)["a"][0] for url in urls]


def test_comment_tag_is_constant(postgres_url: str, admin: Any) -> None:
    """The server sees which function asks, the same for every call."""

    @sql_source(postgres_url)
    def tagged(n: int) -> str:
        return "SELECT query, :n AS n FROM pg_stat_activity WHERE pid = pg_backend_pid()"

    for n in range(2):
        assert "/* lore:test_connections.test_comment_tag_is_constant.<locals>.tagged */" in tagged(n)["query"][0]


# ---------------------------------------------------------------------------------------------------------------------
# errors and secrets


def test_no_connection(postgres_url: str) -> None:
    """A server that is not there, a database and a role that do not exist are told without the password."""
    folder = postgres_url.partition("host=")[2]
    for url, named in (
        ("postgresql://me:geheim@127.0.0.1:1/db", "127.0.0.1"),
        (f"postgresql://nobody:geheim@/db?host={folder}", "nobody"),
        (f"postgresql://postgres:geheim@/nowhere?host={folder}", "nowhere"),
        ("postgresql://me:ge%40heim@no-such-host.invalid/db", "no-such-host.invalid"),
    ):
        with pytest.raises(QueryError, match=named) as caught:
            query("SELECT 1", url)
        told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
        assert "geheim" not in told.replace(f'"{url}"', "")
        assert "ge@heim" not in told


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:geheim@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:@/db?host=/run", "postgresql://me:@/db?host=/run"),
        ("postgresql://me:@geheim@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg2://me:ge:he@im@host/db", "postgresql+psycopg2://me:***@host/db"),
        ("postgresql://host/db?user=me&password=geheim&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("dsn: host=h password='ge heim' user=me", "dsn: host=h password=*** user=me"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_hide_password(text: str, hidden: str) -> None:
    """A password is hidden wherever a URL or a DSN may carry one."""
    assert hidden == hide_password(text)


@pytest.mark.parametrize(
    "url", ["postgresql//u:geheim@h/db", "postgresql:/u:geheim@h/db", "u:geheim@h/db", "u:ge@geheim@h/db", "h:geheim"]
)
def test_no_password_of_what_is_no_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that lacks its colon or its slashes is refused without its password, from the environment too."""
    monkeypatch.setenv("DBU", url)
    with pytest.raises(DecorationError, match="no database URL") as decorated:
        sql_source(url)
    for given in (url, "$DBU"):
        with pytest.raises(SourceError, match="no database URL") as asked:
            query("SELECT 1", given)
        told = "".join(map(str, (decorated.value, asked.value, asked.value.__context__)))
        assert "geheim" not in told
        assert "@" not in url or "@h/db" in told


@pytest.mark.parametrize("host", ["u:geheim@h:port/db", "u:ge@heim:geheim@h/db"])
def test_a_port_that_is_no_number(host: str) -> None:
    """A wrong port is an error of the URL, which hides the password and what may be a part of it."""
    with pytest.raises(SourceError, match=r"\*\*\*@h.*port is not a number") as caught:
        query("SELECT 1", f"postgresql://{host}")
    assert "heim" not in str(caught.value)


def test_client_encoding_is_ours(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts come right where the environment asks for another encoding."""
    monkeypatch.setenv("PGCLIENTENCODING", "latin1")
    url = f"{postgres_url}&application_name=latin"
    assert ["€ä", "UTF8"] == list(query("SELECT '€ä', current_setting('client_encoding')", url).iloc[0])


@pytest.mark.parametrize(
    "name", ['we"ird; drop table x;--', "a..b", "a.b.c", ".a", "a.", '"a', 'a"b"', "", '""', '"a"b']
)
def test_what_is_no_table_name(name: str) -> None:
    """A name whose dots or quotes leave open what is meant is refused before anything runs."""
    with pytest.raises(StatementError, match="double"):
        write_sql(pd.DataFrame({"n": [1]}), name)
    for whole in ("odd.name", 'odd "name"; drop table x;--'):
        assert (None, whole) == connections.qualified(connections.quoted(None, whole))
        assert (whole, "b") == connections.qualified(connections.quoted(whole, "b"))


def test_scrub() -> None:
    """Bound values are taken out of a message; what only contains them stays."""
    assert 'invalid input: "***" for x1' == scrub('invalid input: "geheim" for x1', ["geheim", 1, None, True])
    assert "a *** b *** c" == scrub("a 17 b it''s c", [[17, "it's"]])


def test_unset_variable_is_named() -> None:
    """A variable that is not set is an error with its name."""
    with pytest.raises(SourceError, match="NOT_SET_ANYWHERE"):
        query("SELECT 1", "$NOT_SET_ANYWHERE")


def test_driver_that_is_not_installed() -> None:
    """A dialect without its driver says so."""
    with pytest.raises(SourceError, match="driver"):
        query("SELECT 1", "mysql://me:geheim@host/db")


def test_repr_of_a_plan_shows_no_secret(postgres_url: str) -> None:
    """What a debugger shows of lore's own objects holds no password."""
    database = connections.resolve("postgresql://me:geheim@host/db")
    assert "geheim" not in repr(database) + repr(vars(database))


# ---------------------------------------------------------------------------------------------------------------------
# what a person sees


@pytest.mark.slow
def test_progress_on_a_terminal_only(postgres_url: str, tmp_path: Path) -> None:
    """A query of more than two seconds shows a line on a terminal, and nothing where nobody looks."""
    script = tmp_path / "slow.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        from lore.io import query
        query(sys.argv[1], {postgres_url!r})
        """)
    )
    slow = "SELECT repeat('x', 1000), CASE WHEN i % 5000 = 0 THEN pg_sleep(0.6) END FROM generate_series(1, 25000) AS i"
    piped = subprocess.run([sys.executable, script, "SELECT pg_sleep(2.3)"], capture_output=True, text=True, check=True)
    assert "" == piped.stderr
    assert "rows/s" in on_terminal([sys.executable, str(script), slow])


def test_progress_waits_two_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is shown in the first two seconds, and the line is taken away at the end."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress("shop.orders", True)
    progress.update(3_000_000, 240_000_000)
    now[0] += 1.9
    progress.tick()
    progress.close()
    assert "" == capsys.readouterr().err
    now[0] += 0.1
    progress.tick()
    assert "shop.orders  3,000,000 rows  1,500,000 rows/s  240.0 MB  2 s" in capsys.readouterr().err
    progress.close()
    assert "\r\x1b[2K" == capsys.readouterr().err


def on_terminal(command: list[str]) -> str:
    """Run a command on a terminal of its own; return what it wrote."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 4096):
            written += piece
    except OSError:  # the other side was closed
        pass
    process.wait()
    os.close(ours)
    return written.decode()
