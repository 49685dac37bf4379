"""
From csv files to a judged model:  python -m flights.pipeline
"""

from __future__ import annotations

import time

import lore
from flights import features, model
from flights.data import load_database

STEPS = (
    features.weather_before,
    features.planes,
    features.table,
    model.fit,
    model.loss,
    model.model,
    model.late_shares,
    model.clerk,
    model.judged,
    model.scores,
)


def main() -> None:
    """Run what is not done yet; say how good the model is, what had to be computed, and where the time went."""
    started = time.perf_counter()
    load_database()
    judged = model.figures()
    elapsed_s = time.perf_counter() - started
    print("Judged on October to December, which the model has not seen (late: more than 15 minutes):\n")
    print(judged.to_string(float_format="{:.4f}".format))
    print(f"\n{lore.timing.report()}\n")
    print("computed: " + (counted("misses") or "nothing"))
    print("found:    " + (counted("hits") or "nothing"))
    print(f"pipeline: {elapsed_s:.2f} s")


def counted(outcome: str) -> str:
    """Name the cached steps that had an outcome, and how often where it was more than once."""
    counts = {step.__name__: getattr(step.cache_info(), outcome) for step in STEPS}
    return ", ".join(name if count == 1 else f"{name} x{count}" for name, count in counts.items() if count)


if __name__ == "__main__":
    main()
