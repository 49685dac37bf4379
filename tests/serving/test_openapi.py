"""The OpenAPI document: valid, true to what is decoded, and obeyed."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import importlib.util
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from google.protobuf import wrappers_pb2

import lore


class Carrier(enum.Enum):
    """An airline."""

    UNITED = "UA"
    DELTA = "DL"


@dataclasses.dataclass
class Place:
    """A place."""

    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    tags: list[str] = dataclasses.field(default_factory=list)


@lore.endpoint(methods=("POST", "GET"))
def delay(
    carrier: Carrier,
    distance: Annotated[float, msgspec.Meta(ge=0, description="Miles.")],
    hour: int = 12,
    when: datetime.date | None = None,
    kind: Literal["a", "b"] = "a",
) -> dict[str, float]:
    """
    Predict how late a flight arrives.

    It knows what is known before departure.

    Args:
        carrier: not told twice.

    >>> delay("UA", distance=740.0, hour=17)
    {'minutes': 1.0}
    """
    return {"minutes": distance}


@lore.endpoint
def places(of: list[Place], main: Place | None = None) -> Place:
    """Give the first place."""
    return of[0] if of else main or Place(0)


@lore.endpoint(auth="secret", timeout_s=5)
def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Give a table back."""
    return rows


@lore.endpoint
def array(x: npt.NDArray[np.float64], scale: float = 1.0) -> list[float]:
    """Scale."""
    return [float(scale)] * len(x)


@lore.endpoint
def message(m: wrappers_pb2.StringValue) -> wrappers_pb2.StringValue:
    """Give a message back."""
    return m


@lore.endpoint
def stream(n: Annotated[int, msgspec.Meta(ge=0, le=5)]) -> Iterator[int]:
    """Count."""
    yield from range(n)


APP = lore.serve.app(delay, places, table, array, message, stream, title="Flights", version="2")
DOCUMENT = APP.openapi()


def fields(path: str) -> Any:
    return DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


def test_the_document_is_served() -> None:
    """What the app says and what it serves is one document, and it is JSON."""
    assert json.loads(APP.test_client().get("/openapi.json").text) == json.loads(json.dumps(DOCUMENT))
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"] == {"title": "Flights", "version": "2"}
    assert list(DOCUMENT["paths"]) == ["/delay", "/places", "/table", "/array", "/message", "/stream"]


def test_fields_have_their_types_and_limits() -> None:
    """The fields of a request are described as they are decoded."""
    schema = fields("/delay")
    assert schema["required"] == ["carrier", "distance"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["distance"] == {"description": "Miles.", "type": "number", "minimum": 0}
    assert schema["properties"]["hour"] == {"type": "integer", "default": 12}
    assert schema["properties"]["kind"] == {"enum": ["a", "b"], "default": "a"}
    assert DOCUMENT["components"]["schemas"]["Place"]["properties"]["lat"]["maximum"] == 90


def test_text_comes_from_the_docstring() -> None:
    """Summary, description and example are the docstring's; its sections are left out."""
    operation = DOCUMENT["paths"]["/delay"]["post"]
    assert operation["summary"] == "Predict how late a flight arrives."
    assert operation["description"] == "It knows what is known before departure."
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert example == {"carrier": "UA", "distance": 740.0, "hour": 17}


def test_queries_and_tokens() -> None:
    """GET takes parameters from the query, and a guarded endpoint says which scheme."""
    parameters = DOCUMENT["paths"]["/delay"]["get"]["parameters"]
    assert [(one["name"], one["in"], one["required"]) for one in parameters][:3] == [
        ("carrier", "query", True),
        ("distance", "query", True),
        ("hour", "query", False),
    ]
    guarded = DOCUMENT["paths"]["/table"]["post"]
    assert guarded["security"] == [{"bearer": []}]
    assert {"401", "504"} <= set(guarded["responses"])
    assert not {"401", "504"} & set(DOCUMENT["paths"]["/places"]["post"]["responses"])


def test_operations_have_their_own_ids() -> None:
    """No two operations share an id."""
    ids = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids)) == 7


@attrs.define
class Slotted:
    """An attrs class."""

    a: int


@attrs.define(slots=False)
class Unslotted:
    """An attrs class with a dictionary."""

    a: int


class Typed(TypedDict):
    """A dictionary with known names."""

    a: int


class Struct(msgspec.Struct):
    """msgspec's own."""

    a: int


class Pair(NamedTuple):
    """A named tuple."""

    a: int


@dataclasses.dataclass
class Node:
    """A class that holds itself."""

    a: int
    below: list[Node] = dataclasses.field(default_factory=list)
    other: Place | None = None


