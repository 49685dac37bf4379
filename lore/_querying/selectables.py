"""
SQLAlchemy's selectables, written as text with `:name` parameters so that they take the same road as plain SQL.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from lore._extras import require
from lore._querying.statements import plain
from lore.errors import StatementError

__all__ = ["is_selectable", "write_selectable"]


def is_selectable(value: object) -> bool:
    """Tell whether a value is something that SQLAlchemy compiles; loads nothing."""
    sqlalchemy = sys.modules.get("sqlalchemy")
    if sqlalchemy is None:
        return False
    return isinstance(getattr(value, "statement", value), sqlalchemy.sql.ClauseElement)


def write_selectable(value: Any, dialect: Any, arguments: Mapping[str, Any], owner: str) -> tuple[str, dict[str, Any]]:
    """
    Compile a selectable for a dialect; return its text and the values of its parameters.

    Args:
        value: a select, a text, an ORM query.
        dialect: a dialect object of SQLAlchemy's; None for one that speaks PostgreSQL's SQL, as DuckDB does.
        arguments: values for the selectable's own named parameters.
        owner: the function, for errors.

    Raises:
        StatementError: a parameter has no value, or the dialect cannot say what the selectable asks.
    """
    exc = require("sqlalchemy.exc", extra="sql")
    element = getattr(value, "statement", value)
    given = {name: plain(argument) for name, argument in arguments.items() if _is_plain(argument)}
    problem = ""
    try:
        compiled = element.compile(dialect=_named(dialect))
        # An IN over a list has as many places as the list is long: the text is whole only with the values.
        whole = compiled.construct_expanded_state(compiled.construct_params(given))
        return whole.statement, {
            name: whole.processors[name](item) if name in whole.processors else item
            for name, item in whole.parameters.items()
        }
    except exc.SQLAlchemyError as error:
        problem = str(error).partition("\n")[0]
    raise StatementError(f"{owner}: the selectable cannot be written as SQL: {problem}")


def _is_plain(value: Any) -> bool:
    try:
        plain(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _named(dialect: Any) -> Any:
    """Return a dialect of the same kind that spells parameters `:name`."""
    if dialect is None:
        return require("sqlalchemy.dialects.postgresql", extra="sql").dialect(paramstyle="named")
    return type(dialect)(paramstyle="named")
