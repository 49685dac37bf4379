"""
The WSGI application: from an environ to a response, with an id, a count and an event for every request.

The core is written for speed, since it is what every request pays: a path is a look into a dictionary, and nothing is
allocated that the response does not need.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any

from lore._serving import limits, logs
from lore._serving.access import Guard
from lore._serving.admission import Admission
from lore._serving.answers import EVENTS, NDJSON
from lore._serving.endpoints import Endpoint, Reply
from lore._serving.problems import MEDIA_TYPE, Invalid, Problem, pointer, status_line
from lore._timing.spans import request_event, request_id
from lore.errors import DecorationError, RequestError

__all__ = ["Core", "Page"]

Answer = Callable[[dict[str, Any]], Reply]
Headers = list[tuple[str, str]]

_is_clean_id = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}").fullmatch


_prefix = ""
_count = itertools.count()


def _begin_ids() -> None:
    """Start the request ids of this process: half of one is random, the other half counts."""
    global _prefix, _count
    _prefix, _count = os.urandom(8).hex(), itertools.count()


_begin_ids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_ids)


class Page:
    """
    Something the application answers besides its endpoints: health, metrics, documents.

    Args:
        name: what it is called in metrics.
        answer: makes the reply.
        guard: who may see it.
        headers: further response headers.
    """

    def __init__(
        self,
        name: str,
        answer: Callable[[], Reply],
        guard: Guard | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.name = name
        self._answer = answer
        self._guard = guard
        self.headers = list(headers)

    def answer(self, environ: dict[str, Any]) -> Reply:
        """Answer a request for the page."""
        if self._guard is not None:
            self._guard(environ)
        return self._answer()


class Core:
    """
    Routes requests to endpoints and pages, and turns whatever happens into a response.

    Args:
        endpoints: what is served.
        pages: paths of what stands beside them.
        ready: waits until the process is warm; called before an endpoint is. None: there is nothing to wait for.

    Raises:
        DecorationError: two endpoints share path and method, or one takes the path of a page.
    """

    def __init__(
        self, endpoints: Iterable[Endpoint], pages: dict[str, Page], ready: Callable[[], object] | None
    ) -> None:
        self._routes: dict[str, dict[str, tuple[str, Answer, Headers]]] = {}
        self._pages = pages
        self._admission: Admission | None = None
        self._room = limits.Slots(1)
        self._batched: set[str] = set()
        self._ready = ready
        self._prefixes: dict[int, str] = {200: "200 OK"}
        for endpoint in endpoints:
            self._add(endpoint)
        for path, page in pages.items():
            if _wsgi(path) in self._routes:
                raise DecorationError(f"{path} is lore's own path: give the endpoint another one.")
            entry = (page.name, page.answer, page.headers)
            self._routes[path] = {"GET": entry, "HEAD": entry}

    @property
    def _is_plain(self) -> bool:
        return self._ready is None and self._admission is None

    def admit(self, count: int) -> None:
        """Keep no more than so many requests at or before the endpoints from now on; refuse one more with a 503."""
        self._admission = Admission(count)
        self._room = limits.Slots(count)

    def _add(self, endpoint: Endpoint) -> None:
        methods = self._routes.setdefault(_wsgi(endpoint.path), {})
        for method in endpoint.options.methods:
            if method in methods:
                raise DecorationError(
                    f"Two endpoints answer {method} {endpoint.path}: {methods[method][0]} and {endpoint.name}. "
                    f"Give one of them another path: @lore.endpoint('/other')."
                )
            methods[method] = (endpoint.name, endpoint.answer_for(method), [])
        if endpoint.options.batch is not None:
            self._batched.add(endpoint.name)
        if "GET" in methods:
            methods["HEAD"] = methods["GET"]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        started = perf_counter()
        given = environ.get("HTTP_X_REQUEST_ID")
        own_id = given if given is not None and _is_clean_id(given) else f"{_prefix}{next(_count):016x}"
        token = request_id.set(own_id)
        path = environ.get("PATH_INFO", "")
        method = environ["REQUEST_METHOD"]
        name = "(none)"
        status = 200
        headers: Headers
        try:
            route = self._routes.get(path)
            found = None if route is None else route.get(method)
            if found is None:
                found = self._elsewhere(path, method)
            name, answer, extra = found
            if self._is_plain or name in self._pages:
                content_type, body = answer(environ)
            else:
                content_type, body = self._answer_inside(name, answer, environ)
            headers = [("Content-Type", content_type), ("X-Request-ID", own_id)]
            if extra:
                headers += extra
            if type(body) is not bytes:
                return self._stream(environ, start_response, headers, body, started, name, own_id)
        except BaseException as error:
            problem = self._problem(error, name, own_id)
            status, body = problem.status, problem.document(own_id)
            headers = [("Content-Type", MEDIA_TYPE), ("X-Request-ID", own_id), *problem.headers]
            if status == 204:
                headers, body = [("X-Request-ID", own_id), *problem.headers], b""
        finally:
            request_id.reset(token)
        if status != 204:
            headers.append(("Content-Length", str(len(body))))
        elapsed_s = perf_counter() - started
        request_event(name, status, elapsed_s)
        logs.request(method, path, status, elapsed_s, len(body), own_id, name)
        start_response("200 OK" if status == 200 else status_line(status), headers)
        return [body] if method != "HEAD" else [b""]

    def _answer_inside(self, name: str, answer: Answer, environ: dict[str, Any]) -> Reply:
        """
        Answer an endpoint's request once the process is warm and where there is room.

        Rows that wait for a batch must all be inside, where they wait together: they only count.
        """
        if self._ready is not None:
            self._ready()
        if self._admission is None:
            return answer(environ)
        if name in self._batched:
            self._room.take()
            try:
                return answer(environ)
            finally:
                self._room.give(None)
        entered = self._admission.enter()
        try:
            return answer(environ)
        finally:
            self._admission.leave(entered)

    # -- what is not there -----------------------------------------------------------------------------

    def _elsewhere(self, path: str, method: str) -> tuple[str, Answer, Headers]:
        """Find what answers a path with a slash too many; answer OPTIONS; refuse the rest."""
        route = self._routes.get(path) or self._routes.get(path.rstrip("/") or "/")
        if route is None:
            raise Problem(404, "there is nothing at this path")
        found = route.get(method)
        if found is not None:
            return found
        allow = [("Allow", ", ".join(sorted({*route, "OPTIONS"})))]
        if method == "OPTIONS":
            raise Problem(204, "", headers=allow)
        raise Problem(405, f"this path answers {', '.join(sorted(route))}", headers=allow)

    # -- what went wrong -------------------------------------------------------------------------------

    def _problem(self, error: BaseException, name: str, own_id: str) -> Problem:
        """Say what the client may know of an exception, and log what it may not."""
        if isinstance(error, Problem):
            return error
        if isinstance(error, RequestError):
            where = error.where
            if where and not where.startswith("/"):
                where = pointer([where])
            return Problem.unprocessable([(where, error.why or "not accepted")])
        if isinstance(error, Invalid):
            return Problem.unprocessable([(pointer(error.where), error.why)])
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            raise error
        logs.failure("request failed", error, request=own_id, endpoint=name)
        return Problem(500, "the server failed to answer; its log has the reason under this id")

    # -- streams ---------------------------------------------------------------------------------------

    def _stream(
        self,
        environ: dict[str, Any],
        start_response: Any,
        headers: Headers,
        blocks: Any,
        started: float,
        name: str,
        own_id: str,
    ) -> Iterable[bytes]:
        """Start a response whose blocks come one by one; the first is made before the status is sent."""
        first = next(blocks, None)
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")

        def finished(nbytes: int, error: BaseException | None) -> None:
            elapsed_s = perf_counter() - started
            status = 200 if error is None else 500
            if error is not None:
                logs.failure("request failed while streaming", error, request=own_id, endpoint=name)
            request_event(name, status, elapsed_s)
            logs.request(method, path, status, elapsed_s, nbytes, own_id, name)

        stream = _Stream(first, blocks, own_id, finished, _LAST_WORDS.get(headers[0][1]))
        start_response("200 OK", headers)
        if method == "HEAD":
            stream.close()
            return [b""]
        return stream


_LAST_WORDS = {NDJSON: b"%s\n", EVENTS: b"event: error\ndata: %s\n\n"}
"""How a stream says that it broke, where its format can; not every server breaks the connection."""


class _Stream:
    """
    The blocks of a streamed response.

    However it ends, it is counted once and its source is closed. One that fails says so, where its format can, and then
    raises, so that a server breaks the connection.
    """

    def __init__(
        self,
        first: bytes | None,
        blocks: Any,
        own_id: str,
        finished: Callable[[int, BaseException | None], None],
        last_words: bytes | None,
    ) -> None:
        self._first = first
        self._blocks = blocks
        self._id = own_id
        self._finished: Callable[[int, BaseException | None], None] | None = finished
        self._last_words = last_words
        self._error: BaseException | None = None
        self._nbytes = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block, self._first = self._first, None
        if block is None:
            block = self._pull()
        self._nbytes += len(block)
        return block

    def _pull(self) -> bytes:
        if self._error is not None:
            raise self._error
        token = request_id.set(self._id)
        try:
            return next(self._blocks)  # type: ignore[no-any-return]
        except StopIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            if self._last_words is None or not isinstance(error, Exception):
                raise
            self._error = error
            problem = Problem(500, "the server failed in the middle of this answer; its log has the reason")
            return self._last_words % problem.document(self._id)
        finally:
            request_id.reset(token)

    def close(self) -> None:
        """End the response; the server calls this also where the client went away."""
        self._first = None
        try:
            close = getattr(self._blocks, "close", None)
            if close is not None:
                close()
        finally:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(self._nbytes, error)


def _wsgi(path: str) -> str:
    """Write a path as PATH_INFO holds it: its UTF-8 bytes read as Latin-1."""
    return path.encode().decode("latin-1")
