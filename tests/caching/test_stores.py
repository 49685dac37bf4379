"""What every store promises, and what each promises beyond that."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import lore
from lore import cache, errors
from lore._caching import opening
from lore._caching.remote import LayeredStore, RemoteStore
from lore._caching.stores import Claim, FolderStore, Store, prune

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Start a server that speaks S3 and give the URL of an empty bucket."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    import fsspec.config

    server = server_module.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    before = dict(os.environ)
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    fsspec.config.conf["s3"] = {"endpoint_url": endpoint}
    import s3fs

    s3fs.S3FileSystem().mkdir("lore-test")
    yield "s3://lore-test"
    fsspec.config.conf.pop("s3")
    os.environ.clear()
    os.environ.update(before)
    server.stop()


@pytest.fixture(params=["folder", "memory", "file", "s3", "layered"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Every kind of store, empty."""
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    if request.param == "memory":
        return RemoteStore(f"memory://{tmp_path.name}", lease_s=0.3)
    if request.param == "file":
        return RemoteStore(f"file://{tmp_path}/store", lease_s=0.3)
    url = f"{request.getfixturevalue('s3')}/{tmp_path.name}-{time.time_ns()}"
    far = RemoteStore(url, lease_s=0.6)
    return far if request.param == "s3" else LayeredStore(FolderStore(tmp_path / "near"), far)


def content(store: Store, name: str) -> bytes | None:
    data = store.open(name)
    return None if data is None else bytes(data)


def test_a_store_is_a_store(store: Store) -> None:
    """Every store satisfies the protocol and shows its URL."""
    assert isinstance(store, Store)
    assert "://" in store.url


def test_what_is_saved_is_found(store: Store) -> None:
    """Saved bytes come back, small and large, and are replaced as a whole."""
    assert content(store, f"f.g/{KEY}") is None
    for data in (b"", b"small", b"large" * 100_000, b"small again"):
        assert store.save(f"f.g/{KEY}", lambda file, data=data: file.write(data)) == len(data)  # type: ignore[misc]
        if data or not isinstance(store, FolderStore | LayeredStore):
            assert content(store, f"f.g/{KEY}") == data


def test_delete_tells_whether_there_was_something(store: Store) -> None:
    """An entry is removed once."""
    store.save(f"f.g/{KEY}", lambda file: file.write(b"x"))
    assert (store.delete(f"f.g/{KEY}"), store.delete(f"f.g/{KEY}")) == (True, False)
    assert content(store, f"f.g/{KEY}") is None


def test_scan_lists_names_and_sizes(store: Store) -> None:
    """Everything is listed, or what is in one folder; claims and temporary files are not."""
    assert list(store.scan()) == list(store.scan("f.g")) == []
    for name in (f"f.g/{KEY}", f"f.h/{KEY}", "f.g/code-1"):
        store.save(name, lambda file: file.write(b"123"))
    claim = store.claim(f"f.g/{KEY}")
    claim.acquire()
    assert sorted((item.name, item.nbytes) for item in store.scan()) == [
        (f"f.g/{KEY}", 3),
        ("f.g/code-1", 3),
        (f"f.h/{KEY}", 3),
    ]
    assert sorted(item.name for item in store.scan("f.g")) == [f"f.g/{KEY}", "f.g/code-1"]
    assert all(abs(item.used_s - time.time()) < 60 for item in store.scan())
    claim.release()


