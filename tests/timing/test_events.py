"""Events: secrets are hidden wherever they stand, and the listeners hear what structlog hears."""

from __future__ import annotations

from typing import Any

import pytest

import lore
from lore._timing import events


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("password", "hunter2", "***"),
        ("db_pass", "hunter2", "***"),
        ("api_key", 1234, "***"),
        ("AWS_SECRET_ACCESS_KEY", "x", "***"),
        ("Authorization", "Bearer abcdef", "***"),
        ("session_token", "x", "***"),
        ("max_tokens", 512, 512),
        ("bypass", True, True),
        ("key", "ab12", "ab12"),
        ("url", "postgresql://me:hunter2@host/db?x=1", "postgresql://me:***@host/db?x=1"),
        ("url", "postgresql://me:hun/ter@2@host/db", "postgresql://me:***@host/db"),
        ("header", "Authorization: Bearer abcdef123", "Authorization: Bearer ***"),
        ("nested", {"password": "x", "urls": ["s3://k:s@b"]}, {"password": "***", "urls": ["s3://k:***@b"]}),
        ("rows", 3, 3),
    ],
)
def test_secrets_are_hidden(name: str, value: Any, shown: Any) -> None:
    """By their names, inside URLs and headers, and inside dicts and lists; what is none stays."""
    assert events.scrub({name: value}) == {name: shown}


def test_listeners_hear_events() -> None:
    """Without structlog, who listens hears; after stopping no more."""
    heard: list[Any] = []
    stop = events.listen(lambda event, fields: heard.append((event, dict(fields))))
    assert events.wanted()
    events.emit("started", password="x", port=3000)
    stop()
    events.emit("stopped")
    assert heard == [("started", {"password": "***", "port": 3000})]


def test_a_run_hides_secrets_of_command_and_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords in URLs on the command line and in the message of an error are not written down."""
    monkeypatch.setattr("sys.argv", ["fit.py", "--db=postgresql://me:hunter2@host/db"])
    with pytest.raises(ValueError), lore.timing.run("secretive") as run:
        raise ValueError("cannot reach postgresql://me:hunter2@host/db")
    assert "hunter2" not in run.path.read_text()
    assert "me:***@host" in str(lore.timing.record(run).error)
