"""What `lore.cached` promises its users, one claim at a time."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import gc
import importlib
import inspect
import json
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import pytest

import lore
from lore import cache, errors
from lore._caching import stores


class Tally(list[Any]):
    """Counts calls without being an input of the function that counts in it."""

    def __lore_fingerprint__(self) -> str:
        return "tally"


@pytest.fixture
def calls() -> Tally:
    return Tally()


def entry_files(home: Path) -> list[Path]:
    return sorted(path for path in home.rglob("*.lore") if not path.name.startswith("code-"))


# --- hits and keys --------------------------------------------------------------------------------------------------


def test_second_call_is_a_hit(calls: Tally) -> None:
    """A call with equal arguments is answered from the store."""

    @lore.cached
    def double(x: int) -> int:
        calls.append(x)
        return 2 * x

    assert [double(4), double(4), double(5)] == [8, 8, 10]
    assert calls == [4, 5]
    assert double.cache_info()[:4] == (1, 2, 0, 0)


def test_spelling_does_not_matter(calls: Tally) -> None:
    """Positional, keyword and default spellings are one call."""

    @lore.cached
    def f(a: int, /, b: int = 2, *rest: int, c: str = "c", **more: int) -> tuple[Any, ...]:
        calls.append(a)
        return a, b, rest, c, more

    results = [f(1), f(1, 2), f(1, b=2), f(1, c="c"), f(1, 2, c="c")]
    assert results == [(1, 2, (), "c", {})] * 5
    assert len(calls) == 1
    assert f.cache_key(1, x=1, y=2) != f.cache_key(1, y=2, x=1)  # the order in `more` is seen by the function
    assert f.cache_key(1, b=3, c="d") == f.cache_key(1, c="d", b=3)
    assert (
        len({f.cache_key(1), f.cache_key(1, 3), f.cache_key(1, 2, 3), f.cache_key(1, x=1), f.cache_key(1, c="d")}) == 5
    )


@pytest.mark.parametrize("values", [(1, True, 1.0, "1", b"1"), (0.0, -0.0), (None, math.nan, "None"), ((1, 2), [1, 2])])
def test_types_are_told_apart(values: tuple[Any, ...]) -> None:
    """Arguments that compare equal but are not the same value have different keys."""

    @lore.cached
    def f(x: object) -> object:
        return x

    assert len({f.cache_key(value) for value in values}) == len(values)


def test_no_keyword_is_stolen() -> None:
    """Every name that lore or Python uses inside is free for the user's parameters."""

    @lore.cached
    def f(
        self: int,
        args: int,
        kwargs: int,
        *,
        store: int,
        ttl: int,
        key: int,
        url: int,
        name: int,
        func: int,
        **function: int,
    ) -> tuple[Any, ...]:
        return self, args, kwargs, store, ttl, key, url, name, func, function

    given = dict.fromkeys(
        ("self", "args", "kwargs", "store", "ttl", "key", "url", "name", "func", "function", "layer"), 1
    )
    assert f(**given) == (*[1] * 9, {"function": 1, "layer": 1})
    assert f(**given) == (*[1] * 9, {"function": 1, "layer": 1})
    assert f.cache_info().hits == 1
    assert f.cache_contains(**given)


def test_wrong_call_raises_the_functions_own_error() -> None:
    """A call that does not fit the signature fails as it would without lore."""

    @lore.cached
    def f(a: int) -> int:
        return a

    with pytest.raises(TypeError, match=r"f\(\) missing 1 required positional argument: 'a'"):
        f()  # type: ignore[call-arg]


def test_none_is_a_result(calls: Tally) -> None:
    """A function that returns None is computed once, too."""

    @lore.cached
    def f() -> None:
        calls.append(1)

    assert f() is None
    assert f() is None
    assert len(calls) == 1


def test_results_are_private() -> None:
    """Who changes what a hit returned changes nobody else's result."""

    @lore.cached
    def f() -> list[int]:
        return [1, 2]

    f()
    f().append(3)
    assert f() == [1, 2]


def test_unkeyable_argument_names_the_ways_out() -> None:
    """An argument without a faithful key is an error that names it, its type and what to do."""

    @lore.cached
    def f(rows: int, lock: object) -> int:
        return rows

    with pytest.raises(errors.UnkeyableArgument, match=r"argument 'lock'.*lock.*ignore=\(\"lock\",\).*key="):
        f(1, threading.Lock())


def test_code_of_helpers_counts(calls: Tally) -> None:
    """A change of a constant that a helper reads is a miss."""
    scope: dict[str, Any] = {"calls": calls, "LIMIT": 3}
    exec("def helper(x):\n    return x * LIMIT\ndef f(x):\n    calls.append(x)\n    return helper(x)\n", scope)
    f = lore.cached(scope["f"])
    assert (f(1), f(1)) == (3, 3)
    scope["LIMIT"] = 4
    assert (f(1), f(1)) == (4, 4)
    assert len(calls) == 2


