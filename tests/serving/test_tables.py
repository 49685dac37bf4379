"""Frames, arrays and messages: in as records, columns, CSV, Arrow, Parquet, protobuf; out by Accept."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import struct_pb2, timestamp_pb2, wrappers_pb2

import lore

CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
PROTOBUF = "application/x-protobuf"

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [0.5, 1.5]})
RECORDS = [{"a": 1, "b": "x", "c": 0.5}, {"a": 2, "b": "y", "c": 1.5}]
COLUMNS = {"a": [1, 2], "b": ["x", "y"], "c": [0.5, 1.5]}


@lore.endpoint
def echo(rows: pd.DataFrame) -> pd.DataFrame:
    """Give a table back."""
    return rows


@lore.endpoint
def both(rows: pd.DataFrame, factor: int) -> list[int]:
    """Take a table and a number."""
    return [int(a * factor) for a in rows["a"]]


@lore.endpoint
def double(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Double an array."""
    return x * 2


@lore.endpoint
def bare(x: np.ndarray) -> str:
    """Name what arrived."""
    return f"{x.dtype} {x.shape}"


@lore.endpoint
def message(m: wrappers_pb2.Int64Value) -> wrappers_pb2.Int64Value:
    """Add one."""
    return wrappers_pb2.Int64Value(value=m.value + 1)


@lore.endpoint
def stamp(m: timestamp_pb2.Timestamp, n: int = 0) -> int:
    """Take a message by its JSON form and something else."""
    return m.seconds + n


@pytest.fixture(scope="module")
def client() -> Any:
    return lore.serve.app(echo, both, double, bare, message, stamp).test_client()


def encoded(kind: str) -> bytes:
    if kind == CSV:
        return FRAME.to_csv(index=False).encode()
    table = pa.Table.from_pandas(FRAME)
    sink = io.BytesIO()
    if kind == PARQUET:
        pq.write_table(table, sink)
    elif kind.endswith(".file"):
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("body", [RECORDS, COLUMNS, {"rows": RECORDS}, {"rows": COLUMNS}], ids=str)
def test_a_frame_is_the_whole_body_or_stands_under_its_name(client: Any, body: Any) -> None:
    """A table comes as records or columns, alone or under the parameter's name, and goes out as records."""
    assert client.post("/echo", json=body).json == RECORDS


@pytest.mark.parametrize("kind", [CSV, "text/csv; charset=utf-8", ARROW, "application/vnd.apache.arrow.file", PARQUET])
def test_a_frame_comes_in_other_formats(client: Any, kind: str) -> None:
    """CSV, Arrow and Parquet bodies are the table."""
    assert client.post("/echo", data=encoded(kind.partition(";")[0]), content_type=kind).json == RECORDS


@pytest.mark.parametrize("kind", [CSV, ARROW, "application/vnd.apache.arrow.file", PARQUET])
def test_a_frame_goes_out_by_accept(client: Any, kind: str) -> None:
    """The answer is written as the client accepts it."""
    answer = client.post("/echo", json=RECORDS, headers={"Accept": kind})
    assert answer.content_type.partition(";")[0] == kind
    again = client.post("/echo", data=answer.data, content_type=kind)
    assert again.json == RECORDS


