"""The face: `lore.endpoint` and `lore.serve.app`, as a user sees them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
import sys
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import cloudpickle
import pytest

import lore
from lore.errors import DecorationError


@lore.endpoint
def double(x: int) -> int:
    """Double a number."""
    return x * 2


@lore.endpoint("/triple", methods=("GET", "POST"), max_concurrency=4)
def thrice(x: int) -> int:
    """Triple a number."""
    return x * 3


class Model:
    """A model with endpoints for methods."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @lore.endpoint
    def scale(self, x: int) -> int:
        """Scale a number."""
        return x * self.factor

    @lore.endpoint
    @classmethod
    def name(cls) -> str:
        """Name the class."""
        return cls.__name__

    @staticmethod
    @lore.endpoint
    def answer() -> int:
        """Answer."""
        return 42


def test_an_endpoint_is_still_the_function() -> None:
    """Called from Python a decorated function is what it was."""
    assert double(2) == 4
    assert isinstance(double, types.FunctionType)
    assert double.__name__ == "double"
    assert double.__doc__ == "Double a number."
    assert str(inspect.signature(double)) == "(x: 'int') -> 'int'"
    assert repr(lore.layers(thrice)) == "[endpoint('/triple', methods=('GET', 'POST'), max_concurrency=4)]"


def test_the_kind_stays() -> None:
    """Coroutine functions and generators stay what they are."""

    @lore.endpoint
    async def later() -> int:
        return 1

    @lore.endpoint
    def items() -> Iterator[int]:
        got = yield 1
        yield got

    @lore.endpoint
    async def items_later() -> AsyncIterator[int]:
        yield 1

    assert inspect.iscoroutinefunction(later)
    assert asyncio.run(later()) == 1
    assert inspect.isgeneratorfunction(items)
    generator = items()
    assert (next(generator), generator.send(5)) == (1, 5)  # type: ignore[attr-defined]
    assert inspect.isasyncgenfunction(items_later)


def test_methods() -> None:
    """A bound method, a class method and a static method can be served."""
    client = lore.serve.app(Model(5).scale, Model.name, Model.answer).test_client()
    assert client.post("/scale", json={"x": 3}).json == 15
    assert client.post("/name").json == "Model"
    assert client.post("/answer").json == 42
    assert Model(2).scale(4) == 8


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "delay"}, "must start with a slash: @lore.endpoint"),
        ({"path": "/delay/"}, "ends with a slash"),
        ({"path": "/items/{id}"}, "holds a sign"),
        ({"path": "/a b"}, "holds a sign"),
        ({"path": 5}, "the path=5|lore.endpoint"),
        ({"methods": "GET"}, r"methods=\('GET',\)"),
        ({"methods": ("GETS",)}, "'GETS'"),
        ({"methods": ("HEAD",)}, "answers HEAD and OPTIONS itself"),
        ({"methods": ()}, "methods"),
        ({"batch": 0}, "batch=0"),
        ({"batch": 2.5}, "batch=2.5"),
        ({"batch": True}, "batch=True"),
        ({"timeout_s": 0}, "timeout_s=0"),
        ({"timeout_s": -1}, "timeout_s=-1"),
        ({"timeout_s": float("nan")}, "timeout_s=nan"),
        ({"timeout_s": "2"}, "timeout_s='2'"),
        ({"max_concurrency": 0}, "max_concurrency=0"),
        ({"max_body_bytes": None}, "max_body_bytes=None"),
        ({"max_body_bytes": -5}, "max_body_bytes=-5"),
        ({"auth": ""}, "auth is a token"),
        ({"auth": 5}, "auth is a token"),
        ({"auth": []}, "auth is a token"),
        ({"warm": "load"}, "warm='load'"),
        ({"warm": (1,)}, "warm="),
        ({"timeout": 5}, "did you mean 'timeout_s'"),
        ({"nonsense": 5}, "no option 'nonsense'"),
    ],
)
def test_wrong_options_are_named_at_decoration(options: dict[str, Any], says: str) -> None:
    """A wrong option raises a DecorationError that names it and shows the right spelling."""
    with pytest.raises(DecorationError, match=says):

        @lore.endpoint(**options)
        def f() -> None: ...


