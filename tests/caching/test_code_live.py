"""
The digest of code that changes while it runs: names rebound, modules reloaded, objects changed in place.
"""

from __future__ import annotations

import builtins
import collections
import functools
import importlib
import linecache
import math
import os
import py_compile
import subprocess
import sys
import textwrap
import threading
import types
import unittest.mock
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lore import _wrapping
from lore._caching import reading
from lore._caching.code import Code, digest_of, explain
from lore.errors import LoreWarning


@pytest.fixture(name="load")
def _load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Write a module and import it; modules of the folder are forgotten at the end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = set(sys.modules)

    def load(text: str, name: str = "live") -> types.ModuleType:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def rewrite(module: types.ModuleType, old: str, new: str) -> None:
    """Edit a module's file so that nobody can take it for the old one."""
    path = Path(str(module.__file__))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    later = path.stat().st_mtime + 5
    os.utime(path, (later, later))


# --- changed while it runs --------------------------------------------------------------------------------------------

WORLD = """
    import math
    import threading

    LIMIT = 3
    STOP = ["a", ["b"]]
    TABLE = {"a": {"b": 1}}
    SEEN = {1, 2}

    class Settings:
        rate = 1
        def __init__(self): self.depth = 2; self.more = [1]; self.lock = threading.Lock()
        def go(self): return 1

    class Deep(Settings): pass

    settings = Deep()

    def helper(x, k=1, *, q=2): return x * k * q

    def f(x):
        return helper(x), LIMIT, STOP, TABLE, SEEN, settings.go(), math.sqrt(x), len(x)
    """


def _set(name: str, value: object) -> Callable[[types.ModuleType], None]:
    return lambda m: setattr(m, name, value)


def other(x: int) -> int:
    return x - 1


