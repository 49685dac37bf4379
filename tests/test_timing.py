"""The face: `lore.timed` and what stands beside it in `lore.timing`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import lore
from lore.errors import DecorationError
from lore.timing import timed


def plain(a: int, /, b: int = 2, *args: int, c: int = 3, **kwargs: int) -> tuple[Any, ...]:
    """Return what came in."""
    return a, b, args, c, kwargs


@timed
def importable(x: int) -> int:
    return x + 1


# --- spellings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "decorate",
    [
        timed,
        timed(),
        timed("a name"),
        timed(slow_s=1),
        timed("a name", slow_s=None, cpu=True, memory=True, progress=False),
        functools.partial(timed, slow_s=0.5),
    ],
)
def test_every_spelling_decorates(decorate: Any) -> None:
    """Bare, called, named, with options: the function answers as before and is counted."""
    function = decorate(plain)
    assert function(1, 5, 6, c=7, d=8) == (1, 5, (6,), 7, {"d": 8})
    assert function.timing_info().count == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: timed(5), "decorates functions"),
        (lambda: timed(None, 5), "Right: @lore.timed"),
        (lambda: timed(""), "empty"),
        (lambda: timed(slow_s=-1), "slow_s"),
        (lambda: timed(slow_s="1"), "slow_s"),
        (lambda: timed(slow_s=float("nan")), "slow_s"),
        (lambda: timed(slow_s=True), "slow_s"),
        (lambda: timed(cpu=1), "cpu"),
        (lambda: timed(progress="yes"), "progress"),
        (lambda: timed(slow=1), "did you mean 'slow_s'"),
        (lambda: timed(int), "class"),
        (lambda: timed(property(plain)), "property"),
        (lambda: timed("x")(5), "decorates functions"),
        (lambda: timed().__enter__(), "needs a name"),
        (lambda: lore.timing.run(""), "name"),
    ],
)
def test_wrong_use_is_named_at_once(wrong: Callable[[], Any], says: str) -> None:
    """A wrong option or place is a DecorationError that shows the right spelling."""
    with pytest.raises(DecorationError, match=says):
        wrong()


# --- still a function -------------------------------------------------------------------------------------------------


def signature_cases() -> list[Any]:
    def no_parameters() -> int:
        return 0

    def keywords_only(*, a: int, b: int = 2) -> tuple[int, int]:
        return a, b

    def stolen(function: int, site: int, spans: int, parent_: int, *, node_: int, result_: int = 1) -> Any:
        return function, site, spans, parent_, node_, result_

    def name(name: int, func: int, self: int, args: int, kwargs: int) -> Any:
        return name, func, self, args, kwargs

    def positional(a: int, b: int = 3, /) -> Any:
        return a, b

    def rest(*args: int, **kwargs: int) -> Any:
        return args, kwargs

    return [
        (no_parameters, (), {}),
        (keywords_only, (), {"a": 1}),
        (stolen, (1, 2, 3, 4), {"node_": 5}),
        (name, (), {"name": 1, "func": 2, "self": 3, "args": 4, "kwargs": 5}),
        (positional, (1,), {}),
        (rest, (1, 2), {"a": 3, "function": 4, "self": 5}),
        (plain, (1,), {"b_": 3}),
        (lambda x, y=[1]: (x, y), (1,), {}),
        (len, ([1, 2],), {}),
    ]


@pytest.mark.parametrize(("function", "args", "kwargs"), signature_cases())
def test_signature_defaults_and_keywords_stay(function: Any, args: Any, kwargs: Any) -> None:
    """Whatever its parameters are called, a call reaches the function as it was made, and the signature is its own."""
    wrapper = timed(function)
    assert wrapper(*args, **kwargs) == function(*args, **kwargs)
    assert inspect.signature(wrapper) == inspect.signature(function)
    assert inspect.isfunction(wrapper)
    assert wrapper.__wrapped__ is function


def test_identity_of_defaults() -> None:
    """A default is the same object as in the function, so that sentinels work."""
    sentinel = object()

    @timed
    def is_default(x: object = sentinel, *, y: object = sentinel) -> bool:
        return x is sentinel and y is sentinel

    assert is_default()
    assert is_default.__defaults__ == (sentinel,)


def test_name_doc_and_module_stay() -> None:
    """A decorated function introduces itself as before, also in its own TypeError."""
    wrapper = timed(plain)
    assert (wrapper.__name__, wrapper.__qualname__, wrapper.__module__) == ("plain", "plain", __name__)
    assert wrapper.__doc__ == "Return what came in."
    with pytest.raises(TypeError, match=r"plain\(\) missing 1 required positional argument: 'a'"):
        wrapper()  # type: ignore[call-arg]


class Model:
    scale = 3

    @timed
    def predict(self, x: int) -> int:
        return x * self.scale

    @timed
    @classmethod
    def load(cls, x: int) -> tuple[type, int]:
        return cls, x

    @classmethod
    @timed
    def load_inside(cls, x: int) -> tuple[type, int]:
        return cls, x

    @timed
    @staticmethod
    def double(x: int) -> int:
        return 2 * x

    @property
    @timed
    def size(self) -> int:
        return 7


def test_methods_bind() -> None:
    """Methods, class and static methods and properties work as before, and their extras are reached by the class."""
    model = Model()
    assert model.predict(2) == 6
    assert Model.load(1) == model.load(1) == (Model, 1)  # type: ignore[attr-defined, comparison-overlap]
    assert Model.load_inside(1) == (Model, 1)
    assert Model.double(4) == model.double(4) == 8
    assert model.size == 7
    assert Model.predict.timing_info().count == 1


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_pickles_by_name(dumps: Callable[[Any], bytes]) -> None:
    """A function of a module comes back as itself."""
    assert pickle.loads(dumps(importable)) is importable


MAIN = """
import cloudpickle, lore, pickle, subprocess, sys
factor = 3
@lore.timed("named", slow_s=5)
def triple(x): return helper(x) * factor
def helper(x): return x if x < 1 else x + 0 * triple(x - 1)
@lore.timed
async def later(x, *, y=1): return x + y
@lore.timed
def steps(n): yield from range(n)
triple(2)
sent = cloudpickle.dumps((triple, later, steps))
code = '''
import pickle, sys, asyncio
triple, later, steps = pickle.load(sys.stdin.buffer)
print(triple(2), asyncio.run(later(1)), list(steps(3)), triple.timing_info().count, later.timing_info().count)
'''
print(subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True).stdout.decode())
copy = cloudpickle.loads(sent)[0]
copy(0)
print(copy.timing_info().count, triple.timing_info().count, lore.layers(copy))
"""


def test_cloudpickles_from_main(tmp_path: Path) -> None:
    """A function of `__main__` travels by value, counts from zero elsewhere, and with its original at home."""
    script = tmp_path / "script.py"
    script.write_text(MAIN)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split("\n") == ["6 2 [0, 1, 2] 3 1", "", "4 4 [timed('named', slow_s=5)]", ""]


def test_foreign_decorators_hand_the_extras_on() -> None:
    """What `timed` offers is reachable through another library's `functools.wraps`."""
    inner = timed(plain)

    @functools.wraps(inner)
    def outer(*args: Any, **kwargs: Any) -> Any:
        return inner(*args, **kwargs)

    outer(1)
    assert outer.timing_info().count == 1  # type: ignore[attr-defined]
    assert len(lore.layers(outer)) == 1


