"""What functions return, as the client accepts it."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import lore


class Colour(enum.Enum):
    """A colour."""

    RED = "red"


@dataclasses.dataclass
class Data:
    """A dataclass."""

    a: Any


@attrs.define
class Record:
    """An attrs class."""

    a: Any


class Text(str):
    """A str of its own kind, as `lore.cache.Ref` is."""


ANSWERS: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "true"),
    (1, "1"),
    (2**70, str(2**70)),
    (1.5, "1.5"),
    (float("nan"), "null"),
    (float("-inf"), "null"),
    ("\u00e9", '"\u00e9"'),
    (b"ab", '"YWI="'),
    (decimal.Decimal("1.10"), '"1.10"'),
    (datetime.date(2013, 1, 2), '"2013-01-02"'),
    (datetime.datetime(2013, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), '"2013-01-02T03:04:05Z"'),
    (datetime.timedelta(hours=1), '"PT3600S"'),
    (uuid.UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
    (Colour.RED, '"red"'),
    (Data([1, np.float32(1.5)]), '{"a":[1,1.5]}'),
    (Record(Data(None)), '{"a":{"a":null}}'),
    (Text("x"), '"x"'),
    (pathlib.PurePosixPath("/a/b"), '"/a/b"'),
    ((1, 2), "[1,2]"),
    ({1}, "[1]"),
    (range(3), "[0,1,2]"),
    (collections.deque([1]), "[1]"),
    (collections.OrderedDict(a=1), '{"a":1}'),
    (collections.Counter("aa"), '{"a":2}'),
    ({0: 2, None: 3, True: 4, (1, "b"): 5}, '{"0":2,"null":3,"true":4,"1,b":5}'),
    ({np.int64(1): 2, Colour.RED: 3, datetime.date(2013, 1, 2): 4}, '{"1":2,"red":3,"2013-01-02":4}'),
    (np.float64("nan"), "null"),
    (np.float32(0.5), "0.5"),
    (np.int8(3), "3"),
    (np.bool_(True), "true"),
    (np.str_("x"), '"x"'),
    (np.datetime64("2013-01-02T03:04:05.123456789"), '"2013-01-02T03:04:05.123456"'),
    (np.timedelta64(1_500_000_000, "ns"), '"PT1.5S"'),
    (np.array([[1, 2], [3, 4]]), "[[1,2],[3,4]]"),
    (np.array([1.0, np.nan]), "[1.0,null]"),
    (np.array(["2013-01-02", "NaT"], dtype="datetime64[ns]"), '["2013-01-02T00:00:00",null]'),
    (np.array([], dtype=float), "[]"),
    (pd.Timestamp("2013-01-02"), '"2013-01-02T00:00:00"'),
    (pd.NaT, "null"),
    (pd.NA, "null"),
    (pd.Timedelta("1s"), '"PT1S"'),
    (pd.Period("2013-01", "M"), '"2013-01"'),
    (pd.Series([1, 2]), "[1,2]"),
    (pd.Series([1.5, None]), "[1.5,null]"),
    (float("inf"), "null"),
    ({"a": [float("nan"), -float("inf")]}, '{"a":[null,null]}'),
    (np.array([np.inf, 1.0]), "[null,1.0]"),
    (pd.DataFrame({"a": [np.inf, -np.inf]}), '[{"a":null},{"a":null}]'),
    (pd.Index(["a"]), '["a"]'),
    (pd.Categorical(["a", None]), '["a",null]'),
    ({"p": pd.Series([0.5])}, '{"p":[0.5]}'),
    (pd.DataFrame(), "[]"),
    (pd.DataFrame({1: [2]}), '[{"1":2}]'),
    (pa.table({"a": [1]}), '[{"a":1}]'),
]


def answer_of(value: Any, **headers: str) -> Any:
    def f() -> Any:
        return value

    return lore.serve.app(lore.endpoint(f)).test_client().post("/f", headers=headers)


@pytest.mark.parametrize(("value", "text"), ANSWERS, ids=lambda value: repr(value)[:40])
def test_values_have_their_json(value: Any, text: str) -> None:
    """Every value that JSON can say goes out as JSON, without bare NaN."""
    answer = answer_of(value)
    assert (answer.status_code, answer.content_type, answer.text) == (200, "application/json", text)


@pytest.mark.parametrize("value", [object(), 1 + 2j, np.array([1j]), lambda: 0, ValueError("x")])
def test_values_that_json_cannot_say(value: Any) -> None:
    """A value without an honest JSON is the function's fault: a 500 that tells nothing of it."""
    answer = answer_of(value)
    assert answer.status_code == 500
    assert type(value).__name__ not in json.loads(answer.text)["detail"]


def test_a_value_that_holds_itself() -> None:
    """A list inside itself ends as a 500, not as a crash."""
    value: list[Any] = []
    value.append(value)
    assert answer_of(value).status_code == 500


