"""
The embedded databases beside their peers: 500,000 rows of 10 columns into a DataFrame, and back.

    python benchmarks/bench_embedded.py [rounds]

Lore's column opens and locks the file, watches for Ctrl-C and keeps types; DuckDB's own reads over a connection that is
already open and makes floats of integers with NULLs. Runs are interleaved; the table shows the fastest and the median of
each, and the ratio to the peer in the line's group.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

ROWS = 500_000

TABLE = f"""
    SELECT range AS a, range * 1.5 AS b, 'name' || (range % 1000) AS c, range % 2 = 0 AS d,
        TIMESTAMP '2020-01-01' + to_seconds(range::BIGINT) AS e, (range % 100)::INT AS f,
        DATE '2020-01-01' + (range % 365)::INT AS g, CASE WHEN range % 10 > 0 THEN range END AS h,
        random() AS i, 'x' || range AS j
    FROM range({ROWS})
"""


def measure(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Run all in turn, `rounds` times, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if number:
                times[name].append(time.perf_counter() - began)
    return times


def show(title: str, times: dict[str, list[float]], peer: str) -> None:
    """Print a group; ratios are of medians."""
    print(f"\n{title}\n{'':44} {'min ms':>9} {'median ms':>10} {'x peer':>8}")
    base = statistics.median(times[peer])
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:44} {min(values) * 1000:9.1f} {middle * 1000:10.1f} {middle / base:8.2f}")


def main() -> None:
    """Fill a home of our own, then measure reading, streaming and writing."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory(prefix="lore-bench-") as home:
        os.environ["LORE_HOME"] = home
        import duckdb
        import pandas as pd

        from lore.io import query, sql_source, write_sql

        frame = query(TABLE, "duckdb://")
        write_sql(frame, "t")
        lite = f"{home}/t.sqlite"
        write_sql(frame, "t", f"sqlite:///{lite}")
        copy = duckdb.connect(f"{home}/copy.duckdb")
        copy.register("incoming", frame)
        plain = sqlite3.connect(lite)

        same = duckdb.connect(f"{home}/lore.duckdb", read_only=True)

        @sql_source
        def rows() -> str:
            return "SELECT * FROM t"

        show(
            f"DuckDB, {ROWS:,} x 10 to a frame",
            measure(
                {
                    "DuckDB's own: arrow to pandas": lambda: (
                        same.sql("SELECT * FROM t").to_arrow_table().to_pandas(date_as_object=False)
                    ),
                    "DuckDB's own: df()": lambda: same.sql("SELECT * FROM t").df(),
                    "lore": lambda: rows(),
                    "lore, stream": lambda: [len(part) for part in rows.stream()],
                },
                rounds,
            ),
            "DuckDB's own: arrow to pandas",
        )
        same.close()
        show(
            f"SQLite, {ROWS:,} x 10 to a frame",
            measure(
                {
                    "pandas.read_sql": lambda: pd.read_sql("SELECT * FROM t", plain),
                    "lore": lambda: query("SELECT * FROM t", f"sqlite:///{lite}"),
                },
                max(2, rounds // 3),
            ),
            "pandas.read_sql",
        )
        show(
            f"writing {ROWS:,} x 10 to DuckDB",
            measure(
                {
                    "DuckDB's own: CREATE TABLE AS frame": lambda: copy.execute(
                        "CREATE OR REPLACE TABLE w AS SELECT * FROM incoming"
                    ),
                    "lore": lambda: write_sql(frame, "w", if_exists="replace"),
                },
                max(3, rounds // 2),
            ),
            "DuckDB's own: CREATE TABLE AS frame",
        )
        show(
            f"writing {ROWS // 5:,} x 10 to SQLite",
            measure(
                {
                    "pandas to_sql": lambda: frame.head(ROWS // 5).to_sql("w", plain, if_exists="replace", index=False),
                    "lore": lambda: write_sql(frame.head(ROWS // 5), "v", f"sqlite:///{lite}", if_exists="replace"),
                },
                max(2, rounds // 3),
            ),
            "pandas to_sql",
        )
        copy.close()
        plain.close()


if __name__ == "__main__":
    main()