def test_two_functions_of_one_name_are_counted_apart() -> None:
    """Functions made by one factory share a name in the report and have counts of their own."""

    def factory() -> Any:
        @timed
        def inner() -> None: ...

        return inner

    one, other = factory(), factory()
    one(), one()
    assert (one.timing_info().count, other.timing_info().count) == (2, 0)


# --- what is counted --------------------------------------------------------------------------------------------------


def test_info_adds_up() -> None:
    """Count, total, extremes, mean and quantiles of a known series of durations."""

    @timed
    def wait(seconds: float) -> None:
        time.sleep(seconds)

    for seconds in (0.001, 0.002, 0.003, 0.01):
        wait(seconds)
    info = wait.timing_info()
    assert (info.count, info.errors) == (4, 0)
    assert 0.016 <= info.total_s < 0.2
    assert 0.001 <= info.min_s <= info.p50_s <= info.p90_s <= info.p99_s <= info.max_s
    assert info.mean_s == pytest.approx(info.total_s / 4)


def test_never_called_is_all_zero() -> None:
    """A function that was never called has zeros everywhere."""
    info = timed(plain).timing_info()
    assert (info.count, info.errors, info.total_s, info.min_s, info.p50_s, info.max_s) == (0, 0, 0, 0, 0, 0)


