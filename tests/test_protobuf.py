"""Protobuf messages as arguments of cached functions and as bodies of requests and answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.protobuf", reason="needs protobuf")

PROTOBUF = "application/x-protobuf"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the example as a user's module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples" / "protobuf"))
    import forecast

    yield forecast
    for name in ("forecast", "flight_pb2"):
        sys.modules.pop(name, None)


def test_messages_in_and_out(example: Any) -> None:
    """A message is taken and answered as protobuf by content type and Accept."""
    flight = example.Flight(carrier="UA", distance=500, delays=[10, 20])
    answer = example.app.test_client().post(
        "/forecast", data=flight.SerializeToString(), headers={"Content-Type": PROTOBUF, "Accept": PROTOBUF}
    )
    assert answer.status_code == 200
    assert answer.content_type == PROTOBUF
    assert example.Forecast.FromString(answer.data) == example.Forecast(carrier="UA", late=15.5)


def test_json_in_and_out(example: Any) -> None:
    """The same endpoint takes and answers JSON, with the names of the message's fields."""
    body = {"flight": {"carrier": "UA", "distance": 500, "delays": [10, 20]}}
    answer = example.app.test_client().post("/forecast", json=body)
    assert (answer.status_code, answer.get_json()) == (200, {"carrier": "UA", "late": 15.5})


def test_equal_messages_are_one_call(example: Any) -> None:
    """Messages that are equal have one key, and messages that differ have another."""
    make = example.Flight
    assert example.mean_delay(make(carrier="UA", delays=[1, 3])) == 2
    assert example.mean_delay(make(delays=[1, 3], carrier="UA")) == 2
    assert example.mean_delay(make(carrier="UA", delays=[3, 5])) == 4
    assert example.mean_delay.cache_info()[:2] == (1, 2)


def test_what_is_no_message_is_a_problem(example: Any) -> None:
    """Bytes that are no message are a problem of the client's, with nothing of the parser's own words."""
    answer = example.app.test_client().post("/forecast", data=b"\xff\xff\xff", headers={"Content-Type": PROTOBUF})
    assert answer.status_code in (400, 422)
    assert answer.content_type == "application/problem+json"