@pytest.mark.parametrize("target", [5, int, Model, property(lambda self: 1), functools.partial(print)])
def test_wrong_targets(target: Any) -> None:
    """What is no function is refused at decoration."""
    with pytest.raises(DecorationError):
        lore.endpoint(target)


def test_a_second_positional_is_refused() -> None:
    """Only the path stands without a name."""
    with pytest.raises(DecorationError, match="positional"):
        lore.endpoint("/a", ("GET",))  # type: ignore[call-overload]


def test_methods_are_known_in_any_case() -> None:
    """A method may be written in lower case."""

    @lore.endpoint(methods=["get"])
    def f() -> int:
        return 1

    assert lore.serve.app(f).test_client().get("/f").json == 1


def test_an_app_of_what_is_no_endpoint() -> None:
    """A plain function, an empty module and a number are refused with what to do."""
    with pytest.raises(DecorationError, match=r"decorate it with @lore\.endpoint"):
        lore.serve.app(print)
    with pytest.raises(DecorationError, match="has no endpoints"):
        lore.serve.app(types.ModuleType("empty"))
    with pytest.raises(DecorationError, match="neither"):
        lore.serve.app(5)  # type: ignore[arg-type]


def test_a_module_stands_for_its_endpoints() -> None:
    """All endpoints of a module are served, each once, by its outermost layer."""
    module = types.ModuleType("flights")
    module.a = double  # type: ignore[attr-defined]
    module.b = double  # type: ignore[attr-defined]
    module.c = lore.timed(double)  # type: ignore[attr-defined]
    module.d = thrice  # type: ignore[attr-defined]
    module.e = print  # type: ignore[attr-defined]
    app = lore.serve.app(module)
    assert [endpoint.path for endpoint in app.endpoints] == ["/double", "/triple"]
    assert app.endpoints[0].function is module.c  # type: ignore[attr-defined]
    assert lore.serve.app(double, double).endpoints[0].function is double


def foreign(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap as other people's decorators do, and add a hundred."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) + 100

    return wrapper


def test_the_outermost_function_is_called() -> None:
    """What stands outside of `lore.endpoint` takes part in the answer."""
    assert lore.serve.app(foreign(double)).test_client().post("/double", json={"x": 1}).json == 102


def test_a_foreign_decorator_around_a_coroutine_or_generator() -> None:
    """A plain wrapper that hands a coroutine or a generator on is served by what comes back."""

    def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @lore.endpoint
    async def later(x: int) -> int:
        return x + 1

    @lore.endpoint
    def items(x: int) -> Iterator[int]:
        yield x

    client = lore.serve.app(quiet(later), quiet(items)).test_client()
    assert client.post("/later", json={"x": 1}).json == 2
    assert client.post("/items", json={"x": 1}, headers={"Accept": "application/json"}).json == [1]


@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_an_app_pickles_by_its_functions(pickler: Any) -> None:
    """An app travels to another process as the names of its functions and its options."""
    app = lore.serve.app(double, thrice, title="sums", version="3", auth="x")
    again = pickle.loads(pickler.dumps(app))
    assert again.openapi() == app.openapi()
    assert again.test_client().post("/double", headers={"Authorization": "Bearer x"}, json={"x": 1}).json == 2


def test_several_apps_share_functions() -> None:
    """One function may be in several apps of a process."""
    one, two = lore.serve.app(double), lore.serve.app(double, thrice, title="two")
    assert one.test_client().post("/triple", json={"x": 1}).status_code == 404
    assert two.test_client().post("/triple", json={"x": 1}).json == 3
    assert "two" in repr(two)


def test_building_an_app_loads_no_server() -> None:
    """An app needs msgspec; servers and werkzeug are loaded by who uses them."""
    import subprocess

    code = """
import sys, lore
@lore.endpoint
def f(x: int) -> int: return x
assert "msgspec" not in sys.modules
app = lore.serve.app(f)
heavy = {"werkzeug", "granian", "gunicorn", "pandas", "numpy", "pyarrow", "asyncio", "structlog"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(done.stdout)) <= {"asyncio"}