CHANGES: dict[str, Callable[[Any], object]] = {
    "a constant bound anew": _set("LIMIT", 4),
    "a constant bound to an equal value of another type": _set("LIMIT", 3.0),
    "a constant bound to True for 1": lambda m: m.TABLE["a"].__setitem__("b", True),
    "a helper bound anew": _set("helper", other),
    "a helper replaced by a mock": lambda m: setattr(m, "helper", unittest.mock.Mock(return_value=1)),
    "a helper's code exchanged": lambda m: setattr(m.helper, "__code__", (lambda x, k=1, *, q=2: x).__code__),
    "a helper's defaults exchanged": lambda m: setattr(m.helper, "__defaults__", (5,)),
    "a helper's keyword default": lambda m: m.helper.__kwdefaults__.__setitem__("q", 5),
    "a helper deleted": lambda m: delattr(m, "helper"),
    "an item added to a list": lambda m: m.STOP.append("c"),
    "an item of a nested list": lambda m: m.STOP[1].append("c"),
    "an item exchanged": lambda m: m.STOP.__setitem__(0, "b"),
    "a list turned around": lambda m: m.STOP.reverse(),
    "a dict's nested value": lambda m: m.TABLE["a"].update(b=2),
    "a key added": lambda m: m.TABLE.update(c=1),
    "an item added to a set": lambda m: m.SEEN.add(3),
    "an item of a set exchanged": lambda m: (m.SEEN.discard(1), m.SEEN.add(5)),
    "an object's attribute": lambda m: setattr(m.settings, "depth", 3),
    "an object's list": lambda m: m.settings.more.append(2),
    "an object's new attribute": lambda m: setattr(m.settings, "new", 3),
    "an object's class": lambda m: setattr(m.settings, "__class__", m.Settings),
    "an attribute of a base class": lambda m: setattr(m.Settings, "rate", 2),
    "a method exchanged": lambda m: setattr(m.Settings, "go", other),
    "a method added that hides another": lambda m: setattr(m.Deep, "go", other),
    "a bases exchanged": lambda m: setattr(m.Deep, "__bases__", (type("S", (m.Settings,), {}),)),
    "a builtin shadowed": lambda m: setattr(m, "len", other),
    "the function's own code": lambda m: setattr(m.f, "__code__", (lambda x: x).__code__),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_in_the_running_program_is_seen(name: str, load: Callable[..., Any]) -> None:
    """The guard that makes the second look cheap misses no change, and the change is named."""
    module = load(WORLD)
    code = Code.of(module.f)
    before, facts = code.digest(), code.facts()
    assert code.digest() == before
    CHANGES[name](module)
    assert code.digest() != before
    assert explain(facts, code.facts())
    assert Code.of(module.f).digest() == code.digest()


def test_what_changes_back_is_the_same_again(load: Callable[..., Any]) -> None:
    """The digest is of the content: a list that has its old items again has its old digest."""
    module = load(WORLD)
    code = Code.of(module.f)
    before = code.digest()
    module.STOP.append("c")
    changed = code.digest()
    module.STOP.pop()
    assert before == code.digest() != changed


def test_the_facts_of_the_digest_before_are_still_known() -> None:
    """A function that changes a global while it runs can be explained by what the global was before."""
    names: dict[str, Any] = {}
    exec("N = 0\ndef f(x):\n    global N\n    N += 1\n    return N", names)
    code = Code.of(names["f"])
    before = code.digest()
    names["f"](1)
    assert code.facts()["constant <string> N"]["shown"] == "1"
    assert code.facts(before)["constant <string> N"]["shown"] == "0"
    assert explain(code.facts(before), code.facts()) == ["constant N in <string> changed from 0 to 1"]


def test_what_is_not_reached_may_change(load: Callable[..., Any]) -> None:
    """Names that the function does not reach do not count."""
    module = load(WORLD)
    code = Code.of(module.f)
    before = code.digest()
    module.UNRELATED = 1
    module.settings.lock.acquire()
    assert before == code.digest()


def test_equal_objects_are_as_good_as_the_same(load: Callable[..., Any]) -> None:
    """A name bound to an equal list, dict or function of the same text keeps the digest."""
    module = load(WORLD)
    code = Code.of(module.f)
    before = code.digest()
    module.STOP = ["a", ["b"]]
    module.TABLE = {"a": {"b": 1}}
    importlib.reload(module)
    assert before == code.digest()


def test_an_array_is_compared_by_content(load: Callable[..., Any]) -> None:
    """One changed element of a global array, and one changed cell of a global frame, are seen."""
    module = load(
        """
        import numpy as np, pandas as pd
        A = np.zeros(1000)
        F = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
        def f(x): return A[x], F
        """
    )
    code = Code.of(module.f)
    first = code.digest()
    module.A[500] = 1
    second = code.digest()
    module.F.loc[1, "b"] = "z"
    third = code.digest()
    assert len({first, second, third}) == 3


def test_a_reloaded_module_is_looked_at_again(load: Callable[..., Any]) -> None:
    """After an edit and a reload a function that reaches the module counts with its new code."""
    helpers = load("def clean(x): return x + 1", "fresh_helpers")
    module = load("import fresh_helpers\ndef f(x): return fresh_helpers.clean(x)")
    code = Code.of(module.f)
    before, facts = code.digest(), code.facts()
    rewrite(helpers, "x + 1", "x + 2")
    assert code.digest() == before
    importlib.reload(helpers)
    assert code.digest() != before
    assert explain(facts, code.facts()) == [f"helper clean() in {helpers.__file__} changed"]


def test_an_edit_after_the_import_is_not_taken_for_the_running_code(load: Callable[..., Any]) -> None:
    """A file edited after it was imported lends its new text to nobody: old code never gets new code's digest."""
    module = load("def g(x): return x + 1\ndef f(x): return g(x)")
    old = module.f
    rewrite(module, "x + 1", "x + 2")
    running_old = digest_of(old)
    assert digest_of(types.FunctionType(old.__code__, dict(module.__dict__), "f")) == running_old
    new = importlib.reload(module).f
    assert digest_of(new) != running_old
    assert Code.of(new).digest() == Code.of(module.f).digest()


def test_an_edit_of_comments_after_the_import_changes_nothing(load: Callable[..., Any]) -> None:
    """While the file still says what runs, it is believed, wherever in it the function now stands."""
    module = load("def f(x): return x + 1")
    twin = load("def f(x): return x + 1", "twin")
    rewrite(module, "def f", "# first of all\n\n\ndef f")
    assert digest_of(module.f) == digest_of(twin.f)


def test_code_of_a_package_is_followed_where_somebody_put_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of a package that is replaced by the user's own, or by a mock, counts."""

    def f(x: float) -> object:
        return math.sqrt(x), functools.reduce(max, [x])

    code = Code.of(f)
    before = code.digest()
    with monkeypatch.context() as patch:
        patch.setattr(math, "sqrt", other)
        patched = code.digest()
    with unittest.mock.patch("functools.reduce", return_value=1):
        mocked = code.digest()
    with unittest.mock.patch("functools.reduce", return_value=2):
        mocked_again = code.digest()
    assert len({before, patched, mocked, mocked_again}) == 4
    assert code.digest() == before


def test_a_builtin_that_somebody_replaced_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builtins are looked up as the function does."""

    def f(x: str) -> object:
        return open(x)

    code = Code.of(f)
    before = code.digest()
    monkeypatch.setattr(builtins, "open", other)
    assert code.digest() != before


def test_a_method_that_a_class_in_between_gets_later_is_seen() -> None:
    """A method that is put into any of the classes between a method and the one it inherits makes other code."""

    class Base:
        def step(self) -> int:
            return 1

    class Between(Base):
        pass

    class Below(Between):
        def go(self) -> int:
            return self.step()

    below = Below.go
    below.__qualname__ = "Below.go"
    below.__globals__["Below"] = Below
    try:
        code = Code.of(below)
        before = code.digest()
        Between.step = lambda self: 2  # type: ignore[method-assign]
        assert code.digest() != before
    finally:
        del below.__globals__["Below"]


# --- closures, lambdas, code without source ---------------------------------------------------------------------------


def make(k: object) -> Callable[[int], object]:
    def inner(x: int) -> object:
        return x, k

    return inner


def test_closures_of_one_factory_are_told_apart_by_their_variables() -> None:
    """What a factory was called with is part of the function that it made."""
    assert digest_of(make(1)) == digest_of(make(1))
    assert len({digest_of(make(value)) for value in (1, 2, 1.0, True, "1", None, [1], (1,))}) == 8


def test_a_closure_variable_bound_anew_is_seen() -> None:
    """`nonlocal` changes a function without touching it."""
    k = 1

    def f(x: int) -> int:
        return x + k

    code = Code.of(f)
    before = code.digest()
    k = 2
    assert code.digest() != before
    k = 1
    assert code.digest() == before


def test_a_closure_variable_that_is_not_set_yet() -> None:
    """A function defined before the variable it uses has a digest, and another one afterwards."""

    def f() -> object:
        return later

    code = Code.of(f)
    before = code.digest()
    assert code.digest() == before
    later = 1
    assert code.digest() != before


def test_lambdas_on_one_line_are_told_apart() -> None:
    """Each lambda has its own text, even with others on its line."""
    one, two, three = lambda x: x + 1, lambda x: x + 2, lambda x: lambda y: x + y
    assert len({digest_of(f) for f in (one, two, three, three(1))}) == 4  # type: ignore[no-untyped-call]
    same = [digest_of(f) for f in (lambda x: x * 5, lambda x: x * 5)]
    assert same[0] == same[1]


def test_code_without_source_is_taken_by_its_bytecode() -> None:
    """Functions made by `exec` are told apart, and found equal when made twice."""

    def made(text: str) -> Any:
        names: dict[str, Any] = {}
        exec(text, names)
        return names["f"]

    text = "K = 1\ndef g(x): return x + K\ndef f(x): return g(x)"
    assert digest_of(made(text)) == digest_of(made(text))
    others = [
        text.replace("x + K", "x - K"),
        text.replace("K = 1", "K = 2"),
        text.replace("return g(x)", "return g(0)"),
    ]
    assert len({digest_of(made(one)) for one in [text, *others]}) == 4


def test_code_whose_file_is_gone_is_taken_by_its_bytecode(load: Callable[..., Any]) -> None:
    """A missing source file is no error."""
    module = load("def f(x): return x + 1")
    Path(str(module.__file__)).unlink()
    linecache.clearcache()
    assert len(Code.of(module.f).digest()) == 16


def test_a_notebook_cell_run_again_is_the_same_unless_it_was_edited() -> None:
    """Cells live in linecache under names of their own; the same text in a new cell is the same code."""

    def cell(number: int, text: str) -> Any:
        name = f"<cell {number}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), names)
        return names["f"]

    text = "LIMIT = 1\ndef f(x):\n    return x + LIMIT\n"
    assert digest_of(cell(1, text)) == digest_of(cell(2, "# again\n" + text))
    assert digest_of(cell(3, text.replace("= 1", "= 2"))) != digest_of(cell(4, text))


# --- decorators of lore's own -----------------------------------------------------------------------------------------


def layered(function: Any, identity: object = None) -> Any:
    class Layer(_wrapping.Layer):
        name = "odd"

        def identity(self) -> object:
            return identity

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return _wrapping.finish(wrapper, Layer(function), odd_info=lambda: 1)


def test_lores_decorators_are_looked_through() -> None:
    """The code below a lore decorator counts as if it stood alone, except for what the layer says about itself."""

    def plain(text: str) -> Any:
        names: dict[str, Any] = {"deco": layered}
        exec(text, names)
        return names["f"]

    text = "g = deco(lambda x: x + 1)\ndef f(x): return g(x)"
    twice = text.replace("deco(", "deco(deco(").replace("+ 1)", "+ 1))")
    assert digest_of(plain(text)) == digest_of(plain(text))
    assert digest_of(plain(text)) != digest_of(plain(text.replace("+ 1", "+ 2")))
    assert digest_of(plain(twice)) != digest_of(plain(twice.replace("+ 1", "+ 2")))
    bare = text.replace("deco(lambda x: x + 1)", "lambda x: x + 1")
    assert digest_of(plain(text)) == digest_of(plain(twice)) == digest_of(plain(bare))


def test_what_a_layer_says_about_itself_counts() -> None:
    """The options of a decorator that decide over results are asked of the layer: a url, dtypes, a freshness query."""

    def g(x: int) -> int:
        return x

    digests = {digest_of(layered(g, identity)) for identity in (None, "a", ("a", 1), ("a", 1.0))}
    assert len(digests) == 4
    code = Code.of(layered(g, "sqlite://"))
    told = explain(code.facts(), Code.of(layered(g, "duckdb://")).facts())
    assert told == [f"option @odd of {g.__qualname__.replace('<locals>.', '')} changed from 'sqlite://' to 'duckdb://'"]


def test_what_a_layer_says_is_asked_each_time() -> None:
    """A layer whose answer depends on the environment is believed as of now."""
    said: list[object] = [None]

    class Asked(_wrapping.Layer):
        name = "asked"

        def identity(self) -> object:
            return said[0]

    def g(x: int) -> int:
        return x

    def wrapper(*args: Any) -> Any:
        return g(*args)

    code = Code.of(_wrapping.finish(wrapper, Asked(g)))
    first = code.digest()
    said[0] = "url of today"
    second = code.digest()
    said[0] = None
    assert code.digest() == first != second


def test_a_foreign_wrapper_around_a_lore_decorator_is_followed() -> None:
    """`functools.wraps` copies the layer outwards; the wrapper's own code counts all the same."""

    def around(function: Any, by: int) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args) + by

        return wrapper

    def g(x: int) -> int:
        return x

    def h(x: int) -> int:
        return -x

    digests = {digest_of(around(layered(one), by)) for one in (g, h) for by in (1, 2)}
    assert len(digests) == 4


