"""
What a cached function read from a database: which one, and what its freshness query answered.
"""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from lore import _inputs
from lore._querying import connections
from lore._querying.statements import Statement, bind
from lore.errors import LoreError

__all__ = ["Reading", "decode", "note"]


class Reading:
    """
    One source that was read.

    Args:
        address: how the database is found again: a URL without its password, `$NAME`, or None for the default.
        database: which database that was, without its password.
        sql: the freshness query, if there is one.
        values: its parameters, as JSON.
        answer: what it answered.
    """

    kind: ClassVar[str] = "source"

    def __init__(
        self, address: str | None, database: str, sql: str | None, values: Mapping[str, Any], answer: str | None
    ) -> None:
        self.address = address
        self.database = database
        self.sql = sql
        self.values = dict(values)
        self.answer = answer

    def to_json(self) -> dict[str, Any]:
        """Return all of it, without secrets."""
        return {
            "address": self.address,
            "database": self.database,
            "sql": self.sql,
            "values": self.values,
            "answer": self.answer,
        }

    def check(self) -> str | None:
        """Ask the freshness query again; None where the database is the same and the answer too."""
        try:
            database = connections.resolve(connections.recall(self.address))
            if database.label != self.database:
                return f"the source is another database now: {database.label} instead of {self.database}"
            if self.sql is None:
                return None
            with _inputs.pause():
                values = {name: _read_value(value) for name, value in self.values.items()}
                answer = ask(database, bind(self.sql, values, "freshness", backslashes=database.backslashes))
        except LoreError as error:
            return f"the database {self.database} could not be asked whether it changed: {error}"
        if answer != self.answer:
            return f"the data in {self.database} changed: {self.sql} answers {answer} instead of {self.answer}"
        return None


def decode(facts: dict[str, Any]) -> Reading:
    """Build a reading again from its JSON."""
    return Reading(facts["address"], facts["database"], facts["sql"], facts["values"], facts["answer"])


_inputs.register(Reading.kind, "lore._querying.freshness:decode")


def note(url: Any, database: connections.Database, freshness: Statement | None, plan: connections.Plan | None) -> None:
    """Note a database as an input of the cached function around; its freshness query runs now, before the reading."""
    address = connections.remember(url)
    if freshness is None:
        _inputs.note(Reading(address, database.label, None, {}, None))
        return
    values = {name: _write_value(value) for name, value in freshness.values.items()}
    answer = ask(database, freshness, plan)
    _inputs.note(Reading(address, database.label, freshness.statement, values, answer))


def ask(database: connections.Database, statement: Statement, plan: connections.Plan | None = None) -> str:
    """Run a freshness query and write its answer as text."""
    frame = connections.fetch(database, statement, plan or connections.Plan("freshness"))
    rows = [[None if value is None else str(value) for value in row] for row in frame.itertuples(index=False)]
    return rows[0][0] or "NULL" if len(rows) == 1 and len(rows[0]) == 1 else json.dumps(rows)


_TEXTS: dict[str, Any] = {
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": lambda text: datetime.timedelta(microseconds=int(text)),
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "bytes": bytes.fromhex,
    "dict": json.loads,
}


def _write_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return {"type": type(value).__name__, "items": [_write_value(item) for item in value]}
    if isinstance(value, bytes):
        text = value.hex()
    elif isinstance(value, dict):
        text = json.dumps(value, default=str)
    elif isinstance(value, datetime.timedelta):
        text = str(value // datetime.timedelta(microseconds=1))
    else:
        text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return {"type": type(value).__name__, "text": text}


def _read_value(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "items" in value:
        items = [_read_value(item) for item in value["items"]]
        return tuple(items) if value["type"] == "tuple" else items
    return _TEXTS[value["type"]](value["text"])
