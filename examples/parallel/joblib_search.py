"""
Search with joblib: `python joblib_search.py [size]`.

Interrupt it and start it again: what was finished is found, the rest is computed. The data travels as a `Ref`, a short
text, and each worker loads it from the store.
"""

from __future__ import annotations

import sys

from forests import grid, sample, score
from joblib import Parallel, delayed

import lore


def main(size: int = 100) -> None:
    """Score the whole grid on two processes and print the best."""
    data = sample.cache_ref(2_000)
    pairs = grid(size)
    scores = Parallel(n_jobs=2)(delayed(score)(data, depth, leaf) for depth, leaf in pairs)
    best, pair = max(zip(scores, pairs, strict=True))
    print(f"{len(scores)} forests, best R2 {best:.3f} with depth {pair[0]} and leaf {pair[1]}")
    print(lore.timing.prometheus().count("lore_timed_seconds_count"), "timed functions in all processes")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