SELF_CHANGING = {
    "lru_cache": "import functools\n@functools.lru_cache\ndef g(x): return x",
    "singledispatch": "import functools\n@functools.singledispatch\ndef g(x): return x\n@g.register\ndef _(x: str): return 1",
    "a cached property": (
        "import functools\nclass A:\n    @functools.cached_property\n    def p(self): return 1\na = A()\ndef g(x): return a.p"
    ),
    "a regular expression": "import re\nR = re.compile('a')\ndef g(x): return R.match('a')",
    "an import inside": "def g(x):\n    import colorsys\n    return colorsys.rgb_to_hsv(x, x, x)",
    "a logger": "import logging\nlog = logging.getLogger('used')\ndef g(x): return log.debug(x)",
    "a lock": "import threading\nlock = threading.Lock()\ndef g(x):\n    with lock: return x",
    "a thread pool": (
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\ndef g(x): return pool.submit(abs, x).result()"
    ),
    "a weak dictionary": (
        "import weakref\nclass A: pass\nkept = A()\nD = weakref.WeakKeyDictionary()\ndef g(x):\n    D[kept] = x"
    ),
    "a context variable": "import contextvars\nV = contextvars.ContextVar('V')\ndef g(x): V.set(x)",
    "a thread's own": "import threading\nL = threading.local()\ndef g(x): L.x = x",
    "numba": "import numba\n@numba.njit\ndef g(x): return x + 1",
    "tenacity": "import tenacity\n@tenacity.retry(stop=tenacity.stop_after_attempt(3))\ndef g(x): return x + 1",
}


