"""
A module of decorated functions, as a user would have it: every order of lore's decorators, importable by name.

`ORDERS` maps the name of each of the 24 functions to the names of its decorators, outermost first; `FOREIGN` is the same
with another library's decorator under, between and above them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import lore

NAMES = ("cached", "endpoint", "sql_source", "timed")


def foreign(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap as other people's decorators do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def statement(n: int, text: str = "a") -> str:
    """Select one number and one text."""
    return "SELECT CAST(:n AS BIGINT) AS n, CAST(:text AS VARCHAR) AS text"


async def later(n: int, text: str = "a") -> str:
    """Select one number and one text, later."""
    return "SELECT CAST(:n AS BIGINT) AS n, CAST(:text AS VARCHAR) AS text"


def copy_of(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Make a function of the same code under a name of its own, as if it had been written so."""
    kind = type(function)
    copy = kind(function.__code__, globals(), name, function.__defaults__, function.__closure__)  # type: ignore[call-arg]
    copy.__doc__, copy.__qualname__, copy.__annotations__ = function.__doc__, name, function.__annotations__
    return copy


def define(name: str, order: tuple[str, ...], function: Callable[..., Any], between: bool = False) -> None:
    """Decorate and put into this module under `name`."""
    decorated = copy_of(function, name)
    for decorator in reversed(order):
        decorated = getattr(lore, decorator)(foreign(decorated) if between else decorated)
    globals()[name] = foreign(decorated) if between else decorated


ORDERS = {"_".join(order): order for order in itertools.permutations(NAMES)}
FOREIGN = {f"foreign_{name}": order for name, order in ORDERS.items()}
ASYNC = {f"async_{name}": order for name, order in ORDERS.items()}

for _name, _order in ORDERS.items():
    define(_name, _order, statement)
for _name, _order in FOREIGN.items():
    define(_name, _order, statement, between=True)
for _name, _order in ASYNC.items():
    define(_name, _order, later)
