"""Tracked runs: whole after every line, told from their files alone, comparable."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lore
from lore._timing import runs, spans
from lore.timing import RunNotFound, note, timed


@timed("step of a run")
def step(seconds: float = 0.012) -> None:
    time.sleep(seconds)
    note(auc=0.9, depth=6, kind="forest")


def test_a_run_remembers_everything(own_home: Path) -> None:
    """Parameters, metrics, seeds, versions, spans, tree, cache keys: all stand in the record."""
    with lore.timing.run("all of it", seed=7, month=3, api_key="s3cret") as run:
        step()
        spans.cache_event("m.f", "hit", 2.0, key="ab" * 16, sources=["file data.csv"])
        note(auc=0.95)
    record = lore.timing.record(run)
    assert (record.name, record.status, record.error) == ("all of it", "finished", None)
    assert record.parameters == {"month": 3, "api_key": "***", "depth": 6, "kind": "forest"}
    assert record.metrics == {"auc": 0.95, "depth": 6}
    assert [value for _, value in record.history["auc"]] == [0.9, 0.95]
    assert record.seeds["seed"] == 7
    assert {"numpy", "pandas", "lore"} & set(record.versions) >= {"numpy", "pandas"}
    assert [(span["path"], span["outcome"]) for span in record.spans] == [(["step of a run"], "ok")]
    assert record.spans[0]["notes"] == {"auc": 0.9, "depth": 6, "kind": "forest"}
    assert [(row["path"], row["calls"]) for row in record.tree] == [("step of a run", 1)]
    assert (record.cached[0]["key"], record.cached[0]["sources"]) == ("ab" * 16, ["file data.csv"])
    assert 0.012 <= record.elapsed_s < 5
    assert "s3cret" not in (own_home / "runs" / f"{run.id}.jsonl").read_text()


def test_runs_is_a_frame() -> None:
    """One row a run, oldest first, with the promised columns and types that do not depend on the rows."""
    empty = lore.timing.runs()
    with lore.timing.run("one"):
        note(loss=0.5)
    with pytest.raises(KeyError), lore.timing.run("two"):
        raise KeyError("missing")
    table = lore.timing.runs()
    columns = ["id", "name", "status", "started", "elapsed_s", "commit", "dirty", "parameters", "metrics"]
    assert list(table.columns)[:9] == list(empty.columns)[:9] == columns
    assert list(table["name"]) == ["one", "two"]
    assert list(table["status"]) == ["finished", "failed"]
    assert table["metrics"][0] == {"loss": 0.5}
    assert table["error"][1] == "KeyError: 'missing'"
    assert isinstance(table["started"].dtype, pd.DatetimeTZDtype)
    assert table["started"].is_monotonic_increasing
    assert list(lore.timing.runs("two")["name"]) == ["two"]


def test_statuses_while_it_runs_and_after(own_home: Path) -> None:
    """A run is running inside its block, seen from here and from another process, and finished after."""
    code = "from lore._timing import runs; print(*(run['status'] for run in runs.records()))"

    def elsewhere() -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    with lore.timing.run("watched"):
        assert list(lore.timing.runs()["status"]) == ["running"]
        assert elsewhere() == "running"
    assert list(lore.timing.runs()["status"]) == ["finished"]
    assert elsewhere() == "finished"


KILLED = """
import os, signal, sys, lore
with lore.timing.run("killed", depth=3):
    lore.timing.note(loss=0.25)
    if sys.argv[1] == "fork" and os.fork() == 0:
        signal.pause()
    print("ready", flush=True)
    signal.pause()