def test_clear_forgets_and_goes_on() -> None:
    """After `timing_clear` counting begins anew."""
    wrapper = timed(plain)
    wrapper(1)
    wrapper.timing_clear()
    assert wrapper.timing_info().count == 0
    wrapper(1)
    assert wrapper.timing_info().count == 1


def test_exceptions_pass_untouched_and_count() -> None:
    """The very exception leaves, with no attribute, note, cause or context added."""
    mine = ValueError("mine")

    @timed
    def fail() -> None:
        raise mine

    with pytest.raises(ValueError) as caught:
        fail()
    assert caught.value is mine
    assert (mine.__cause__, mine.__context__, vars(mine)) == (None, None, {})
    assert (fail.timing_info().count, fail.timing_info().errors) == (1, 1)


def test_recursion_does_not_count_twice() -> None:
    """The total of a recursive function is the time inside it, the count is the number of calls."""

    @timed
    def down(n: int) -> None:
        time.sleep(0.005)
        if n:
            down(n - 1)

    began = time.perf_counter()
    down(5)
    elapsed = time.perf_counter() - began
    info = down.timing_info()
    assert info.count == 6
    assert 0.03 <= info.total_s <= elapsed
    assert info.max_s <= elapsed


def test_mutual_recursion_does_not_count_twice() -> None:
    """Two functions that call each other: neither's total exceeds the time that passed."""

    @timed
    def even(n: int) -> bool:
        time.sleep(0.002)
        return n == 0 or odd(n - 1)

    @timed
    def odd(n: int) -> bool:
        time.sleep(0.002)
        return n != 0 and even(n - 1)

    began = time.perf_counter()
    assert even(10)
    elapsed = time.perf_counter() - began
    assert even.timing_info().total_s <= elapsed
    assert odd.timing_info().total_s <= elapsed
    assert (even.timing_info().count, odd.timing_info().count) == (6, 5)


def test_cpu_and_memory() -> None:
    """`cpu` tells computing from waiting, `memory` what a call has taken."""

    @timed(cpu=True, memory=True)
    def work() -> bytearray:
        total = 0
        for value in range(300_000):
            total += value
        return bytearray(b"x" * 30_000_000)

    kept = work()
    info = work.timing_info()
    assert info.cpu_s is not None
    assert info.memory_bytes is not None
    assert 0 < info.cpu_s
    assert info.memory_bytes > 20_000_000
    assert len(kept) == 30_000_000


def test_many_threads_count_exactly() -> None:
    """Eight threads lose no call and no error."""

    @timed
    def add(n: int) -> int:
        if n % 100 == 0:
            raise KeyError(n)
        return n

    def work() -> None:
        for n in range(20_000):
            with contextlib.suppress(KeyError):
                add(n)
            if n % 5_000 == 0:
                add.timing_info()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    info = add.timing_info()
    assert (info.count, info.errors) == (160_000, 1_600)


# --- coroutines and generators ----------------------------------------------------------------------------------------


def test_a_coroutine_is_timed_until_done() -> None:
    """Waiting counts, tasks count apart, and the function stays a coroutine function."""

    @timed
    async def wait(x: int, *, y: int = 1) -> int:
        await asyncio.sleep(0.02)
        return x + y

    async def main() -> list[int]:
        return await asyncio.gather(*(wait(x) for x in range(3)))

    assert inspect.iscoroutinefunction(wait)
    assert asyncio.run(main()) == [1, 2, 3]
    info = wait.timing_info()
    assert info.count == 3
    assert 0.019 <= info.min_s < 0.5


def test_a_cancelled_coroutine_counts_without_error() -> None:
    """Cancelling is not an error of the function; failing is."""

    @timed
    async def wait(fails: bool) -> None:
        await asyncio.sleep(0 if fails else 10)
        raise ValueError

    async def main() -> None:
        task = asyncio.create_task(wait(False))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ValueError):
            await wait(True)

    asyncio.run(main())
    assert (wait.timing_info().count, wait.timing_info().errors) == (2, 1)


def test_a_generator_is_timed_until_exhausted() -> None:
    """The time inside the generator counts, as one call; the consumer's does not."""

    @timed
    def numbers(n: int) -> Iterator[int]:
        for value in range(n):
            time.sleep(0.005)
            yield value

    assert inspect.isgeneratorfunction(numbers)
    began = time.perf_counter()
    for _ in numbers(3):
        time.sleep(0.02)
    elapsed = time.perf_counter() - began
    info = numbers.timing_info()
    assert info.count == 1
    assert 0.015 <= info.total_s <= elapsed - 0.06


