"""
A warm hit beside joblib, cachier, diskcache and the floor; what a miss costs; large results.

    python benchmarks/bench_cache.py            # the table, everything interleaved in one process
    python benchmarks/bench_cache.py --quick    # fewer entries

Each row is the best of several rounds in which every library takes its turn, so that a busy machine hits all alike.
"""

from __future__ import annotations

import argparse
import functools
import gc
import os
import pickle
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROUNDS = 21


class Taken(NamedTuple):
    """Microseconds per call: the best and the median round by the clock, the best by the processor."""

    best: float
    median: float
    cpu: float


def timed(call: Callable[[], Any], times: int) -> tuple[float, float]:
    """Return microseconds per call, by the clock and by the processor."""
    cpu, begun = time.process_time(), time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begun) / times * 1e6, (time.process_time() - cpu) / times * 1e6


def interleaved(calls: dict[str, Callable[[], Any]], times: int, rounds: int = ROUNDS) -> dict[str, Taken]:
    """Let every call take its turn in every round."""
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                rows[name].append(timed(call, times))
    finally:
        gc.enable()
    return {
        name: Taken(min(row)[0], statistics.median(wall for wall, _ in row), min(cpu for _, cpu in row))
        for name, row in rows.items()
    }


def show(title: str, results: dict[str, Taken], unit: str = "us") -> None:
    scale = {"us": 1.0, "ms": 1e-3}[unit]
    print(f"\n{title}")
    print(f"  {unit:28} {'best':>10} {'median':>10} {'cpu':>10}   best and cpu beside lore's")
    own = results["lore"]
    for name, taken in results.items():
        numbers = " ".join(f"{number * scale:10.2f}" for number in taken)
        print(f"  {name:28} {numbers}   {taken.best / own.best:8.1f}x {taken.cpu / own.cpu:8.1f}x")


# --- the functions ---------------------------------------------------------------------------------------------------

RATE = 1.5


def helper(distance: float, hour: int) -> float:
    return distance * RATE + hour


def plain(carrier: str, distance: float, hour: int = 9) -> dict[str, float]:
    """Stand for a small result of scalar arguments, with a helper and a constant for the code guard."""
    return {"delay": helper(distance, hour), "chance": 0.25}


def hits(entries: int, folder: Path) -> dict[str, Taken]:
    """Fill each cache with entries and time the hit of one of them."""
    import cachier
    import diskcache
    import joblib

    import lore

    stored = lore.cached(store=folder / "lore")(plain)
    memory = joblib.Memory(folder / "joblib", verbose=0).cache(plain)
    by_cachier = cachier.cachier(cache_dir=folder / "cachier", separate_files=False)(plain)
    # cachier rewrites one file for every entry: 10,000 of them would take the better part of an hour
    fill_cachier = entries <= 1_000
    disk = diskcache.Cache(folder / "diskcache")
    by_diskcache = disk.memoize()(plain)
    for number in range(entries):
        stored("AA", float(number))
        memory("AA", float(number))
        by_diskcache("AA", float(number))
        if fill_cachier:
            by_cachier("AA", float(number))
    floor_path = folder / "floor"
    floor_path.write_bytes(pickle.dumps(plain("AA", 0.0)))

    def floor() -> Any:
        descriptor = os.open(floor_path, os.O_RDONLY)
        data = os.read(descriptor, 65536)
        os.close(descriptor)
        return pickle.loads(data)

    calls: dict[str, Callable[[], Any]] = {
        "lore": lambda: stored("AA", 0.0),
        "floor: open, read, loads": floor,
        "diskcache": lambda: by_diskcache("AA", 0.0),
        "joblib": lambda: memory("AA", 0.0),
    }
    if fill_cachier:
        calls["cachier"] = lambda: by_cachier("AA", 0.0)
    assert stored.cache_contains("AA", 0.0)
    results = interleaved(calls, 60)
    spread = iter(range(10**9))
    each = {"each": lambda: stored("AA", float(next(spread) * 7919 % entries))}
    results["lore, another entry each"] = interleaved(each, 60)["each"]
    disk.close()
    return results