"""


def counted_letters(path: str) -> int:
    return len(lore.io.read(path)["text"][0])


def test_runs_and_cached_results_know_each_other(tmp_path: Path) -> None:
    """From a result one finds the run that made it, and from a run the results it used and what they came from."""
    source = tmp_path / "text.csv"
    source.write_text("text\nabc\n")
    letters = lore.cached(counted_letters)
    with lore.timing.run("makes it") as first:
        assert letters(str(source)) == 3
    with lore.timing.run("uses it") as second:
        assert letters(str(source)) == 3
    (entry,) = letters.cache_entries()
    assert entry.run == first.id
    (made,) = lore.timing.record(entry.run).cached
    (used,) = lore.timing.record(second).cached
    assert (made["outcome"], used["outcome"]) == ("miss", "hit")
    assert made["key"] == used["key"] == entry.key
    assert used["sources"] == [f"file {source}"]
    assert f"from file {source}" in str(lore.timing.record(second))


def test_a_killed_run_died() -> None:
    """After kill -9 what was noted is there, and the status says that the process is gone."""
    with subprocess.Popen([sys.executable, "-c", KILLED, "alone"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert list(lore.timing.runs()["status"]) == ["running"]
        process.kill()
        process.wait()
    (row,) = lore.timing.runs().to_dict("records")
    assert (row["status"], row["parameters"], row["metrics"]) == ("died", {"depth": 3}, {"loss": 0.25})
    assert 0 <= row["elapsed_s"] < 10


def test_a_child_does_not_keep_a_dead_run_alive() -> None:
    """A forked child that lives on holds no lock: the run of its dead parent has died."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, "fork"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        process.kill()
        process.wait()
        until = time.monotonic() + 5
        while list(lore.timing.runs()["status"]) != ["died"] and time.monotonic() < until:
            time.sleep(0.02)  # the child is about to let go
        assert list(lore.timing.runs()["status"]) == ["died"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_runs_nest_and_decorate() -> None:
    """A run inside a run knows it; a decorated function opens a run at each call; one object can be used again."""

    @lore.timing.run("decorated", size=2)
    def work() -> str:
        return str(spans.run_id.get())

    with lore.timing.run("outer") as outer:
        with lore.timing.run("inner") as inner:
            assert spans.run_id.get() == inner.id
        assert spans.run_id.get() == outer.id
    assert spans.run_id.get() is None
    first, second = work(), work()
    assert first != second
    assert lore.timing.record(inner).outer == outer.id
    assert list(lore.timing.runs("decorated")["id"]) == [first, second]
    again = lore.timing.run("again")
    for _ in range(2):
        with again:
            pass
    with again, again:
        pass
    assert list(lore.timing.runs("again")["status"]) == ["finished"] * 4
    assert spans.open_runs == {}


def test_a_run_around_a_coroutine_function() -> None:
    """The run ends when the coroutine is done, also where two run at once; generator functions are refused."""

    @lore.timing.run("async run")
    async def work(seconds: float) -> str | None:
        before = spans.run_id.get()
        await asyncio.sleep(seconds)
        assert spans.run_id.get() == before
        return before

    async def main() -> list[str | None]:
        return await asyncio.gather(work(0.03), work(0.01))

    assert sorted(asyncio.run(main()), key=str) == sorted(lore.timing.runs("async run")["id"])
    assert lore.timing.runs("async run")["elapsed_s"].min() >= 0.01
    with pytest.raises(lore.errors.DecorationError, match="generator"):

        @lore.timing.run("never")
        def numbers() -> Iterator[int]:
            yield 1


@pytest.mark.parametrize("name", ["a/b/../c", "Übung 1 \n 数", "x" * 300, "."])
def test_names_may_be_anything(name: str) -> None:
    """Slashes, other scripts, line breaks and great length: names are data, not files."""
    with lore.timing.run(name):
        pass
    assert lore.timing.record(name).name == name


def test_threads_belong_to_the_only_run() -> None:
    """What a pool's thread notes reaches the run of the process."""
    with lore.timing.run("with threads") as run:
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    record = lore.timing.record(run)
    assert record.metrics["auc"] == 0.9
    assert len(record.spans) == 1


def test_values_that_json_does_not_know() -> None:
    """numpy numbers are numbers, arrays and objects stand as text, NaN stays."""
    with lore.timing.run("odd values", grid=np.arange(3), kind={"a", "b"}) as run:
        note(score=np.float64(0.5), count=np.int64(3), nothing=float("nan"), thing=object())
    record = lore.timing.record(run)
    assert record.metrics["score"] == 0.5
    assert record.metrics["count"] == 3
    assert np.isnan(record.metrics["nothing"])
    assert "object" in record.parameters["thing"]
    assert record.parameters["kind"] == ["a", "b"]


def repository(folder: Path) -> None:
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)