def test_a_generator_keeps_its_protocol() -> None:
    """`send`, `throw`, `close` and the returned value go through."""
    seen: list[Any] = []

    @timed
    def talk() -> Iterator[Any]:
        try:
            while True:
                try:
                    seen.append((yield len(seen)))
                except KeyError:
                    seen.append("key")
                if len(seen) == 4:
                    return "done"
        finally:
            seen.append("closed")

    generator: Any = talk()
    assert next(generator) == 0
    assert generator.send("a") == 1
    assert generator.throw(KeyError("x")) == 2
    assert generator.send("b") == 3
    with pytest.raises(StopIteration) as stopped:
        generator.send("c")
    assert stopped.value.value == "done"
    assert seen == ["a", "key", "b", "c", "closed"]
    early: Any = talk()
    next(early)
    early.close()
    assert seen[-1] == "closed"
    assert (talk.timing_info().count, talk.timing_info().errors) == (2, 0)


def test_a_generator_that_fails_is_an_error() -> None:
    """An exception from inside, and one that is thrown in and not caught, count as errors."""

    @timed
    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        list(numbers())
    generator: Any = numbers()
    next(generator)
    with pytest.raises(KeyError):
        generator.throw(KeyError("x"))
    assert (numbers.timing_info().count, numbers.timing_info().errors) == (2, 2)


def test_an_abandoned_generator_counts() -> None:
    """A generator that is thrown away half way counts as one call."""

    @timed
    def numbers() -> Iterator[int]:
        yield 1
        yield 2

    assert next(iter(numbers())) == 1
    assert numbers.timing_info().count == 1


def test_an_asynchronous_generator_is_timed() -> None:
    """It counts the time inside it, keeps `asend`, `athrow` and `aclose`, and its kind."""
    seen: list[Any] = []

    @timed
    async def numbers() -> AsyncIterator[int]:
        for value in range(3):
            await asyncio.sleep(0.005)
            try:
                seen.append((yield value))
            except KeyError:
                seen.append("key")

    async def main() -> None:
        assert [value async for value in numbers()] == [0, 1, 2]
        generator: Any = numbers()
        assert await anext(generator) == 0
        assert await generator.asend("a") == 1
        assert await generator.athrow(KeyError("x")) == 2
        await generator.aclose()

    assert inspect.isasyncgenfunction(numbers)
    asyncio.run(main())
    assert seen == [None, None, None, "a", "key"]
    info = numbers.timing_info()
    assert (info.count, info.errors) == (2, 0)
    assert info.min_s >= 0.014


def test_a_consumer_is_not_below_the_generator() -> None:
    """What the consumer calls between two items stands beside the generator in the tree, not below it."""

    @timed
    def consumed() -> Iterator[int]:
        inside()
        yield 1
        yield 2

    @timed
    def inside() -> None: ...

    @timed
    def outside() -> None: ...

    for _ in consumed():
        outside()
    paths = {path.rpartition("<locals>.")[2] if "/" not in path else path for path in tree_paths()}
    assert "outside" in paths
    assert any(path.endswith("inside") and "consumed" in path for path in paths)


def tree_paths() -> list[str]:
    def walk(rows: list[dict[str, Any]]) -> Iterator[str]:
        for row in rows:
            yield row["path"]
            yield from walk(row["children"])

    return list(walk(lore.timing.report().to_dict()["tree"]))


def test_foreign_wrappers_around_coroutines() -> None:
    """A plain function around a coroutine function: what it hands on is timed until it is done."""

    async def wait() -> int:
        await asyncio.sleep(0.02)
        return 5

    @timed
    @functools.wraps(wait)
    def foreign() -> Any:
        return wait()

    assert asyncio.run(foreign()) == 5
    info = foreign.timing_info()
    assert (info.count, info.total_s >= 0.019) == (1, True)


