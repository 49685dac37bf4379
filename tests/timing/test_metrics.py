"""Prometheus exposition: valid text, summed over processes, exact after kill -9, and never going down."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import lore
from lore._timing import metrics, spans
from lore.timing import timed

CHILD = """
import os, sys, time, lore
@lore.timed("shared")
def work(): pass
for _ in range(int(sys.argv[1])): work()
if sys.argv[2] == "stay":
    print("ready", flush=True); sys.stdin.read()
if sys.argv[2] == "killed":
    print("ready", flush=True); time.sleep(60)
"""


Child = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def child() -> Iterator[Child]:
    """Start processes that call `shared` so often and then exit, stay until they are told, or wait to be killed."""
    started: list[subprocess.Popen[str]] = []

    def start(calls: int, end: str = "exit") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(calls), end], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        if end == "exit":
            process.communicate(timeout=30)
        else:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


def value(name: str, **labels: str) -> float:
    """Read one sample out of the exposition, which a real parser has parsed."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(lore.timing.prometheus())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def calls(function: str) -> float:
    return value("lore_timed_seconds_count", function=function)


def eventually(read: Any, wanted: float) -> float:
    """Wait for at most a second until the other process has written."""
    until = time.monotonic() + 1.0
    while read() != wanted and time.monotonic() < until:
        time.sleep(0.01)
    return float(read())


def test_a_histogram_of_every_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets are cumulative, end with +Inf, and count and sum agree with `timing_info`."""
    now = 1_000.0
    monkeypatch.setattr(spans, "clock", lambda: now)

    @timed("histogram of it")
    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    for seconds in (0.001, 0.002, 0.003, 0.012):
        wait(seconds)
    info = wait.timing_info()
    assert calls("histogram of it") == 4
    assert value("lore_timed_seconds_sum", function="histogram of it") == pytest.approx(info.total_s)
    assert value("lore_timed_seconds_bucket", function="histogram of it", le="0.0025") == 2
    assert value("lore_timed_seconds_bucket", function="histogram of it", le="0.01") == 3
    assert value("lore_timed_seconds_bucket", function="histogram of it", le="+Inf") == 4


def test_every_family_is_declared() -> None:
    """HELP and TYPE stand before the samples, in the format that Prometheus expects."""
    spans.cache_event("m.f", "hit", 1.5)
    spans.cache_event("m.f", "miss")
    spans.request_event("POST /delay", 200, 0.002)
    spans.request_event("POST /delay", 500, 0.2)

    @timed("failing metric")
    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        fail()
    families = {family.name: family.type for family in text_string_to_metric_families(lore.timing.prometheus())}
    assert families["lore_timed_seconds"] == "histogram"
    assert (
        families["lore_timed_errors"] == families["lore_cache_requests"] == families["lore_http_requests"] == "counter"
    )
    assert families["lore_http_request_seconds"] == "histogram"
    assert value("lore_timed_errors_total", function="failing metric") == 1
    assert value("lore_cache_requests_total", function="m.f", outcome="hit") == 1
    assert value("lore_cache_saved_seconds_total", function="m.f") == 1.5
    assert value("lore_http_requests_total", endpoint="POST /delay", status="500") == 1


def test_labels_are_escaped() -> None:
    """Quotes, backslashes, newlines and braces in a name arrive as they were."""
    name = 'say "hi"\\ to\n{them} ü'
    with timed(name):
        pass
    assert calls(name) == 1


def test_clearing_does_not_count_down() -> None:
    """`timing_clear` is for people; Prometheus' counters only rise."""

    @timed("cleared")
    def function() -> None: ...

    function()
    assert calls("cleared") == 1
    function.timing_clear()
    function()
    assert calls("cleared") == 2


def test_processes_add_up(child: Child) -> None:
    """Processes that have ended, that live, that were killed: all count, once."""
    child(5)
    living = child(7, "stay")
    killed = child(11, "killed")
    assert eventually(lambda: calls("shared"), 23) == 23
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert calls("shared") == calls("shared") == 23
    living.communicate("", timeout=30)
    assert calls("shared") == 23


def test_a_burst_is_seen_soon(child: Child) -> None:
    """A hundred thousand calls at once, then silence: all of them are seen, though no further call comes."""
    child(100_000, "stay")
    assert eventually(lambda: calls("shared"), 100_000) == 100_000


def test_the_dead_are_archived(own_home: Path, child: Child) -> None:
    """Files of ended processes move into one archive, also when a crash left the archive done and the files there."""
    for _ in range(3):
        child(2)
    folder = own_home / "metrics"
    before = {path.name: path.read_bytes() for path in folder.glob("*.metrics")}
    assert len(before) == 3
    assert calls("shared") == 6
    assert not set(before) & {path.name for path in folder.glob("*.metrics")}
    for name, data in before.items():  # as if the process had died between the archive and the removal
        (folder / name).write_bytes(data)
    assert calls("shared") == 6
    child(2)
    assert calls("shared") == calls("shared") == 8


