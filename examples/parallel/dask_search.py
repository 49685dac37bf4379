"""
Search with dask: `python dask_search.py [size]`.

The workers are processes; what one of them has computed the others find in the store.
"""

from __future__ import annotations

import sys

from dask.distributed import Client, LocalCluster
from forests import grid, sample, score


def main(size: int = 100) -> None:
    """Score the whole grid on a local cluster of two processes and print the best."""
    data = sample.cache_ref(2_000)
    pairs = grid(size)
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            futures = [client.submit(score, data, depth, leaf, pure=False) for depth, leaf in pairs]
            scores = client.gather(futures)
    best, pair = max(zip(scores, pairs, strict=True))
    print(f"{len(scores)} forests, best R2 {best:.3f} with depth {pair[0]} and leaf {pair[1]}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
