"""What a request's values become: hints decide, JSON is strict, text is converted, and every fault is pointed at."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

import lore
from lore.errors import DecorationError

FORM = "application/x-www-form-urlencoded"


class Carrier(enum.Enum):
    """Two airlines."""

    UNITED = "UA"
    DELTA = "DL"


@dataclasses.dataclass
class Place:
    """Where something is."""

    lat: float
    lon: float = 0.0
    tags: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if abs(self.lat) > 90:
            raise ValueError("lat is beyond the poles")


@attrs.define
class Plane:
    """A plane with a validated number of seats."""

    seats: int = attrs.field(validator=attrs.validators.ge(1))
    maker: str = attrs.field(default="?", converter=str.upper)
    _serial: int = 0


class Weather(TypedDict):
    """Weather, of which the wind may be missing."""

    temperature: float
    wind: NotRequired[float]


class Point(NamedTuple):
    """A point as an array of two."""

    x: float
    y: float


@dataclasses.dataclass
class Tree:
    """A tree of trees."""

    name: str
    children: list[Tree] = dataclasses.field(default_factory=list)


class Stop(msgspec.Struct):
    """A struct of msgspec's own."""

    code: str


Miles = NewType("Miles", int)
Short = Annotated[str, msgspec.Meta(max_length=3, pattern="^[A-Z]+$")]

SAME: list[tuple[Any, Any, Any]] = [
    (bool, True, True),
    (int, 3, 3),
    (int, 2**70, 2**70),
    (float, 1, 1.0),
    (float, 1.5, 1.5),
    (str, "\u00e9\u0000", "\u00e9\u0000"),
    (bytes, "YWI=", b"ab"),
    (Any, {"a": [1, None]}, {"a": [1, None]}),
    (object, [1], [1]),
    (None, None, None),
    (int | None, None, None),
    (int | str, "7", "7"),
    (Literal["a", "b"], "b", "b"),
    (Literal[1, 2], 2, 2),
    (Carrier, "DL", Carrier.DELTA),
    (datetime.date, "2013-01-02", datetime.date(2013, 1, 2)),
    (datetime.datetime, "2013-01-02T03:04:05Z", datetime.datetime(2013, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)),
    (datetime.time, "03:04:05", datetime.time(3, 4, 5)),
    (datetime.timedelta, "P1DT2H", datetime.timedelta(days=1, hours=2)),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678-1234-5678-1234-567812345678")),
    (list[int], [1, 2], [1, 2]),
    (list, [1, "a"], [1, "a"]),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[Place, ...], [{"lat": 1}], (Place(1),)),
    (tuple[int, Place], [1, {"lat": 1}], (1, Place(1))),
    (set[int], [1, 1], {1}),
    (frozenset[Carrier], ["UA"], frozenset({Carrier.UNITED})),
    (Sequence[float], [1], [1.0]),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (dict[int, list[float]], {"1": [2]}, {1: [2.0]}),
    (Place, {"lat": 1, "tags": ["x"]}, Place(1.0, 0.0, ["x"])),
    (Place | None, {"lat": 1}, Place(1.0)),
    (Place | None, None, None),
    (list[Place], [{"lat": 1}, {"lat": 2}], [Place(1), Place(2)]),
    (dict[str, Place], {"a": {"lat": 1}}, {"a": Place(1)}),
    (Plane, {"seats": 3, "maker": "airbus", "serial": 9}, Plane(3, "AIRBUS", 9)),
    (Weather, {"temperature": 1}, {"temperature": 1.0}),
    (Weather, {"temperature": 1, "wind": 2}, {"temperature": 1.0, "wind": 2.0}),
    (Point, [1, 2], Point(1.0, 2.0)),
    (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree("a", [Tree("b")])),
    (Stop, {"code": "JFK"}, Stop("JFK")),
    (Miles, 3, 3),
    (Short, "JFK", "JFK"),
    (Annotated[int, msgspec.Meta(ge=0, lt=10)], 9, 9),
    (datetime.date | str, "soon", "soon"),
    (datetime.date | str, "2013-01-02", datetime.date(2013, 1, 2)),
    (Place | Stop, {"code": "JFK"}, Stop("JFK")),
    (np.float32, 1.5, np.float32(1.5)),
    (np.int8, 5, np.int8(5)),
    (pd.Timestamp, "2013-01-02T00:00:00", pd.Timestamp("2013-01-02")),
]