def test_a_frame_beside_other_parameters(client: Any) -> None:
    """Beside other parameters a table stands under its name."""
    assert client.post("/both", json={"rows": RECORDS, "factor": 10}).json == [10, 20]
    assert client.post("/both", json={"rows": COLUMNS, "factor": 10}).json == [10, 20]
    problem = json.loads(client.post("/both", json={"rows": [1], "factor": 10}).text)
    assert (problem["status"], problem["pointer"]) == (422, "/rows/0")
    assert client.post("/both", data=encoded(CSV), content_type=CSV).status_code == 415


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ([1], "/0"),
        ([{"a": 1}, 2], "/1"),
        ("x", ""),
        (1, ""),
        ({"a": 1}, "/a"),
        ({"a": [1], "b": [1, 2]}, "/b"),
        ({"rows": [{"a": 1}, 3]}, "/rows/1"),
        ({}, "/rows"),
    ],
    ids=str,
)
def test_what_is_no_table(client: Any, body: Any, where: str) -> None:
    """A body that is neither records nor columns is pointed at."""
    answer = client.post("/echo", json=body)
    assert (answer.status_code, json.loads(answer.text).get("pointer")) == (422, where)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (CSV, b""),
        (CSV, b"a,b\n1,2,3,4\n5"),
        (CSV, b"a,s\n1,x,3\n2,\n"),
        (CSV, b"a,s\n1,x,3\n2,y,4\n"),
        (CSV, b"a,s\n1\n"),
        (CSV, b"a,s\n1,x\n2,y,z\n"),
        (CSV, b'a,s\n"1,2"\n'),
        (CSV, b'a,s\n"1"",2"\n'),
        (CSV, b"a,a\n1,2\n"),
        (CSV, b'"a,1","a,1"\n1,2\n'),
        (CSV, b"a\n\xff"),
        (ARROW, b"nonsense"),
        (ARROW, b""),
        (PARQUET, b"PAR1nonsensePAR1"),
        (ARROW, encoded(ARROW)[:150]),
    ],
    ids=str,
)
def test_tables_that_do_not_parse(client: Any, kind: str, data: bytes) -> None:
    """Bytes that are not what their type says are a 400."""
    answer = client.post("/echo", data=data, content_type=kind)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("data", "records"),
    [
        (b"a,s\n1,x\n\n2,\n", [{"a": 1, "s": "x"}, {"a": 2, "s": None}]),
        (b'a,s\r\n1,"x,\r\n""y"", z"\r\n', [{"a": 1, "s": 'x,\r\n"y", z'}]),
        (b'a,s\n5" pipe,7" pipe\n', [{"a": '5" pipe', "s": '7" pipe'}]),
        (b'"a\nb",s\n"",""\n', [{"a\nb": None, "s": None}]),
        (b"\n\na\n1\n\n", [{"a": 1}]),
        (b"a,s\n1,\x0bx\xe2\x80\xa8y\n", [{"a": 1, "s": "\x0bx\u2028y"}]),
        (b"a,s\n", []),
    ],
)
def test_a_csv_with_everything_in_it(client: Any, data: bytes, records: Any) -> None:
    """Quotes, line ends in values, blank lines and empty values are no reason to refuse a CSV."""
    answer = client.post("/echo", data=data, content_type=CSV)
    assert (answer.status_code, answer.json) == (200, records)


def test_records_that_lack_a_column(client: Any) -> None:
    """A record may lack a column, and has null there."""
    assert client.post("/echo", json=[{"a": 1}, {"b": 2}]).json == [{"a": 1, "b": None}, {"a": None, "b": 2}]
    assert client.post("/echo", json=[]).json == []


def test_nan_goes_out_as_null(client: Any) -> None:
    """No answer holds a bare NaN."""
    answer = client.post("/echo", json=[{"a": None}, {"a": 1.5}])
    assert answer.text == '[{"a":null},{"a":1.5}]'


def test_types_of_columns_go_out() -> None:
    """Dates, missing values, categories, truth values, decimals and durations have their JSON."""

    @lore.endpoint
    def f() -> pd.DataFrame:
        return pd.DataFrame(
            {
                "day": pd.to_datetime(["2013-01-02", None]),
                "utc": pd.to_datetime(["2013-01-02T03:04:05Z", None]),
                "n": pd.array([1, None], dtype="Int64"),
                "kind": pd.Categorical(["a", None]),
                "yes": pd.array([True, None], dtype="boolean"),
                "took": pd.to_timedelta(["1s", None]),
                "text": pd.array(["a", None], dtype="string"),
                "any": [{"a": np.int64(1)}, None],
            }
        )

    first, second = lore.serve.app(f).test_client().post("/f").json
    assert first == {
        "day": "2013-01-02T00:00:00",
        "utc": "2013-01-02T03:04:05Z",
        "n": 1,
        "kind": "a",
        "yes": True,
        "took": "PT1S",
        "text": "a",
        "any": {"a": 1},
    }
    assert set(second.values()) == {None}


def test_two_columns_of_one_name_are_the_functions_fault() -> None:
    """A record cannot hold two columns of one name: a 500, not a lost column."""

    @lore.endpoint
    def f() -> Any:
        return pd.DataFrame([[1, 2]], columns=["a", "a"])

    assert lore.serve.app(f).test_client().post("/f").status_code == 500