def test_foreign_wrappers_around_generators() -> None:
    """The same for generators, synchronous and asynchronous, and for a wrapper that runs them itself."""

    def numbers() -> Iterator[int]:
        yield from (1, 2)

    async def later() -> AsyncIterator[int]:
        yield 1

    async def collect(items: Any) -> list[int]:
        return [item async for item in items]

    hands_on = timed(functools.wraps(numbers)(lambda: numbers()))
    runs = timed(functools.wraps(numbers)(lambda: list(numbers())))
    asynchronous = timed(functools.wraps(later)(lambda: later()))
    assert list(hands_on()) == [1, 2]
    assert runs() == [1, 2]
    assert asyncio.run(collect(asynchronous())) == [1]
    assert [function.timing_info().count for function in (hands_on, runs, asynchronous)] == [1, 1, 1]


# --- blocks -----------------------------------------------------------------------------------------------------------


def block_row(name: str) -> dict[str, Any]:
    rows = [row for row in lore.timing.report().to_dict()["tree"] if row["name"] == name]
    return rows[0] if rows else {}


def test_a_block_is_measured() -> None:
    """`with timed(name)` counts like a function of that name."""
    for _ in range(3):
        with timed("block of three"):
            time.sleep(0.002)
    row = block_row("block of three")
    assert row["calls"] == 3
    assert row["total_s"] >= 0.006


def test_a_block_lets_exceptions_through() -> None:
    """They are counted and not swallowed."""
    with pytest.raises(ValueError), timed("block that fails"):
        raise ValueError
    assert block_row("block that fails")["errors"] == 1


def test_one_block_object_nests_and_serves_many_threads() -> None:
    """One object may be entered while it is entered, in several threads and tasks at once."""
    block = timed("shared block")

    def work() -> None:
        for _ in range(200):
            with block, block:
                pass

    async def one(delay: float) -> None:
        async with block:
            await asyncio.sleep(delay)

    async def main() -> None:
        await asyncio.gather(one(0.03), one(0.01), one(0.02))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(main())
    assert block_row("shared block")["calls"] == 4 * 200 * 2 + 3


def test_blocks_and_functions_nest_in_the_tree() -> None:
    """A function called in a block stands below it."""

    @timed("leaf of block")
    def leaf() -> None: ...

    with timed("root block"):
        leaf()
    assert "root block/leaf of block" in tree_paths()


# --- tree -------------------------------------------------------------------------------------------------------------


def test_tasks_and_threads_in_the_tree() -> None:
    """asyncio tasks stand below who made them; a pool's thread stands at the root, or below with a copied context."""

    @timed("child")
    async def child() -> None:
        await asyncio.sleep(0)

    @timed("parent")
    async def parent() -> None:
        await asyncio.gather(asyncio.create_task(child()), child())

    @timed("in thread")
    def in_thread() -> None: ...

    @timed("starts threads")
    def starts(run: Callable[..., Any]) -> None:
        thread = threading.Thread(target=run, args=(in_thread,) if run is not in_thread else ())
        thread.start()
        thread.join()

    asyncio.run(parent())
    starts(in_thread)
    starts(lambda function: None)
    starts(contextvars.copy_context().run)
    paths = tree_paths()
    assert "parent/child" in paths
    assert "in thread" in paths


def test_a_copied_context_carries_the_caller_into_a_thread() -> None:
    """`contextvars.copy_context().run` makes a thread's calls stand below the function that started it."""

    @timed("carried")
    def carried() -> None: ...

    @timed("carrier")
    def carrier() -> None:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(carried,))
        thread.start()
        thread.join()

    carrier()
    assert "carrier/carried" in tree_paths()


def test_functions_that_are_gone_stay_in_the_report() -> None:
    """A decorated closure that was thrown away keeps its place in the tree."""

    def once() -> None:
        @timed("gone closure")
        def inner() -> None: ...

        inner()

    for _ in range(5):
        once()
    import gc

    gc.collect()
    assert block_row("gone closure")["calls"] == 5


# --- off --------------------------------------------------------------------------------------------------------------


def test_off_is_the_function_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """With LORE_TIMING=off at decoration nothing stands around the function; blocks do nothing."""
    monkeypatch.setenv("LORE_TIMING", "off")

    def function() -> int:
        return 1

    assert timed(function) is function
    assert timed("x")(function) is function
    assert function.timing_info().count == 0  # type: ignore[attr-defined]
    with timed("never"):
        pass
    assert block_row("never") == {}
    with pytest.raises(DecorationError):
        timed(slow_s=-1)