def one(hint: Any) -> Any:
    """Serve a function of one parameter `x` that remembers what it got."""

    def f(x: Any, y: int = 0) -> str:
        f.got = x  # type: ignore[attr-defined]
        return type(x).__name__

    f.__annotations__["x"] = hint
    return f, lore.serve.app(lore.endpoint(f)).test_client()


def post(hint: Any, value: Any) -> Any:
    f, client = one(hint)
    answer = client.post("/f", json={"x": value})
    return answer, getattr(f, "got", None)


@pytest.mark.parametrize(("hint", "value", "expected"), SAME, ids=lambda value: str(value)[:40])
def test_json_becomes_what_the_hint_says(hint: Any, value: Any, expected: Any) -> None:
    """A value of JSON arrives as the type that the hint names."""
    answer, got = post(hint, value)
    assert answer.status_code == 200, answer.text
    assert got == expected
    assert type(got) is type(expected)


WRONG: list[tuple[Any, Any, str, str]] = [
    (bool, "true", "/x", "expected bool, got str"),
    (bool, 1, "/x", "expected bool, got int"),
    (int, "3", "/x", "expected int, got str"),
    (int, 1.5, "/x", "expected int, got float"),
    (int, True, "/x", "expected int, got bool"),
    (float, "1.5", "/x", "expected float, got str"),
    (float, None, "/x", "expected float, got null"),
    (str, 1, "/x", "expected str, got int"),
    (Literal["a"], "b", "/x", "invalid enum value 'b'"),
    (Carrier, "XX", "/x", "invalid enum value 'XX'"),
    (datetime.date, "2013-13-01", "/x", "invalid RFC3339 encoded date"),
    (list[int], [1, "a"], "/x/1", "expected int, got str"),
    (tuple[int, int], [1, 2, 3], "/x", "expected array of length 2, got 3"),
    (Place, {"lat": "a"}, "/x/lat", "expected float, got str"),
    (Place, {"lat": 100}, "/x", "lat is beyond the poles"),
    (Place, {"lat": 1, "lng": 2}, "/x/lng", "unknown field"),
    (Place, {}, "/x/lat", "required, but missing"),
    (list[Place], [{"lat": 1}, {"lat": 1, "lng": 2}], "/x/1/lng", "unknown field"),
    (list[Place], [{"lat": 1}, {"lat": 99}], "/x/1", "lat is beyond the poles"),
    (dict[str, Place], {"a/b": {"lat": 99}}, "/x/a~1b", "lat is beyond the poles"),
    (Plane, {"seats": 0}, "/x", "'seats' must be >= 1: 0"),
    (Weather, {"temperature": 1, "rain": 2}, "/x/rain", "unknown field"),
    (Tree, {"name": "a", "children": [{"name": 1}]}, "/x/children/0/name", "expected str, got int"),
    (Short, "ABCD", "/x", "expected str of length <= 3"),
    (Short, "abc", "/x", "expected str matching regex '^[A-Z]+$'"),
    (Annotated[int, msgspec.Meta(ge=0)], -1, "/x", "expected int >= 0"),
    (np.int8, 1000, "/x", "out of range for int8"),
    (datetime.date | str, 5, "/x", "expected one of date, str"),
]


@pytest.mark.parametrize(("hint", "value", "where", "why"), WRONG, ids=lambda v: str(v)[:40])
def test_a_wrong_value_is_pointed_at(hint: Any, value: Any, where: str, why: str) -> None:
    """A value that does not fit is a 422 with a JSON pointer and what was expected; the function is not called."""
    answer, got = post(hint, value)
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    problem = json.loads(answer.text)
    assert (problem["errors"][0]["pointer"], problem["errors"][0]["detail"]) == (where, why)
    assert problem["pointer"] == where
    assert got is None