def test_an_edited_module_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cosmetic edit of a module keeps its results; a real one does not; going back finds the old ones."""
    module = tmp_path / "edited_module.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def contains(text: str) -> bool:
        module.write_text(f"import lore\n{text}")
        importlib.invalidate_caches()
        sys.modules.pop("edited_module", None)
        f = importlib.import_module("edited_module").f
        found = f.cache_contains(1)
        f(1)
        return bool(found)

    plain = "@lore.cached\ndef f(x):\n    return x\n"
    assert [
        contains(text)
        for text in (
            plain,
            plain,
            "# moved down\n\n\n@lore.cached\ndef f(x: int) -> int:\n    '''Say it.'''\n    return (x)  # the same\n",
            "@lore.cached\ndef f(x):\n    return x + 1\n",
            plain,
        )
    ] == [False, True, True, False, True]
    sys.modules.pop("edited_module", None)


def test_a_default_that_the_function_changes() -> None:
    """A mutable default is an argument by value: the function goes on as it would without lore."""

    @lore.cached
    def count(xs: list[None] = []) -> int:  # noqa: B006
        xs.append(None)
        return len(xs)

    assert [count(), count(), count()] == [1, 2, 3]


def test_functions_of_one_name_keep_apart() -> None:
    """Two functions of one name, and two lambdas, find their own results."""

    def make(step: int) -> Any:
        @lore.cached
        def same_name(x: int) -> int:
            return x + step

        return same_name

    one, two = make(1), make(2)
    first, second = lore.cached(lambda x: x), lore.cached(lambda x: -x)
    for _ in range(2):
        assert (one(1), two(1), first(1), second(1)) == (2, 3, 1, -1)
    assert [f.cache_info().hits for f in (one, two, first, second)] == [1, 1, 1, 1]


def test_a_cell_that_runs_again() -> None:
    """A function that is defined again is another one, and the old one when it is defined as it was."""
    scope: dict[str, Any] = {"lore": lore, "__name__": "cells"}

    def cell(text: str) -> Any:
        exec(text, scope)
        return scope["f"]

    assert cell("@lore.cached\ndef f(x):\n    return x\n")(1) == 1
    assert cell("@lore.cached\ndef f(x):\n    return x + 2\n")(1) == 3
    assert cell("@lore.cached\ndef f(x):\n    return x\n").cache_contains(1)


def test_functions_are_arguments_by_their_code(calls: Tally) -> None:
    """A function as an argument, cached or not, counts by what it does."""

    def apply(function: Callable[[int], int], x: int) -> int:
        calls.append(x)
        return function(x)

    cached = lore.cached(apply)
    partial = functools.partial
    for _ in range(2):
        assert cached(lambda x: x * 2, 3) == 6
        assert cached(lambda x: x * 3, 3) == 9
        assert cached(partial(pow, 2), 3) == 8
        assert cached(module_level, 3) == 3
    assert len(calls) == 4


def test_code_false_leaves_the_code_out(calls: Tally) -> None:
    """With code=False an edit is no reason to compute again, and version= is the way to say so."""
    factor = 3

    def f(x: int) -> int:
        return factor * x

    cached = lore.cached(code=False)(f)
    assert cached(1) == 3
    factor = 4
    assert cached(1) == 3
    assert lore.cached(code=False, version=2)(f)(1) == 4


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": -1},
        {"ttl": 0},
        {"ttl": "1h"},
        {"ttl": True},
        {"ttl": math.nan},
        {"ttl": timedelta(0)},
        {"memory": -1},
        {"memory": 1.5},
        {"memory": True},
        {"code": 1},
        {"verify": None},
        {"ignore": ("nothing",)},
        {"ignore": 3},
        {"ignore": (1,)},
        {"key": "x"},
        {"key": lambda x: x, "ignore": ("x",)},
        {"format": "xls"},
        {"store": 3},
        {"version": threading.Lock()},
        {"tll": 3},
    ],
)
def test_wrong_options_are_refused_at_decoration(options: dict[str, Any]) -> None:
    """A wrong option is a DecorationError, before the function is ever called."""
    with pytest.raises(errors.DecorationError, match=r"lore\.cached"):

        @lore.cached(**options)
        def f(x: int) -> int:
            return x


def test_unknown_option_suggests_the_right_one() -> None:
    """A misspelled option or parameter is answered with the name that was meant."""
    with pytest.raises(errors.DecorationError, match="did you mean 'ttl'"):
        lore.cached(tll=3)
    with pytest.raises(errors.DecorationError, match="did you mean 'verbose'"):

        @lore.cached(ignore=("verbos",))
        def f(verbose: bool) -> None: ...


@pytest.mark.parametrize("target", [3, "name", int, None.__class__, property(lambda self: 1)])
def test_only_functions_are_decorated(target: Any) -> None:
    """Anything but a function is refused."""
    with pytest.raises(errors.DecorationError):
        lore.cached(target)


def test_generator_functions_are_refused() -> None:
    """A generator function is refused with what to do instead."""

    def rows() -> Any:
        yield 1

    async def later() -> Any:
        yield 1

    for function in (rows, later):
        with pytest.raises(errors.DecorationError, match="list"):
            lore.cached(function)


def test_ignore_leaves_arguments_out(calls: Tally) -> None:
    """An ignored argument, named or among **kwargs, does not change the key."""

    @lore.cached(ignore=("verbose", "jobs"))
    def f(x: int, verbose: bool = False, **more: int) -> int:
        calls.append(x)
        return x

    assert f(1) == f(1, verbose=True) == f(1, jobs=3) == f(1, True, jobs=4) == 1
    assert len(calls) == 1
    assert f.cache_key(1) != f.cache_key(1, other=1)


def test_key_stands_for_the_arguments(calls: Tally) -> None:
    """`key` is called with the arguments, defaults filled in, and its result is what counts."""

    @lore.cached(key=lambda handle, size, scale=None: (size, scale))
    def f(handle: object, size: int, scale: int = 2) -> int:
        calls.append(size)
        return size * scale

    assert f(threading.Lock(), 3) == f(threading.Lock(), size=3, scale=2) == 6
    assert f(None, 3, 4) == 12
    assert len(calls) == 2


@pytest.mark.parametrize("ttl", [60, timedelta(minutes=1)])
def test_ttl_ends_a_result(calls: Tally, monkeypatch: pytest.MonkeyPatch, ttl: Any) -> None:
    """A result is stale once its ttl is over."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)

    @lore.cached(ttl=ttl)
    def f() -> int:
        calls.append(1)
        return len(calls)

    assert (f(), f()) == (1, 1)
    now += 59
    assert f() == 1
    now += 2
    assert not f.cache_contains()
    assert "its age" in str(f.cache_explain())
    assert (f(), f()) == (2, 2)
    assert f.cache_info()[:3] == (3, 1, 1)