@pytest.mark.parametrize("name", SELF_CHANGING)
def test_what_only_remembers_does_not_count(name: str) -> None:
    """Caches, locks, pools and compilers change when they are used, and a function that uses them does not."""
    if name in ("numba", "tenacity"):
        pytest.importorskip(name)
    names: dict[str, Any] = {"__name__": "self_changing"}
    exec(SELF_CHANGING[name] + "\ndef f(x): return g(x)", names)
    code = Code.of(names["f"])
    before = code.digest()
    names["f"](1)
    assert code.digest() == before
    names["f"](2)
    assert Code.of(names["f"]).digest() == before


# --- never in the way -------------------------------------------------------------------------------------------------


class Hostile:
    """Answers every question with an error."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def __reduce_ex__(self, protocol: object) -> str:
        raise RuntimeError("reduce")


class Pretender:
    """Pretends to be of another class, as lazy objects and proxies do."""

    @property
    def __class__(self) -> type:
        return dict

    @__class__.setter
    def __class__(self, value: type) -> None: ...


class Endless:
    """Has an attribute of every name."""

    def __getattr__(self, name: str) -> Endless:
        return Endless()


def _recursive() -> list[Any]:
    items: list[Any] = [1]
    items.append({"self": items})
    return items


STRANGE = {
    "a hostile object": Hostile(),
    "a pretender": Pretender(),
    "an endless object": Endless(),
    "a lock": threading.Lock(),
    "a thread": threading.Thread(),
    "a generator": (i for i in "a"),
    "a file": sys.__stderr__,
    "a module": importlib,
    "a frame": sys._getframe(),
    "a recursive list": _recursive(),
    "a weak dictionary": __import__("weakref").WeakValueDictionary(),
    "a mock": unittest.mock.MagicMock(),
    "a user dict": collections.UserDict(a=1),
    "a chain map": collections.ChainMap({}, {}),
    "a namespace": types.SimpleNamespace(a=1),
    "a long integer": 10**6000,
    "a lonely surrogate": "\ud800",
    "not a number": float("nan"),
    "a type variable": __import__("typing").TypeVar("T"),
    "a memory view": memoryview(b"abc"),
    "a context variable": __import__("contextvars").ContextVar("x"),
    "the type of types": type,
    "an object": object(),
    "the ellipsis": ...,
    "a cell": make.__code__,
    "a class made of others": types.new_class("C", (collections.OrderedDict,)),
}


@pytest.mark.filterwarnings("ignore::lore.errors.LoreWarning")
@pytest.mark.parametrize("name", STRANGE)
def test_strange_globals_do_no_harm(name: str) -> None:
    """Whatever a name is bound to, the digest is there, and the same at the second look and in a second function."""
    value = STRANGE[name]

    def look() -> Code:
        names: dict[str, Any] = {"VALUE": value, "__name__": "strange"}
        exec("def f(x, y=VALUE):\n    return VALUE, VALUE.attribute, [VALUE]", names)
        return Code.of(names["f"])

    first, second = look(), look()
    digest = first.digest()
    assert digest == first.digest() == second.digest()
    assert isinstance(first.facts(), dict)


def test_code_that_cannot_be_followed_is_told_once_and_found_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of lore's own costs one warning and computing anew, never a wrong result."""

    def broken(*_: object) -> object:
        raise ValueError("a fault")

    def f(x: int) -> int:
        return x

    with monkeypatch.context() as patch:
        patch.setattr("lore._caching.following.read", broken)
        with pytest.warns(LoreWarning, match=r"could not be followed everywhere \(ValueError: a fault\)"):
            first = Code.of(f).digest()
        assert Code.of(f).digest() != first


