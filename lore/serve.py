"""
Serving: functions become HTTP endpoints, and endpoints a WSGI application.

>>> import lore
>>> @lore.endpoint
... def delay(distance: float, hour: int = 12) -> dict[str, float]:
...     return {"minutes": distance / 100 + hour}
>>> client = lore.serve.app(delay).test_client()
>>> client.post("/delay", json={"distance": 700.0}).json
{'minutes': 19.0}

In production, `python -m lore.serve module:app` or any WSGI server: `gunicorn module:app`.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from lore._serving.options import EndpointLayer, checked
from lore._wrapping import decorate, find, finish, front, kind_of, layers
from lore.errors import DecorationError

if TYPE_CHECKING:
    from lore._serving.application import App

__all__ = ["app", "endpoint", "main"]

F = TypeVar("F", bound=Callable[..., Any])
Auth = str | Iterable[str] | Callable[[Mapping[str, str]], object] | None

_RIGHT = "@lore.endpoint(timeout_s=2.0)"


@overload
def endpoint(path: F, /) -> F: ...
@overload
def endpoint(
    path: str | None = None,
    *,
    methods: Sequence[str] = ("POST",),
    batch: int | None = None,
    timeout_s: float | None = None,
    max_concurrency: int | None = None,
    max_body_bytes: int = 10_000_000,
    auth: Auth = None,
    warm: Sequence[Callable[[], object]] | Callable[[], object] = (),
) -> Callable[[F], F]: ...
@front("@lore.endpoint", '@lore.endpoint("/path", methods=("POST",))', _RIGHT)
def endpoint(
    path: Any = None,
    *,
    methods: Any = ("POST",),
    batch: int | None = None,
    timeout_s: float | None = None,
    max_concurrency: int | None = None,
    max_body_bytes: int = 10_000_000,
    auth: Auth = None,
    warm: Any = (),
) -> Any:
    """
    Mark a function as an HTTP endpoint; called from Python it stays what it is.

    Its parameters are the fields of a request, its hints say what they must be, and what it returns is the answer. A
    request that does not fit never reaches it: the client gets a problem document (RFC 9457) that points at the
    field. The function may raise `lore.errors.RequestError(where, why)` to refuse a request itself; any other
    exception becomes a 500 with an id, and the log has its traceback under that id.

    Args:
        path: where it answers; the default is a slash and the function's name.
        methods: the HTTP methods it answers. GET and DELETE take the arguments from the query string, as text.
        batch: the function is written for many rows, and each request sends one: requests that wait at the same moment
            are answered by one call with up to so many rows. Each parameter is a DataFrame, an array or a list; the
            function returns one answer per row. None: one call per request.
        timeout_s: seconds after which a client gets a 504. Python cannot stop a thread: the call goes on, and counts
            against `max_concurrency` (64 where none is given) until it ends; coroutines are cancelled. None: no limit.
        max_concurrency: calls at once in one process; one more gets a 503 with Retry-After. None: no limit.
        max_body_bytes: the longest body, before and after unpacking; a longer one gets a 413.
        auth: a bearer token, several, `"$NAME"` for one in the environment, or a callable on the request's headers that
            says whether they will do. None: the application's `auth`.
        warm: functions without arguments that run in each worker before it is ready, such as one that loads a model.

    Raises:
        DecorationError: a wrong option, or a target that is no function. Hints are looked at when an app is built.

    Threads: servers call the function from several threads at once, unless `batch` or `max_concurrency=1` is given.
    """
    options = checked(
        path=None if callable(path) or isinstance(path, classmethod | staticmethod) else path,
        methods=methods,
        batch=batch,
        timeout_s=timeout_s,
        max_concurrency=max_concurrency,
        max_body_bytes=max_body_bytes,
        auth=auth,
        warm=warm,
    )
    caller = sys._getframe(2)  # the user's frame, above `front`

    def decorator(target: Any) -> Any:
        return decorate(target, lambda function: _wrapped(function, EndpointLayer(function, options, caller)), _RIGHT)

    return decorator if path is None or isinstance(path, str) else decorator(path)


def _wrapped(function: Callable[..., Any], layer: EndpointLayer) -> Callable[..., Any]:
    """Make a function of the same kind that does nothing but call: the layer on it is what counts."""
    return finish(_WRAPPERS[kind_of(function)](function), layer)


def _sync(function: Callable[..., Any]) -> Callable[..., Any]:
    def endpoint(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return endpoint


def _async(function: Callable[..., Any]) -> Callable[..., Any]:
    async def endpoint(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return endpoint


def _generator(function: Callable[..., Any]) -> Callable[..., Any]:
    def endpoint(*args: Any, **kwargs: Any) -> Any:
        return (yield from function(*args, **kwargs))

    return endpoint


def _async_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    async def endpoint(*args: Any, **kwargs: Any) -> Any:
        items = function(*args, **kwargs)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    return endpoint


_WRAPPERS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "sync": _sync,
    "async": _async,
    "generator": _generator,
    "async_generator": _async_generator,
    "foreign": _sync,
}


def app(
    *functions: Callable[..., Any] | types.ModuleType,
    title: str | None = None,
    version: str | None = None,
    auth: Auth = None,
    metrics: bool = True,
    docs: bool = True,
) -> App:
    """
    Make a WSGI application of endpoints.

    Beside them it answers `/health` (the process is there), `/ready` (it is warm and not about to stop), `/metrics`
    (Prometheus), `/openapi.json` and `/docs`.

    Args:
        functions: decorated functions, in any order of decorators, or modules: all endpoints in them.
        title: what the OpenAPI document calls it; the default is the module's name.
        version: the version of the API in that document; the default is "1".
        auth: as for `endpoint`: what endpoints without their own ask for, and `/docs` and `/openapi.json`. Health,
            readiness and metrics stay open.
        metrics: whether `/metrics` is there.
        docs: whether `/docs` and `/openapi.json` are there.

    Returns:
        A WSGI callable with `.test_client()` (werkzeug's) and `.openapi()` (the document as a dictionary).

    Raises:
        DecorationError: a function that is no endpoint, hints that cannot be resolved or that no request can carry,
            or two endpoints with the same path and method.
        MissingDependencyError: msgspec is not installed.
    """
    from lore._serving.application import App

    chosen = [function for one in functions for function in _endpoints_of(one)]
    return App(
        list(dict.fromkeys(chosen)),
        _endpoint,
        title=title,
        version=version,
        auth=auth,
        metrics=metrics,
        docs=docs,
    )


def _endpoints_of(one: Any) -> list[Callable[..., Any]]:
    if isinstance(one, types.ModuleType):
        found = _endpoints_in(one)
        if not found:
            raise DecorationError(
                f"The module {one.__name__} has no endpoints: decorate its functions with @lore.endpoint."
            )
        return found
    if find(one, EndpointLayer) is None:
        name = getattr(one, "__qualname__", None) or repr(one)
        raise DecorationError(
            f"lore.serve.app takes endpoints and modules, and {name} is neither: decorate it with @lore.endpoint."
        )
    return [one]


def _endpoints_in(module: types.ModuleType) -> list[Callable[..., Any]]:
    """List a module's endpoints; of one that stands there under several layers, the outermost."""
    outermost: dict[str, Callable[..., Any]] = {}
    for value in list(vars(module).values()):
        layer = find(value, EndpointLayer) if callable(value) else None
        if layer is None:
            continue
        known = outermost.get(layer.token)
        if known is None or len(layers(value)) > len(layers(known)):
            outermost[layer.token] = value
    return list(outermost.values())


def _endpoint(function: Callable[..., Any], auth: Auth) -> Any:
    """Make the endpoint of a function; the outermost is called, and its `lore.endpoint` layer says how."""
    from lore._serving.endpoints import Endpoint

    layer = find(function, EndpointLayer)
    assert layer is not None
    return Endpoint(function, layer.settings, layer.names, auth)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Serve from the command line: `python -m lore.serve module:app`.

    Args:
        arguments: what stands on the command line; None reads `sys.argv`.

    Returns:
        The exit status: 0 after an orderly end, 1 where the application could not be loaded, 2 for a wrong command
        line.
    """
    from lore._serving import servers

    return servers.main(arguments)


if __name__ == "__main__":
    # `python -m` runs this file a second time under another name: the work belongs to the one that others import
    from lore.serve import main as serve_main

    sys.exit(serve_main())