def test_a_save_that_fails_leaves_the_old_entry(store: Store) -> None:
    """When writing fails nothing is replaced and nothing left behind."""
    store.save(f"f.g/{KEY}", lambda file: file.write(b"old"))

    def fail(file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        store.save(f"f.g/{KEY}", fail)
    assert content(store, f"f.g/{KEY}") == b"old"
    assert len(list(store.scan())) == 1


def test_stores_pickle(store: Store) -> None:
    """A store travels to other processes and finds the same entries there."""
    store.save(f"f.g/{KEY}", lambda file: file.write(b"x"))
    copy = pickle.loads(pickle.dumps(store))
    assert content(copy, f"f.g/{KEY}") == b"x"
    assert copy.url == store.url


def test_prune_removes_the_oldest_first(store: Store) -> None:
    """`prune` keeps the bytes asked for."""
    for number in range(4):
        store.save(f"f.g/{number:032x}", lambda file: file.write(bytes(1000)))
        if not isinstance(store, FolderStore):
            time.sleep(0.02)
    assert prune(store, 2_000, None) == 2
    assert len(list(store.scan())) == 2
    assert prune(store, None, 3600) == 0


def test_one_of_many_gets_the_claim_of_a_remote_name(store: Store) -> None:
    """Of many threads that ask a remote store for one claim at once, one gets it."""
    if isinstance(store, FolderStore):
        pytest.skip("between threads a folder's claims do not hold: flights do that")
    if isinstance(store, RemoteStore) and store.protocol == "file":
        pytest.skip("fsspec's local file system has no conditional writes; lore uses a FolderStore there")
    claims = [store.claim(f"f.g/{KEY}") for _ in range(8)]
    barrier = threading.Barrier(8)
    got: list[Claim] = []

    def take(claim: Claim) -> None:
        barrier.wait()
        if claim.try_acquire():
            got.append(claim)

    threads = [threading.Thread(target=take, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert not store.claim(f"f.g/{KEY}").try_acquire()
    got[0].release()
    again = store.claim(f"f.g/{KEY}")
    assert again.try_acquire()
    again.release()


@pytest.mark.parametrize("store", ["memory", "s3"], indirect=True)
def test_a_lease_outlives_its_time_only_while_its_holder_lives(store: RemoteStore) -> None:
    """A holder that beats keeps the claim; one that died loses it after the lease."""
    holder, waiter = store.claim(f"f.g/{KEY}"), store.claim(f"f.g/{KEY}")
    holder.acquire()
    until = time.monotonic() + 2.5 * store.lease_s
    while time.monotonic() < until:
        assert not waiter.try_acquire()
        time.sleep(0.05)
    # the heart of a killed process stops
    holder._store = SimpleNamespace(lease_s=1e6, replace=lambda *args: None)  # type: ignore[attr-defined]
    begun = time.monotonic()
    waiter.acquire()
    assert 0.3 * store.lease_s < time.monotonic() - begun < 4 * store.lease_s + 1
    late = store.claim(f"f.g/{KEY}")
    assert not late.try_acquire()
    waiter.release()
    late.acquire()
    late.release()


# --- folders --------------------------------------------------------------------------------------------------------


HOLD = """
import sys, time
from lore._caching.stores import FolderStore
claim = FolderStore(sys.argv[1]).claim(sys.argv[2])
claim.acquire()
print("held", flush=True)
time.sleep(60)
"""


def holder_of(path: Path, name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), name], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_claim_holds_between_processes_and_ends_with_its_holder(tmp_path: Path) -> None:
    """Another process waits for a claim until its holder is killed; other names are free."""
    store = FolderStore(tmp_path)
    process = holder_of(tmp_path, f"f.g/{KEY}")
    claim = store.claim(f"f.g/{KEY}")
    assert not claim.try_acquire()
    other = store.claim(f"f.g/{KEY[::-1]}")
    assert other.try_acquire()
    other.release()
    process.kill()
    claim.acquire()
    claim.release()
    process.communicate()


def test_claims_leave_one_file(tmp_path: Path) -> None:
    """However many names are claimed, there is one lock file."""
    store = FolderStore(tmp_path / "s")
    for number in range(100):
        claim = store.claim(f"f.g/{number:032x}")
        claim.acquire()
        claim.release()
    assert os.listdir(tmp_path / "s") == [".lock"]


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """Who removes the whole folder under a running process loses entries and nothing else."""
    import shutil

    store = FolderStore(tmp_path / "s")
    store.save(f"f.g/{KEY}", lambda file: file.write(b"x"))
    store.claim(f"f.g/{KEY}").acquire()
    shutil.rmtree(tmp_path / "s")
    assert store.open(f"f.g/{KEY}") is None
    store.claim(f"f.g/{KEY}").acquire()
    store.save(f"f.g/{KEY}", lambda file: file.write(b"y"))
    assert content(store, f"f.g/{KEY}") == b"y"
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            HOLD.replace("acquire()", "try_acquire() or print('taken', flush=True)").replace("60", "0"),
            str(tmp_path / "s"),
            f"f.g/{KEY}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.startswith("taken")


def test_left_overs_of_killed_writers_are_removed(tmp_path: Path) -> None:
    """Temporary files that are an hour old go with the first save; young ones may still be written to."""
    store = FolderStore(tmp_path)
    (tmp_path / "tmp").mkdir()
    old, young = tmp_path / "tmp" / "1-a", tmp_path / "tmp" / "1-b"
    old.touch(), young.touch()
    os.utime(old, (0, 0))
    store.save(f"f.g/{KEY}", lambda file: file.write(b"x"))
    assert (old.exists(), young.exists()) == (False, True)


def test_a_folder_says_that_it_is_a_cache(tmp_path: Path) -> None:
    """Backups and git pass a cache by."""
    FolderStore(tmp_path / "s").save(f"f.g/{KEY}", lambda file: file.write(b"x"))
    assert (tmp_path / "s" / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    assert (tmp_path / "s" / ".gitignore").read_text() == "*\n"


def test_large_entries_are_mapped_privately(tmp_path: Path) -> None:
    """Who writes into what `open` returned changes no file, and keeps it when the file is replaced."""
    store = FolderStore(tmp_path)
    for size in (200_000, 6_000_000):
        store.save(f"f.g/{KEY}", lambda file, size=size: file.write(b"a" * size))  # type: ignore[misc]
        mapped = store.open(f"f.g/{KEY}")
        assert mapped is not None
        memoryview(mapped)[0:3] = b"xyz"
        assert content(store, f"f.g/{KEY}") == b"a" * size
    store.save(f"f.g/{KEY}", lambda file: file.write(b"b"))
    assert mapped[:4] == b"xyza"


def test_uses_cost_one_system_call_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of use is written down late, once for many uses, and before it is needed."""
    store = FolderStore(tmp_path)
    for number in range(3):
        store.save(f"f.g/{number:032x}", lambda file: file.write(bytes(1000)))
    touched: list[str] = []
    utime = os.utime
    monkeypatch.setattr(os, "utime", lambda path, *args, **kwargs: (touched.append(path), utime(path, *args, **kwargs)))
    for _ in range(50):
        store.used(f"f.g/{0:032x}")
    assert touched == []
    assert prune(store, 1_000, None) == 2
    assert [item.name for item in store.scan()] == [f"f.g/{0:032x}"]
    assert len(touched) == 1


def test_a_use_in_the_future_is_no_privilege(tmp_path: Path) -> None:
    """An entry used before the clock was set back is not kept for ever."""
    store = FolderStore(tmp_path)
    for number in range(2):
        store.save(f"f.g/{number:032x}", lambda file: file.write(bytes(1000)))
    ahead = time.time() + 1e6
    os.utime(store.path_of(f"f.g/{0:032x}"), (ahead, ahead))
    now = time.time() + 5
    os.utime(store.path_of(f"f.g/{1:032x}"), (now, now))
    assert prune(store, None, 1e5) == 0
    assert prune(store, 1_000, None) == 1


def test_an_entry_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    """What would not fit alone is refused, and evicts nothing."""
    store = FolderStore(tmp_path, max_bytes=5_000)
    store.save(f"f.g/{KEY}", lambda file: file.write(bytes(1000)))
    with pytest.raises(OSError, match="more than the whole store") as caught:
        store.save(f"f.g/{KEY[::-1]}", lambda file: file.write(bytes(6000)))
    assert caught.value.errno == errno.EFBIG
    assert [item.name for item in store.scan()] == [f"f.g/{KEY}"]


def fill(path: str, first: int, most: Any) -> None:
    store = FolderStore(path, max_bytes=100_000)
    for number in range(first, first + 40):
        store.save(f"f.g/{number:032x}", lambda file: file.write(bytes(5000)))
        size = sum(item.nbytes for item in store.scan())
        with most.get_lock():
            most.value = max(most.value, size)


@pytest.mark.stress
def test_many_processes_keep_one_limit(tmp_path: Path) -> None:
    """Processes that fill one folder at once stay within its limit, but for the entries just being written."""
    context = multiprocessing.get_context("fork")
    most = context.Value("q", 0)
    processes = [context.Process(target=fill, args=(str(tmp_path), 1000 * i, most)) for i in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert most.value <= 100_000 + 4 * 5_000
    assert sum(item.nbytes for item in FolderStore(tmp_path).scan()) <= 100_000


def test_age_is_enforced(tmp_path: Path) -> None:
    """With max_age_s what was not used for so long goes with a later save."""
    FolderStore(tmp_path).save(f"f.g/{KEY}", lambda file: file.write(b"x"))
    os.utime(FolderStore(tmp_path).path_of(f"f.g/{KEY}"), (1, 1))
    FolderStore(tmp_path, max_age_s=60).save(f"f.g/{KEY[::-1]}", lambda file: file.write(b"x"))
    assert [item.name for item in FolderStore(tmp_path).scan()] == [f"f.g/{KEY[::-1]}"]


# --- cached over remote stores --------------------------------------------------------------------------------------


class Tally(list[Any]):
    def __lore_fingerprint__(self) -> str:
        return "tally"


def test_cached_over_s3(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result stored on S3 is found by another machine, a second hit costs no network, a Ref loads it anywhere."""
    calls = Tally()
    url = f"{s3}/{tmp_path.name}"

    def f(x: int) -> dict[str, int]:
        calls.append(x)
        return {"x": x}

    one = lore.cached(store=url)(f)
    assert one(1) == one(1) == {"x": 1}
    ref = one.cache_ref(1)
    monkeypatch.setenv("LORE_HOME", str(tmp_path / "another machine"))
    opening._stores.clear()
    other = lore.cached(store=url)(f)
    assert other(1) == {"x": 1}
    assert cache.Ref(str(ref)).load() == {"x": 1}
    far = opening.opened(url).far  # type: ignore[attr-defined]
    monkeypatch.setattr(far, "_fs", None)
    assert other(1) == {"x": 1}
    assert calls == [1]
    monkeypatch.undo()
    assert other.cache_info().entries == 1
    assert other.cache_clear() == 1


def test_a_renewed_result_is_fetched(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy at hand that went stale gives way to the result that another machine computed since."""
    calls = Tally()
    url = f"{s3}/{tmp_path.name}"
    path = tmp_path / "in.txt"
    path.write_text("one")

    def f() -> str:
        calls.append(1)
        cache.depends_on(path)
        return path.read_text()

    machines = []
    for number in range(2):
        monkeypatch.setenv("LORE_HOME", str(tmp_path / f"machine {number}"))
        opening._stores.clear()
        machines.append(lore.cached(store=url)(f))
        assert machines[-1]() == "one"
    path.write_text("other")
    assert [machine() for machine in machines] == ["other", "other"]
    assert len(calls) == 2


WORK = """
import sys, time, lore
@lore.cached(store=sys.argv[1])
def f(x):
    with open(sys.argv[2], "a") as log: log.write("c")
    time.sleep(0.5)
    return x
print(f(1))
"""


@pytest.mark.stress
def test_one_machine_of_many_computes(s3: str, tmp_path: Path) -> None:
    """Of several processes with homes of their own that share a bucket, one computes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = tmp_path / "work.py"
    script.write_text(
        f"import fsspec.config\nfsspec.config.conf['s3'] = {{'endpoint_url': {os.environ['AWS_ENDPOINT_URL']!r}}}\n{WORK}"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, str(script), f"{s3}/{tmp_path.name}", str(tmp_path / "log")],
            env={**environment, "LORE_HOME": str(tmp_path / f"home{i}")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(4)
    ]
    assert [worker.communicate(timeout=60)[0] for worker in workers] == ["1\n"] * 4
    assert (tmp_path / "log").read_text() == "c"


def test_coroutine_functions_over_s3(s3: str, tmp_path: Path) -> None:
    """An async function over a slow store computes once and leaves the loop free."""
    import asyncio

    calls = Tally()

    @lore.cached(store=f"{s3}/{tmp_path.name}")
    async def f(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0.01)
        return x

    async def main() -> list[int]:
        return await asyncio.gather(*(f(1) for _ in range(6)))

    assert asyncio.run(main()) == [1] * 6
    assert len(calls) == 1


def test_a_bucket_that_is_not_there_costs_a_warning(s3: str) -> None:
    """A remote store that cannot be written takes no result away."""

    @lore.cached(store="s3://no-such-bucket/prefix")
    def f(x: int) -> int:
        return x

    with pytest.warns(errors.LoreWarning):
        assert f(1) == 1


def test_unknown_file_systems_are_named() -> None:
    """A URL of no known kind is a StoreError."""
    with pytest.raises(errors.StoreError, match="nowhere"):
        cache.use("nowhere://bucket")
