"""
Less than one per cent, guarded: fits of production size, bare and under lore's decorators.

`python -m pytest benchmarks/bench_overhead.py` for the whole, `-k short` for the form that CI runs. `guard.py` says how
it is measured and what is allowed.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import guard
import pytest

import lore

np = pytest.importorskip("numpy")


def nothing(value: int) -> int:
    """Do nothing."""
    return value


# --- the cost of a call and of a byte ---------------------------------------------------------------------------------


def timed_cost(*, calls: int = 5_000, blocks: int = 40) -> guard.PerCall:
    """Measure `timed`, with the call tree, beside a closure with two clocks."""
    return guard.per_call(nothing, lore.timed(nothing), guard.two_clocks(nothing), calls=calls, blocks=blocks)


def hit_cost(*, calls: int = 200, blocks: int = 20) -> guard.PerCall:
    """Measure a warm hit beside opening, reading, closing and unpickling a tiny file."""
    hit = lore.cached(nothing)
    for value in range(calls):
        hit(value)
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(pickle.dumps(7))

    def floor(value: int) -> Any:
        descriptor = os.open(file.name, os.O_RDONLY)
        data = os.read(descriptor, 4096)
        os.close(descriptor)
        return pickle.loads(data)

    try:
        return guard.per_call(nothing, hit, floor, calls=calls, blocks=blocks)
    finally:
        Path(file.name).unlink()


def hash_cost(nbytes: int = 1_000_000_000, *, rounds: int = 9) -> guard.PerByte:
    """Measure the key of a large array beside xxh3 over the same bytes."""
    import xxhash

    array = np.random.default_rng(0).integers(0, 2**63, size=nbytes // 8)
    return guard.per_byte(
        lore.cache.fingerprint,
        lambda value: xxhash.xxh3_128_digest(memoryview(value).cast("B")),
        array,
        array.nbytes,
        rounds=rounds,
    )


def check_costs(timed: guard.PerCall, hit: guard.PerCall, hashed: guard.PerByte) -> None:
    """Say no where one of them has become slower than it is allowed to be."""
    timed.check("lore.timed", guard.MOST_TIMED_RATIO)
    hit.check("a warm hit of lore.cached", guard.MOST_HIT_RATIO)
    hashed.check("keying an array", guard.MOST_HASH_RATIO)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORE_HOME", str(tmp_path / "home"))


def test_short_costs(benchmark: Any) -> None:
    """The cost of a timed call, of a hit and of a hashed byte, each beside its reference."""
    timed, hit, hashed = benchmark.pedantic(lambda: (timed_cost(), hit_cost(), hash_cost(200_000_000)), rounds=1)
    benchmark.extra_info.update(
        timed_ns=round(timed.best_s * 1e9),
        timed_ratio=round(timed.ratio, 2),
        hit_us=round(hit.best_s * 1e6, 1),
        hit_ratio=round(hit.ratio, 2),
        hash_GB_s=round(1e-9 / hashed.best_s, 1),
        hash_ratio=round(hashed.ratio, 3),
        hash_AA=round(hashed.same_ratio, 3),
    )
    check_costs(timed, hit, hashed)


# --- the share of a fit -----------------------------------------------------------------------------------------------


def share_of(fit: Callable[[Any, Any], Any], x: Any, y: Any, *, rounds: int = 3) -> tuple[guard.Share, guard.Share]:
    """
    Measure what `timed`, and what `cached` and `timed` together, cost of one first call of `fit`.

    Returns:
        The share of `timed`, and of both with keying the arguments and storing the model.
    """
    decorated = lore.cached(lore.timed(fit))

    def under_lore() -> Any:
        decorated.cache_clear()  # type: ignore[attr-defined]
        return decorated(x, y)

    model = fit(x, y)
    fit_s, tripwire, same_p95 = guard.alternating(lambda: fit(x, y), under_lore, rounds)
    timed = timed_cost(blocks=10)
    hashed = guard.worst(lambda: (lore.cache.fingerprint(x), lore.cache.fingerprint(y)))
    # code=False: else the model, which is a default here, would be keyed as part of the code
    small = lore.cached(lambda value, result=model: result, ignore=("result",), code=False)
    numbers = iter(range(10_000))
    stored = guard.worst(lambda: small(next(numbers)))
    return (
        guard.Share(fit_s, {"timed": timed.worst_s}, same_p95, tripwire),
        guard.Share(
            fit_s,
            {"timed": timed.worst_s, "key": hashed, "store": stored},
            same_p95,
            tripwire,
            {"arguments_MB": round((x.nbytes + y.nbytes) / 1e6)},
        ),
    )


def check_shares(shares: tuple[guard.Share, guard.Share], what: str, benchmark: Any = None) -> None:
    """Say no where lore costs more of a fit than it promises."""
    timed, both = shares
    if benchmark is not None:
        benchmark.extra_info.update(both.extra_info(), timed_share=round(timed.share, 9))
    timed.check(f"{what} under timed", guard.MOST_TIMED_SHARE)
    both.check(f"{what} under cached and timed", guard.MOST_SHARE)


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    """Give a million rows of twenty columns, 160 MB, and what to predict."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1_000_000, 20))
    return x, (x[:, 0] + rng.normal(size=len(x)) > 0).astype(np.int64)


def sgd(x: Any, y: Any) -> Any:
    """Fit ten epochs of a linear model."""
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(max_iter=10, tol=None, random_state=0).fit(x, y)


def forest(x: Any, y: Any) -> Any:
    """Fit two trees."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(2, max_depth=5, random_state=0).fit(x, y)


def short_forest(x: Any, y: Any) -> Any:
    """Fit a dozen trees, on fewer rows."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(12, max_depth=8, random_state=0).fit(x, y)


def network(x: Any, y: Any) -> Any:
    """Fit some epochs of a small network, long enough for the 0.04 s in which Keras writes a model down."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((20,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)])
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    model.fit(x, y, epochs=8, batch_size=512, verbose=0)
    return model


@pytest.mark.parametrize(
    ("fit", "needs", "rounds"), [(sgd, "sklearn", 3), (forest, "sklearn", 2), (network, "keras", 1)]
)
def test_share_of_a_fit(benchmark: Any, data: Any, fit: Callable[..., Any], needs: str, rounds: int) -> None:
    """First call of a fit on a million rows: under 1 % for everything, under 0.1 % for `timed`."""
    pytest.importorskip(needs)
    shares = benchmark.pedantic(lambda: share_of(fit, *data, rounds=rounds), rounds=1)
    check_shares(shares, fit.__name__, benchmark)


def test_short_share_of_a_fit(benchmark: Any) -> None:
    """The same on a tenth of the rows, for CI."""
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100_000, 20))
    y = (x[:, 0] > 0).astype(np.int64)
    shares = benchmark.pedantic(lambda: share_of(short_forest, x, y, rounds=2), rounds=1)
    check_shares(shares, "a short forest", benchmark)
