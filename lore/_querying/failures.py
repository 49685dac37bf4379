"""
A driver's exception becomes one of lore's, without a bound value or a password in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from lore.errors import QueryError

__all__ = ["Transient", "hide_password", "scrub", "query_error", "refuse_missing_folder"]

_PASSWORD = re.compile(r"(://[^:/@\s'\"]*:)[^\s'\"]+@")
_SECRET_OPTION = re.compile(
    r"((?:password|passwd|pwd|secret|token|sslpassword)\s*=\s*)('[^']*'|[^\s&;'\"]+)", re.IGNORECASE
)
_HIDDEN = "***"


class Transient(Exception):
    """
    A failure that may pass when the same is tried again: a lost connection, a deadlock, a serialization failure.

    Attributes:
        error: what to raise when it does not pass.
    """

    def __init__(self, error: QueryError) -> None:
        super().__init__(str(error))
        self.error = error


def hide_password(url: str) -> str:
    """Return a URL or a message with every password in it replaced by `***`."""
    return _SECRET_OPTION.sub(rf"\1{_HIDDEN}", _PASSWORD.sub(rf"\1{_HIDDEN}@", url))


def query_error(message: str, owner: str, database: str, values: Iterable[Any] = ()) -> QueryError:
    """
    Make the error of a failed statement.

    Args:
        message: what the database said.
        owner: the function or call whose statement it was.
        database: the database, without its password.
        values: the bound values, none of which may stand in the message.
    """
    return QueryError(f"{owner}: {scrub(message, values)} [{database}]")


def refuse_missing_folder(path: str, label: str) -> None:
    """Say that a database file cannot be there, because its folder is not."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise QueryError(f"The database file does not exist, nor does its folder: {path} [{label}]")


def scrub(message: str, values: Iterable[Any] = ()) -> str:
    """Take bound values and passwords out of a database's message."""
    message = hide_password(message)
    for text in sorted(set(_spellings(values)), key=len, reverse=True):
        message = re.sub(rf"(?<![^\W_]){re.escape(text)}(?![^\W_])", _HIDDEN, message)
    return message


def _spellings(values: Iterable[Any]) -> Iterable[str]:
    """List how a value may appear in a message."""
    for value in values:
        if value is None or isinstance(value, bool):
            continue
        if isinstance(value, list | tuple | set):
            yield from _spellings(value)
        elif isinstance(value, dict):
            yield from _spellings(value.keys())
            yield from _spellings(value.values())
        elif isinstance(value, bytes):
            if value:
                yield from (value.hex(), value.decode("utf-8", "replace"))
        else:
            text = str(value)
            if text.strip():
                yield from {text, text.replace("'", "''"), text.strip()}
