"""Read by type checkers and never run: what a decorated function looks like to mypy --strict and pyright."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, assert_type

import pandas as pd

import lore
from lore.cache import CacheInfo, Ref
from lore.timing import TimingInfo


@lore.cached
def plain(a: int, b: str = "") -> float:
    return a * 1.0


assert_type(plain(1), float)
assert_type(plain(1, b="x"), float)
assert_type(plain.cache_info(), CacheInfo)
assert_type(plain.cache_key(1, b="x"), str)
assert_type(plain.cache_refresh(1), float)
assert_type(plain.cache_ref(1), Ref)


@lore.timed
@lore.cached(ttl=60, memory=1)
def both(a: int) -> list[int]:
    return [a]


assert_type(both(1), list[int])
assert_type(both.cache_info(), CacheInfo)
assert_type(both.timing_info(), TimingInfo)


@lore.cached
@lore.timed("name", slow_s=0.5)
def other_way(a: int) -> list[int]:
    return [a]


assert_type(other_way.cache_info(), CacheInfo)
assert_type(other_way.timing_info(), TimingInfo)


@lore.sql_source("$WAREHOUSE_URL")
def departures(month: int) -> str:
    return "SELECT * FROM flights WHERE month = :month"


assert_type(departures(1), pd.DataFrame)
departures.sql(1)
for chunk in departures.stream(1, rows=10):
    assert_type(chunk, pd.DataFrame)


@lore.endpoint
@lore.timed
@lore.cached
@lore.sql_source
def everything(month: int, *, carrier: str = "AA") -> str:
    return "SELECT 1"


assert_type(everything(1, carrier="UA"), pd.DataFrame)
everything.cache_info()
everything.timing_info()
everything.sql(1)


@lore.sql_source
@lore.cached
@lore.timed
def reversed_order(month: int) -> str:
    return "SELECT 1"


assert_type(reversed_order(1), pd.DataFrame)
reversed_order.cache_info()
reversed_order.timing_info()


@lore.cached
async def slow(a: int) -> str:
    return str(a)


async def use() -> None:
    assert_type(await slow(1), str)
    assert_type(await slow.cache_ref(1), Ref)
    assert_type(await later(1), pd.DataFrame)


@lore.sql_source
async def later(a: int) -> str:
    return "SELECT 1"


@lore.timed
def numbers(n: int) -> Iterator[int]:
    yield n


@lore.timed
async def stream(n: int) -> AsyncIterator[int]:
    yield n


assert_type(numbers(1), Iterator[int])


class Model:
    @lore.cached
    def fit(self, depth: int) -> float:
        return depth * 1.0

    @lore.timed
    @lore.cached
    def both(self, depth: int, *, seed: int = 0) -> float:
        return depth * 1.0

    @classmethod
    @lore.cached
    def load(cls, name: str) -> int:
        return len(name)

    @classmethod
    @lore.timed("make")
    @lore.cached(ttl=3)
    def make(cls, name: str) -> int:
        return len(name)

    @staticmethod
    @lore.timed
    def parse(text: str) -> int:
        return int(text)

    @lore.sql_source
    def rows(self, n: int) -> str:
        return "SELECT :n"


model = Model()
assert_type(model.fit(3), float)
assert_type(model.both(3, seed=1), float)
assert_type(Model.fit.cache_key(model, 3), str)
assert_type(Model.both.timing_info(), TimingInfo)
assert_type(Model.make("x"), int)
assert_type(Model.load("x"), int)
assert_type(model.load("x"), int)
assert_type(Model.parse("1"), int)
assert_type(model.rows(1), pd.DataFrame)

with lore.timed("block"):
    pass


@lore.endpoint("/delay", methods=("GET", "POST"), timeout_s=1.0)
def delay(carrier: str, hour: int) -> dict[str, float]:
    return {carrier: float(hour)}


assert_type(delay("AA", 1), dict[str, float])

app = lore.serve.app(delay, title="Delays")


def wrong() -> None:
    plain("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain.cache_key("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    model.fit("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain.timing_info()  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]


def coroutine_stays_coroutine() -> Coroutine[Any, Any, str]:
    return slow(1)
