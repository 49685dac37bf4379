"""Limits: slots, time, the line in front of the endpoints, tokens."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import lore
from lore._serving.admission import Admission
from lore._serving.problems import Problem
from lore.errors import DecorationError


def wait_until(true: Any, within_s: float = 5.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_one_more_than_max_concurrency_is_refused() -> None:
    """With all slots taken a request gets a 503 with Retry-After at once, and is served when one is free."""
    entered, go = threading.Event(), threading.Event()

    @lore.endpoint(max_concurrency=1)
    def f(wait: bool) -> str:
        if wait:
            entered.set()
            go.wait(10)
        return "done"

    app = lore.serve.app(f)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: app.test_client().post("/f", json={"wait": True}))
        entered.wait(10)
        second = app.test_client().post("/f", json={"wait": False})
        assert (second.status_code, second.headers["Retry-After"]) == (503, "1")
        assert second.content_type == "application/problem+json"
        assert app.test_client().get("/health").status_code == 200
        go.set()
        assert first.result().json == "done"
    assert app.test_client().post("/f", json={"wait": False}).json == "done"


def test_a_failing_call_gives_its_slot_back() -> None:
    """A slot is free after an exception and after a wrong request."""

    @lore.endpoint(max_concurrency=1)
    def f(x: int) -> float:
        return 1 / x

    client = lore.serve.app(f).test_client()
    for _ in range(3):
        assert client.post("/f", json={"x": 0}).status_code == 500
        assert client.post("/f", json={"x": "a"}).status_code == 422
    assert client.post("/f", json={"x": 1}).json == 1


def test_a_timeout_is_a_504_and_the_slot_stays_counted() -> None:
    """The client hears in time; the call goes on and holds its slot until it ends."""
    go, ended = threading.Event(), threading.Event()

    @lore.endpoint(timeout_s=0.05, max_concurrency=1)
    def f(wait: bool) -> str:
        if wait:
            go.wait(10)
            ended.set()
        return "done"

    client = lore.serve.app(f).test_client()
    started = time.monotonic()
    assert client.post("/f", json={"wait": True}).status_code == 504
    assert time.monotonic() - started < 2
    assert client.post("/f", json={"wait": False}).status_code == 503
    go.set()
    ended.wait(10)
    wait_until(lambda: client.post("/f", json={"wait": False}).status_code == 200)


def test_calls_that_never_end_cannot_pile_up() -> None:
    """Without max_concurrency a time limit still bounds how many calls hang."""
    go = threading.Event()

    @lore.endpoint(timeout_s=0.001)
    def f() -> None:
        go.wait(20)

    client = lore.serve.app(f).test_client()
    statuses = [client.post("/f").status_code for _ in range(70)]
    go.set()
    assert statuses == [504] * 64 + [503] * 6


def test_under_a_time_limit_results_errors_and_context_are_the_same() -> None:
    """A call in a thread of its own returns, raises and sees the request's id like any other."""
    from lore._timing.spans import request_id

    @lore.endpoint(timeout_s=5)
    def f(x: int) -> Any:
        return {"id": request_id.get(), "inverse": 1 / x}

    client = lore.serve.app(f).test_client()
    answer = client.post("/f", json={"x": 2}, headers={"X-Request-ID": "me"})
    assert answer.json == {"id": "me", "inverse": 0.5}
    assert client.post("/f", json={"x": 0}).status_code == 500


def test_what_fails_after_its_time_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody waits for any more is in the log."""
    go = threading.Event()

    @lore.endpoint(timeout_s=0.01)
    def f() -> None:
        go.wait(10)
        raise ValueError("too late")

    assert lore.serve.app(f).test_client().post("/f").status_code == 504
    go.set()
    wait_until(lambda: any("timed out" in record.getMessage() for record in caplog.records))


def test_a_coroutine_that_takes_too_long_is_cancelled() -> None:
    """A coroutine is really stopped, and its slot is free when it has ended."""
    cancelled = []

    @lore.endpoint(timeout_s=0.05, max_concurrency=1)
    async def f(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise
        return "done"

    client = lore.serve.app(f).test_client()
    assert client.post("/f", json={"seconds": 10}).status_code == 504
    wait_until(lambda: cancelled)
    wait_until(lambda: client.post("/f", json={"seconds": 0}).status_code == 200)


def test_a_coroutines_own_timeout_is_its_own() -> None:
    """A TimeoutError that the function raises is a 500, not the server's 504."""

    @lore.endpoint(timeout_s=5)
    async def f() -> None:
        raise TimeoutError("mine")

    assert lore.serve.app(f).test_client().post("/f").status_code == 500


# -- the line ------------------------------------------------------------------------------------------------------


def test_a_few_run_some_wait_the_rest_are_refused() -> None:
    """So many run at once, so many wait, and one more is refused."""
    admission = Admission(most=3, running=1)
    first = admission.enter()
    outcomes: list[Any] = []

    def enter() -> None:
        admission._service_s = 0.0
        entered = admission.enter()
        outcomes.append("in")
        admission.leave(entered)

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(admission._waiting) == 2 or outcomes)
    if not outcomes:
        with pytest.raises(Problem, match="503"):
            admission.enter()
    admission.leave(first)
    for thread in threads:
        thread.join(10)
    assert outcomes == ["in", "in"]


def test_where_requests_sleep_more_are_let_in() -> None:
    """Requests that do not compute do not make others wait: twenty sleep at once after a moment."""

    @lore.endpoint
    def f() -> None:
        time.sleep(0.3)

    app = lore.serve.app(f)
    app.admit(64)
    started = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda _: app.test_client().post("/f").status_code, range(32)))
    assert statuses == [200] * 32
    assert time.monotonic() - started < 2.0