def test_a_function_that_is_no_function() -> None:
    """Classes, methods, partials and objects that can be called have digests too."""

    class Caller:
        def __call__(self, x: int) -> int:
            return x

    things = [Caller, Caller(), Caller().__call__, functools.partial(other, 1), len, str.upper, int, math.sin]
    assert len({Code.of(thing).digest() for thing in things}) == len(things)


def test_an_object_that_holds_a_function_that_reaches_the_object() -> None:
    """A registry of a package's own type, full of functions that use it, comes to an end."""
    names: dict[str, Any] = {"registry": collections.UserDict()}
    exec("def f(x): return registry['f'](x)", names)
    names["registry"]["f"] = names["f"]
    code = Code.of(names["f"])
    assert code.digest() == code.digest()


def test_a_long_chain_of_helpers_is_followed_to_its_end() -> None:
    """Depth is no matter: two thousand functions, each calling the next."""
    names: dict[str, Any] = {}
    exec("\n".join(f"def f{n}(x): return f{n + 1}(x)" for n in range(2000)) + "\ndef f2000(x): return K\nK = 1", names)
    code = Code.of(names["f0"])
    before = code.digest()
    names["K"] = 2
    assert code.digest() != before


@pytest.mark.stress
def test_many_threads_may_look_for_the_first_time_at_once(load: Callable[..., Any]) -> None:
    """Sources are read and compiled by several threads at once, and all find the same."""
    module = load("\n".join(f"def f{n}(x): return f{n + 1}(x)" for n in range(50)) + "\ndef f50(x): return x")
    for _ in range(20):
        reading._readings.clear()
        reading._sources.clear()
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda code: code.digest(), [Code.of(module.f0) for _ in range(8)]))
        assert len(set(found)) == 1