def served(path: str, takes: Any, gives: Any) -> Any:
    def f(m):  # type: ignore[no-untyped-def]
        return m

    f.__annotations__ = {"m": takes, "return": gives}
    return lore.endpoint(path)(f)


@pytest.mark.parametrize("kind", [Place, Slotted, Unslotted, Typed, Struct, Pair, Node, Carrier])
def test_one_class_taken_and_given(kind: Any) -> None:
    """A record class may stand in the parameters and in the answer of one endpoint and of several."""
    pairs = [(kind, kind), (list[kind], kind), (kind | None, kind), (kind, int), (int, kind), (dict[str, kind], Node)]
    for takes, gives in pairs:
        lore.serve.app(served("/f", takes, gives))
    app = lore.serve.app(*(served(f"/f{at}", takes, gives) for at, (takes, gives) in enumerate(pairs)))
    text = json.dumps(app.openapi())
    assert app.test_client().get("/docs").status_code == 200
    names = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(app.openapi()["components"]["schemas"])
    ids = [operation["post"]["operationId"] for operation in app.openapi()["paths"].values()]
    assert len(set(ids)) == len(pairs)


def test_classes_of_one_name_are_told_apart() -> None:
    """Two classes that share their full name, as a notebook or a factory makes them, have each their own component."""

    def make(field: str) -> Any:
        return msgspec.defstruct("Twin", [(field, int)], module=__name__)

    one, two = make("x"), make("y")
    app = lore.serve.app(served("/one", one, one), served("/two", list[two], two), served("/again", one, int))
    components = app.openapi()["components"]["schemas"]
    for path, field in (("/one", "x"), ("/two", "y")):
        operation = app.openapi()["paths"][path]["post"]
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        assert list(components[answer.rpartition("/")[2]]["properties"]) == [field]
    body = app.openapi()["paths"]["/two"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["m"]["items"]["$ref"] == "#/components/schemas/Twin_2"
    assert len([name for name in components if name.startswith("Twin")]) == 2
    lore.serve.app(served("/mixed", one, two)).openapi()


def test_what_cannot_be_described_shows_when_the_app_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is made with the app, not at its first visit; without docs it is not made."""

    def fail(*args: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("lore._serving.openapi.document", fail)
    with pytest.raises(ZeroDivisionError):
        lore.serve.app(stream)
    lore.serve.app(stream, docs=False)


def test_references_lead_somewhere() -> None:
    """Every reference is to a component that is there."""
    text = json.dumps(DOCUMENT)
    names = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(DOCUMENT["components"]["schemas"])


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("/delay", {"carrier": "UA", "distance": 1}, {"carrier": "XX", "distance": -1}),
        ("/places", {"of": [{"lat": 1}]}, {"of": [{"lat": 100}]}),
        ("/places", {"of": [], "main": None}, {"of": [{"lat": 1, "lng": 2}]}),
        ("/table", [{"a": 1}], 5),
        ("/table", {"rows": {"a": [1]}}, "x"),
        ("/array", {"x": [1.5, None]}, {"x": "a"}),
    ],
)
def test_schema_and_decoder_agree(path: str, good: Any, bad: Any) -> None:
    """What the schema allows is taken, and what it forbids is refused."""
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    validator = jsonschema.Draft202012Validator({**fields(path), "components": DOCUMENT["components"]})
    client, headers = APP.test_client(), {"Authorization": "Bearer secret"}
    assert validator.is_valid(good)
    assert client.post(path, json=good, headers=headers).status_code == 200
    assert not validator.is_valid(bad)
    assert client.post(path, json=bad, headers=headers).status_code == 422


def test_the_document_is_valid_openapi() -> None:
    """The document is an OpenAPI 3.1 document by the specification's own schema."""
    validate = pytest.importorskip("openapi_spec_validator", reason="needs openapi-spec-validator").validate
    validate(json.loads(json.dumps(DOCUMENT)))


if importlib.util.find_spec("schemathesis"):
    import schemathesis
    from hypothesis import settings

    @pytest.mark.slow
    @schemathesis.openapi.from_wsgi("/openapi.json", APP).include(path_regex="delay|places|array|stream").parametrize()
    @settings(max_examples=60)
    def test_schemathesis_finds_nothing(case: Any) -> None:
        """A thousand ways to obey and to break the document get the answers it promises."""
        # 1.0 is an integer to JSON Schema and none to lore, whose JSON is strict
        positive = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
        case.call_and_validate(headers={"Authorization": "Bearer secret"}, excluded_checks=[positive])

else:  # pragma: no cover

    @pytest.mark.skip(reason="needs schemathesis")
    def test_schemathesis_finds_nothing() -> None:
        """A thousand ways to obey and to break the document get the answers it promises."""