def test_git_commit_and_dirty_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clean: a commit and no hash. Changed: a hash that follows the content. Outside a repository: nothing."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(tmp_path)
    assert runs.git()["commit"] is None
    repository(project)
    monkeypatch.chdir(project)
    clean = runs.git()
    assert (len(clean["commit"]), clean["dirty"]) == (40, "")
    (project / "new.py").write_text("x = 1")
    one = runs.git()["dirty"]
    (project / "new.py").write_text("x = 2")
    other = runs.git()["dirty"]
    (project / "new.py").write_text("x = 1")
    assert one
    assert other
    assert one != other
    assert runs.git()["dirty"] == one


def test_seeding_is_repeatable() -> None:
    """The same seed gives the same draws, and the record says that the generators were equal."""
    draws, states = [], []
    for _ in range(2):
        with lore.timing.run("seeded", seed=5) as run:
            draws.append((random.random(), np.random.random()))
        states.append(lore.timing.record(run).seeds)
    assert draws[0] == draws[1]
    assert states[0] == states[1]


def test_compare_tells_what_differs() -> None:
    """Parameters, metrics with their change, status and times; equal things are left out; names and ids both work."""
    for depth in (3, 4):
        with lore.timing.run("compared", trees=depth, month=1):
            step()
            note(loss=1.0 / depth)
    comparison = lore.timing.compare("compared", "compared")
    assert (
        comparison.differences["parameters"] == {"depth": (6, 6)} or "month" not in comparison.differences["parameters"]
    )
    assert comparison.differences["metrics"]["loss"] == (1 / 3, 1 / 4)
    assert comparison.differences["versions"] == {}
    assert "step of a run" in comparison.differences["time"]
    text = str(comparison)
    assert "loss: 0.333333 -> 0.25" in text
    first, second = lore.timing.runs("compared")["id"]
    assert lore.timing.compare(first, second).to_dict() == comparison.to_dict()
    frame = comparison.to_frame()
    assert list(frame.columns) == ["subject", "name", "a", "b", "difference"]
    assert frame.set_index("name")["difference"]["loss"] == pytest.approx(1 / 4 - 1 / 3)


def test_an_unknown_run_is_named() -> None:
    """The error says what was asked for, and which runs there are."""
    with pytest.raises(RunNotFound, match="none yet"):
        lore.timing.record("nightly")
    with lore.timing.run("nightly"):
        pass
    with pytest.raises(LookupError, match=r"'nihgtly'.*nightly"):
        lore.timing.compare("nightly", "nihgtly")


def test_a_thousand_runs_stay_fast(own_home: Path) -> None:
    """A table of a thousand ended runs is read from one file, in a fraction of a second."""
    with lore.timing.run("many"):
        note(loss=0.5)
    folder = own_home / "runs"
    (first,) = [path for path in folder.glob("*.jsonl") if path.name != "index.jsonl"]
    for number in range(1_000):
        name = f"20200101T000000-{number:08x}"
        (folder / f"{name}.jsonl").write_text(first.read_text().replace(first.stem, name))
    assert len(lore.timing.runs()) == 1_001
    began = time.thread_time()
    assert len(lore.timing.runs()) == 1_001
    assert time.thread_time() - began < 0.5


def test_damaged_files_do_not_hide_the_others(own_home: Path) -> None:
    """A line cut short, a foreign file, an empty one: what can be read is shown."""
    with lore.timing.run("whole"):
        pass
    folder = own_home / "runs"
    (folder / "empty.jsonl").write_text("")
    (folder / "foreign.jsonl").write_bytes(b"\xff\xfe{]")
    line = {"what": "started", "at": 1.0, "id": "x", "name": "cut"}
    (folder / "cut.jsonl").write_text(json.dumps(line)[:-5])
    with open(folder / "index.jsonl", "a") as index:
        index.write('{"id": "half')
    assert list(lore.timing.runs()["name"]) == ["whole"]


def test_an_unwritable_home_costs_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block runs, its exceptions pass, and one warning says that there is no record."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LORE_HOME", str(tmp_path / "file" / "home"))
    done: list[Any] = []

    def work() -> None:
        with lore.timing.run("nowhere"):
            note(x=1)
            done.append(1)

    with pytest.warns(lore.errors.LoreWarning, match="cannot be written") as caught:
        work()
    assert done == [1]
    assert len([warning for warning in caught if "run" in str(warning.message)]) == 1
