"""
A distributed clock: start it on several machines, each job runs once per period.

    redis-server &
    python clock.py redis://localhost:6379 &
    python clock.py redis://localhost:6379 &

mani's `every` must stand outermost, since it returns None; it names a job by the function's `__name__` and logs, but
does not raise, what a job raises. Two clocks take turns through a lock in Redis; that a job's result is not computed
twice, also when the lock is lost, is lore's part.
"""

from __future__ import annotations

import os
import sys
import time

import mani

import lore

clock = mani.Mani(sys.argv[1] if len(sys.argv) > 1 else "redis://localhost:6379")


@lore.cached
def aggregate(day: int) -> dict[str, int]:
    """Sum up one day; computed once, whoever asks."""
    with open(os.environ.get("CLOCK_LOG", "clock.log"), "a") as log:
        log.write(f"aggregate {day} {os.getpid()}\n")
    return {"day": day, "rows": day * 10}


def tick() -> dict[str, int]:
    """Aggregate the current day."""
    with open(os.environ.get("CLOCK_LOG", "clock.log"), "a") as log:
        log.write(f"tick {int(time.time())} {os.getpid()}\n")
    return aggregate(int(time.time()) // 86_400)


clock.every(seconds=2)(lore.timed(tick))

if __name__ == "__main__":
    clock.start()