def test_all_faults_are_told_at_once() -> None:
    """Missing, unknown and wrong fields of one body are all in one answer."""

    @lore.endpoint
    def f(a: int, b: float, c: str, d: bool = False) -> None: ...

    answer = lore.serve.app(f).test_client().post("/f", json={"a": "x", "c": 1, "bb": 2, "d": 0})
    faults = {error["pointer"]: error["detail"] for error in json.loads(answer.text)["errors"]}
    assert faults == {
        "/b": "required, but missing",
        "/a": "expected int, got str",
        "/c": "expected str, got int",
        "/bb": "unknown field; did you mean b?",
        "/d": "expected bool, got int",
    }


TEXT: list[tuple[Any, str, Any]] = [
    (bool, "true", True),
    (bool, "True", True),
    (bool, "0", False),
    (int, "3", 3),
    (float, "1e3", 1000.0),
    (str, "3", "3"),
    (int | None, "null", None),
    (Carrier, "UA", Carrier.UNITED),
    (Literal[1, 2], "2", 2),
    (datetime.date, "2013-01-02", datetime.date(2013, 1, 2)),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (list[int], "3", [3]),
    (set[str], "a", {"a"}),
    (np.float64, "2.5", np.float64(2.5)),
]


@pytest.mark.parametrize(("hint", "text", "expected"), TEXT, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("way", ["form", "query", "curl"])
def test_text_is_converted(hint: Any, text: str, expected: Any, way: str) -> None:
    """A form, a query string, and JSON under a form's content type are text, and text becomes what the hint says."""

    def f(x: Any) -> None:
        f.got = x  # type: ignore[attr-defined]

    f.__annotations__["x"] = hint
    client = lore.serve.app(lore.endpoint(methods=("GET", "POST"))(f)).test_client()
    if way == "form":
        answer = client.post("/f", data={"x": text})
    elif way == "query":
        answer = client.get("/f", query_string={"x": text})
    else:
        value = [text] if isinstance(expected, list | set) else text
        answer = client.post("/f", data=json.dumps({"x": value}), content_type=FORM)
    assert answer.status_code == 200, answer.text
    assert f.got == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("x=a", "/x"),
        ("x=nan", ""),
        ("x=inf", ""),
        ("x=1&x=2", "/x"),
        ("x=", "/x"),
        ("x=1&y=2", "/y"),
        ("", "/x"),
        ("x=%D9%A3", "/x"),
        ("x=1_000", "/x"),
    ],
)
def test_text_that_does_not_fit_is_refused(query: str, where: str) -> None:
    """Text that is no number, NaN, a name given twice, and unknown names are a 422."""

    @lore.endpoint(methods=("GET",))
    def f(x: float) -> None: ...

    answer = lore.serve.app(f).test_client().get(f"/f?{query}")
    assert answer.status_code == 422
    assert json.loads(answer.text)["pointer"] == where


def test_lists_and_objects_in_text() -> None:
    """A list takes a name's values one by one or one JSON array; an object is given as JSON."""

    @lore.endpoint(methods=("GET",))
    def f(n: list[int], place: Place | None = None, values: npt.NDArray[np.float64] | None = None) -> Any:
        return {"n": n, "lat": place and place.lat, "values": values}

    client = lore.serve.app(f).test_client()
    assert client.get("/f?n=1&n=2").json == {"n": [1, 2], "lat": None, "values": None}
    assert client.get('/f?n=[1,2]&place={"lat":"5"}').json["lat"] == 5
    assert client.get("/f?n=1&values=1.5&values=2").json["values"] == [1.5, 2]
    assert client.get("/f?n=1&place=x").status_code == 422
    assert client.get("/f?n=[1").status_code == 422