def test_a_thousand_dead_are_read_fast(own_home: Path, child: Child) -> None:
    """After the first scrape, a scrape does not depend on how many processes there were."""
    child(1)
    folder = own_home / "metrics"
    (sample,) = [path.read_bytes() for path in folder.glob("*.metrics")]
    for number in range(1_000):
        (folder / f"{number}-copy.metrics").write_bytes(sample)
    assert calls("shared") == 1_001
    began = time.thread_time()
    assert calls("shared") == 1_001
    assert time.thread_time() - began < 0.1


@pytest.mark.parametrize("damage", [b"", b"\x01", b"\xff" * 40, b'\x08\0\0\0\x01\0\0\0{"a":1} ' + b"\0" * 8])
def test_damaged_files_are_skipped(own_home: Path, child: Child, damage: bytes) -> None:
    """A truncated or foreign file costs nothing but itself."""
    child(3)
    (own_home / "metrics" / "1-bad.metrics").write_bytes(damage)
    (own_home / "metrics" / "note.txt").write_text("hello")
    assert calls("shared") == 3


def test_an_unwritable_home_costs_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function answers, the process counts for itself, and says once that others will not see it."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LORE_HOME", str(tmp_path / "file" / "home"))
    from lore import _warning

    monkeypatch.setattr(_warning, "_given", set())

    def measure() -> float:
        for _ in range(3):
            with timed("nowhere to write"):
                pass
        return calls("nowhere to write")

    with pytest.warns(lore.errors.LoreWarning, match="metrics cannot be shared") as caught:
        assert measure() == 3
    assert len(caught) == 1


def test_nothing_is_written_where_nothing_was_timed(own_home: Path) -> None:
    """Decorating and asking touch no disk."""
    subprocess.run(
        [sys.executable, "-c", "import lore\n@lore.timed\ndef f(): pass\nf.timing_info()"], check=True, timeout=30
    )
    assert not own_home.exists()


def forked(connection: Any, function: Any) -> None:
    function()
    connection.send((function.timing_info().count, os.getpid()))
    connection.close()
    time.sleep(60)


@pytest.fixture
def in_parent() -> Any:
    @timed("forked over")
    def function() -> None: ...

    return function


def test_a_forked_child_starts_from_zero(in_parent: Any) -> None:
    """What was measured before the fork is told by the parent alone, also what no fold had counted yet."""
    for _ in range(1_000):
        in_parent()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=forked, args=(there, in_parent))
    process.start()
    try:
        count, _ = here.recv()
        assert count == 1
        assert eventually(lambda: calls("forked over"), 1_001) == 1_001
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert calls("forked over") == 1_001
        assert in_parent.timing_info().count == 1_000
    finally:
        process.kill()


@timed("worked in a pool")
def pooled(value: int) -> int:
    return value


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_and_processes_count(method: str) -> None:
    """A pool that is terminated after its work, and a process that ends by itself, lose no call."""
    context: Any = multiprocessing.get_context(method)
    before = calls("worked in a pool")
    with context.Pool(2) as pool:
        assert pool.map(pooled, range(100)) == list(range(100))
    assert calls("worked in a pool") - before == 100
    process = context.Process(target=burst)
    process.start()
    process.join()
    assert calls("worked in a pool") - before == 5_100


def burst() -> None:
    for value in range(5_000):
        pooled(value)


def test_workers_of_joblib_count() -> None:
    """Functions that travel to loky's processes are counted there, and the sum is seen here."""
    joblib = pytest.importorskip("joblib")

    @timed("travelled to loky")
    def work(value: int) -> int:
        return value + 1

    assert joblib.Parallel(n_jobs=2)(joblib.delayed(work)(value) for value in range(40)) == list(range(1, 41))
    assert eventually(lambda: calls("travelled to loky"), 40) == 40


@pytest.mark.stress
def test_counters_never_go_down(child: Child) -> None:
    """While workers come, burst, and are killed, no scrape by any process shows less than the one before."""
    seen = 0.0
    workers = [child(500, "killed") for _ in range(4)]
    for round_ in range(12):
        os.kill(workers[round_ % 4].pid, signal.SIGKILL)
        workers[round_ % 4].wait()
        workers[round_ % 4] = child(500, "killed")
        now = calls("shared")
        assert now >= seen
        seen = now
    assert eventually(lambda: calls("shared"), 16 * 500) == 16 * 500


def test_coarse_buckets_agree_with_fine_ones() -> None:
    """Each limit that Prometheus is told is a bound of the fine histogram, so that its counts are exact."""
    bounds = {f"{bound:.9g}" for bound in metrics.BOUNDS}
    assert {f"{limit:.9g}" for limit in metrics.LIMITS} <= bounds
