"""
What `import lore` costs, beside cachetools and joblib:

    python benchmarks/bench_import.py

Each import runs in a fresh interpreter, in turns; the interpreter's own start is taken off. The best of the rounds.
"""

from __future__ import annotations

import subprocess
import sys
import time

ROUNDS = 15
PROGRAMS = {
    "bare interpreter": "pass",
    "import lore": "import lore",
    "lore.cached": "import lore; lore.cached",
    "lore.timed": "import lore; lore.timed",
    "lore.sql_source": "import lore; lore.sql_source",
    "lore.endpoint": "import lore; lore.endpoint",
    "import cachetools": "import cachetools",
    "import joblib": "import joblib",
}


def main() -> None:
    """Print milliseconds."""
    best = dict.fromkeys(PROGRAMS, float("inf"))
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            best[name] = min(best[name], time.perf_counter() - started)
    bare = best.pop("bare interpreter")
    for name, elapsed_s in best.items():
        print(f"{name:20}{(elapsed_s - bare) * 1000:8.1f} ms")


if __name__ == "__main__":
    main()
