"""
Protobuf messages, database engines and SQL expressions as keys.
"""

from __future__ import annotations

import sys
from typing import Any

from lore._caching.values import Encoder, Unkeyable, Walk, leaf, node

__all__ = ["find"]


def find(cls: type) -> Encoder | None:
    """Return the encoder of a message, an engine or an expression, or None where it is an object like any other."""
    messages = sys.modules.get("google.protobuf.message")
    if messages is not None and issubclass(cls, messages.Message):
        return _message
    sqlalchemy = sys.modules.get("sqlalchemy")
    if sqlalchemy is None:
        return None
    if issubclass(cls, sqlalchemy.Engine):
        return _engine
    if issubclass(cls, sqlalchemy.engine.URL):
        return _url
    if issubclass(cls, (sqlalchemy.Table, sqlalchemy.Column)):
        return lambda value, walk: leaf("sqlalchemy", cls.__name__, repr(value))
    if issubclass(cls, sqlalchemy.ClauseElement):
        return _expression
    return None


def _message(value: Any, walk: Walk) -> bytes:
    """Encode a message by its type's full name and its deterministic bytes."""
    content = value.SerializePartialToString(deterministic=True)
    return leaf("protobuf", value.DESCRIPTOR.full_name, content)


def _engine(value: Any, walk: Walk) -> bytes:
    """Encode an engine by the database it leads to."""
    if value.url.get_backend_name() in ("sqlite", "duckdb") and value.url.database in (None, "", ":memory:"):
        raise Unkeyable(value, "a database in memory is known to this engine alone")
    return node(b"engine", _url(value.url, walk))


def _url(value: Any, walk: Walk) -> bytes:
    """Encode a URL without its password, which opens the door but does not choose the data."""
    query = tuple(sorted(value.query.items()))
    return leaf("url", value.drivername, value.username, value.host, value.port, value.database, query)


def _expression(value: Any, walk: Walk) -> bytes:
    """Encode a statement or expression by its text, its parameters and the types of its columns."""
    compiled = value.compile()
    columns = getattr(value, "exported_columns", ())
    types = tuple((column.key, repr(column.type)) for column in columns)
    return node(b"sql", leaf(str(compiled), types), walk.token(dict(sorted(compiled.params.items()))))