def test_defaults_are_pythons_own() -> None:
    """A parameter that is left out gets the function's very default, whatever it is."""
    marker = object()

    @lore.endpoint
    def f(a: int, b: Any = marker, *, c: np.ndarray = marker, d: Place = Place(1)) -> bool:  # type: ignore[assignment] # noqa: B008
        return b is marker and c is marker and d == Place(1)

    assert lore.serve.app(f).test_client().post("/f", json={"a": 1}).json is True


def test_positional_only_and_keyword_only() -> None:
    """A function is called as its signature demands."""

    @lore.endpoint
    def f(a: int, /, b: int, *, c: int) -> list[int]:
        return [a, b, c]

    assert lore.serve.app(f).test_client().post("/f", json={"a": 1, "b": 2, "c": 3}).json == [1, 2, 3]


def test_parameters_called_like_everything() -> None:
    """No name is taken from the function: not `self`, `struct`, `environ`, `path`."""

    @lore.endpoint
    def f(self: int, struct: int, environ: int, path: int, default0: int = 5, unset: int = 6) -> int:
        return self + struct + environ + path + default0 + unset

    body = {"self": 1, "struct": 2, "environ": 3, "path": 4}
    assert lore.serve.app(f).test_client().post("/f", json=body).json == 21


def test_a_name_given_twice_is_refused() -> None:
    """A JSON object that gives a parameter twice is refused, also where one spelling is escaped."""

    @lore.endpoint
    def f(a: int, b: str = "") -> None: ...

    client = lore.serve.app(f).test_client()
    for body in ('{"a":1,"a":2}', '{"a":1,"b":"x","\\u0061":2}', '{"a" : 1, "a": 1}'):
        answer = client.post("/f", data=body, content_type="application/json")
        assert (answer.status_code, json.loads(answer.text)["pointer"]) == (422, "/a")
    assert client.post("/f", data='{"a":1,"b":"\\"a\\":"}', content_type="application/json").status_code == 200


@pytest.mark.parametrize(
    ("hint", "says"),
    [
        ("Nowhere", "Nowhere"),
        (complex, "complex"),
        (type(lambda: 0), "function"),
        (dict[Place, int], "dict"),
        (pytest.Module, "Module"),
    ],
)
def test_hints_no_request_can_carry(hint: Any, says: str) -> None:
    """A hint that cannot be resolved or carried is named when the app is built, and decorating it is fine."""

    def f(x: Any) -> None: ...

    f.__annotations__["x"] = hint
    endpoint = lore.endpoint(f)
    with pytest.raises(DecorationError, match=says) as error:
        lore.serve.app(endpoint)
    assert "parameter x" in str(error.value)


def test_stars_are_refused() -> None:
    """`*args` and `**kwargs` have no names that a request could give."""

    @lore.endpoint
    def f(*args: int) -> None: ...

    @lore.endpoint
    def g(**kwargs: int) -> None: ...

    for function in (f, g):
        with pytest.raises(DecorationError, match="args"):
            lore.serve.app(function)


def test_local_classes_in_text_hints() -> None:
    """A hint that names a class of the enclosing function is understood, although hints are text here."""

    @dataclasses.dataclass
    class Local:
        a: int

    @lore.endpoint
    def f(x: Local, y: list[Local] | None = None) -> int:
        return x.a

    assert lore.serve.app(f).test_client().post("/f", json={"x": {"a": 3}}).json == 3


def test_pydantic_models_are_taken() -> None:
    """A pydantic model validates itself, and its own finding is pointed at."""
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        n: int = pydantic.Field(gt=0)

    def f(x: Any) -> int:
        return int(x.n)

    f.__annotations__["x"] = Model
    client = lore.serve.app(lore.endpoint(f)).test_client()
    assert client.post("/f", json={"x": {"n": 2}}).json == 2
    assert json.loads(client.post("/f", json={"x": {"n": 0}}).text)["pointer"] == "/x/n"
