"""Progress: drawn for people, from the last runs, and nowhere else."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lore
from lore._timing import progress, spans
from lore._timing.progress import Screen, Watch
from lore.timing import timed


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    drawn = Screen(io.StringIO())
    monkeypatch.setattr(progress, "screen", drawn)
    monkeypatch.setattr(progress, "LONG_S", 0.05)
    monkeypatch.setattr(progress, "_EVERY_S", 0.01)
    yield drawn
    while drawn.thread is not None:
        time.sleep(0.01)


def shown(screen: Screen) -> str:
    assert isinstance(screen.stream, io.StringIO)
    return screen.stream.getvalue()


def test_a_line_says_how_far() -> None:
    """Elapsed, expected and left, from the last runs."""
    watch = Watch("features", 100.0)
    line = watch.line(watch.began_s + 25)
    assert line == "features  █████░░░░░░░░░░░░░░░  0:25 of about 1:40, 1:15 left"
    assert watch.line(watch.began_s + 130).endswith("2:10 of about 1:40, 0:30 longer than usual")
    assert Watch("fresh").line(spans.clock() + 4000).endswith("1:06:40")


def test_steps_tell_better_than_the_past() -> None:
    """Where steps are known, they tell how long it takes."""
    watch = Watch("epochs", None, total=10)
    watch.step(4)
    assert watch.line(watch.began_s + 8).endswith("4/10  ████████░░░░░░░░░░░░  0:08 of about 0:20, 0:12 left")


def test_nothing_is_drawn_off_the_terminal(capfd: pytest.CaptureFixture[str], screen: Screen) -> None:
    """In logs and CI a long call draws nothing."""
    with timed("long but unseen"):
        time.sleep(0.1)
    assert list(lore.timing.track(range(3))) == [0, 1, 2]
    assert shown(screen) == ""
    assert capfd.readouterr() == ("", "")


def test_a_long_call_is_drawn_and_erased(screen: Screen) -> None:
    """With progress=True a line appears after a while, and is gone in the end."""

    @timed("drawn", progress=True)
    def long() -> None:
        time.sleep(0.15)

    long()
    long()
    assert "drawn" in shown(screen)
    assert shown(screen).endswith("\r\x1b[K")
    assert long.timing_info().count == 2


def test_the_last_runs_are_remembered(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The median of the last five, kept for other processes; a damaged file is as good as none."""
    for value in (100.0, 1.0, 2.0, 3.0, 4.0, 50.0):
        progress.remember("kept", value)
    assert progress.expected_s("kept") == 3.0
    monkeypatch.setattr(progress, "_histories", {})
    assert progress.expected_s("kept") == 3.0
    (file,) = (own_home / "progress").iterdir()
    file.write_text("{")
    monkeypatch.setattr(progress, "_histories", {})
    assert progress.expected_s("kept") is None


def test_a_loop_steps(screen: Screen) -> None:
    """`track` yields everything and says how far it is."""
    for _ in lore.timing.track([1, 2, 3, 4], name="rows", progress=True):
        time.sleep(0.04)
    assert re.search(r"rows  [1-4]/4", shown(screen))


def test_joblib_tasks_step(screen: Screen) -> None:
    """Finished tasks of a joblib loop count, and joblib is as before afterwards."""
    joblib = pytest.importorskip("joblib")
    original = joblib.Parallel.print_progress
    with lore.timing.joblib_progress(5, progress=True) as watch:
        joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(time.sleep)(0.02) for _ in range(5))
    assert watch.done == 5  # type: ignore[attr-defined]
    assert joblib.Parallel.print_progress is original


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_draw_for_its_parent(screen: Screen) -> None:
    """Forked while a line is being drawn, a child can time and show its own, and the parent goes on."""

    @timed("drawn across forks", progress=True)
    def long(seconds: float) -> None:
        time.sleep(seconds)

    @timed("forking", progress=True)
    def forking() -> list[int]:
        codes = []
        for _ in range(8):
            time.sleep(0.02)
            child = os.fork()
            if child == 0:
                screen.stream = io.StringIO()
                long(0.001)
                os._exit(len(screen.watches))
            codes.append(os.waitpid(child, 0)[1])
        return codes

    assert forking() == [0] * 8
    assert "forking" in shown(screen)


TERMINAL = """
import time, lore
from lore._timing import progress
progress.LONG_S = 0.1
progress._EVERY_S = 0.02
@lore.timed
def slow(): time.sleep(0.5)
@lore.timed
def quick(): pass
quick(); slow(); quick()
print("count", slow.timing_info().count, quick.timing_info().count)
"""


@pytest.mark.parametrize("ci", ["", "true"])
def test_on_a_terminal(ci: str) -> None:
    """On a real terminal a call that takes long shows itself, without being asked to; in CI it does not."""
    main, other = pty.openpty()
    environment = {**os.environ, "CI": ci, "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL], stderr=other, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        out, _ = process.communicate(timeout=30)
    os.close(other)
    seen = b""
    while True:
        try:
            read = os.read(main, 4096)
        except OSError:
            break
        if not read:
            break
        seen += read
    os.close(main)
    assert out == "count 1 2\n"
    assert (b"slow" in seen) is (not ci)
    assert b"quick" not in seen
    assert not seen or seen.endswith(b"\r\x1b[K")


@pytest.mark.slow
@pytest.mark.giants
def test_keras_epochs_are_noted(screen: Screen) -> None:
    """The callback notes the metrics of every epoch in the run."""
    keras = pytest.importorskip("keras")
    import numpy as np

    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with lore.timing.run("epochs") as run:
        model.fit(
            np.zeros((8, 2)), np.zeros(8), epochs=3, verbose=0, callbacks=[lore.timing.keras_progress(progress=True)]
        )
    record = lore.timing.record(run)
    assert [value for _, value in record.history["epoch"]] == [1, 2, 3]
    assert len(record.history["loss"]) == 3
