"""The joinery's contract over all 24 orders of the four decorators, also with foreign decorators between them."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import types
from typing import Any

import cloudpickle
import orders
import pytest

import lore

EVERY = {**orders.ORDERS, **orders.FOREIGN}
every_order = pytest.mark.parametrize("name", EVERY)
every_async_order = pytest.mark.parametrize("name", orders.ASYNC)


def function(name: str) -> Any:
    return getattr(orders, name)


@every_order
def test_returns_the_rows(name: str) -> None:
    """The rows come back whatever the order, on the first call and on the second."""
    for _ in range(2):
        frame = function(name)(7, text="b")
        assert frame.to_dict("records") == [{"n": 7, "text": "b"}]


@every_async_order
def test_a_coroutine_function_returns_the_rows(name: str) -> None:
    """A coroutine function stays one in every order and its rows come back when it is awaited."""
    assert inspect.iscoroutinefunction(function(name))
    for _ in range(2):
        assert asyncio.run(function(name)(7)).to_dict("records") == [{"n": 7, "text": "a"}]


@every_order
def test_is_still_the_function(name: str) -> None:
    """Name, module, docstring and signature are the user's, and the result is a real function."""
    decorated = function(name)
    assert isinstance(decorated, types.FunctionType)
    assert (decorated.__name__, decorated.__qualname__, decorated.__module__) == (name, name, "orders")
    assert decorated.__doc__ == "Select one number and one text."
    assert list(inspect.signature(decorated).parameters) == ["n", "text"]
    assert inspect.unwrap(decorated).__code__ is orders.statement.__code__


@every_order
def test_layers_are_listed_outermost_first(name: str) -> None:
    """`lore.layers` lists the decorators outermost first and repeats none."""
    assert tuple(layer.name for layer in lore.layers(function(name))) == EVERY[name]


@every_order
def test_extras_are_reachable_from_outside(name: str) -> None:
    """What an inner layer offers is reachable from the outermost layer."""
    decorated = function(name)
    decorated(8)
    decorated(8)
    assert decorated.cache_info().hits >= 1
    assert decorated.timing_info().count >= 1
    assert "SELECT" in str(decorated.sql(8))
    assert decorated.cache_contains(8)
    assert decorated.cache_key(8) == decorated.cache_key(n=8, text="a")


@every_order
@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_pickles_by_name(name: str, pickler: Any) -> None:
    """A decorated function of a module pickles by its name and comes back as itself."""
    data = pickler.dumps(function(name))
    assert pickle.loads(data) is function(name)
    assert len(data) < 200


@every_order
def test_serves(name: str) -> None:
    """Every order can be served, and the answer is what the outermost layer returns."""
    client = lore.serve.app(function(name)).test_client()
    answer = client.post(f"/{name}", json={"n": 9})
    assert (answer.status_code, answer.get_json()) == (200, [{"n": 9, "text": "a"}])


@every_order
def test_exceptions_pass_untouched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of the user's function arrives as the same object, with nothing hung onto it."""
    error = ZeroDivisionError("mine")

    def fail(n: int, text: str = "a") -> str:
        raise error

    decorated = fail
    for decorator in reversed(EVERY[name]):
        decorated = getattr(lore, decorator)(decorated)
    with pytest.raises(ZeroDivisionError) as caught:
        decorated(1)
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
