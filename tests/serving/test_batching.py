"""Batching: one call for many requests, each with its own answer, its own error, and no waiting."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

import lore
from lore._serving.batching import Batcher
from lore.errors import DecorationError, EncodingError


class Gate:
    """A batched function that stands still in its first call until it is let go."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self, rows: list[Any]) -> list[Any]:
        self.sizes.append(len(rows))
        if len(self.sizes) == 1:
            self.entered.set()
            self.go.wait(10)
        if any(row == ("bad",) for row in rows):
            raise ValueError("bad")
        return [row[0] * 2 for row in rows]


def run(batcher: Batcher, gate: Gate, values: list[Any]) -> list[Any]:
    """Send a first row alone, the others while it is being answered, and collect answers or errors."""

    def ask(value: Any) -> Any:
        try:
            return batcher(value)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(values) + 1) as pool:
        first = pool.submit(ask, 0)
        gate.entered.wait(10)
        others = [pool.submit(ask, value) for value in values]
        while len(batcher._waiting) < len(values):
            time.sleep(0.001)
        gate.go.set()
        return [first.result(10), *(other.result(10) for other in others)]


def test_requests_that_wait_share_a_call() -> None:
    """What arrives during a call is answered by the next one, and each gets its own answer."""
    gate = Gate()
    batcher = Batcher(gate, 64)
    assert run(batcher, gate, list(range(1, 11))) == [value * 2 for value in range(11)]
    assert gate.sizes == [1, 10]


def test_a_call_has_a_most() -> None:
    """No call has more rows than the batch."""
    gate = Gate()
    assert run(Batcher(gate, 4), gate, list(range(1, 11))) == [value * 2 for value in range(11)]
    assert gate.sizes == [1, 4, 4, 2]


def test_an_error_reaches_only_its_rows() -> None:
    """A row that fails fails alone, also two of them in one batch."""
    gate = Gate()
    answers = run(Batcher(gate, 64), gate, [1, "bad", 2, 3, "bad", 4])
    assert [answer for answer in answers if not isinstance(answer, Exception)] == [0, 2, 4, 6, 8]
    assert [type(answers[at]) for at in (2, 5)] == [ValueError, ValueError]


def test_rows_that_differ_do_not_share_a_call() -> None:
    """Rows that would change each other are called apart, in order of arrival."""
    gate = Gate()
    batcher = Batcher(gate, 64, alike=lambda row: type(row[0]))
    assert run(batcher, gate, [1, "a", 2, "b"]) == [0, 2, "aa", 4, "bb"]
    assert gate.sizes == [1, 2, 2]


def test_a_lone_request_starts_no_thread_and_waits_for_nothing() -> None:
    """A request that is alone is called at once, in its own thread."""
    seen = []
    batcher = Batcher(lambda rows: seen.append(threading.get_ident()) or rows, 8)  # type: ignore[func-returns-value, arg-type, return-value]
    before = threading.active_count()
    batcher(1)
    assert seen == [threading.get_ident()]
    assert threading.active_count() == before


def test_too_few_answers_are_an_error() -> None:
    """A function that returns another number of answers than rows answers nobody."""
    with pytest.raises(EncodingError, match="2 answers for 1 rows"):
        Batcher(lambda rows: [1, 2], 8)(1)


def test_after_system_exit_the_next_is_answered() -> None:
    """Whatever the function raises, the line moves on."""

    def call(rows: list[Any]) -> list[Any]:
        if rows[0] == (1,):
            raise SystemExit
        return rows

    batcher = Batcher(call, 8)
    with pytest.raises(SystemExit):
        batcher(1)
    assert batcher(2) == (2,)


@pytest.mark.stress
def test_many_threads() -> None:
    """Thousands of requests from many threads each get their own answer."""
    sizes = []

    def call(rows: list[Any]) -> list[Any]:
        sizes.append(len(rows))
        if any(row[0] % 97 == 0 for row in rows):
            raise ValueError("no")
        return [row[0] + 1 for row in rows]

    batcher = Batcher(call, 16)

    def ask(value: int) -> bool:
        try:
            return batcher(value) == value + 1
        except ValueError:
            return value % 97 == 0

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(ask, range(5_000)))
    assert max(sizes) <= 16
    assert not batcher._waiting
    assert not batcher._led


