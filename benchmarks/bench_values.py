"""
Fingerprints of arguments beside joblib's hash: large arrays and frames, strings, many small objects, single scalars.

    python benchmarks/bench_values.py            # 1 GB of floats, a million strings; needs 6 GB of memory
    python benchmarks/bench_values.py --quick    # a tenth of each

Each row is the best of several rounds in which both take their turn. "xxh3" is the bare digest of as many bytes, the floor.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import decimal
import gc
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import xxhash

from lore._caching.values import digest


@dataclasses.dataclass
class Leg:
    carrier: str
    distance: float


def best(call: Callable[[], Any], times: int = 1) -> float:
    """Return seconds per call."""
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begun) / times


def large(scale: float) -> Iterator[tuple[str, Any, int]]:
    """Yield a name, a value and its size in bytes."""
    rows = int(125_000_000 * scale)
    chance = np.random.default_rng(0)
    array = chance.random(rows)
    yield "array of floats", array, array.nbytes
    square = array[: rows // 10 * 10].reshape(-1, 10)
    yield "the same in Fortran order", np.asfortranarray(square), square.nbytes
    yield "every second row of it", square[::2], square.nbytes // 2
    del square, array
    frame = pd.DataFrame(chance.random((rows // 10, 10)))
    yield "frame of floats", frame, 8 * rows
    yield "every second row of it", frame.iloc[::2], 4 * rows
    del frame
    count = int(1_000_000 * scale)
    texts = pd.DataFrame({"text": [f"string number {i} {'x' * (i % 40)}" for i in range(count)]})
    size = int(texts.memory_usage(deep=True).sum())
    yield "frame of strings", texts, size
    yield "a slice of it", texts.iloc[count // 10 :], size * 9 // 10
    yield "Arrow table of strings", pa.Table.from_pandas(texts), size
    objects = texts.astype(object)
    objects["maybe"] = [None if i % 3 else float(i) for i in range(count)]
    yield "two object columns", objects, size
    yield "100 x 10,000 floats", pd.DataFrame(chance.random((100, 10_000))), 8_000_000


def small(scale: float) -> Iterator[tuple[str, Any]]:
    """Yield lists of small objects."""
    count = int(100_000 * scale)
    day = dt.date(2020, 1, 1)
    yield f"{count:,} integers", list(range(count))
    yield f"{count:,} tuples", [(i, str(i), i / 2) for i in range(count)]
    yield f"{count:,} dicts", [{"a": i, "b": str(i)} for i in range(count)]
    yield f"{count:,} Decimals", [decimal.Decimal(i) / 8 for i in range(count)]
    yield f"{count:,} dates", [day + dt.timedelta(i) for i in range(count)]
    yield f"{count:,} numpy floats", list(np.random.default_rng(0).random(count))
    yield f"{count:,} dataclass instances", [Leg(str(i % 9), i / 3) for i in range(count)]
    yield f"{count // 10:,} small arrays", list(np.random.default_rng(0).random((count // 10, 8)))
    yield f"a set of {count:,} strings", {str(i) for i in range(count)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    scale = 0.1 if parser.parse_args().quick else 1.0
    print(f"{dt.date.today()}  Python {platform.python_version()}  joblib {joblib.__version__}  {platform.machine()}")
    print(f"\n{'large values':32} {'lore ms':>9} {'GB/s':>7} {'joblib ms':>10} {'GB/s':>7} {'ratio':>7} {'xxh3 ms':>9}")
    for name, value, size in large(scale):
        raw = np.ones(size, "u1")
        own, peer, floor = [], [], []
        for _ in range(3):
            own.append(best(lambda: digest(value)))  # noqa: B023  (called at once)
            floor.append(best(lambda: xxhash.xxh3_128_digest(raw)))  # noqa: B023
            if len(peer) < 2:
                peer.append(best(lambda: joblib.hash(value)))  # noqa: B023
        one, other = min(own), min(peer)
        speeds = f"{one * 1e3:9.1f} {size / one / 1e9:7.2f} {other * 1e3:10.1f} {size / other / 1e9:7.2f}"
        print(f"{name:32} {speeds} {other / one:6.1f}x {min(floor) * 1e3:9.1f}", flush=True)
        del value
        gc.collect()
    print(f"\n{'small objects':32} {'lore ms':>9} {'us each':>7} {'joblib ms':>10} {'':7} {'ratio':>7}")
    for name, value in small(scale):
        own, peer = [], []
        for _ in range(3):
            own.append(best(lambda: digest(value)))  # noqa: B023
            peer.append(best(lambda: joblib.hash(value)))  # noqa: B023
        one, other = min(own), min(peer)
        print(
            f"{name:32} {one * 1e3:9.1f} {one * 1e6 / len(value):7.2f} {other * 1e3:10.1f} {'':7} {other / one:6.1f}x"
        )
    print(f"\n{'scalars':32} {'lore us':>9} {'':7} {'joblib us':>10} {'':7} {'ratio':>7}")
    for name, value in (
        ("an int", 3),
        ("a str", "AA"),
        ("('AA', 3.5, 9)", ("AA", 3.5, 9)),
        ("a date", dt.date(2020, 1, 1)),
    ):
        own = [best(lambda: digest(value), 20_000) for _ in range(5)]  # noqa: B023
        peer = [best(lambda: joblib.hash(value), 500) for _ in range(5)]  # noqa: B023
        one, other = min(own), min(peer)
        print(f"{name:32} {one * 1e6:9.2f} {'':7} {other * 1e6:10.1f} {'':7} {other / one:6.0f}x")


if __name__ == "__main__":
    main()
