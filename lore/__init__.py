"""
Lore turns plain functions into a data science pipeline that runs in production.

Four decorators, each useful alone, in any order:

- `lore.sql_source`: a function that writes a query returns its rows as a DataFrame.
- `lore.cached`: a result lives on disk until something it came from changes.
- `lore.timed`: every run is measured.
- `lore.endpoint`: a function becomes an HTTP endpoint of the WSGI application that `lore.serve.app` makes.

`lore.layers(f)` lists the decorators around a function. The modules `lore.io`, `lore.cache`, `lore.timing` and
`lore.serve` hold the rest, `lore.errors` every error, `lore.testing` fixtures for pytest. Nothing is loaded before it
is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lore import cache, errors, io, serve, testing, timing, typing
    from lore._wrapping import layers
    from lore.cache import cached
    from lore.io import sql_source
    from lore.serve import endpoint
    from lore.timing import timed

__all__ = [
    "cache",
    "cached",
    "endpoint",
    "errors",
    "io",
    "layers",
    "serve",
    "sql_source",
    "testing",
    "timed",
    "timing",
    "typing",
]

_HOMES = {
    "cached": "lore.cache",
    "endpoint": "lore.serve",
    "layers": "lore._wrapping",
    "sql_source": "lore.io",
    "timed": "lore.timing",
}
_MODULES = frozenset({"cache", "errors", "io", "serve", "testing", "timing", "typing"})


def __getattr__(name: str) -> Any:
    """Load a name of the shop window when it is first asked for."""
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _MODULES:
        return importlib.import_module(f"lore.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("lore")
    else:
        raise AttributeError(f"module 'lore' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