# -- endpoints -----------------------------------------------------------------------------------------------------


@lore.endpoint(batch=8)
def frame(rows: pd.DataFrame) -> pd.Series:
    """Add two columns."""
    return rows["a"] + rows["b"]


@lore.endpoint(batch=8)
def arrays(x: npt.NDArray[np.float64], k: list[int]) -> np.ndarray:
    """Sum each row and multiply."""
    return x.sum(axis=1) * np.array(k)


@lore.endpoint(batch=8)
def records(rows: pd.DataFrame) -> pd.DataFrame:
    """Give rows back."""
    return rows.assign(n=len(rows.columns))


@lore.endpoint(batch=8)
async def later(names: list[str]) -> list[str]:
    """Greet, asynchronously."""
    return [f"hello {name}" for name in names]


@lore.endpoint(batch=8)
def wrong(x: list[int]) -> dict[str, int]:
    """Return something that is no answer per row."""
    return {"a": 1}


@lore.endpoint(batch=8, timeout_s=5, max_concurrency=32)
def limited(x: list[int]) -> list[int]:
    """Stand under limits too."""
    return x


@pytest.fixture(scope="module")
def client() -> Any:
    return lore.serve.app(frame, arrays, records, later, wrong, limited).test_client()


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/frame", {"a": 1, "b": 2}, 3),
        ("/frame", {"rows": {"a": 1, "b": 2.5}}, 3.5),
        ("/frame", [{"a": 1, "b": 2}], 3),
        ("/arrays", {"x": [1, 2], "k": 3}, 9.0),
        ("/records", {"a": 1}, {"a": 1, "n": 1}),
        ("/later", {"names": "you"}, "hello you"),
        ("/limited", {"x": 5}, 5),
    ],
)
def test_each_request_sends_one_row(client: Any, path: str, body: Any, answer: Any) -> None:
    """A request is one row: a record, an element, an item; its answer is one answer."""
    assert client.post(path, json=body).json == answer


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/frame", [{"a": 1}, {"a": 2}], 422),
        ("/frame", 5, 422),
        ("/frame", {}, 422),
        ("/arrays", {"x": ["a"], "k": 1}, 422),
        ("/arrays", {"x": None, "k": 1}, 422),
        ("/arrays", {"x": "a", "k": 1}, 422),
        ("/arrays", {"x": [1], "k": "1"}, 422),
        ("/later", {"names": ["a"]}, 422),
        ("/wrong", {"x": 1}, 500),
    ],
)
def test_what_is_no_row(client: Any, path: str, body: Any, status: int) -> None:
    """A request that is no row is a 422; a function that does not answer per row is a 500."""
    assert client.post(path, json=body).status_code == status


def test_concurrent_requests_through_the_app(client: Any) -> None:
    """Many clients at once each get what they would get alone, also beside rows of other columns and bad ones."""
    app = lore.serve.app(records, frame)

    def ask(i: int) -> Any:
        body = {"a": i} if i % 3 else {"a": i, "b": "x"}
        return app.test_client().post("/records", json=body).json

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(100)))
    expected = [{"a": i, "n": 1} if i % 3 else {"a": i, "b": "x", "n": 2} for i in range(100)]
    assert found == expected


def test_rows_wait_inside_the_line_together() -> None:
    """The line in front of endpoints that compute does not keep rows from meeting in one call."""
    sizes = []

    @lore.endpoint(batch=64)
    def busy(x: list[int]) -> list[int]:
        sizes.append(len(x))
        end = time.perf_counter() + 0.05
        while time.perf_counter() < end:
            pass
        return x

    app = lore.serve.app(busy)
    app.admit(64)
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda i: app.test_client().post("/busy", json={"x": i}).json, range(64)))
    assert found == list(range(64))
    assert max(sizes) > 8


@pytest.mark.parametrize("hint", [int, dict[str, int], "str"])
def test_parameters_of_a_batch_are_many(hint: Any) -> None:
    """A parameter that cannot hold many rows is refused when the app is built."""

    def f(x: Any) -> Any: ...

    f.__annotations__["x"] = hint
    with pytest.raises(DecorationError, match="written for many rows"):
        lore.serve.app(lore.endpoint(batch=4)(f))
