"""
Search with ray: `python ray_search.py [size]`.

`ray.remote` takes a decorated function as it is: it is a real function.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ray
from forests import grid, sample, score

import lore


def main(size: int = 100) -> None:
    """Score the whole grid on two workers and print the best."""
    here = str(Path(__file__).parent)
    # workers start in a folder of ray's own: say where lore keeps its files and where the modules are
    environment = {"LORE_HOME": os.environ.get("LORE_HOME", str(Path(here, ".lore"))), "PYTHONPATH": here}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    os.environ.update(LORE_HOME=environment["LORE_HOME"])
    data = sample.cache_ref(2_000)
    pairs = grid(size)
    task = ray.remote(score)
    scores = ray.get([task.remote(data, depth, leaf) for depth, leaf in pairs])
    best, pair = max(zip(scores, pairs, strict=True))
    print(f"{len(scores)} forests, best R2 {best:.3f} with depth {pair[0]} and leaf {pair[1]}")
    print("layers:", lore.layers(score))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
