"""
What `lore.endpoint` may be given, and the layer that remembers it.

Decorating a function needs nothing but the standard library: what a server needs is loaded when an app is built.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from lore._wrapping import Layer
from lore.errors import DecorationError

__all__ = ["EndpointLayer", "Options", "checked"]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Options(NamedTuple):
    """What `lore.endpoint` was given, checked."""

    path: str | None = None
    methods: tuple[str, ...] = ("POST",)
    batch: int | None = None
    timeout_s: float | None = None
    max_concurrency: int | None = None
    max_body_bytes: int = 10_000_000
    auth: Any = None
    warm: tuple[Callable[[], object], ...] = ()


class EndpointLayer(Layer):
    """
    A function marked as an endpoint.

    Attributes:
        settings: the options.
        names: what the hints mean where the function was decorated inside another one and its globals do not say it.
    """

    name = "endpoint"

    def __init__(self, function: Callable[..., Any], settings: Options, caller: types.FrameType) -> None:
        super().__init__(function, _shown(settings))
        self.settings = settings
        self.names = _local_names(function, caller)


def _shown(settings: Options) -> dict[str, Any]:
    """List the options that are not the defaults, without secrets."""
    given = {name: value for name, value in settings._asdict().items() if value != Options._field_defaults[name]}
    if "path" in given:
        given = {"": given.pop("path"), **given}
    if "auth" in given and not callable(given["auth"]):
        given["auth"] = "***"
    return given


def _local_names(function: Callable[..., Any], caller: types.FrameType | None) -> dict[str, Any]:
    """
    Look up the names in a local function's text hints where it is being decorated.

    With `from __future__ import annotations` a hint is text, and a class of the enclosing function is out of reach
    later.
    """
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    if code is None or "<locals>" not in getattr(inner, "__qualname__", ""):
        return {}
    scope = inner.__globals__
    hints = [hint for hint in getattr(inner, "__annotations__", {}).values() if isinstance(hint, str)]
    wanted = {name for hint in hints for name in _names_in(hint) if name not in scope}
    found: dict[str, Any] = {}
    while caller is not None and wanted - set(found):
        found.update({name: caller.f_locals[name] for name in wanted - set(found) if name in caller.f_locals})
        caller = caller.f_back
    return found


def _names_in(hint: str) -> tuple[str, ...]:
    try:
        return compile(hint, "<hint>", "eval").co_names
    except (SyntaxError, ValueError):
        return ()


# -- checking --------------------------------------------------------------------------------------


def checked(**given: Any) -> Options:
    """
    Check the options of `lore.endpoint`.

    Raises:
        DecorationError: naming the option and how it is written.
    """
    return Options(
        path=_path(given["path"]),
        methods=_methods(given["methods"]),
        batch=_count("batch", given["batch"], "64"),
        timeout_s=_seconds(given["timeout_s"]),
        max_concurrency=_count("max_concurrency", given["max_concurrency"], "8"),
        max_body_bytes=_count("max_body_bytes", given["max_body_bytes"], "10_000_000", optional=False) or 0,
        auth=_auth(given["auth"]),
        warm=_warm(given["warm"]),
    )


def _path(path: Any) -> str | None:
    if path is None:
        return None
    if not isinstance(path, str):
        raise _wrong("the path", path, '@lore.endpoint("/delay")')
    if not path.startswith("/"):
        raise DecorationError(f'The path {path!r} must start with a slash: @lore.endpoint("/{path}").')
    if len(path) > 1 and path.endswith("/"):
        raise DecorationError(
            f"The path {path!r} ends with a slash: write {path.rstrip('/')!r}, which answers with and without one."
        )
    if not path.isprintable() or any(sign in path for sign in "?#{}<> %"):
        raise DecorationError(
            f"The path {path!r} holds a sign that no path has. Arguments come in the body or the query string, "
            f"not in the path."
        )
    return path


def _methods(methods: Any) -> tuple[str, ...]:
    right = 'methods=("GET", "POST")'
    if isinstance(methods, str):
        raise DecorationError(f"methods is a tuple of names: methods=({methods.upper()!r},).")
    if not isinstance(methods, list | tuple | set | frozenset) or not methods:
        raise _wrong("methods", methods, right)
    names = tuple(dict.fromkeys(str(method).upper() for method in methods))
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        more = " Lore answers HEAD and OPTIONS itself." if {"HEAD", "OPTIONS"} & set(unknown) else ""
        raise DecorationError(
            f"methods holds {unknown[0]!r}, which is none of {', '.join(METHODS)}.{more} Right: {right}"
        )
    return names


def _count(name: str, value: Any, right: str, optional: bool = True) -> int | None:
    if value is None and optional:
        return None
    if type(value) is not int or value < 1:
        raise _wrong(name, value, f"{name}={right}", "a whole number from 1 on")
    return value


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value < float("inf"):
        raise _wrong("timeout_s", value, "timeout_s=2.5", "a number of seconds above 0")
    return float(value)


def _auth(auth: Any) -> Any:
    if auth is None or callable(auth):
        return auth
    tokens = (
        (auth,) if isinstance(auth, str) else tuple(auth) if isinstance(auth, list | tuple | set | frozenset) else ()
    )
    if not tokens or not all(isinstance(token, str) and token for token in tokens):
        raise DecorationError(
            "auth is a token, several, or a callable on the request's headers: "
            "auth='$API_TOKEN', auth=('one', 'two') or auth=allowed."
        )
    return tokens


def _warm(warm: Any) -> tuple[Callable[[], object], ...]:
    functions = (warm,) if callable(warm) else warm
    if not isinstance(functions, list | tuple) or not all(map(callable, functions)):
        raise _wrong("warm", warm, "warm=(load_model,)", "functions without arguments")
    return tuple(functions)


def _wrong(name: str, value: Any, right: str, what: str = "") -> DecorationError:
    kind = f", not {what}" if what else ""
    return DecorationError(f"lore.endpoint was given {name}={_brief(value)}{kind}. Right: {right}")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
