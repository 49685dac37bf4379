"""The joinery with each decorator: spellings, kinds, methods, keywords, pickling by value."""

from __future__ import annotations

import abc
import asyncio
import functools
import inspect
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lore
from lore.errors import DecorationError

DECORATORS = ("cached", "endpoint", "sql_source", "timed")
every_decorator = pytest.mark.parametrize("name", DECORATORS)
# those whose decorated function returns what the function returns
keeps_result = pytest.mark.parametrize("name", ["cached", "endpoint", "timed"])

OPTIONS: dict[str, dict[str, Any]] = {
    "cached": {"ttl": 60},
    "endpoint": {"timeout_s": 1.0},
    "sql_source": {"timeout_s": 1.0},
    "timed": {"slow_s": 1.0},
}
POSITIONAL = {"endpoint": "/path", "sql_source": "sqlite://", "timed": "a name"}


def decorator(name: str) -> Any:
    return getattr(lore, name)


def foreign(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@every_decorator
def test_both_spellings(name: str) -> None:
    """`@d`, `@d()` and `@d(option=...)` all decorate."""

    def function(x: int) -> str:
        return "SELECT 1"

    d = decorator(name)
    for decorated in (d(function), d()(function), d(**OPTIONS[name])(function)):
        assert [layer.name for layer in lore.layers(decorated)] == [name]
        assert decorated.__wrapped__ is function


@pytest.mark.parametrize("name", POSITIONAL)
def test_the_natural_positional(name: str) -> None:
    """The URL of sql_source, the name of timed and the path of endpoint may be given by position, and show in the repr."""

    def function(x: int) -> str:
        return "SELECT 1"

    decorated = decorator(name)(POSITIONAL[name])(function)
    assert repr(lore.layers(decorated)[0]).startswith(f"{name}({POSITIONAL[name]!r}")


@every_decorator
def test_an_unknown_option_is_named_and_a_known_one_suggested(name: str) -> None:
    """A misspelled option is a DecorationError that names it and suggests the right one."""
    option, value = next(iter(OPTIONS[name].items()))
    with pytest.raises(DecorationError, match=f"{option}s.*did you mean '{option}'"):
        decorator(name)(**{f"{option}s": value})


@every_decorator
@pytest.mark.parametrize("wrong", [3, 2.5, None.__class__, [1], object()])
def test_what_is_no_function_is_refused(name: str, wrong: object) -> None:
    """Decorating what is no function is a DecorationError that shows the spelling."""
    with pytest.raises(DecorationError, match=f"lore.{name}"):
        decorator(name)(wrong)


@every_decorator
def test_options_are_given_by_name(name: str) -> None:
    """More positional arguments than the natural one are refused at decoration."""
    with pytest.raises(DecorationError, match="by name"):
        decorator(name)(lambda: 1, 2)


@every_decorator
def test_a_class_is_refused(name: str) -> None:
    """Decorating a class says to decorate its methods."""

    class Model:
        pass

    with pytest.raises(DecorationError, match="methods"):
        decorator(name)(Model)


BAD_OPTIONS = [
    ("cached", {"ttl": -1}),
    ("cached", {"ttl": "soon"}),
    ("cached", {"memory": -1}),
    ("cached", {"memory": 1.5}),
    ("cached", {"ignore": ("nothing_like_it",)}),
    ("cached", {"format": "docx"}),
    ("cached", {"key": 3}),
    ("cached", {"store": 3}),
    ("endpoint", {"path": "no-slash"}),
    ("endpoint", {"batch": 0}),
    ("endpoint", {"timeout_s": 0}),
    ("endpoint", {"methods": ("FETCH",)}),
    ("endpoint", {"methods": ()}),
    ("endpoint", {"max_concurrency": 0}),
    ("endpoint", {"max_body_bytes": -1}),
    ("endpoint", {"warm": 3}),
    ("sql_source", {"retries": -1}),
    ("sql_source", {"timeout_s": 0}),
    ("sql_source", {"dtypes": "numpy"}),
    ("sql_source", {"decimal": "rounded"}),
    ("sql_source", {"url": 3}),
    ("timed", {"slow_s": -1}),
    ("timed", {"slow_s": "x"}),
    ("timed", {"cpu": "yes"}),
]


@pytest.mark.parametrize(("name", "options"), BAD_OPTIONS, ids=str)
def test_a_bad_value_is_refused_at_decoration(name: str, options: dict[str, Any]) -> None:
    """A bad option value is a DecorationError that names the option, before anything runs."""
    option = next(iter(options))
    with pytest.raises(DecorationError, match=f"(?i){option}"):

        @decorator(name)(**options)
        def function(x: int) -> str:
            return "SELECT 1"


@keeps_result
@pytest.mark.parametrize("outside", [True, False], ids=["outside", "inside"])
def test_methods_class_methods_and_static_methods(name: str, outside: bool) -> None:
    """Methods bind, and class and static methods work with the decorator above or below @classmethod."""
    d = decorator(name)

    class Model:
        factor = 2

        @d
        def method(self, x: int) -> int:
            return self.factor * x

        if outside:

            @d
            @classmethod
            def of_class(cls, x: int) -> int:
                return cls.factor * x

            @d
            @staticmethod
            def alone(x: int) -> int:
                return x
        else:

            @classmethod
            @d
            def of_class(cls, x: int) -> int:
                return cls.factor * x

            @staticmethod
            @d
            def alone(x: int) -> int:
                return x

    model = Model()
    assert (model.method(3), Model.method(model, 3)) == (6, 6)
    assert (model.of_class(3), Model.of_class(3)) == (6, 6)
    assert (model.alone(3), Model.alone(3)) == (3, 3)
    assert [layer.name for layer in lore.layers(Model.of_class)] == [name]
    assert [layer.name for layer in lore.layers(model.method)] == [name]


@keeps_result
def test_abstract_methods_stay_abstract(name: str) -> None:
    """A decorated abstract method still keeps its class from being made."""

    class Base(abc.ABC):
        @decorator(name)
        @abc.abstractmethod
        def method(self) -> int: ...

    with pytest.raises(TypeError, match="abstract"):
        Base()  # type: ignore[abstract]


STOLEN = (
    "store",
    "ttl",
    "key",
    "url",
    "name",
    "func",
    "function",
    "self",
    "args",
    "kwargs",
    "options",
    "layer",
    "rows",
)


@keeps_result
@pytest.mark.parametrize("keyword", STOLEN)
def test_no_keyword_is_stolen(name: str, keyword: str) -> None:
    """A function may have a parameter of any name and be called with it by keyword."""
    scope: dict[str, Any] = {}
    exec(f"def function({keyword}, other=0):\n    return {keyword}", scope)
    function = scope["function"]
    function.__module__ = __name__
    decorated = decorator(name)(function)
    assert decorated(**{keyword: 5}) == 5


@pytest.mark.parametrize("keyword", STOLEN)
def test_sql_source_steals_no_keyword(keyword: str) -> None:
    """A source may have a parameter of any name, which binds into the statement."""
    scope: dict[str, Any] = {}
    exec(f"def function({keyword}, other=0):\n    return 'SELECT CAST(:{keyword} AS BIGINT) AS n'", scope)
    function = scope["function"]
    function.__module__ = __name__
    decorated = lore.sql_source("sqlite://")(function)
    assert decorated(**{keyword: 5})["n"].tolist() == [5]


@keeps_result
def test_keyword_dictionaries_pass(name: str) -> None:
    """`**kwargs` and `*args` of the function arrive as they were given."""

    @decorator(name)
    def function(*args: int, **kwargs: int) -> tuple[Any, Any]:
        return args, kwargs

    if name == "endpoint":
        assert function(1, 2, store=3) == ((1, 2), {"store": 3})
    else:
        assert function(1, 2, store=3, function=4, self=5) == ((1, 2), {"store": 3, "function": 4, "self": 5})


@keeps_result
def test_coroutine_functions_stay_so(name: str) -> None:
    """A decorated coroutine function is one, runs once awaited, and passes its exception on."""

    @decorator(name)
    async def function(x: int) -> int:
        await asyncio.sleep(0)
        return 10 // x

    assert inspect.iscoroutinefunction(function)
    assert asyncio.run(function(2)) == 5
    with pytest.raises(ZeroDivisionError):
        asyncio.run(function(0))


@keeps_result
def test_a_foreign_wrapper_around_a_coroutine_function(name: str) -> None:
    """Above a plain wrapper around a coroutine function the result is still awaited, on every call."""

    @decorator(name)
    @foreign
    async def function(x: int) -> int:
        await asyncio.sleep(0)
        return x

    assert [asyncio.run(function(2)), asyncio.run(function(2))] == [2, 2]


@pytest.mark.parametrize("name", ["endpoint", "timed"])
def test_generators_stay_so(name: str) -> None:
    """A decorated generator function is one, with send, throw, close and its return value."""

    @decorator(name)
    def function(n: int) -> Iterator[int]:
        received = yield n
        yield received
        return "end"

    assert inspect.isgeneratorfunction(function)
    generator: Any = function(3)
    assert (next(generator), generator.send(8)) == (3, 8)
    with pytest.raises(StopIteration) as stopped:
        next(generator)
    assert stopped.value.value == "end"
    thrown: Any = function(3)
    next(thrown)
    with pytest.raises(KeyError):
        thrown.throw(KeyError("x"))
    closed: Any = function(3)
    next(closed)
    closed.close()


@pytest.mark.parametrize("name", ["endpoint", "timed"])
def test_async_generators_stay_so(name: str) -> None:
    """A decorated async generator function is one and yields the same."""

    @decorator(name)
    async def function(n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    async def collect() -> list[int]:
        return [i async for i in function(3)]

    assert inspect.isasyncgenfunction(function)
    assert asyncio.run(collect()) == [0, 1, 2]


def test_cached_refuses_generators() -> None:
    """`cached` refuses a generator function at decoration and says what to do."""
    with pytest.raises(DecorationError, match="list"):

        @lore.cached
        def function(n: int) -> Iterator[int]:
            yield n


@keeps_result
def test_the_callers_mistake_stays_a_type_error(name: str) -> None:
    """A call that does not fit the signature is the TypeError that Python itself gives."""

    @decorator(name)
    def function(x: int) -> int:
        return x

    with pytest.raises(TypeError, match=r"function\(\)"):
        function()
    with pytest.raises(TypeError, match=r"function\(\)"):
        function(1, y=2)


SCRIPT = """
    import sys, functools, cloudpickle, joblib
    import lore

    factor = 3

    def foreign(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)
        return wrapper

    @lore.endpoint
    @foreign
    @lore.timed
    @lore.cached(memory=2)
    def product(x: int) -> int:
        return 1 if x == 0 else factor + product(x - 1)

    @lore.timed
    @lore.cached
    @lore.sql_source("sqlite://")
    def rows(n: int) -> str:
        return "SELECT CAST(:n AS BIGINT) AS n"

    if __name__ == "__main__":
        {body}
"""


def run_script(tmp_path: Path, body: str) -> str:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("{body}", textwrap.dedent(body).replace("\n", "\n    ")))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_main_travels_by_value(tmp_path: Path) -> None:
    """Functions of `__main__` travel by value through cloudpickle into a process that does not know the script."""
    run_script(tmp_path, "open('f.pkl', 'wb').write(cloudpickle.dumps((product, rows)))")
    code = (
        "import pickle; product, rows = pickle.load(open('f.pkl', 'rb'));"
        "print(product(2), product.cache_info().misses >= 1, product.timing_info().count, rows(4).n.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout == "7 True 3 [4]\n", done.stderr


def test_main_travels_through_loky(tmp_path: Path) -> None:
    """Functions of `__main__` run as joblib tasks in other processes."""
    body = "print(joblib.Parallel(2)(joblib.delayed(product)(i) for i in range(4)))"
    assert run_script(tmp_path, body) == "[1, 4, 7, 10]\n"


def test_main_shares_its_results_with_workers(tmp_path: Path) -> None:
    """What `__main__` has computed its workers find, and what they have computed it finds."""
    body = """
        product(1)
        joblib.Parallel(2)(joblib.delayed(product)(i) for i in (1, 2))
        entries = len(product.cache_entries())
        print(entries, product(2), product.cache_info().misses)
    """
    assert run_script(tmp_path, textwrap.dedent(body)) == "3 7 2\n"


def test_main_travels_through_spawn(tmp_path: Path) -> None:
    """Functions of `__main__` run in processes that multiprocessing spawns."""
    body = "import multiprocessing as m; print(m.get_context('spawn').Pool(2).map(product, range(3)))"
    assert run_script(tmp_path, body) == "[1, 4, 7]\n"


@every_decorator
def test_a_layer_that_travels_twice_is_one(name: str) -> None:
    """The same function unpickled twice in one process shares what its layer keeps there."""
    import pickle

    import cloudpickle

    def function(x: int) -> str:
        return "SELECT 1"

    data = cloudpickle.dumps(decorator(name)(function))
    first, second = (lore.layers(pickle.loads(data))[0] for _ in range(2))
    assert first.token == second.token
