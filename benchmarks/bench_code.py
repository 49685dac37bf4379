"""
What it costs to know that code has not changed, beside joblib's check of the function alone.

    python benchmarks/bench_code.py

Lore's guard covers the function and everything it reaches; joblib's the text of the function itself. The programs are
written to a temporary folder and imported; all checks take their turn in every round. "first look" is what the first
call in a process pays: lore's readings are thrown away each time, joblib's table of functions too.
"""

from __future__ import annotations

import gc
import importlib
import platform
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lore._caching import reading
from lore._caching.code import Code

ROUNDS = 15

PLAIN = "def f(x): return x + 1\n"

TYPICAL = """
import numpy as np
import pandas as pd

LIMIT = 3
COLUMNS = ["carrier", "distance", "hour"]
RATES = {"a": 0.5, "b": 0.25}

def clean(rows, drop=True):
    kept = [row for row in rows if row < LIMIT]
    return kept if drop else rows

def scale(rows, by=2):
    return np.asarray(rows) * by * RATES["a"]

def join(rows, other):
    return pd.DataFrame(rows, columns=COLUMNS).merge(other)

def f(x, depth=6):
    rows = scale(clean(x))
    return join(rows, x), len(rows), sorted(rows)
"""

LARGE = (
    "import math\n"
    + "\n".join(f"K{n} = {n}\ndef h{n}(x, k={n}):\n    return math.sqrt(x) + K{n} + h{n + 1}(x)\n" for n in range(200))
    + "\ndef h200(x): return x\ndef f(x): return h0(x)\n"
)

CONTENT = "import numpy as np\nA = np.zeros(12_500)\ndef f(x): return A[x]\n"


def main() -> None:
    """Print the table."""
    import joblib
    from joblib import memory

    print(f"python {platform.python_version()}, joblib {joblib.__version__}, {platform.machine()}")
    print(f"{'us per check':34} {'lore':>9} {'joblib':>9} {'ratio':>7}   {'first look':>11} {'joblib':>9}")
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        programs = {
            "a function alone": PLAIN,
            "3 helpers, 3 constants, 2 packages": TYPICAL,
            "200 helpers, 200 constants": LARGE,
            "a global array of 100 kB": CONTENT,
        }
        for number, (title, text) in enumerate(programs.items()):
            Path(folder, f"program{number}.py").write_text(textwrap.dedent(text))
            function = importlib.import_module(f"program{number}").f
            code = Code.of(function)
            cached = memory.Memory(folder, verbose=0).cache(function)
            cached._check_previous_func_code()

            def first(function: Any = function) -> None:
                reading._readings.clear()
                reading._sources.clear()
                Code.of(function).digest()

            def first_of_joblib(cached: Any = cached) -> None:
                memory._FUNCTION_HASHES.clear()
                cached._func_code_info = None
                cached._check_previous_func_code()

            guard = interleaved({"lore": code.digest, "joblib": cached._check_previous_func_code}, 2000)
            looks = interleaved({"lore": first, "joblib": first_of_joblib}, 5)
            own, peer = guard["lore"], guard["joblib"]
            print(f"{title:34} {own:9.2f} {peer:9.2f} {peer / own:7.1f}   {looks['lore']:11.0f} {looks['joblib']:9.0f}")


def interleaved(calls: dict[str, Callable[[], Any]], times: int) -> dict[str, float]:
    """Let every call take its turn in every round; return the median of each, in microseconds."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for name, call in calls.items():
                begun = time.perf_counter()
                for _ in range(times):
                    call()
                taken[name].append((time.perf_counter() - begun) / times * 1e6)
    finally:
        gc.enable()
    return {name: statistics.median(each) for name, each in taken.items()}


if __name__ == "__main__":
    main()
