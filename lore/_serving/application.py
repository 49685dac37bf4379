"""
The application: endpoints, the pages beside them, and the process's readiness.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lore._extras import require
from lore._serving import docs, logs, openapi
from lore._serving.access import Auth, guard_of
from lore._serving.endpoints import Endpoint
from lore._serving.http import Core, Page
from lore._serving.problems import Problem
from lore._timing.metrics import read_prometheus

if TYPE_CHECKING:
    from werkzeug.test import Client

__all__ = ["App"]

_JSON = "application/json"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class App:
    """
    A WSGI application of endpoints, as `lore.serve.app` makes it.

    It mounts anywhere a WSGI application does, and several live in one process. It pickles by its functions.

    Args:
        functions: the outermost decorated functions.
        make: makes the endpoint of one function; given the application's `auth`.
        title, version: stand in the OpenAPI document.
        auth: what endpoints without their own `auth` ask for, and the documents.
        metrics, docs: whether `/metrics`, and `/docs` with `/openapi.json`, are there.
    """

    def __init__(
        self,
        functions: Sequence[Callable[..., Any]],
        make: Callable[[Callable[..., Any], Auth], Endpoint],
        *,
        title: str | None = None,
        version: str | None = None,
        auth: Auth = None,
        metrics: bool = True,
        docs: bool = True,
    ) -> None:
        self.functions = tuple(functions)
        self.has_docs = docs
        self.title = title or _title_of(self.functions)
        self.version = version or "1"
        self._recipe = (make, {"title": title, "version": version, "auth": auth, "metrics": metrics, "docs": docs})
        self.endpoints = tuple(make(function, auth) for function in self.functions)
        self._readiness = _Readiness(warm for endpoint in self.endpoints for warm in endpoint.options.warm)
        self._core = Core(self.endpoints, self._pages(auth, metrics, docs), self._readiness.waiter())
        self._rendered: dict[str, bytes] = {}
        self._document: dict[str, Any] | None = None
        if docs:
            self.openapi()  # what cannot be described shows now, not at the first visit

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request, as WSGI has it."""
        return self._core(environ, start_response)

    def test_client(self) -> Client:
        """
        Return werkzeug's test client for this application.

        Raises:
            MissingDependencyError: werkzeug is not installed.
        """
        client: Client = require("werkzeug.test", "serve").Client(self)
        return client

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI 3.1 document of the endpoints, as `/openapi.json` serves it."""
        if self._document is None:
            self._document = openapi.document(self.endpoints, self.title, self.version)
        return self._document

    def warm(self) -> None:
        """Run the `warm` functions of the endpoints once in this process, and wait until they are done."""
        self._readiness.warm()

    def admit(self, count: int) -> None:
        """
        Let so many requests into the endpoints at once; one more gets a 503 with Retry-After.

        A server calls this that knows how many threads it has, so that health, readiness and metrics find one free.
        """
        self._core.admit(count)

    @property
    def is_ready(self) -> bool:
        """Whether this process would be sent requests: warm, and not about to stop."""
        return self._readiness.obstacle() is None

    def __repr__(self) -> str:
        paths = ", ".join(endpoint.path for endpoint in self.endpoints)
        return f"<lore application {self.title!r}: {paths}>"

    def __reduce__(self) -> tuple[Any, ...]:
        make, options = self._recipe
        return _rebuild, (self.functions, make, options)

    # -- pages -----------------------------------------------------------------------------------------

    def _pages(self, auth: Auth, metrics: bool, docs: bool) -> dict[str, Page]:
        pages = {
            "/health": Page("/health", lambda: (_JSON, b'{"status":"ok"}')),
            "/ready": Page("/ready", self._ready),
        }
        if metrics:
            pages["/metrics"] = Page("/metrics", lambda: (_METRICS, read_prometheus().encode()))
        if docs:
            guard = guard_of(auth, "lore.serve.app", pages=True)
            pages["/openapi.json"] = Page("/openapi.json", self._openapi_json, guard)
            pages["/docs"] = Page("/docs", self._docs, guard, _DOCS_HEADERS)
        return pages

    def _ready(self) -> tuple[str, bytes]:
        obstacle = self._readiness.obstacle()
        if obstacle is not None:
            raise Problem(503, obstacle, headers=[("Retry-After", "1")])
        return _JSON, b'{"status":"ready"}'

    def _openapi_json(self) -> tuple[str, bytes]:
        if "json" not in self._rendered:
            self._rendered["json"] = openapi.dumps(self.openapi())
        return _JSON, self._rendered["json"]

    def _docs(self) -> tuple[str, bytes]:
        if "docs" not in self._rendered:
            self._rendered["docs"] = docs.render(self.openapi())
        return "text/html; charset=utf-8", self._rendered["docs"]


_DOCS_HEADERS = docs.HEADERS


def _rebuild(functions: Any, make: Any, options: dict[str, Any]) -> App:
    return App(functions, make, **options)


def _title_of(functions: Sequence[Callable[..., Any]]) -> str:
    """Name an application after the module its functions come from."""
    modules = dict.fromkeys(function.__module__ for function in functions)
    if len(modules) != 1:
        return "lore"
    module = next(iter(modules))
    if module == "__main__":
        file = getattr(sys.modules.get("__main__"), "__file__", None)
        return os.path.splitext(os.path.basename(file))[0] if file else "lore"
    return module.rpartition(".")[2]


# -- readiness -------------------------------------------------------------------------------------


class _Readiness:
    """
    Whether this process should be sent requests.

    The `warm` functions run in each process for itself, after a fork and never before one: models that were loaded
    before a fork hang in the child.
    """

    def __init__(self, functions: Iterable[Callable[[], object]]) -> None:
        self._functions = list(dict.fromkeys(functions))
        self._guards_warming = threading.Lock()
        self._warm_in: int | None = None
        self._starting_in: int | None = None
        self._failed = False

    def waiter(self) -> Callable[[], object] | None:
        """Return what an endpoint's request waits on until the process is warm; None if there is nothing to do."""
        return self.warm if self._functions else None

    def warm(self) -> None:
        pid = os.getpid()
        if self._warm_in == pid or not self._functions:
            return
        with self._guards_warming:
            if self._warm_in == pid:
                return
            self._failed = sum(map(_run, self._functions)) < len(self._functions)
            self._warm_in = pid

    def obstacle(self) -> str | None:
        """Say what keeps the process from being ready; start warming where nobody has."""
        if _is_draining():
            return "shutting down"
        if not self._functions:
            return None
        pid = os.getpid()
        if self._warm_in == pid:
            return "warming failed" if self._failed else None
        if self._starting_in != pid:
            self._starting_in = pid
            threading.Thread(target=self.warm, name="lore-warm", daemon=True).start()
        return "warming"


def _run(function: Callable[[], Any]) -> bool:
    import inspect

    from lore._serving.limits import in_loop

    try:
        result = function()
        if inspect.iscoroutine(result):
            in_loop(result)
    except BaseException as error:
        logs.failure("warming failed", error, function=getattr(function, "__qualname__", repr(function)))
        return False
    return True


def _is_draining() -> bool:
    servers = sys.modules.get("lore._serving.servers")
    return bool(servers is not None and servers.is_draining())