@pytest.mark.stress
def test_many_threads_may_ask_while_another_changes_things() -> None:
    """Every answer is one that the program had at some moment; nothing is raised."""
    names: dict[str, Any] = {"T": {}, "L": []}
    exec("def f(x): return T, L", names)
    code = Code.of(names["f"])
    failures: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                code.digest()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(3000):
        names["T"][turn % 50] = turn
        if turn % 7 == 0:
            names["T"].pop(turn % 50)
        names["L"].append(turn)
        del names["L"][:-5]
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert code.digest() == Code.of(names["f"]).digest()


# --- in processes of their own ----------------------------------------------------------------------------------------

PRINT = "from lore._caching.code import Code, digest_of\nprint(Code.of(f).digest().hex(), digest_of(f).hex())\n"


def run(folder: Path, *command: str, **environment: str) -> str:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, str(folder)])
    variables = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "", **environment}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PROGRAM = """
import helpers
LIMIT = 3
TABLE = {"a", "b", "c"}
def g(x: int) -> int: return helpers.clean(x) + LIMIT
def f(x): return g(x), TABLE
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "helpers.py").write_text("def clean(x): return abs(x)\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "script.py").write_text(PROGRAM + PRINT)
    return tmp_path


def test_a_script_is_the_same_code_as_the_module_it_is(folder: Path) -> None:
    """`python script.py`, `python -m program`, an import, any hash seed: one digest."""
    as_module = run(folder, "-c", "from program import f\n" + PRINT)
    assert run(folder, "script.py") == as_module
    assert run(folder, "-m", "script", PYTHONHASHSEED="7") == as_module
    assert run(folder, "-c", "from program import f\n" + PRINT, PYTHONHASHSEED="1") == as_module
    assert run(folder, "-I", "-c", f"import sys; sys.path[:0] = {[str(Path(__file__).parents[2]), str(folder)]}\n"
               "from program import f\n" + PRINT) == as_module  # fmt: skip


def test_two_versions_of_the_code_running_at_once_do_not_meet(folder: Path) -> None:
    """A process that runs the old code while the file already has the new one never gets the new code's digest."""
    edit = "import helpers, pathlib; p = pathlib.Path('helpers.py'); p.write_text(p.read_text().replace('abs(x)', '-abs(x)'))\n"
    before = run(folder, "-c", "from program import f\n" + PRINT)
    old_code = run(folder, "-c", "from program import f\n" + edit + PRINT)
    new_code = run(folder, "-c", "from program import f\n" + PRINT)
    assert len({before, old_code, new_code}) == 3


