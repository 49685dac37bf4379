"""
From csv files to a judged model:  python -m flights.pipeline
"""

from __future__ import annotations

import time

import lore
from flights.data import load_database
from flights.model import figures


def main() -> None:
    """Run everything that is not done yet, and say how good the model is and where the time went."""
    started = time.perf_counter()
    load_database()
    judged = figures()
    elapsed_s = time.perf_counter() - started
    print("October to December, which the model has not seen (late: more than 15 minutes):\n")
    print(judged.to_string(float_format="{:.4f}".format))
    print()
    print(lore.timing.report())
    print(f"\npipeline_s {elapsed_s:.3f}")


if __name__ == "__main__":
    main()