def memory_hits() -> dict[str, Taken]:
    import lore

    kept = lore.cached(memory=8)(plain)
    remembered = functools.lru_cache(maxsize=8)(plain)
    return interleaved(
        {
            "lore": lambda: kept("AA", 0.0),
            "functools.lru_cache": lambda: remembered("AA", 0.0),
            "the function itself": lambda: plain("AA", 0.0),
        },
        2_000,
    )


def misses(folder: Path) -> dict[str, Taken]:
    import diskcache
    import joblib

    import lore

    stored = lore.cached(store=folder / "lore miss")(plain)
    memory = joblib.Memory(folder / "joblib miss", verbose=0).cache(plain)
    disk = diskcache.Cache(folder / "diskcache miss")
    by_diskcache = disk.memoize()(plain)
    number = iter(range(10**9))
    results = interleaved(
        {
            "lore": lambda: stored("AA", float(next(number))),
            "diskcache": lambda: by_diskcache("AA", float(next(number))),
            "joblib": lambda: memory("AA", float(next(number))),
        },
        30,
    )
    disk.close()
    return results


def large(folder: Path) -> None:
    """Store and load a frame of 100 MB and a forest, beside joblib."""
    import joblib
    import numpy as np
    import pandas as pd

    import lore

    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(1_250_000, 10)), columns=list("abcdefghij"))
    memory = joblib.Memory(folder / "joblib large", verbose=0)
    mapped = joblib.Memory(folder / "joblib mapped", verbose=0, mmap_mode="r")

    def make(number: int) -> pd.DataFrame:
        return frame

    stored = lore.cached(store=folder / "lore large", code=False)(make)
    lazy = lore.cached(store=folder / "lore large", code=False, verify=False)(make)
    by_joblib, by_mapped = memory.cache(make), mapped.cache(make)
    stored(1), by_joblib(1), by_mapped(1)
    show(
        "load a frame of 100 MB",
        interleaved(
            {
                "lore": lambda: stored(1),
                "lore, verify=False": lambda: lazy(1),
                "joblib": lambda: by_joblib(1),
                "joblib, mmap": lambda: by_mapped(1),
            },
            1,
        ),
        "ms",
    )
    show(
        "store it (the call without the computing)",
        interleaved(
            {"lore": lambda: stored.cache_refresh(1), "joblib": lambda: by_joblib.call(1)},
            1,
            rounds=5,
        ),
        "ms",
    )

    def total(table: pd.DataFrame) -> float:
        return 1.0

    by_lore, by_joblib_total = lore.cached(store=folder / "lore large")(total), memory.cache(total)
    by_lore(frame), by_joblib_total(frame)
    show(
        "hit with a frame of 100 MB as the argument",
        interleaved({"lore": lambda: by_lore(frame), "joblib": lambda: by_joblib_total(frame)}, 1),
        "ms",
    )
    from sklearn.ensemble import RandomForestRegressor

    rows = frame.sample(20_000, random_state=1)
    forest = RandomForestRegressor(20, random_state=1, n_jobs=2).fit(rows[list("abc")], rows["d"])

    def model(number: int) -> RandomForestRegressor:
        return forest

    stored_model, joblib_model = lore.cached(store=folder / "lore large", code=False)(model), memory.cache(model)
    stored_model(1), joblib_model(1)
    size = stored_model.cache_info().bytes
    show(
        f"load a forest of {size / 1e6:.0f} MB",
        interleaved({"lore": lambda: stored_model(1), "joblib": lambda: joblib_model(1)}, 1),
        "ms",
    )
    show(
        "store it",
        interleaved({"lore": lambda: stored_model.cache_refresh(1), "joblib": lambda: joblib_model.call(1)}, 1, 5),
        "ms",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 and 1,000 entries only, no large results")
    quick = parser.parse_args().quick
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LORE_HOME"] = str(folder / "home")
        for entries in (1, 1_000) if quick else (1, 1_000, 10_000):
            (folder / str(entries)).mkdir()
            show(f"warm hit, scalar arguments, {entries:,} entries", hits(entries, folder / str(entries)))
        show("hit with memory=", memory_hits())
        show("miss (key, lock, compute, store)", misses(folder))
        if not quick:
            large(folder)


if __name__ == "__main__":
    sys.exit(main())
