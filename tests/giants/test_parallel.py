"""joblib, dask and ray run decorated functions as their tasks; the shared store makes them work together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SEARCHES = {"joblib": "joblib", "dask": "distributed", "ray": "ray"}
every_engine = pytest.mark.parametrize("engine", SEARCHES)


def search(engine: str) -> Path:
    pytest.importorskip(SEARCHES[engine], reason=f"needs {engine}")
    return EXAMPLES / "parallel" / f"{engine}_search.py"


def computed(log: Path) -> list[tuple[int, int]]:
    """List the pairs that were computed, in order, also those computed twice."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(depth), int(leaf)) for _, depth, leaf, _ in map(str.split, lines)]


@every_engine
def test_a_search_is_computed_once(
    engine: str, run: Callable[..., str], environment: dict[str, str], tmp_path: Path
) -> None:
    """A fan-out computes each parameter set once, and a second run of the script computes nothing."""
    environment["SEARCH_LOG"] = str(tmp_path / "log")
    first = run(search(engine), "12")
    second = run(search(engine), "12")
    assert first.splitlines()[0] == second.splitlines()[0]
    assert sorted(computed(tmp_path / "log")) == sorted({(2 + i % 10, 1 + i // 10) for i in range(12)})


@pytest.mark.parametrize("engine", ["joblib", "dask"])
def test_an_interrupted_search_goes_on(
    engine: str, run: Callable[..., str], environment: dict[str, str], tmp_path: Path
) -> None:
    """A fan-out over 100 parameter sets, killed in the middle, resumes without repeating what was finished."""
    log = tmp_path / "log"
    environment["SEARCH_LOG"] = str(log)
    process = subprocess.Popen(
        [sys.executable, str(search(engine)), "100"],
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(computed(log)) < 30 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    begun = len(computed(log))
    assert 30 <= begun < 100
    assert run(search(engine), "100").startswith("100 forests")
    # what was begun and not finished when the processes died, one per worker at most, is computed again
    again = len(computed(log)) - 100
    assert len(set(computed(log))) == 100
    assert 0 <= again <= 2


ONE_CALL = """
import os, sys, time
from joblib import Parallel, delayed
import lore

STORE = os.environ.get("STORE") or None

@lore.cached(store=STORE)
def slow(x):
    with open("log", "a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(1)
    return x * 2

if __name__ == "__main__":
    print(Parallel(n_jobs=8)(delayed(slow)(21) for _ in range(16)))
"""


@pytest.mark.parametrize("store", ["", "s3://lore-bucket/results"], ids=["folder", "s3"])
def test_many_workers_ask_and_one_computes(
    store: str, run: Callable[..., str], environment: dict[str, str], tmp_path: Path
) -> None:
    """Eight processes ask for the same call of a function of `__main__` and one computes it, in a folder and on S3."""
    script = tmp_path / "script.py"
    script.write_text(ONE_CALL)
    if store:
        pytest.importorskip("s3fs")
        server_module = pytest.importorskip("moto.server", reason="needs moto[server]")
        import boto3

        server = server_module.ThreadedMotoServer(port=0)
        server.start()
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        credentials = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        environment.update(credentials, AWS_ENDPOINT_URL=endpoint, STORE=store)
        boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        ).create_bucket(Bucket="lore-bucket")
    try:
        assert run(script).strip() == str([42] * 16)
    finally:
        if store:
            server.stop()
    assert len((tmp_path / "log").read_text().splitlines()) == 1


KILLED = """
import os, time
import lore

@lore.cached
def slow(x):
    with open("log", "a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(1.5)
    return x * 2

print(slow(21))
"""


def test_a_killed_worker_leaves_the_call_to_another(environment: dict[str, str], tmp_path: Path) -> None:
    """When the computing process is killed one of those that wait computes, and the others get its result."""
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    processes = [
        subprocess.Popen(
            [sys.executable, str(script)],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(4)
    ]
    log = tmp_path / "log"
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.7)
    victim = int(log.read_text().split()[0])
    os.kill(victim, signal.SIGKILL)
    outputs = {process.pid: process.communicate(timeout=60)[0].strip() for process in processes}
    assert [outputs[pid] for pid in outputs if pid != victim] == ["42"] * 3
    assert len(log.read_text().split()) == 2
