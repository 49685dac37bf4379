"""
Storing and loading results beside joblib and diskcache: frames, strings, a forest, objects, a small dict.

    python benchmarks/bench_payloads.py            # needs scikit-learn for the forest
    python benchmarks/bench_payloads.py --keras    # a Keras model too (imports TensorFlow)
    python benchmarks/bench_payloads.py --folder /dev/shm

Each row is the best of several rounds in which every library takes its turn. Nothing is fsynced by anybody; each store goes
to a name that did not exist. "floor" reads the file with one call and does nothing with it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import os
import pickle
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diskcache
import joblib
import numpy as np
import pandas as pd

from lore._caching import payloads

ROUNDS = 5


def ms(call: Callable[[], Any], times: int = 1) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begun) * 1e3 / times


def values(keras: bool) -> Iterator[tuple[str, Any, int]]:
    """Yield a name, a value and how often to repeat it in a round."""
    chance = np.random.default_rng(0)
    yield "frame of floats, 100 MB", pd.DataFrame(chance.random((1_250_000, 10))), 1
    texts = [f"string number {i} {'x' * (i % 40)}" for i in range(1_000_000)]
    yield "frame of 1M strings", pd.DataFrame({"text": texts}), 1
    yield "array, 100 MB", chance.random(12_500_000), 1
    yield "forest", forest(), 1
    yield "100,000 dicts", [{"a": i, "b": str(i)} for i in range(100_000)], 1
    yield "a small dict", {"delay": 3.5, "chance": 0.25}, 200
    if keras:
        yield "Keras model, 4 MB", network(), 1


def forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    rows = np.random.default_rng(0).random((16_000, 20))
    return RandomForestClassifier(100, n_jobs=2, min_samples_leaf=3, random_state=0).fit(rows, rows.sum(axis=1) > 10)


def network() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    return keras.Sequential(
        [keras.Input((100,)), keras.layers.Dense(1000), keras.layers.Dense(900), keras.layers.Dense(1)]
    )


def compare(name: str, value: Any, times: int, folder: Path) -> None:
    """Print a row for storing and one for loading."""
    names = itertools.count()
    cache = diskcache.Cache(str(folder / "diskcache"), size_limit=2**40)

    def store_lore() -> None:
        with (folder / "draft").open("wb", buffering=0) as file:
            payloads.dump(value, {}, file)
        os.replace(folder / "draft", folder / f"{next(names)}.lore")

    def store_diskcache() -> None:
        cache[f"{next(names)}"] = value

    stores = {
        "lore": store_lore,
        "joblib": lambda: joblib.dump(value, folder / f"{next(names)}.joblib"),
        "diskcache": store_diskcache,
    }
    store_lore()
    at = next(folder.glob("*.lore"))
    joblib.dump(value, folder / "joblib")
    cache["one"] = value
    loads = {
        "lore": lambda: payloads.open(at).load(),
        "lore, unverified": lambda: payloads.open(at).load(verify=False),
        "joblib": lambda: joblib.load(folder / "joblib"),
        "joblib, mapped": lambda: joblib.load(folder / "joblib", mmap_mode="c"),
        "diskcache": lambda: cache["one"],
        "floor": at.read_bytes,
    }
    print(f"\n{name}, {at.stat().st_size / 1e6:.1f} MB in the file")
    for kind, calls in (("store", stores), ("load", loads)):
        taken: dict[str, list[float]] = {peer: [] for peer in calls}
        for _ in range(ROUNDS):
            for peer, call in calls.items():
                taken[peer].append(ms(call, times))
            for old in (*folder.glob("*.joblib"), *folder.glob("*.lore")):
                if old != at:
                    old.unlink()
        own = min(taken["lore"])
        row = "  ".join(f"{peer} {min(each):.3g} ({min(each) / own:.1f}x)" for peer, each in taken.items())
        print(f"  {kind:6} ms  {row}", flush=True)
    cache.clear()
    cache.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keras", action="store_true")
    parser.add_argument("--folder", help="where to write; a temporary folder otherwise")
    options = parser.parse_args()
    versions = f"pickle {pickle.HIGHEST_PROTOCOL}  joblib {joblib.__version__}  diskcache {diskcache.__version__}"
    print(f"{dt.date.today()}  Python {platform.python_version()}  {versions}  {platform.machine()}")
    for name, value, times in values(options.keras):
        folder = Path(tempfile.mkdtemp(prefix="lore-bench-", dir=options.folder))
        try:
            compare(name, value, times, folder)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