def test_pages_pass_the_line() -> None:
    """Health, readiness and metrics answer when the endpoints are full."""
    entered, go = threading.Event(), threading.Event()

    @lore.endpoint
    def f() -> None:
        entered.set()
        go.wait(10)

    app = lore.serve.app(f)
    app.admit(1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: app.test_client().post("/f"))
        entered.wait(10)
        assert app.test_client().post("/f").status_code == 503
        assert [app.test_client().get(page).status_code for page in ("/health", "/ready", "/metrics")] == [200] * 3
        go.set()
        assert first.result().status_code == 200


# -- tokens --------------------------------------------------------------------------------------------------------


def guarded(auth: Any, **more: Any) -> Any:
    @lore.endpoint(auth=auth, **more)
    def f() -> str:
        return "in"

    return lore.serve.app(f).test_client()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer one", 200),
        ("bearer two", 200),
        ("Bearer  one ", 200),
        ("Bearer three", 401),
        ("Bearer ", 401),
        ("Bearer", 401),
        ("one", 401),
        ("", 401),
        ("Basic " + base64.b64encode(b":one").decode(), 401),
        ("Bearer on\u00e9", 401),
        ("Bearer one, Bearer two", 401),
    ],
)
def test_tokens(header: str, status: int) -> None:
    """A known bearer token lets in; anything else is a 401 that says which scheme there is."""
    answer = guarded(("one", "two")).post("/f", headers={"Authorization": header})
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "one" not in answer.text


def test_a_callable_decides() -> None:
    """A callable sees the headers by name in any case; false and nothing are a 401, an exception is a 500."""

    def allowed(headers: Any) -> bool:
        assert "Authorization" not in headers
        assert headers.get("authorization") is None
        assert dict(headers)["X-Key"] == headers["x-key"]
        return bool(headers["x-key"] == "yes")

    client = guarded(allowed)
    assert client.post("/f", headers={"X-Key": "yes"}).status_code == 200
    assert client.post("/f", headers={"X-Key": "no"}).status_code == 401
    assert client.post("/f").status_code == 500


def test_a_token_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`"$NAME"` is read when the app is built, and must be set."""
    monkeypatch.setenv("API_TOKEN", "abc")
    assert guarded("$API_TOKEN").post("/f", headers={"Authorization": "Bearer abc"}).status_code == 200
    monkeypatch.delenv("API_TOKEN")
    with pytest.raises(DecorationError, match="API_TOKEN"):
        guarded("$API_TOKEN")


def test_the_apps_token_guards_all_but_health_readiness_and_metrics() -> None:
    """An app's `auth` holds for endpoints without their own and for the documents."""

    @lore.endpoint
    def f() -> str:
        return "in"

    @lore.endpoint(auth="own")
    def g() -> str:
        return "in"

    client = lore.serve.app(f, g, auth="app").test_client()
    assert [client.get(page).status_code for page in ("/health", "/ready", "/metrics")] == [200, 200, 200]
    assert [client.get(page).status_code for page in ("/docs", "/openapi.json")] == [401, 401]

    def status(path: str, token: str) -> int:
        return int(client.post(path, headers={"Authorization": f"Bearer {token}"}).status_code)

    assert (status("/f", "app"), status("/f", "own"), status("/g", "own"), status("/g", "app")) == (200, 401, 200, 401)
    password = base64.b64encode(b"me:app").decode()
    assert client.get("/docs", headers={"Authorization": f"Basic {password}"}).status_code == 200


def test_tokens_are_not_shown() -> None:
    """No repr of a layer shows a token."""

    @lore.endpoint(auth="secret-token")
    def f() -> None: ...

    assert "secret-token" not in repr(lore.layers(f))


def test_a_refusal_comes_before_the_body_is_read() -> None:
    """Without a token not even a wrong body is looked at."""
    assert guarded("one").post("/f", data=b"{", content_type="application/json").status_code == 401


# -- warming -------------------------------------------------------------------------------------------------------


def test_warm_functions_run_once_and_before_the_first_request() -> None:
    """Readiness is false while warming, and a request waits for it."""
    ran: list[str] = []
    go = threading.Event()

    def load() -> None:
        go.wait(10)
        ran.append("load")

    @lore.endpoint(warm=(load,))
    def f() -> list[str]:
        return ran

    @lore.endpoint(warm=load)
    def g() -> list[str]:
        return ran

    client = lore.serve.app(f, g).test_client()
    answer = client.get("/ready")
    assert (answer.status_code, json.loads(answer.text)["detail"]) == (503, "warming")
    assert client.get("/health").status_code == 200
    go.set()
    assert client.post("/f").json == ["load"]
    wait_until(lambda: client.get("/ready").status_code == 200)
    assert client.post("/g").json == ["load"]


def test_a_warm_function_that_fails_keeps_the_process_unready(caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged, readiness stays false, and requests are answered as well as can be."""

    def load() -> None:
        raise OSError("no model")

    @lore.endpoint(warm=load)
    def f() -> int:
        return 1

    app = lore.serve.app(f)
    app.warm()
    assert not app.is_ready
    assert app.test_client().get("/ready").status_code == 503
    assert app.test_client().post("/f").json == 1
    assert "warming failed" in caplog.text


def test_warm_coroutines_run_on_the_loop() -> None:
    """A warm function may be a coroutine function."""
    ran = []

    async def load() -> None:
        ran.append(asyncio.get_running_loop())

    @lore.endpoint(warm=[load])
    async def f() -> bool:
        return ran == [asyncio.get_running_loop()]

    assert lore.serve.app(f).test_client().post("/f").json is True
