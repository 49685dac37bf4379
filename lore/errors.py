"""
Every error lore raises by itself.

All are under `LoreError`, and most are also under the builtin that a caller would already catch. An exception of the
user's own function is never wrapped in one of these: it passes through untouched.
"""

from __future__ import annotations

__all__ = [
    "CacheError",
    "DecorationError",
    "EncodingError",
    "IntegrityError",
    "LoreError",
    "LoreWarning",
    "MissingDependencyError",
    "QueryError",
    "RequestError",
    "ServeError",
    "SourceError",
    "SourceTimeout",
    "StatementError",
    "StoreError",
    "UnkeyableArgument",
]


class LoreError(Exception):
    """The root of all of lore's errors."""


class LoreWarning(UserWarning):
    """Lore's own machinery failed (a store, a log, a metric); the function's result is not affected."""


class DecorationError(LoreError, TypeError):
    """A decorator was used in a wrong way; raised at decoration or when an app is built."""


class MissingDependencyError(LoreError, ImportError):
    """An optional package is missing; the message names the extra that installs it."""

    def __init__(self, message: str, *, name: str | None = None, extra: str | None = None) -> None:
        super().__init__(message, name=name)
        self.extra = extra

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, {"name": self.name, "extra": self.extra})


class CacheError(LoreError):
    """Something about caching went wrong."""


class UnkeyableArgument(CacheError, TypeError):
    """
    An argument cannot be turned into a key faithfully, so no key is made at all.

    Attributes:
        type_name: the full name of the offending type.
        path: where it is inside the value, such as `['rows'][3].lock`; empty when it is the value itself.
    """

    def __init__(self, message: str = "", *, type_name: str = "", path: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, {"type_name": self.type_name, "path": self.path})


class StoreError(CacheError, OSError):
    """A store could not be reached, read or written."""


class IntegrityError(CacheError, ValueError):
    """The bytes of an entry are not the bytes that were stored, or are not signed as they should be."""


class SourceError(LoreError):
    """Reading or writing data went wrong."""


class StatementError(SourceError, ValueError):
    """A statement and its parameters do not fit together."""


class QueryError(SourceError):
    """A database refused or failed a statement."""


class SourceTimeout(SourceError, TimeoutError):
    """A query took longer than `timeout_s` and was cancelled at the server."""


class ServeError(LoreError):
    """Serving went wrong."""


class RequestError(ServeError, ValueError):
    """
    A request that the function itself finds wrong: a handler raises it and the client gets a 422 problem.

    Args:
        where: what is wrong: a parameter's name, or a JSON pointer into the body such as `/rows/3/distance`.
        why: what is wrong with it, in words made for the client.
    """

    def __init__(self, where: str = "", why: str = "") -> None:
        super().__init__(where, why)
        self.where = where
        self.why = why

    def __str__(self) -> str:
        return f"{self.where}: {self.why}" if self.where and self.why else self.where or self.why


class EncodingError(ServeError, TypeError):
    """A value cannot be written in the format that the answer needs."""


def _rebuild(cls: type[BaseException], args: tuple[object, ...], facts: dict[str, object]) -> BaseException:
    """Rebuild an exception that carries keyword facts (pickle gives back positional arguments only)."""
    return cls(*args, **facts)
