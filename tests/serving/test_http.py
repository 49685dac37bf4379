"""The WSGI core: routes, ids, problems, events and counts, under wsgiref's validator."""

from __future__ import annotations

import gzip
import io
import json
import logging
import zlib
from collections.abc import Iterator
from typing import Any
from wsgiref.validate import validator

import pyarrow as pa
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import Client as PlainClient

import lore
from lore.errors import DecorationError, RequestError

calls: list[Any] = []


class Client(PlainClient):
    """A client that reads to the end and closes, as servers do and the validator demands."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        return super().open(*args, **{"buffered": True, **kwargs})


@lore.endpoint
def add(a: float, b: int = 2) -> float:
    """Add two numbers."""
    calls.append((a, b))
    return a + b


@lore.endpoint("/gr\u00f6\u00dfe", methods=("GET", "PUT", "DELETE"))
def size(x: int = 1) -> int:
    """Give back a number."""
    return x


@lore.endpoint
def fail(kind: str) -> None:
    """Fail in a way."""
    if kind == "request":
        raise RequestError("kind", "not this one")
    if kind == "pointer":
        raise RequestError("/rows/3/a", "too far")
    if kind == "nowhere":
        raise RequestError("", "no")
    raise {"exit": SystemExit, "value": ValueError, "memory": MemoryError, "recursion": RecursionError}[kind]("secret")


@lore.endpoint(max_body_bytes=100)
def small(text: str) -> int:
    """Take a short text."""
    return len(text)


@lore.endpoint
def items(n: int) -> Iterator[int]:
    """Stream numbers."""
    yield from range(n)


APP = lore.serve.app(add, size, fail, small, items)


@pytest.fixture
def client() -> Any:
    """Ask through wsgiref's validator, so that every test is one of WSGI too."""
    calls.clear()
    return Client(validator(APP))


def problem(answer: Any) -> dict[str, Any]:
    assert answer.content_type == "application/problem+json", answer.text
    found: dict[str, Any] = json.loads(answer.text)
    assert found["status"] == answer.status_code
    assert found["type"] == "about:blank"
    assert found["title"]
    assert found["request_id"] == answer.headers["X-Request-ID"]
    return found


def test_curls_default_content_type(client: Any) -> None:
    """What `curl -d` sends is read as JSON with text converted: the promise of the first lore, word for word."""

    @lore.endpoint
    def my_model(feature_1: bool) -> dict[str, str]:
        return {"class": "positive" if feature_1 else "negative"}

    client = Client(validator(lore.serve.app(my_model)))
    body = '{"feature_1": "true"}'
    answer = client.post("/my_model", data=body, content_type="application/x-www-form-urlencoded")
    assert answer.data == b'{"class":"positive"}'
    assert client.post("/my_model", data=body, content_type="application/json").status_code == 422


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=UTF-8", "application/vnd.x+json", None]
)
def test_json_and_no_content_type(client: Any, kind: str | None) -> None:
    """JSON is read under its types, and where there is no content type."""
    assert client.post("/add", data=b'{"a":1}', content_type=kind).json == 3


def test_multipart_forms(client: Any) -> None:
    """A form with parts, as `curl -F` sends it, is text too."""
    answer = client.post(
        "/add", data={"a": "1.5", "b": (io.BytesIO(b"3"), "b.txt")}, content_type="multipart/form-data"
    )
    assert answer.json == 4.5
    answer = client.post("/add", data=b"--x\r\nbroken", content_type="multipart/form-data; boundary=x")
    assert problem(answer)["status"] == 400
    answer = client.post("/add", data=b"--x\r\nbroken", content_type="multipart/form-data")
    assert problem(answer)["status"] == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/add", 405, "OPTIONS, POST"),
        ("HEAD", "/add", 405, "OPTIONS, POST"),
        ("BREW", "/add", 405, "OPTIONS, POST"),
        ("OPTIONS", "/add", 204, "OPTIONS, POST"),
        ("POST", "/gr\u00f6\u00dfe", 405, "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("POST", "/health", 405, "GET, HEAD, OPTIONS"),
        ("GET", "/nothing", 404, None),
        ("GET", "/", 404, None),
        ("POST", "/add/x", 404, None),
        ("GET", "//add", 404, None),
    ],
)
@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_what_is_not_there(client: Any, method: str, path: str, status: int, allow: str | None) -> None:
    """Unknown paths are a 404, unknown methods a 405 with Allow, and OPTIONS answers by itself."""
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.headers.get("Allow") == allow
    assert "X-Request-ID" in answer.headers


def test_a_slash_too_many(client: Any) -> None:
    """A path answers with a slash at its end too."""
    assert client.post("/add/", json={"a": 1}).json == 3
    assert client.get("/health/").status_code == 200