def test_aggregates_leave_out_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """With LORE_TIMING=aggregates calls are counted at the root."""
    monkeypatch.setenv("LORE_TIMING", "aggregates")

    @timed("flat inner")
    def inner(x: int) -> int:
        return x

    @timed("flat outer")
    def outer(x: int) -> int:
        return inner(x)

    assert outer(3) == 3
    assert inner.timing_info().count == 1
    assert {"flat inner", "flat outer"} <= set(tree_paths())


# --- events, errors, notes --------------------------------------------------------------------------------------------


@pytest.fixture
def events_seen() -> Iterator[list[dict[str, Any]]]:
    import structlog

    seen: list[dict[str, Any]] = []

    def keep(logger: Any, method: str, fields: Any) -> Any:
        seen.append(dict(fields))
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    yield seen
    structlog.reset_defaults()


def test_slow_calls_are_told(events_seen: list[dict[str, Any]]) -> None:
    """One event `timed` for a call above `slow_s`, none below."""

    @timed("slow one", slow_s=0.01)
    def wait(seconds: float) -> None:
        lore.timing.note(rows=3, password="hunter2")
        time.sleep(seconds)

    for seconds in (0, 0, 0, 0, 0.02):
        wait(seconds)
    assert len(events_seen) == 1
    event = events_seen[0]
    assert (event["event"], event["function"], event["outcome"], event["rows"]) == ("timed", "slow one", "ok", 3)
    assert event["password"] == "***"
    assert 0.02 <= event["elapsed_s"] < 1


def test_events_carry_the_ids_of_run_and_request(events_seen: list[dict[str, Any]]) -> None:
    """The run in progress and the request in progress are named."""
    from lore._timing import spans

    token = spans.request_id.set("r-1")
    try:
        with lore.timing.run("with events") as run, pytest.raises(ValueError):
            with timed("failing block", slow_s=0):
                raise ValueError
    finally:
        spans.request_id.reset(token)
    assert (events_seen[0]["run"], events_seen[0]["request"], events_seen[0]["outcome"]) == (run.id, "r-1", "error")
    assert events_seen[0]["error"] == "ValueError"


def test_nothing_is_printed_where_nobody_configured_structlog(capfd: pytest.CaptureFixture[str]) -> None:
    """Without a set-up, a slow call prints nothing."""
    import structlog

    assert not structlog.is_configured()
    with timed("quiet", slow_s=0):
        pass
    assert capfd.readouterr() == ("", "")


def test_a_failing_log_does_not_fail_the_call() -> None:
    """A processor that raises costs one warning."""
    import structlog

    def broken(*_: Any) -> Any:
        raise OSError("disk full")

    structlog.configure(processors=[broken])
    try:
        with pytest.warns(lore.errors.LoreWarning, match="log refused"):
            with timed("still counted", slow_s=0):
                pass
    finally:
        structlog.reset_defaults()
    assert block_row("still counted")["calls"] == 1


@pytest.fixture
def errors_seen() -> Iterator[list[tuple[BaseException, Any]]]:
    seen: list[tuple[BaseException, Any]] = []

    def hook(error: BaseException, context: Any) -> None:
        seen.append((error, context))

    lore.timing.on_error(hook)
    yield seen
    lore.timing.off_error(hook)


def test_an_exception_is_told_once(errors_seen: list[tuple[BaseException, Any]]) -> None:
    """Through functions, blocks, coroutines and generators: one exception, one call of the hook, innermost first."""

    @timed("innermost")
    def innermost() -> None:
        raise ValueError("x")

    @timed
    def steps() -> Iterator[int]:
        yield 1
        with timed("block"), timed("inner block"):
            innermost()

    @timed
    async def outer() -> None:
        with timed("outer block"):
            list(steps())

    with pytest.raises(ValueError):
        asyncio.run(outer())
    assert [context["function"] for _, context in errors_seen] == ["innermost"]


def test_every_exception_from_a_block_is_told_once(errors_seen: list[tuple[BaseException, Any]]) -> None:
    """A block inside a function: the block tells, the function does not tell again; the next exception is new."""

    @timed
    def outer() -> None:
        with timed("telling block"):
            raise ValueError

    for _ in range(5):
        with pytest.raises(ValueError):
            outer()
    assert [context["function"] for _, context in errors_seen] == ["telling block"] * 5


