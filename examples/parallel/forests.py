"""
A search over forests: the functions, as they stand in a code base, with nothing in them about where they run.

`joblib_search.py`, `dask_search.py` and `ray_search.py` beside this file run them on three engines.
"""

from __future__ import annotations

import os
import time

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import cross_val_score

import lore


@lore.cached
def sample(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make a regression problem: `rows` x 10 features and a target that depends on four of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 10))
    y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + 0.5 * x[:, 3] + rng.normal(scale=0.1, size=rows)
    return x, y


@lore.timed
@lore.cached
def score(data: tuple[np.ndarray, np.ndarray], depth: int, leaf: int) -> float:
    """Cross-validate one forest; the mean R2 of three folds. Each call that really computes leaves a line."""
    _note_that_it_ran(depth, leaf)
    forest = RandomForestRegressor(n_estimators=10, max_depth=depth, min_samples_leaf=leaf, random_state=0)
    return float(cross_val_score(forest, *data, cv=3).mean())


def grid(size: int = 100) -> list[tuple[int, int]]:
    """List `size` pairs of depth and smallest leaf."""
    return [(2 + i % 10, 1 + i // 10) for i in range(size)]


def _note_that_it_ran(depth: int, leaf: int) -> None:
    """Append a line to `$SEARCH_LOG`, so that one can count what was computed and by which process."""
    if path := os.environ.get("SEARCH_LOG"):
        with open(path, "a") as log:
            log.write(f"{os.getpid()} {depth} {leaf} {time.time():.3f}\n")