@pytest.mark.parametrize("body", [[1, 2.5, None], {"x": [1, 2.5, None]}], ids=str)
def test_arrays(client: Any, body: Any) -> None:
    """An array comes as nested lists, alone or under its name; null is NaN both ways."""
    assert client.post("/double", json=body).text == "[2.0,5.0,null]"


def test_arrays_have_their_dtype(client: Any) -> None:
    """An array without a dtype takes that of its numbers, and any shape."""
    assert client.post("/bare", json=[[1, 2], [3, 4]]).json == "int64 (2, 2)"
    assert client.post("/bare", json=[1.5]).json == "float64 (1,)"


@pytest.mark.parametrize("body", [["a"], [[1], [1, 2]], [True], "abc", [{"a": 1}], [1, "a"], None], ids=str)
def test_what_is_no_array(client: Any, body: Any) -> None:
    """Text, truth values and ragged lists are no array of numbers."""
    assert client.post("/double", json={"x": body}).status_code == 422


@lore.endpoint
def series(x: pd.Series) -> str:
    """Name what arrived."""
    return f"{x.dtype} {x.tolist()}"


@lore.endpoint
def words(x: npt.NDArray[np.str_]) -> list[str]:
    """Give the words back."""
    return x.tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("function", [bare, series])
@pytest.mark.parametrize("body", [["a"], ["1"], [1, "a"], [["a"]], [[1], ["b"]], [{"a": 1}], [True, None], "abc", 1])
def test_text_is_no_array_without_a_dtype(function: Any, body: Any) -> None:
    """An array or Series whose hint names no dtype holds numbers or truth values, never text."""
    answer = lore.serve.app(function).test_client().post(f"/{function.__name__}", json={"x": body})
    assert answer.status_code == 422


def test_series_and_words() -> None:
    """A Series has the dtype of its numbers, with null as NaN; a dtype that says text takes text."""
    client = lore.serve.app(series, bare, words).test_client()
    found = [client.post("/series", json={"x": x}).json for x in ([1, 2], [1, None], [True], [], [[1], [2]])]
    assert found == ["int64 [1, 2]", "float64 [1.0, nan]", "bool [True]", "float64 []", "object [[1], [2]]"]
    assert client.post("/bare", json={"x": [True]}).json == "bool (1,)"
    assert client.post("/words", json={"x": ["a", "bc"]}).json == ["a", "bc"]


def test_a_message_in_and_out(client: Any) -> None:
    """A protobuf body is the message; the answer is protobuf where the client accepts that, else JSON."""
    data = wrappers_pb2.Int64Value(value=41).SerializeToString()
    answer = client.post("/message", data=data, content_type=PROTOBUF, headers={"Accept": PROTOBUF})
    assert answer.content_type == PROTOBUF
    assert wrappers_pb2.Int64Value.FromString(answer.data).value == 42
    assert client.post("/message", data=data, content_type=PROTOBUF).json == "42"


def test_a_wrong_message_is_refused_where_that_can_be_seen(client: Any) -> None:
    """Bytes that do not parse, fields the class does not know, and a type that names another message are refused."""
    assert client.post("/message", data=b"\xff\xff", content_type=PROTOBUF).status_code == 422
    other = timestamp_pb2.Timestamp(seconds=1, nanos=5).SerializeToString()
    answer = client.post("/message", data=other, content_type=PROTOBUF)
    assert answer.status_code == 422
    assert "numbers 2" in answer.text
    named = f"{PROTOBUF}; messageType=google.protobuf.Timestamp"
    assert client.post("/message", data=b"", content_type=named).status_code == 415


def test_a_message_by_its_json_form(client: Any) -> None:
    """A message beside other parameters stands under its name in protobuf's JSON form."""

    @lore.endpoint
    def f(m: struct_pb2.Struct, n: int = 1) -> float:
        return float(m["a"]) + n

    other = lore.serve.app(f).test_client()
    assert other.post("/f", json={"m": {"a": 1}, "n": 2}).json == 3
    assert other.post("/f", json={"m": [1]}).status_code == 422
    assert other.post("/f", data=b"", content_type=PROTOBUF).status_code == 415