def test_a_hook_that_fails_costs_a_warning(errors_seen: list[tuple[BaseException, Any]]) -> None:
    """The user's exception arrives all the same, and the other hooks are called."""

    def broken(error: BaseException, context: Any) -> None:
        raise RuntimeError("hook")

    lore.timing.on_error(broken)
    try:
        with pytest.warns(lore.errors.LoreWarning, match="hook"), pytest.raises(ValueError):
            with timed("block"):
                raise ValueError
    finally:
        lore.timing.off_error(broken)
    assert len(errors_seen) == 1


def test_configure_logging_never_touches_a_set_up() -> None:
    """It sets structlog up where nobody has, as JSON off the terminal, and otherwise does nothing."""
    import io
    import json

    import structlog

    stream = io.StringIO()
    try:
        assert lore.timing.configure_logging(stream=stream) is True
        assert lore.timing.configure_logging(stream=io.StringIO()) is False
        with timed("told", slow_s=0):
            lore.timing.note(token="abc")
        line = json.loads(stream.getvalue())
    finally:
        structlog.reset_defaults()
    assert (line["event"], line["function"], line["token"], line["level"]) == ("timed", "told", "***", "info")


def test_overhead_is_measured() -> None:
    """A hundred thousand calls cost between a hundredth of a second and a whole one, and nothing that is negative."""
    wrapper = timed(plain)
    before = lore.timing.overhead_s()
    for _ in range(100_000):
        wrapper(1)
    assert 0.005 < lore.timing.overhead_s() - before < 1.0


# --- the report as a statement ----------------------------------------------------------------------------------------


def test_report_prints_once(tmp_path: Path) -> None:
    """Alone on a line it prints the tree; taken, it does not."""
    script = tmp_path / "script.py"
    script.write_text(
        "import lore\n@lore.timed\ndef seen(): pass\nseen()\n"
        "lore.timing.report()\nprint('--')\nprint(lore.timing.report())\nprint('--')\nr = lore.timing.report()\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    parts = done.stdout.split("--")
    assert done.stderr == ""
    assert [part.count("seen") for part in parts] == [1, 1, 0]


def test_a_notebook_shows_the_report_itself(tmp_path: Path) -> None:
    """In IPython the last expression displays itself once; before the last, the statement prints."""
    pytest.importorskip("IPython")
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell()\n"
        "def run(cell):\n    shell.run_cell(cell, store_history=True)\n    print('--')\n"
        "run('import lore\\nwith lore.timed(\"cell\"): pass')\n"
        "run('lore.timing.report()')\nrun('lore.timing.report();')\nrun('lore.timing.report()\\nx = 1')\n"
    )
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert [part.count("cell") for part in done.stdout.split("--")] == [0, 1, 0, 1, 0], done.stderr


def test_memory_of_thrown_away_functions_is_freed() -> None:
    """A decorated closure and what it holds on to are freed, though its calls are remembered."""
    import gc
    import weakref

    class Data:
        pass

    def factory() -> Any:
        data = Data()

        @timed("holds data")
        def inner() -> object:
            return type(data)

        inner()
        return weakref.ref(data)

    held = [factory() for _ in range(20)]
    gc.collect()
    assert [ref() for ref in held] == [None] * 20
    assert block_row("holds data")["calls"] == 20


def test_a_note_may_be_called_event(events_seen: list[dict[str, Any]]) -> None:
    """A noted name that structlog uses itself does not lose the event."""
    with timed("noting", slow_s=0):
        lore.timing.note(event="launch", function="mine")
    assert (events_seen[0]["event"], events_seen[0]["event_"], events_seen[0]["function"]) == (
        "timed",
        "launch",
        "noting",
    )


def test_many_notes_in_one_call_cost_little(events_seen: list[dict[str, Any]]) -> None:
    """A training loop that notes at each of twenty thousand steps stays quick; the event has the last values."""

    @timed("training", slow_s=0)
    def train() -> None:
        for step in range(20_000):
            lore.timing.note(step=step, loss=1 / (step + 1))

    began = time.thread_time()
    train()
    assert time.thread_time() - began < 1.0
    assert (events_seen[0]["step"], events_seen[0]["loss"]) == (19_999, 1 / 20_000)


def test_short_calls_do_not_push_long_ones_out() -> None:
    """With slow_s=0 ten thousand short calls leave the long one on the timeline."""
    from lore._timing import spans

    @timed("told each time", slow_s=0)
    def short() -> None: ...

    with timed("the long one"):
        time.sleep(0.011)
    for _ in range(10_000):
        short()
    assert "the long one" in {span.node.title for span in spans.spans}
