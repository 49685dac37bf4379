"""
`lore.io.read` and `write` beside pandas, by format:

    python benchmarks/bench_files.py            # 300,000 rows of 10 columns
    python benchmarks/bench_files.py 50000      # fewer

Each library takes its turn in every round; the best of the rounds is shown. Lore's figures hold what pandas does not do:
the temporary name, fsync, rename and, for csv, that '' is told from a missing value and integers with gaps stay integers.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lore

ROUNDS = 3


def frame(rows: int) -> pd.DataFrame:
    """Make a table of the usual types."""
    rng = np.random.default_rng(0)
    gaps = rng.random(rows) < 0.1
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "quantity": pd.array(np.where(gaps, 0, rng.integers(0, 1000, rows)), dtype="Int64").astype("Int64"),
            "price": rng.random(rows) * 100,
            "rate": np.where(gaps, np.nan, rng.random(rows)),
            "flag": rng.random(rows) < 0.5,
            "name": pd.Series([f"name {i % 1000}" for i in range(rows)], dtype="str"),
            "city": pd.Series(rng.choice(["Berlin", "Roma", "Oslo"], rows), dtype="str"),
            "day": pd.Timestamp("2013-01-01") + pd.to_timedelta(rng.integers(0, 365, rows), unit="D"),
            "at": pd.Timestamp("2013-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 10**7, rows), unit="s"),
            "code": rng.integers(0, 2**40, rows),
        }
    )


PEERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "csv": (lambda table, path: table.to_csv(path, index=False), pd.read_csv),
    "csv.gz": (lambda table, path: table.to_csv(path, index=False), pd.read_csv),
    "jsonl": (
        lambda table, path: table.to_json(path, orient="records", lines=True, date_format="iso"),
        lambda path: pd.read_json(path, lines=True),
    ),
    "parquet": (lambda table, path: table.to_parquet(path, compression="zstd"), pd.read_parquet),
    "feather": (lambda table, path: table.to_feather(path), pd.read_feather),
    "pickle": (lambda table, path: table.to_pickle(path), pd.read_pickle),
}


def main() -> None:
    """Print the table."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    table = frame(rows)
    print(f"{rows:,} rows x {table.shape[1]}, seconds, best of {ROUNDS}; {platform.processor() or platform.machine()}")
    print(f"{'':10}{'write':>10}{'pandas':>10}{'ratio':>8}{'read':>12}{'pandas':>10}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for suffix, (peer_write, peer_read) in PEERS.items():
            ours, theirs = Path(folder) / f"ours.{suffix}", Path(folder) / f"theirs.{suffix}"
            write = best(lambda: lore.io.write(table, ours), lambda: peer_write(table, theirs))  # noqa: B023
            read = best(lambda: lore.io.read(ours), lambda: peer_read(theirs))  # noqa: B023
            print(
                f"{suffix:10}{write[0]:10.3f}{write[1]:10.3f}{write[1] / write[0]:7.1f}x"
                f"{read[0]:12.3f}{read[1]:10.3f}{read[1] / read[0]:7.1f}x",
                flush=True,
            )


def best(*calls: Callable[[], Any]) -> list[float]:
    """Return each call's shortest time, taken in turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
    return [min(taken) for taken in times]


if __name__ == "__main__":
    main()