def test_paths_in_any_script(client: Any) -> None:
    """A path may be of any letters; GET, PUT and DELETE are answered, HEAD without a body."""
    assert client.get("/gr\u00f6\u00dfe?x=5").json == 5
    assert client.delete("/gr\u00f6\u00dfe?x=5").json == 5
    assert client.put("/gr\u00f6\u00dfe", json={"x": 6}).json == 6
    head = client.head("/gr\u00f6\u00dfe?x=55")
    assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", "2")


@pytest.mark.parametrize("page", ["/health", "/ready", "/metrics", "/openapi.json", "/docs"])
def test_pages(client: Any, page: str) -> None:
    """The pages answer GET and HEAD."""
    assert client.get(page).status_code == 200
    assert client.head(page).data == b""


# -- ids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["abc-1", "a" * 128, "urn:uuid:1.2~3/4=5@6"])
def test_an_id_is_taken(client: Any, given: str) -> None:
    """A client's request id travels through, also into a problem."""
    assert client.post("/add", json={"a": 1}, headers={"X-Request-ID": given}).headers["X-Request-ID"] == given
    assert problem(client.post("/add", headers={"X-Request-ID": given}))["request_id"] == given


@pytest.mark.parametrize("given", ["", " ", "a b", "a" * 129, "a\tb", "\u00e9", "<script>", 'a"b'])
def test_an_id_that_is_none_is_replaced(client: Any, given: str) -> None:
    """An id that could break a log or a header is replaced by a new one."""
    found = client.post("/add", json={"a": 1}, environ_overrides={"HTTP_X_REQUEST_ID": given}).headers["X-Request-ID"]
    assert found != given
    assert len(found) == 32


def test_new_ids_differ(client: Any) -> None:
    """Every request without an id gets one of its own."""
    assert len({client.get("/health").headers["X-Request-ID"] for _ in range(50)}) == 50


# -- problems ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "pointer", "detail"),
    [("request", "/kind", "not this one"), ("pointer", "/rows/3/a", "too far"), ("nowhere", "", "no")],
)
def test_a_function_may_refuse(client: Any, kind: str, pointer: str, detail: str) -> None:
    """`RequestError` is a 422 of the function's own."""
    found = problem(client.post("/fail", json={"kind": kind}))
    assert (found["status"], found["errors"]) == (422, [{"pointer": pointer, "detail": detail}])