@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [
        ("*/*", 200, "application/json"),
        ("", 200, "application/json"),
        ("application/*", 200, "application/json"),
        ("text/html, application/xhtml+xml, */*;q=0.8", 200, "application/json"),
        ("text/csv;q=0.5, application/json", 200, "application/json"),
        ("text/csv, application/json;q=0.5", 200, "text/csv"),
        ("TEXT/CSV", 200, "text/csv"),
        ("text/*", 200, "text/csv"),
        ("image/png", 406, "application/problem+json"),
        ("application/json;q=0, image/png", 406, "application/problem+json"),
        ("application/json;q=nonsense", 406, "application/problem+json"),
        (",;=,", 406, "application/problem+json"),
    ],
)
def test_the_format_is_what_the_client_accepts(accept: str, status: int, kind: str) -> None:
    """The best format by quality is chosen; where there is none, 406 names those there are, and nothing runs."""
    calls = []

    @lore.endpoint
    def f() -> pd.DataFrame:
        calls.append(1)
        return pd.DataFrame({"a": [1]})

    answer = lore.serve.app(f).test_client().post("/f", headers={"Accept": accept})
    assert (answer.status_code, answer.content_type) == (status, kind)
    assert len(calls) == (status == 200)


def test_text_and_bytes() -> None:
    """A text goes out as JSON, or bare to who asks for text/plain; bytes likewise."""
    assert answer_of("a", Accept="text/plain").data == b"a"
    assert answer_of(b"\x00", Accept="application/octet-stream").data == b"\x00"
    assert answer_of({"a": 1}, Accept="text/csv").status_code == 406


# -- streams -------------------------------------------------------------------------------------------------------


@lore.endpoint
def count(n: int) -> Iterator[dict[str, int]]:
    """Count, item by item."""
    for i in range(n):
        yield {"i": i}


@lore.endpoint
async def count_later(n: int) -> AsyncIterator[int]:
    """Count, asynchronously."""
    for i in range(n):
        yield i


@lore.endpoint
def frames(n: int) -> Iterator[pd.DataFrame]:
    """Yield frames."""
    for i in range(n):
        yield pd.DataFrame({"a": [i, i]})


STREAMS = lore.serve.app(count, count_later, frames).test_client


@pytest.mark.parametrize(
    ("path", "accept", "kind", "text"),
    [
        ("/count", "*/*", "application/x-ndjson", '{"i":0}\n{"i":1}\n'),
        ("/count", "application/json", "application/json", '[{"i":0},{"i":1}]'),
        ("/count", "text/event-stream", "text/event-stream", 'data: {"i":0}\n\ndata: {"i":1}\n\n'),
        ("/count_later", "*/*", "application/x-ndjson", "0\n1\n"),
        ("/count_later", "application/json", "application/json", "[0,1]"),
        ("/frames", "*/*", "application/x-ndjson", '{"a":0}\n{"a":0}\n{"a":1}\n{"a":1}\n'),
        ("/frames", "text/csv", "text/csv", "a\n0\n0\n1\n1\n"),
    ],
)
def test_generators_stream(path: str, accept: str, kind: str, text: str) -> None:
    """A generator's items go out one by one, in the form that the client accepts."""
    answer = STREAMS().post(path, json={"n": 2}, headers={"Accept": accept})
    assert (answer.status_code, answer.content_type, answer.text) == (200, kind, text)
    assert "Content-Length" not in answer.headers


def test_an_empty_stream() -> None:
    """A generator without items is an empty answer."""
    assert STREAMS().post("/count", json={"n": 0}).text == ""
    assert STREAMS().post("/count", json={"n": 0}, headers={"Accept": "application/json"}).json == []


def test_a_stream_that_fails_before_its_first_item_is_a_500() -> None:
    """An exception before the first item still becomes a problem document."""

    @lore.endpoint
    def f() -> Iterator[int]:
        raise ZeroDivisionError("secret")
        yield 1

    answer = lore.serve.app(f).test_client().post("/f")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_a_stream_that_fails_later_breaks_off() -> None:
    """An exception after the first item ends the response with a problem and without an end."""

    @lore.endpoint(max_concurrency=1)
    def f() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("mine")

    client = lore.serve.app(f).test_client()
    for _ in range(2):
        blocks = iter(client.post("/f", buffered=False).response)
        assert next(blocks) == b"1\n"
        assert json.loads(next(blocks))["status"] == 500
        with pytest.raises(ZeroDivisionError):
            next(blocks)


def test_a_stream_that_is_left_is_closed_and_gives_its_slot_back() -> None:
    """A client that goes away ends the generator, and its slot is free again."""
    ended = []

    @lore.endpoint(max_concurrency=1)
    def f() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            ended.append(1)

    client = lore.serve.app(f).test_client()
    for n in (1, 2):
        answer = client.post("/f", buffered=False)
        assert client.post("/f").status_code == 503
        answer.close()
        assert len(ended) == n


def test_async_functions_run_on_one_loop() -> None:
    """Coroutine functions of one process share a loop, in which what belongs to a loop can be kept."""
    import asyncio

    loops = set()

    @lore.endpoint
    async def f(x: int) -> int:
        loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return x + 1

    client = lore.serve.app(f).test_client()
    assert [client.post("/f", json={"x": x}).json for x in (1, 2)] == [2, 3]
    assert len(loops) == 1
