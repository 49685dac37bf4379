"""Processes, threads, kills, forks and full disks: the right answer each time."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lore
from lore import cache, errors

pytestmark = pytest.mark.stress


class Tally(list[Any]):
    def __lore_fingerprint__(self) -> str:
        return "tally"


LOG = ""


class Log:
    """Counts computations over processes: one byte each in a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __lore_fingerprint__(self) -> str:
        return "log"

    def note(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, b"c")
        os.close(descriptor)

    def count(self) -> int:
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


def run_all(context: Any, count: int, target: Any, *args: Any) -> None:
    processes = [context.Process(target=target, args=args) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * count


@pytest.mark.parametrize("threads", [1, 4])
def test_eight_processes_compute_once(log: Log, tmp_path: Path, threads: int) -> None:
    """Of eight processes, with several threads each, that want one key at once, one computes."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)

    @lore.cached
    def f(x: int) -> list[int]:
        log.note()
        time.sleep(0.3)
        return [x] * 1000

    def work() -> None:
        barrier.wait()
        results: list[Any] = []
        others = [threading.Thread(target=lambda: results.append(f(7))) for _ in range(threads)]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join()
        assert results == [[7] * 1000] * threads
        assert len({id(result) for result in results}) == threads
        info = f.cache_info()
        (tmp_path / f"{os.getpid()}.said").write_text(f"{f.cache_key(7)} {info.misses} {info.stale} {info.errors}")

    run_all(context, 8, work)
    said = sorted(path.read_text() for path in tmp_path.glob("*.said"))
    assert log.count() == 1, said
    assert len({each.split()[0] for each in said}) == 1


def test_claims_that_cross_between_processes(log: Log) -> None:
    """Two processes whose threads wait for each other's results in a cross, which the kernel takes for a deadlock."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)

    @lore.cached
    def f(x: int) -> int:
        log.note()
        time.sleep(0.5)
        return x

    def work(first: int, second: int) -> None:
        results: list[int] = []
        threads = [threading.Thread(target=lambda x=x: results.append(f(x))) for x in (first, second)]
        threads[0].start()
        barrier.wait()
        time.sleep(0.1)
        threads[1].start()
        for thread in threads:
            thread.join()
        assert sorted(results) == [1, 2]

    processes = [context.Process(target=work, args=pair) for pair in ((1, 2), (2, 1))]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert log.count() == 2


def test_eight_threads_compute_once() -> None:
    """Of eight threads that want one key at once, one computes, and each gets an object of its own."""
    calls, results = Tally(), []
    barrier = threading.Barrier(8)

    @lore.cached
    def f(x: int) -> list[int]:
        calls.append(x)
        time.sleep(0.05)
        return [x]

    def work() -> None:
        barrier.wait()
        results.append(f(1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[1]] * 8
    assert len({id(result) for result in results}) == 8
    assert len(calls) == 1
    assert f.cache_info()[:2] == (7, 1)


def test_waiters_compute_when_the_holder_fails() -> None:
    """When the computing thread raises, its exception is its own, and one of the others computes."""
    calls = Tally()
    outcomes: list[Any] = []
    barrier = threading.Barrier(4)

    @lore.cached
    def f(x: int) -> int:
        calls.append(x)
        time.sleep(0.02)
        if len(calls) == 1:
            raise ValueError("first")
        return x

    def work() -> None:
        barrier.wait()
        try:
            outcomes.append(f(1))
        except ValueError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["1", "1", "1", "first"]
    assert len(calls) == 2


KILLED = """
import os, sys, time
import lore
@lore.cached
def f(x):
    descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"c")
    time.sleep(float(sys.argv[2]))
    return bytes(x) * 300_000
result = f(7)
assert result == bytes(7) * 300_000
print(len(result))
"""


def test_a_kill_at_any_moment_leaves_no_harm(tmp_path: Path, own_home: Path) -> None:
    """Whenever the computing process is killed, the one that waits gets the result, and nothing is damaged."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    chance = random.Random(7)

    def start(pause_s: float) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "log"), str(pause_s)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    for _ in range(12):
        first = start(0.02)
        time.sleep(chance.uniform(0.05, 0.5))
        second = start(0.0)
        time.sleep(chance.uniform(0.0, 0.05))
        first.kill()
        first.communicate()
        assert second.communicate(timeout=30)[0] == "2100000\n"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert cache.verify() == []
        cache.clear()


def test_a_forked_child_is_not_bound_by_its_parents_flights(log: Log) -> None:
    """A child that is forked while another thread of its parent computes neither hangs nor holds anything."""
    started = threading.Event()

    @lore.cached
    def slow(x: int) -> int:
        log.note()
        started.set()
        time.sleep(0.5)
        return x

    @lore.cached
    def quick(x: int) -> int:
        return x

    thread = threading.Thread(target=slow, args=(1,))
    thread.start()
    started.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of any fork with threads
        child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            code = 0 if (quick(3), slow(1)) == (3, 1) else 2
        os._exit(code)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert log.count() == 1


def test_a_forked_child_does_not_keep_a_dead_parents_claim(tmp_path: Path) -> None:
    """When the computing process dies and a child that it forked lives on, the claim is free."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time, lore\n"
        "@lore.cached\n"
        "def f(x):\n"
        "    if os.environ.get('FORK'):\n"
        "        if os.fork() == 0:\n"
        "            os.close(1); time.sleep(20); os._exit(0)\n"
        "        print('forked', flush=True)\n"
        "        time.sleep(20)\n"
        "    return x\n"
        "print(f(1))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        env={**environment, "FORK": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "forked\n"
    parent.kill()
    parent.communicate()
    begun = time.monotonic()
    try:
        assert subprocess.check_output([sys.executable, str(script)], env=environment, text=True, timeout=15) == "1\n"
        assert time.monotonic() - begun < 15
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def test_two_versions_of_the_code_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Two states of a function that run at once each find their own results."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    scripts = []
    for factor in (2, 3):
        folder = tmp_path / str(factor)
        folder.mkdir()
        script = folder / "same_name.py"
        script.write_text(
            "import lore, sys\n"
            "def helper(x):\n"
            f"    return x * {factor}\n"
            "@lore.cached\n"
            "def f(x):\n"
            "    return helper(x)\n"
            f"for _ in range(30):\n"
            f"    assert [f(x) for x in range(20)] == [x * {factor} for x in range(20)]\n"
            "print(f.cache_info().misses)\n"
        )
        scripts.append(script)
    workers = [
        subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True)
        for script in scripts * 2
    ]
    misses = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert misses[0] + misses[2] == 20
    assert misses[1] + misses[3] == 20


@contextlib.contextmanager
def largest_file(nbytes: int) -> Iterator[None]:
    """Let the system refuse files beyond a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_a_warning(own_home: Path) -> None:
    """When the system refuses to write, the function answers, nothing half is left, and one warning is given."""
    calls = Tally()

    @lore.cached
    def f(x: int) -> bytes:
        calls.append(x)
        return bytes([x]) * 100_000

    with largest_file(50_000), pytest.warns(errors.LoreWarning, match="could not be written") as given:
        assert [f(x)[:1] for x in (1, 1, 2)] == [b"\x01", b"\x01", b"\x02"]
    assert len(given) == 1
    assert list((own_home / "cache" / "tmp").iterdir()) == list(own_home.rglob("*.lore")) == []
    assert cache.entries() == []
    assert f(1) == f(1)
    assert calls == [1, 1, 2, 1]


def test_a_tiny_file_system_that_fills_up(tmp_path: Path) -> None:
    """On a real file system without room the function answers; where none can be mounted this is skipped."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    try:

        @lore.cached(store=place / "cache")
        def f(x: int) -> bytes:
            return bytes([x]) * 40_000

        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            assert [f(x) for x in range(6)] == [bytes([x]) * 40_000 for x in range(6)]
            assert [f(x) for x in range(6)] == [bytes([x]) * 40_000 for x in range(6)]
        assert len(given) == 1
        assert "No space left on device" in str(given[0].message)
        assert f.cache_info().hits > 0
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_read_only_file_system(tmp_path: Path) -> None:
    """On a real read-only file system what is stored is found and the rest is computed with one warning."""
    place, view = tmp_path / "place", tmp_path / "view"
    place.mkdir(), view.mkdir()

    def f(x: int) -> int:
        return x

    lore.cached(store=place / "cache")(f)(1)
    mounted = subprocess.run(["mount", "--bind", str(place), str(view)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(view)], check=True)
        reading = lore.cached(store=view / "cache")(f)
        assert reading(1) == 1
        assert reading.cache_info()[:4] == (1, 0, 0, 0)
        with pytest.warns(errors.LoreWarning, match="Read-only") as given:
            assert [reading(2), reading(2), lore.cached(store=view / "new")(f)(1)] == [2, 2, 1]
        assert len(given) == 1
    finally:
        subprocess.run(["umount", "-l", str(view)], check=False)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """A store whose place is taken by a file costs a warning."""
    (tmp_path / "taken").write_text("not a folder")

    @lore.cached(store=tmp_path / "taken")
    def f(x: int) -> int:
        return x

    with pytest.warns(errors.LoreWarning):
        assert (f(1), f(1)) == (1, 1)
    assert not f.cache_contains(1)
    assert f.cache_entries() == []


def test_a_disk_that_fails_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever call to the system fails, with whatever error, the answer is right."""

    @lore.cached
    def f(x: int) -> int:
        return x + 1

    names = ("open", "read", "close", "replace", "utime", "stat", "fstat", "makedirs", "scandir")
    for number, name in enumerate(names):
        for code in (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EMFILE):
            real = getattr(os, name)

            def fail(*args: Any, code: int = code, **kwargs: Any) -> Any:
                raise OSError(code, os.strerror(code))

            with monkeypatch.context() as patched, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                patched.setattr(os, name, fail)
                assert f(number) == number + 1
                assert f(number) == number + 1
            assert getattr(os, name) is real
            f.cache_clear()
    assert cache.verify() == []


def test_readers_and_writers_of_one_key() -> None:
    """While results are renewed, dropped and evicted all the time, every read is right."""
    ends = time.monotonic() + 2.0
    mistakes: list[Any] = []

    @lore.cached
    def f(x: int) -> list[int]:
        return [x] * 20_000

    def work(action: Any) -> None:
        try:
            while time.monotonic() < ends:
                action()
        except BaseException as error:
            mistakes.append(error)

    def read() -> None:
        assert f(1) == [1] * 20_000

    actions = [
        read,
        read,
        read,
        lambda: f.cache_refresh(1),
        lambda: f.cache_forget(1),
        lambda: cache.prune(max_bytes=0),
    ]
    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert mistakes == []