@pytest.mark.parametrize("kind", ["exit", "value", "memory", "recursion"])
def test_a_bug_is_a_500_without_its_message(client: Any, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a function raises, the client learns an id, and the log has the traceback under it, once."""
    with caplog.at_level(logging.ERROR):
        answer = client.post("/fail", json={"kind": kind})
    found = problem(answer)
    assert found["status"] == 500
    assert "secret" not in answer.text
    records = [record for record in caplog.records if record.exc_info]
    assert len(records) == 1
    assert found["request_id"] in records[0].getMessage()
    assert "secret" in str(records[0].exc_info[1])  # type: ignore[index]


def test_a_bug_goes_to_structlog_where_it_is_configured(client: Any) -> None:
    """With structlog configured, the failure and the request are events there."""
    with structlog.testing.capture_logs() as events:
        answer = client.post("/fail", json={"kind": "value"})
    failed, request = events
    assert (failed["event"], failed["log_level"]) == ("request failed", "error")
    assert failed["request"] == request["request"] == answer.headers["X-Request-ID"]
    assert isinstance(failed["exc_info"][1], ValueError)
    assert (request["event"], request["status"], request["path"]) == ("request", 500, "/fail")


def test_one_event_per_request(client: Any) -> None:
    """Each request is one event with what an operator asks for, and nothing of its body or query."""
    with structlog.testing.capture_logs() as events:
        client.post("/add", json={"a": 12345}, headers={"Authorization": "Bearer hidden"})
        client.get("/nothing?token=hidden")
        client.post("/items", json={"n": 3})
    assert [event["event"] for event in events] == ["request"] * 3
    assert [event["status"] for event in events] == [200, 404, 200]
    assert [event["path"] for event in events] == ["/add", "/nothing", "/items"]
    assert events[0]["endpoint"] == "test_http.add"
    assert events[0]["elapsed_s"] >= 0
    assert events[2]["bytes"] == 6
    assert "hidden" not in str(events)
    assert "12345" not in str(events)


def test_requests_are_counted(client: Any) -> None:
    """`/metrics` is Prometheus text that its own parser reads, and counts requests by endpoint and status."""

    def counted() -> dict[tuple[str, str], float]:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return {
            (sample.labels["endpoint"], sample.labels["status"]): sample.value
            for family in families
            for sample in family.samples
            if sample.name == "lore_http_requests_total"
        }

    before = counted()
    client.post("/add", json={"a": 1})
    client.post("/add", json={})
    client.get("/nothing1")
    client.get("/nothing2")
    after = counted()
    grown = {key: value - before.get(key, 0) for key, value in after.items() if value > before.get(key, 0)}
    assert grown.pop(("/metrics", "200")) == 1
    assert grown == {("test_http.add", "200"): 1, ("test_http.add", "422"): 1, ("(none)", "404"): 2}


# -- bodies --------------------------------------------------------------------------------------------------------


def packed(body: bytes, how: str) -> bytes:
    if how == "gzip":
        return gzip.compress(body)
    if how == "gzip twice":
        return gzip.compress(body[:5]) + gzip.compress(body[5:])
    if how == "deflate":
        return zlib.compress(body)
    return pa.compress(body, codec="zstd", asbytes=True)


@pytest.mark.parametrize("how", ["gzip", "gzip twice", "deflate", "zstd"])
def test_packed_bodies(client: Any, how: str) -> None:
    """A compressed body is unpacked, and the limit holds for what comes out."""
    headers = {"Content-Encoding": how.partition(" ")[0]}
    body = packed(b'{"text": "abc"}', how)
    assert client.post("/small", data=body, headers=headers).json == 3
    bomb = packed(b'{"text": "' + b"a" * 5_000_000 + b'"}', how)
    answer = client.post("/add", data=bomb * 1, headers=headers) if len(bomb) > 100 else None
    assert (
        client.post("/small", data=packed(b'{"text": "' + b"a" * 90 + b'"}', how), headers=headers).status_code == 413
    )
    assert answer is None or answer.status_code == 422
    assert client.post("/small", data=body[:-4], headers=headers).status_code == 400
    assert client.post("/small", data=b"nonsense", headers=headers).status_code == 400


def test_an_unknown_packing(client: Any) -> None:
    """A packing that is not read is a 415 that names those that are."""
    answer = client.post("/small", data=b"x", headers={"Content-Encoding": "br"})
    assert problem(answer)["status"] == 415
    assert "gzip" in answer.headers["Accept-Encoding"]


@pytest.mark.parametrize(("length", "status"), [(100, 200), (101, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_body_limit(length: int, status: int, chunked: bool) -> None:
    """A body may be as long as the limit and no longer, whether its length is announced or not."""
    body = b'{"text":"' + b"a" * (length - 11) + b'"}'
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
    if chunked:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    answer = Client(APP).post("/small", environ_overrides=environ, content_length=None if chunked else length)
    assert answer.status_code == status


def test_a_body_that_is_too_long_is_not_read() -> None:
    """A Content-Length over the limit is refused before a byte is read."""

    class Unread:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("it was read")

    answer = Client(APP).post("/small", environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": "1000000000"})
    assert answer.status_code == 413


def test_a_body_that_ends_early() -> None:
    """A client that goes away in the middle of its body is a 400."""
    environ = {"wsgi.input": io.BytesIO(b'{"text"'), "CONTENT_LENGTH": "50"}
    assert Client(APP).post("/small", environ_overrides=environ).status_code == 400


def test_a_body_in_pieces() -> None:
    """A server may hand over fewer bytes than asked for."""

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 1, 3))

    body = b'{"text":"abcdef"}'
    environ = {"wsgi.input": Slow(body), "CONTENT_LENGTH": str(len(body))}
    assert Client(APP).post("/small", environ_overrides=environ).json == 6


# -- apps ----------------------------------------------------------------------------------------------------------


def test_apps_mount_anywhere(client: Any) -> None:
    """An app answers below a prefix inside another WSGI application."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    outer = DispatcherMiddleware(lore.serve.app(size), {"/inner": APP})
    assert Client(outer).post("/inner/add", json={"a": 1}).json == 3
    assert Client(outer).get("/gr\u00f6\u00dfe").json == 1
    assert Client(outer).get("/inner/docs").status_code == 200


def test_two_endpoints_on_one_path() -> None:
    """Two endpoints may share a path by different methods, and clash by the same."""

    @lore.endpoint("/x", methods=("GET",))
    def get() -> str:
        return "get"

    @lore.endpoint("/x", methods=("POST",))
    def post() -> str:
        return "post"

    @lore.endpoint("/x", methods=("PUT", "POST"))
    def clash() -> None: ...

    both = lore.serve.app(get, post).test_client()
    assert (both.get("/x").json, both.post("/x").json) == ("get", "post")
    with pytest.raises(DecorationError, match="Two endpoints answer POST /x"):
        lore.serve.app(get, post, clash)


def test_lores_own_paths_are_taken() -> None:
    """An endpoint cannot take the place of a page, and can where the page is not there."""

    @lore.endpoint("/docs", methods=("GET",))
    def docs() -> str:
        return "mine"

    with pytest.raises(DecorationError, match="/docs is lore's own path"):
        lore.serve.app(docs)
    assert lore.serve.app(docs, docs=False).test_client().get("/docs").json == "mine"
    assert lore.serve.app(docs, docs=False, metrics=False).test_client().get("/metrics").status_code == 404