def test_ttl_is_that_of_whoever_asks(calls: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ttl that is added or changed holds for what was stored before it."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)

    def f() -> int:
        calls.append(1)
        return 1

    lore.cached(f)()
    now += 100
    assert lore.cached(ttl=101)(f).cache_contains()
    assert not lore.cached(ttl=99)(f).cache_contains()
    lore.cached(ttl=99)(f)()
    assert len(calls) == 2
    now += 1000
    assert lore.cached(f).cache_contains()


def test_clock_set_back_does_not_prolong(calls: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result from the future has no known age: with a ttl it is computed again."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)

    @lore.cached(ttl=60)
    def f() -> int:
        calls.append(1)
        return len(calls)

    f()
    now -= 3600
    assert "clock" in str(f.cache_explain())
    assert (f(), f()) == (2, 2)


def test_memory_returns_one_object(calls: Tally) -> None:
    """With memory= all callers get the same object, for the last n results."""

    @lore.cached(memory=2)
    def f(x: int) -> list[int]:
        calls.append(x)
        return [x]

    first = f(1)
    assert f(1) is first
    f(2), f(1), f(3)
    assert f(1) is first
    assert f(2) is f(2)
    assert calls == [1, 2, 3]


def test_memory_notices_what_changed(tmp_path: Path) -> None:
    """A result in memory is checked like one in the store."""
    path = tmp_path / "in.txt"
    path.write_text("1")

    @lore.cached(memory=1)
    def f() -> str:
        cache.depends_on(path)
        return path.read_text()

    assert f() == "1"
    path.write_text("2")
    assert f() == "2"
    assert f.cache_info().stale == 1


def test_threads_that_meet_a_function_first_share_its_memory() -> None:
    """Threads that call a function for the first time at once get one object, and their calls are counted together."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):

            @lore.cached(memory=1)
            def f(x: int) -> list[int]:
                return [x]

            results: list[list[int]] = []
            barrier = threading.Barrier(4)
            threads = [
                threading.Thread(target=lambda f=f, b=barrier, r=results: (b.wait(), r.append(f(1)))) for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len({id(result) for result in results}) == 1
            assert sum(f.cache_info()[:3]) == 4
            f.cache_clear()
    finally:
        sys.setswitchinterval(before)


def test_what_memory_answers_is_explained() -> None:
    """A result that only memory has is a hit, and is called so."""

    @lore.cached(memory=1)
    def f(x: int) -> int:
        return x

    f(1)
    f.cache_entries()[0].store.delete(f.cache_entries()[0].name)
    assert f.cache_contains(1)
    assert "memory" in str(f.cache_explain(1))
    assert f.cache_explain(1).hit


def test_recursion_goes_deep() -> None:
    """A recursive function may go at least a fifth as deep as it could without lore."""

    @lore.cached
    def depth(n: int) -> int:
        return 0 if n == 0 else 1 + depth(n - 1)

    assert depth(170) == 170


def test_memory_belongs_to_its_store(tmp_path: Path, calls: Tally) -> None:
    """Under another store nothing is remembered."""

    @lore.cached(memory=1)
    def f() -> int:
        calls.append(1)
        return 1

    f()
    with cache.use(tmp_path / "other"):
        f()
    assert len(calls) == 2


def test_store_option_takes_paths_and_urls(tmp_path: Path) -> None:
    """A folder by path, by text and by file URL is the same store."""
    where = tmp_path / "own store"

    def f(x: int) -> int:
        return x

    by_path = lore.cached(store=where)(f)
    by_path(1)
    assert len(entry_files(where)) == 1
    assert lore.cached(store=str(where))(f).cache_contains(1)
    assert lore.cached(store=where.as_uri())(f).cache_contains(1)


def test_store_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$NAME` in a store is read at first use."""

    @lore.cached(store="$MY_STORE/results")
    def f(x: int) -> int:
        return x

    monkeypatch.setenv("MY_STORE", str(tmp_path))
    f(1)
    assert len(entry_files(tmp_path / "results")) == 1


def test_off_removes_the_layer(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    """Under LORE_CACHE=off the decorator returns the function itself, and what asks after the cache still runs."""
    monkeypatch.setenv("LORE_CACHE", "off")

    def f(x: int) -> int:
        return x

    g = lore.cached(ttl=3)(f)
    assert g is f
    assert lore.layers(g) == []
    assert (g(1), g.cache_info().entries, g.cache_contains(1), g.cache_refresh(1), g.cache_entries()) == (
        1,
        0,
        False,
        1,
        [],
    )
    assert "LORE_CACHE=off" in str(g.cache_explain(1))
    assert not own_home.exists()


def test_repr_shows_options_without_secrets() -> None:
    """A layer's repr shows what was given, and no password."""

    @lore.cached(ttl=60, store="s3://user:secret@bucket/prefix")
    def f() -> None: ...

    assert repr(lore.layers(f)) == "[cached(store='s3://bucket/prefix', ttl=60)]"


# --- attributes -----------------------------------------------------------------------------------------------------


def test_refresh_forget_clear(calls: Tally) -> None:
    """One entry can be renewed or dropped, and all of them."""

    @lore.cached
    def f(x: int) -> int:
        calls.append(x)
        return len(calls)

    assert (f(1), f.cache_refresh(1), f(1)) == (1, 2, 2)
    assert (f.cache_forget(1), f.cache_forget(1), f.cache_contains(1)) == (True, False, False)
    f(1), f(2)
    assert f.cache_info().entries == 2
    assert f.cache_clear() == 2
    assert f.cache_info()[4:6] == (0, 0)


def test_clear_leaves_other_functions_alone() -> None:
    """`cache_clear` drops the entries of one function only."""

    @lore.cached
    def f(x: int) -> int:
        return x

    @lore.cached
    def g(x: int) -> int:
        return x

    f(1), g(1)
    f.cache_clear()
    assert (f.cache_contains(1), g.cache_contains(1)) == (False, True)


def test_entries_tell_their_story() -> None:
    """An entry knows its function, arguments, age and size, and loads its value."""

    @lore.cached(ttl=60)
    def f(x: int, password: str = "hush") -> int:
        return x + 1

    f(1)
    (entry,) = f.cache_entries()
    assert entry.function.endswith("test_entries_tell_their_story.<locals>.f")
    assert entry.arguments == {"x": "1", "password": "(not shown)"}
    assert entry.key == f.cache_key(1)
    assert entry.load() == 2
    assert entry.nbytes == f.cache_info().bytes
    assert entry.expires_s == pytest.approx(entry.created_s + 60, abs=1)
    assert cache.provenance(f, 1) == entry


def test_saved_is_what_hits_spared() -> None:
    """`saved_s` adds up the computing time of hits less their own."""

    @lore.cached
    def slow() -> int:
        time.sleep(0.05)
        return 1

    slow(), slow(), slow()
    assert slow.cache_info().saved_s == pytest.approx(0.1, rel=0.2)


def test_methods_count_self_by_value(calls: Tally) -> None:
    """Equal objects share results, different ones do not; extras are reached through the class."""

    class Model:
        def __init__(self, depth: int) -> None:
            self.depth = depth

        @lore.cached
        def fit(self, x: int) -> int:
            calls.append(x)
            return self.depth + x

        @classmethod
        @lore.cached
        def of(cls, x: int) -> str:
            return f"{cls.__name__}{x}"

        @lore.cached
        @staticmethod
        def plain(x: int) -> int:
            return x

    assert (Model(1).fit(2), Model(1).fit(x=2), Model(5).fit(2)) == (3, 3, 7)
    assert len(calls) == 2
    assert Model.fit.cache_contains(Model(1), 2)
    assert (Model.of(1), Model.of(1), Model.plain(2), Model(1).plain(2)) == ("Model1", "Model1", 2, 2)


def test_exceptions_pass_and_are_not_kept(calls: Tally) -> None:
    """The user's exception is the same object, nothing is stored, the next call computes."""
    mistake = KeyError("mine")

    @lore.cached
    def f() -> None:
        calls.append(1)
        raise mistake

    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            f()
        assert caught.value is mistake
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
    assert len(calls) == 2
    assert f.cache_info().entries == 0


def test_recursion_with_the_same_arguments_ends_as_in_plain_python() -> None:
    """A function that calls itself with its own arguments does not wait for itself."""

    @lore.cached
    def f(x: int) -> int:
        return f(x)

    with pytest.raises(RecursionError):
        f(1)


def test_recursion_is_cached_on_the_way(calls: Tally) -> None:
    """A recursive function keeps the results of its inner calls."""

    @lore.cached
    def fib(n: int) -> int:
        calls.append(n)
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert fib(12) == 144
    assert sorted(calls) == list(range(13))


# --- explanations ---------------------------------------------------------------------------------------------------


def test_explain_names_the_culprit(tmp_path: Path) -> None:
    """A miss is explained by the helper, constant, argument or version that changed; a hit by its age."""
    module = tmp_path / "explained.py"
    text = "LIMIT = 3\ndef clean(x):\n    return min(x, LIMIT)\ndef f(x, y=0):\n    return clean(x) + y\n"

    def load() -> Any:
        scope: dict[str, Any] = {"__name__": "explained"}
        exec(compile(module.read_text(), str(module), "exec"), scope)
        return lore.cached(scope["f"])

    module.write_text(text)
    f = load()
    assert "nothing is stored" in str(f.cache_explain(1))
    f(1)
    assert str(f.cache_explain(1)).startswith("hit: explained.f: made")
    assert f.cache_explain(1).hit
    assert "argument x is 2, the nearest entry has 1" in str(f.cache_explain(2))
    assert not f.cache_explain(2).hit
    module.write_text(text.replace("LIMIT = 3", "LIMIT = 4"))
    assert "LIMIT" in str(load().cache_explain(1))
    assert "from 3 to 4" in str(load().cache_explain(1))
    module.write_text(text.replace("min(x", "max(x"))
    assert "clean" in str(load().cache_explain(1))
    module.write_text(text)
    versioned = lore.cached(version=2)(load().__wrapped__)
    assert "version changed from None to 2" in str(versioned.cache_explain(1))


def test_explain_names_files(tmp_path: Path) -> None:
    """A stale result is explained by every file that changed."""
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("1"), two.write_text("1")

    @lore.cached
    def f() -> str:
        cache.depends_on(one, two)
        return one.read_text()

    f()
    one.write_text("other")
    two.unlink()
    explanation = f.cache_explain()
    assert explanation.reasons == (f"file {one} changed", f"file {two} is gone")


# --- inputs ---------------------------------------------------------------------------------------------------------


def test_inputs_are_inherited_through_hits(tmp_path: Path, calls: Tally) -> None:
    """A file that an inner cached function read makes the outer result stale, also where the inner call was a hit."""
    path = tmp_path / "in.txt"
    path.write_text("1")

    @lore.cached
    def inner() -> int:
        cache.depends_on(path)
        return int(path.read_text())

    @lore.cached
    def outer(x: int) -> int:
        calls.append(x)
        return inner() + x

    assert inner() == 1
    assert (outer(10), outer(10)) == (11, 11)
    path.write_text("25")
    assert (outer(10), outer(10)) == (35, 35)
    assert len(calls) == 2


@pytest.mark.parametrize("memory", [0, 1])
def test_ttl_is_inherited(monkeypatch: pytest.MonkeyPatch, calls: Tally, memory: int) -> None:
    """Nothing outlives what it was made from, whether that came from the store or from memory."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)

    @lore.cached(ttl=60, memory=memory)
    def inner() -> int:
        return 1

    @lore.cached
    def outer() -> int:
        calls.append(1)
        return inner()

    inner()
    now += 50
    outer()
    now += 11
    assert not outer.cache_contains()
    outer()
    assert len(calls) == 2


def test_files_read_through_lore_are_inputs(tmp_path: Path, calls: Tally) -> None:
    """A file read with lore.io counts without being named."""
    io = pytest.importorskip("lore.io")
    path = tmp_path / "rows.json"
    io.write([1, 2], path)

    @lore.cached
    def f() -> int:
        calls.append(1)
        return sum(io.read(path))

    assert (f(), f()) == (3, 3)
    io.write([1, 2, 3], path)
    assert (f(), f()) == (6, 6)
    assert len(calls) == 2


def test_helper_threads_take_notes(tmp_path: Path) -> None:
    """What a thread reads that the function started counts for the function."""
    path = tmp_path / "in.txt"
    path.write_text("1")

    @lore.cached
    def f() -> str:
        thread = threading.Thread(target=cache.depends_on, args=(path,))
        thread.start()
        thread.join()
        return path.read_text()

    assert f() == "1"
    path.write_text("2")
    assert f() == "2"


# --- damage ---------------------------------------------------------------------------------------------------------


def damaged_by(change: Callable[[Path], object], home: Path) -> tuple[int, cache.CacheInfo]:
    """Store a result, damage its file, and return what a call then answers."""

    @lore.cached
    def f(x: int) -> int:
        return x + 1

    f(1)
    (path,) = entry_files(home)
    change(path)
    assert not f.cache_contains(1)
    assert [damage.name for damage in cache.verify()] == [f"{path.parent.name}/{path.stem}"]
    with pytest.warns(errors.LoreWarning, match="is not used and is computed again"):
        answer = f(1)
    assert f(1) == 2
    assert cache.verify() == []
    return answer, f.cache_info()


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x05K\x01."),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
        lambda path: path.write_bytes(path.read_bytes()[:-60] + b"\x00" + path.read_bytes()[-59:]),
    ],
    ids=["empty", "foreign", "cut", "longer", "first bit", "late byte"],
)
def test_damage_is_a_miss_and_a_warning(change: Callable[[Path], object], own_home: Path) -> None:
    """An entry that is not as it was written is computed again and replaced."""
    answer, info = damaged_by(change, own_home)
    assert answer == 2
    assert info[:4] == (1, 2, 0, 1)


def test_any_flipped_bit_is_found(own_home: Path) -> None:
    """Whichever bit of an entry is flipped, the answer is right."""

    @lore.cached
    def f() -> list[int]:
        return [1, 2, 3]

    f()
    (path,) = entry_files(own_home)
    good = path.read_bytes()
    for place in range(len(good) - 32):  # the last bytes are room for a signature
        path.write_bytes(good[:place] + bytes([good[place] ^ (1 << place % 8)]) + good[place + 1 :])
        assert not f.cache_contains(), place


def test_swapped_files_are_found(own_home: Path) -> None:
    """An entry under the name of another is not used."""

    @lore.cached
    def f(x: int) -> int:
        return x

    f(1), f(2)
    one, two = entry_files(own_home)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    with pytest.warns(errors.LoreWarning, match="another call"):
        assert (f(1), f(2)) == (1, 2)


def test_signing_refuses_unsigned_and_otherwise_signed(monkeypatch: pytest.MonkeyPatch, calls: Tally) -> None:
    """With LORE_SIGNING_KEY nothing unsigned or wrongly signed is unpickled."""

    @lore.cached
    def f(x: int) -> int:
        calls.append(x)
        return x

    f(1)
    for key in ("one", "two"):
        monkeypatch.setenv("LORE_SIGNING_KEY", key)
        gc.collect()
        assert not f.cache_contains(1)
        with pytest.warns(errors.LoreWarning, match="sign") if key == "one" else _silent():
            f(1)
        assert f.cache_contains(1)
    assert len(calls) == 3


def _silent() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_a_failing_store_costs_a_warning(calls: Tally) -> None:
    """A store that fails at everything takes no result away and warns once of each kind."""

    class Broken:
        url = "broken://"

        def fail(self, *args: Any) -> Any:
            raise OSError(28, "No space left on device")

        open = save = used = delete = scan = claim = fail

    @lore.cached(store=Broken())
    def f(x: int) -> int:
        calls.append(x)
        return x

    with pytest.warns(errors.LoreWarning) as warnings:
        assert [f(1), f(1), f(2)] == [1, 1, 2]
    assert len(warnings) == 3
    assert len(calls) == 3


def test_unpicklable_results_are_returned() -> None:
    """A result that cannot be stored is returned, with a warning."""

    @lore.cached
    def f() -> Any:
        return threading.Lock()

    with pytest.warns(errors.LoreWarning, match="cannot be stored"):
        assert f().acquire()


# --- async ----------------------------------------------------------------------------------------------------------


def test_coroutine_functions_stay_coroutine_functions(calls: Tally) -> None:
    """An async function is cached and still awaited."""

    @lore.cached
    async def f(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0)
        return x

    assert inspect.iscoroutinefunction(f)

    async def twice() -> tuple[int, int]:
        return await f(1), await f(x=1)

    assert asyncio.run(twice()) == (1, 1)
    assert len(calls) == 1
    assert asyncio.run(f.cache_refresh(1)) == 1
    assert asyncio.run(f.cache_ref(1)).load() == 1
    assert len(calls) == 2


def test_many_tasks_compute_once(calls: Tally) -> None:
    """Of many tasks that want one key at once, one computes."""

    @lore.cached
    async def f(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0.02)
        return x

    async def main() -> list[int]:
        return await asyncio.gather(*(f(1) for _ in range(20)))

    assert asyncio.run(main()) == [1] * 20
    assert len(calls) == 1
    assert f.cache_info()[:2] == (19, 1)


def test_cancelling_one_task_harms_no_other(calls: Tally) -> None:
    """When the computing task or a waiting one is cancelled, the others get their result."""

    @lore.cached
    async def f(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0.02)
        return x

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(f(1)) for _ in range(4)]
        await asyncio.sleep(0.005)
        tasks[0].cancel()
        tasks[2].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert [results[1], results[3]] == [1, 1]
    assert all(isinstance(results[i], asyncio.CancelledError) for i in (0, 2))
    assert len(calls) == 2


def test_waiting_does_not_block_the_loop(own_home: Path) -> None:
    """While another process holds the claim, other tasks of the loop go on."""

    @lore.cached
    async def f(x: int) -> int:
        return x

    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(own_home / "cache"), f"any/{f.cache_key(1)}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    holder.stdout.readline()

    async def main() -> tuple[int, int]:
        task = asyncio.create_task(f(1))
        ticks = 0
        for _ in range(10):
            await asyncio.sleep(0.01)
            ticks += 1
        assert not task.done()
        holder.kill()
        return await task, ticks

    assert asyncio.run(main()) == (1, 10)
    holder.wait()
    holder.stdout.close()


HOLD = """
import sys, time
from lore._caching.stores import FolderStore
claim = FolderStore(sys.argv[1]).claim(sys.argv[2])
claim.acquire()
print("held", flush=True)
time.sleep(60)
"""


def foreign(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def test_foreign_wrappers_around_coroutine_functions(calls: Tally) -> None:
    """A plain function that hands on a coroutine is awaited and cached like a coroutine function."""

    def make() -> Any:
        @lore.cached
        @foreign
        async def f(x: int) -> int:
            calls.append(x)
            return x

        return f

    async def main(f: Any) -> list[int]:
        return [await f(1), await f(1), *await asyncio.gather(f(2), f(2))]

    assert asyncio.run(main(make())) == [1, 1, 2, 2]
    assert asyncio.run(main(make())) == [1, 1, 2, 2]
    assert calls == [1, 2]

    async def rest(f: Any) -> tuple[Any, ...]:
        return await f.cache_refresh(1), (await f.cache_ref(1)).load(), await f.cache_refresh(1)

    assert asyncio.run(rest(make())) == (1, 1, 1)
    assert calls == [1, 2, 1, 1]


def test_foreign_wrappers_that_run_the_coroutine(calls: Tally) -> None:
    """A plain function that runs the coroutine itself is cached like any plain function."""

    def run(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return asyncio.run(function(*args, **kwargs))

        return wrapper

    @lore.cached
    @run
    async def f(x: int) -> int:
        calls.append(x)
        return x

    assert [f(1), f(1), f(2)] == [1, 1, 2]
    assert calls == [1, 2]


# --- references -----------------------------------------------------------------------------------------------------


def test_a_reference_travels_as_text() -> None:
    """A reference is a str, survives JSON and pickle, and loads its value."""

    @lore.cached
    def f(x: int) -> dict[str, int]:
        return {"x": x}

    ref = f.cache_ref(1)
    assert isinstance(ref, str)
    text = json.loads(json.dumps({"ref": ref}))["ref"]
    assert type(text) is str
    assert cache.Ref(text).load() == {"x": 1}
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert type(pickle.loads(pickle.dumps(ref))) is cache.Ref


def test_a_reference_stands_for_its_value(calls: Tally) -> None:
    """As an argument a reference has the key of the value, and the function receives the value."""

    @lore.cached
    def make(n: int) -> list[int]:
        return list(range(n))

    @lore.cached
    def total(xs: list[int], scale: int = 1) -> int:
        calls.append(type(xs))
        return sum(xs) * scale

    ref = make.cache_ref(4)
    assert total.cache_key(ref) == total.cache_key([0, 1, 2, 3])
    assert total(ref) == 6
    assert total([0, 1, 2, 3]) == 6
    with cache.disabled():
        assert total(xs=ref) == 6
    assert calls == [list, list]


def test_references_inside_containers_are_resolved() -> None:
    """A list, tuple or dict of references reaches the function as values."""

    @lore.cached
    def make(n: int) -> int:
        return n

    @lore.cached
    def gather(items: list[Any], named: dict[str, Any]) -> Any:
        return items, named

    refs = [make.cache_ref(1), (make.cache_ref(2),)]
    assert gather(refs, {"a": make.cache_ref(3)}) == ([1, (2,)], {"a": 3})


def test_a_reference_to_what_is_gone_says_so() -> None:
    """Loading a dropped result is a StoreError, a replaced one an IntegrityError, and no text is taken for one."""
    state = Tally([1])

    @lore.cached
    def f() -> int:
        return int(state[0])

    ref = f.cache_ref()
    f.cache_refresh()
    assert ref.load() == 1
    state[0] = 2
    f.cache_refresh()
    with pytest.raises(errors.IntegrityError, match="another one now"):
        ref.load()
    f.cache_forget()
    with pytest.raises(errors.StoreError, match="no longer"):
        ref.load()
    with pytest.raises(errors.CacheError):
        cache.Ref("text")


# --- module functions -----------------------------------------------------------------------------------------------


def test_use_sets_and_restores(tmp_path: Path) -> None:
    """`use` sets the store for the process, as a context manager until the end of the block."""

    @lore.cached
    def f(x: int) -> int:
        return x

    with cache.use(tmp_path / "a") as store:
        assert isinstance(store, cache.Store)
        f(1)
        with cache.use(str(tmp_path / "b")):
            assert not f.cache_contains(1)
        assert f.cache_contains(1)
    assert not f.cache_contains(1)
    try:
        cache.use(tmp_path / "a")
        assert f.cache_contains(1)
    finally:
        cache.use(None)


def test_disabled_is_per_task(calls: Tally, own_home: Path) -> None:
    """Inside `disabled` functions run as if they were not cached; other threads are not concerned."""

    @lore.cached
    def f(x: int) -> int:
        calls.append(x)
        return x

    with cache.disabled():
        f(1), f(1)
        assert not own_home.exists()
        assert "disabled" in str(f.cache_explain(1))
        thread = threading.Thread(target=f, args=(1,))
        thread.start()
        thread.join()
    f(1)
    assert len(calls) == 3


def test_entries_prune_clear_cover_the_store(own_home: Path) -> None:
    """The module's functions work on everything in the store, least recently used first."""

    @lore.cached
    def f(x: int) -> bytes:
        return bytes(10_000)

    for x in range(4):
        f(x)
    f(0)
    assert len(cache.entries()) == 4
    assert cache.prune(max_bytes=25_000) == 2
    assert sorted(entry.arguments["x"] for entry in cache.entries()) == ["0", "3"]
    assert cache.prune(older_than=timedelta(hours=1)) == 0
    assert cache.prune(older_than=0) == 2
    f(1)
    assert cache.clear() == 1
    assert cache.entries() == []


def test_fingerprint_has_32_digits() -> None:
    """A fingerprint is 32 hexadecimal digits and the digest that references carry."""
    assert len(cache.fingerprint([1])) == 32
    assert int(cache.fingerprint([1]), 16) > 0


def test_depends_on_takes_folders_and_missing_files(tmp_path: Path, calls: Tally) -> None:
    """A folder stands for all files in it; a missing file counts when it appears."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("a")

    @lore.cached
    def f() -> int:
        calls.append(1)
        cache.depends_on(folder, tmp_path / "optional.cfg")
        return len(list(folder.iterdir()))

    assert (f(), f()) == (1, 1)
    (folder / "b.txt").write_text("b")
    assert (f(), f()) == (2, 2)
    (folder / "a.txt").write_text("other")
    f(), f()
    (tmp_path / "optional.cfg").touch()
    f(), f()
    assert len(calls) == 4


def test_limit_is_enforced_by_itself(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    """LORE_CACHE_MAX_BYTES holds after every call; what was used last stays."""
    monkeypatch.setenv("LORE_CACHE_MAX_BYTES", "100kB")

    @lore.cached
    def f(x: int) -> bytes:
        return bytes([x]) * 20_000

    for x in range(12):
        f(x)
        f(0)
        assert sum(path.stat().st_size for path in own_home.rglob("*.lore")) <= 100_000
    assert f.cache_contains(0)
    assert f.cache_contains(11)
    assert not f.cache_contains(1)


# --- open formats ---------------------------------------------------------------------------------------------------


def example_of(format_: str) -> Any:
    if format_ in ("parquet", "arrow"):
        pd = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        return pd.DataFrame({"a": [1, 2, None], "b": ["x", None, ""]}, index=pd.Index([3, 4, 5], name="i"))
    if format_ == "npy":
        return pytest.importorskip("numpy").arange(12.0).reshape(3, 4)
    pytest.importorskip("joblib")
    return {"a": [1, 2]}


@pytest.mark.parametrize("format_", ["parquet", "arrow", "npy", "joblib"])
def test_results_lie_in_an_open_format(own_home: Path, format_: str, calls: Tally) -> None:
    """With format= a result is a file that others can read, checked, counted and dropped with its entry."""
    value = example_of(format_)

    def f(x: int) -> Any:
        calls.append(x)
        return value

    cached = lore.cached(format=format_, code=False)(f)
    cached(1)
    assert cache.fingerprint(cached(1)) == cache.fingerprint(value)
    assert len(calls) == 1
    (path,) = own_home.rglob(f"*.{format_}")
    assert path.stem == cached.cache_key(1)
    assert cached.cache_info().bytes == path.stat().st_size + path.with_suffix(".lore").stat().st_size
    assert cached.cache_entries()[0].nbytes == cached.cache_info().bytes
    assert cache.fingerprint(cached.cache_ref(1).load()) == cache.fingerprint(value)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert len(cache.verify()) == 1
    with pytest.warns(errors.LoreWarning, match="not the one that was stored"):
        cached(1)
    path.unlink()
    with pytest.warns(errors.LoreWarning, match="is gone"):
        cached(1)
    assert len(calls) == 3
    assert cached.cache_forget(1)
    assert list(own_home.rglob(f"*.{format_}")) == []
    cached(1)
    assert cache.prune(max_bytes=0) == 1
    assert list(own_home.rglob(f"*.{format_}")) == []


def test_a_result_that_does_not_fit_the_format_is_not_stored() -> None:
    """What the format would give back as something else is returned and not stored, with a warning."""

    @lore.cached(format="parquet")
    def f() -> Any:
        return [1, 2]

    with pytest.warns(errors.LoreWarning, match="keeps a DataFrame, and the result is a list"):
        assert f() == [1, 2]
    assert f.cache_info().entries == 0


# --- functions stay functions ---------------------------------------------------------------------------------------


@lore.cached
def module_level(x: int) -> int:
    """Say something."""
    return x


def test_pickles_by_name_and_by_value() -> None:
    """A decorated function pickles by name, and with cloudpickle by value where it has no name."""
    assert pickle.loads(pickle.dumps(module_level)) is module_level

    @lore.cached(memory=2)
    def local(x: int) -> int:
        return x + 1

    local(1)
    copy = cloudpickle.loads(cloudpickle.dumps(local))
    assert copy(1) == 2
    assert copy.cache_info().hits == local.cache_info().hits == 1


def test_a_script_shares_results_with_its_module(tmp_path: Path, own_home: Path) -> None:
    """What a script computed as __main__ is found when it is imported, and the other way round."""
    script = tmp_path / "pipeline.py"
    script.write_text("import lore\n@lore.cached\ndef f(x):\n    print('computing')\n    return x\nf(1)\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def output(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
        ).stdout

    assert output("pipeline.py") == "computing\n"
    assert output("pipeline.py") == ""
    assert output("-m", "pipeline") == ""
    assert output("-c", "import pipeline") == ""


POOLED = """
import sys
import lore

FACTOR = 3


def helper(x):
    return x * FACTOR


@lore.cached
def f(x):
    print("computing", flush=True)
    return helper(x)


if __name__ == "__main__":
    how = sys.argv[1]
    if how == "here":
        results = [f(x) for x in range(3)]
    elif how == "loky":
        import joblib

        results = joblib.Parallel(2)(joblib.delayed(f)(x) for x in range(3))
    else:
        import multiprocessing

        with multiprocessing.get_context(how).Pool(2) as pool:
            results = pool.map(f, range(3))
    assert results == [0, 3, 6]
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["loky", "spawn", "forkserver", "fork"])
def test_workers_share_results_with_their_script(tmp_path: Path, how: str) -> None:
    """What workers computed for a script is found by it, and the other way round."""
    if how == "loky":
        pytest.importorskip("joblib")
    script = tmp_path / "pooled.py"
    script.write_text(POOLED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def output(how: str) -> str:
        return subprocess.run(
            [sys.executable, str(script), how], capture_output=True, text=True, check=True, env=environment
        ).stdout

    assert output(how).count("computing") == 3
    assert output("here") == ""
    assert output(how) == ""


def test_readable_sizes() -> None:
    """Sizes are read as people write them."""
    assert [stores.size_of(text) for text in ("1000", "1_000", "2kB", "1.5MB", "1 GiB")] == [
        1000,
        1000,
        2000,
        1_500_000,
        2**30,
    ]
    with pytest.raises(ValueError, match="no number of bytes"):
        stores.size_of("many")


# --- references in other places -------------------------------------------------------------------------------------


class Holder(NamedTuple):
    held: Any


@dataclasses.dataclass
class Box:
    held: Any


@pytest.mark.parametrize(
    ("wrap", "held"),
    [
        (Holder, lambda x: x.held),
        (Box, lambda x: x.held),
        (lambda x: [Box(x)], lambda x: x[0].held),
        (lambda x: Box([x]), lambda x: x.held[0]),
        (lambda x: collections.OrderedDict(a=x), lambda x: x["a"]),
        (lambda x: collections.deque([x]), lambda x: x[0]),
        (lambda x: slice(x), lambda x: x.stop),
        (lambda x: {(x if isinstance(x, str) else tuple(x)): 1}, lambda x: next(iter(x))),
    ],
)
def test_a_reference_that_is_not_replaced_does_not_count_as_its_value(wrap: Any, held: Any) -> None:
    """Where the function receives the reference itself, the key is not that of the value."""

    @lore.cached
    def make() -> list[int]:
        return [1, 2]

    @lore.cached
    def kind_of_held(box: Any) -> str:
        return type(held(box)).__name__

    ref = make.cache_ref()
    assert kind_of_held(wrap(ref)) == "Ref"
    assert kind_of_held(wrap([1, 2])) != "Ref"
    assert cache.fingerprint([ref, ref]) == cache.fingerprint([ref] * 2)


def test_a_list_that_is_met_in_two_places_counts_as_what_it_is_in_each() -> None:
    """A list that holds a reference is seen with its value directly, and with the reference inside an object."""

    @lore.cached
    def make() -> int:
        return 1

    @lore.cached
    def look(items: list[Any]) -> list[str]:
        return [type(items[0][0]).__name__, type(items[1].held[0]).__name__]

    refs = [make.cache_ref()]
    assert look([refs, Box(refs)]) == ["int", "Ref"]
    assert look([[1], Box(refs)]) == ["int", "Ref"]
    assert look([[1], Box([1])]) == ["int", "int"]
    assert look([refs, Box([1])]) == ["int", "int"]


def test_references_in_the_value_of_a_reference_are_replaced() -> None:
    """What a reference leads to may hold references: the function receives their values, as from a list of them."""

    @lore.cached
    def make() -> list[int]:
        return [1, 2]

    @lore.cached
    def refs() -> list[Any]:
        return [make.cache_ref()]

    seen = []

    @lore.cached
    def look(items: list[Any]) -> str:
        seen.append(items)
        return type(items[0]).__name__

    assert look.cache_key(refs.cache_ref()) == look.cache_key([make.cache_ref()])
    assert look(refs.cache_ref()) == look([make.cache_ref()]) == look([[1, 2]]) == "list"
    assert seen == [[[1, 2]], [[1, 2]]]


def test_arguments_that_contain_themselves_pass_beside_references() -> None:
    """A recursive argument reaches the function, as it is without a reference in it, recursive all the same with one."""

    @lore.cached
    def make() -> int:
        return 1

    @lore.cached
    def shape(items: list[Any]) -> tuple[Any, ...]:
        return len(items), items[1] is items, items[0]

    ref = make.cache_ref()
    for first, expected in ((7, 7), (ref, 1)):
        items: list[Any] = [first]
        items.append(items)
        assert shape(items) == (2, True, expected)

    @lore.cached
    def through(pair: tuple[Any, ...]) -> bool:
        return pair[0][0] is pair and pair[1] == 1

    inner: list[Any] = []
    pair = (inner, ref)
    inner.append(pair)
    assert through(pair)


def test_what_holds_no_reference_is_not_copied() -> None:
    """Beside a reference, lists without one reach the function as the objects that they are."""

    @lore.cached
    def make() -> int:
        return 1

    @lore.cached
    def grow(items: list[Any]) -> int:
        items[1].append(items[0])
        return len(items[1])

    mine: list[int] = []
    assert grow([make.cache_ref(), mine]) == 1
    assert mine == [1]


def test_a_number_too_long_to_be_printed_is_an_argument_like_any_other() -> None:
    """What cannot be shown in an entry's story does not cost the result."""

    @lore.cached
    def bits(n: int, more: list[int]) -> int:
        return n.bit_length() + len(more)

    assert bits(1 << 50_000, [1 << 50_000]) == 50_002
    assert bits.cache_info().misses == 1
    assert bits(1 << 50_000, [1 << 50_000]) == 50_002
    assert bits.cache_info().hits == 1