def test_a_script_that_changes_its_folder_is_found_all_the_same(folder: Path) -> None:
    """A script called by a relative name says the same from any working folder."""
    script = (folder / "script.py").read_text()
    (folder / "deeper").mkdir()
    (folder / "deeper" / "script.py").write_text("raise SystemExit('the wrong one')")
    (folder / "moving.py").write_text("import os; os.chdir('deeper')\n" + script)
    assert run(folder, "moving.py") == run(folder, "script.py")


def test_a_function_that_travelled_by_value_is_the_same_code(folder: Path) -> None:
    """A function of a script, sent to a worker with cloudpickle, has the digest that it had at home."""
    pytest.importorskip("cloudpickle")
    send = "import cloudpickle; open('f.pickle', 'wb').write(cloudpickle.dumps(f))\n"
    (folder / "sender.py").write_text(
        PROGRAM + "class A:\n    def go(self): return super().__repr__()\n" + send + PRINT
    )
    (folder / "deeper").mkdir()
    receive = "import os, pickle; f = pickle.load(open('f.pickle', 'rb')); os.chdir('deeper')\n"
    assert run(folder, "sender.py") == run(folder, "-c", receive + PRINT)


def test_a_program_in_a_zip_file_is_read_from_there(folder: Path) -> None:
    """Modules imported from a zip file have the digest that they have on disk."""
    with zipfile.ZipFile(folder / "program.zip", "w") as archive:
        for name in ("program", "helpers"):
            archive.write(folder / f"{name}.py", f"{name}.py")
    text = "import sys; sys.path.insert(0, 'program.zip')\nfrom program import f\nassert '.zip' in f.__code__.co_filename\n"
    assert run(folder, "-c", text + PRINT) == run(folder, "script.py")


def test_a_module_without_its_source_is_told_from_others(folder: Path) -> None:
    """Only compiled files left: the digest is the bytecode's."""
    py_compile.compile(str(folder / "helpers.py"), str(folder / "helpers.pyc"))
    (folder / "helpers.py").unlink()
    first = run(folder, "script.py")
    (folder / "helpers.py").write_text("def clean(x): return -abs(x)\n")
    py_compile.compile(str(folder / "helpers.py"), str(folder / "helpers.pyc"))
    (folder / "helpers.py").unlink()
    assert run(folder, "script.py") != first


def test_warnings_of_the_source_are_kept_quiet(folder: Path) -> None:
    """A source with a questionable escape is read without a word, even where warnings are errors."""
    (folder / "helpers.py").write_text("def clean(x): return '\\d', x is 1\n")
    loud = run(folder, "-W", "ignore", "script.py")
    (folder / "later.py").write_text(
        "import warnings; import helpers; warnings.simplefilter('error')\n" + PROGRAM + PRINT
    )
    assert run(folder, "-W", "ignore", "later.py").split() == loud.split()


def test_assertions_that_are_compiled_away_count(folder: Path) -> None:
    """Under -O a function may do something else, so it is another one."""
    command = ("-c", "from program import f\n" + PRINT)
    assert run(folder, *command).split()[0] != run(folder, "-O", *command).split()[0]


def test_a_notebook_session_follows_the_cells(folder: Path) -> None:
    """In IPython a helper's cell that runs again unchanged changes nothing, and an edited one does."""
    pytest.importorskip("IPython")
    session = textwrap.dedent(
        """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance(history_length=0)
        shell.history_manager.enabled = False
        cells = [
            "import helpers",
            "def g(x): return helpers.clean(x) + 1",
            "def f(x): return g(x)",
            "from lore._caching.code import Code; code = Code.of(f); print(code.digest().hex())",
            "# again\\ndef g(x):\\n    return helpers.clean(x) + 1",
            "print(code.digest().hex())",
            "def g(x): return helpers.clean(x) + 2",
            "print(code.digest().hex())",
        ]
        for cell in cells:
            shell.run_cell(cell, store_history=True).raise_error()
        """
    )
    first, again, edited = run(folder, "-c", session, IPYTHONDIR=str(folder), HOME=str(folder)).split()
    assert first == again
    assert first != edited


def test_the_digest_of_source_is_the_same_on_every_version_of_python(folder: Path) -> None:
    """A function that is a value is known by its text: this figure holds for 3.11, 3.12 and 3.13."""
    assert run(folder, "-c", "from program import f\n" + PRINT).split()[1] == "eee1465aaa112266070a5becda4c04ab"
