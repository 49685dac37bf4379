"""
How far a long call should be, judging by its last runs: one line on stderr while it runs, for people who sit in front.

On a terminal or in a notebook only; in logs and CI nothing is written. The durations of the last runs of whatever takes
two seconds or more are kept under `home()/progress`, wherever it ran.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from statistics import median
from typing import Any, TextIO, TypeVar

from lore import _warning
from lore._home import home
from lore._timing import spans
from lore._timing.spans import Node

T = TypeVar("T")

LONG_S = 2.0
"""Calls from this long on are remembered, and shown after so long."""

_KEPT = 5
_EVERY_S = 0.25


class Watch:
    """
    One call or loop in progress.

    Attributes:
        expected_s: what its last runs took; None where there were none.
        total, done: steps, where it has steps.
    """

    def __init__(self, title: str, expected_s: float | None = None, total: int | None = None) -> None:
        self.title = title
        self.expected_s = expected_s
        self.total = total
        self.done = 0
        self.began_s = spans.clock()

    def step(self, count: int = 1) -> None:
        """Say that steps are done."""
        self.done += count

    def line(self, now_s: float) -> str:
        """Say in one line how far it should be."""
        elapsed_s = now_s - self.began_s
        name = self.title.rpartition("<locals>.")[2]
        if self.total and self.done:
            expected_s: float | None = elapsed_s * self.total / self.done
        else:
            expected_s = self.expected_s
        steps = f"  {self.done}/{self.total}" if self.total else f"  {self.done}" if self.done else ""
        if expected_s is None:
            return f"{name}{steps}  {_clock(elapsed_s)}"
        share = min(1.0, elapsed_s / expected_s) if expected_s else 1.0
        bar = "█" * int(share * 20) + "░" * (20 - int(share * 20))
        left_s = expected_s - elapsed_s
        rest = f"{_clock(left_s)} left" if left_s >= 0 else f"{_clock(-left_s)} longer than usual"
        return f"{name}{steps}  {bar}  {_clock(elapsed_s)} of about {_clock(expected_s)}, {rest}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Screen:
    """
    The line on stderr, and the thread that draws it while there is something to watch.

    Args:
        stream: where to draw; stderr as it is at that moment by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self.watches: list[Watch] = []
        self.changing = threading.Lock()
        self.thread: threading.Thread | None = None
        self.is_drawn = False

    def add(self, watch: Watch) -> Watch:
        with self.changing:
            self.watches.append(watch)
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name="lore-progress", daemon=True)
                self.thread.start()
        return watch

    def remove(self, watch: Watch) -> None:
        with self.changing:
            if watch in self.watches:
                self.watches.remove(watch)
            self._erase()

    def draw(self, now_s: float) -> None:
        """Draw the innermost of what has been running for long."""
        with self.changing:
            long = [watch for watch in self.watches if now_s - watch.began_s >= LONG_S]
            if not long:
                return
            outer = f"{long[0].line(now_s)}" + (f"  ›  {long[-1].line(now_s)}" if len(long) > 1 else "")
            columns = shutil.get_terminal_size((100, 40)).columns
            self._write(f"\r\x1b[K{outer[: columns - 1]}")
            self.is_drawn = True

    def _erase(self) -> None:
        if self.is_drawn:
            self._write("\r\x1b[K")
            self.is_drawn = False

    def _write(self, text: str) -> None:
        stream = self.stream or sys.stderr
        with contextlib.suppress(Exception):
            stream.write(text)
            stream.flush()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(_EVERY_S)
            with self.changing:
                if not self.watches:
                    self.thread = None
                    return
            self.draw(spans.clock())


screen = Screen()
_running: list[tuple[Node, Watch]] = []
_ending = threading.Lock()
_histories: dict[tuple[Path, str], list[float]] = {}
_quick: set[str] = set()


def after_fork() -> None:
    """Leave the line to the parent: its thread, which may have held the lock, is not here."""
    global _ending
    _ending = threading.Lock()
    _running.clear()
    screen.watches.clear()
    screen.changing = threading.Lock()
    screen.thread, screen.is_drawn = None, False


def begins(node: Node, is_forced: bool = False) -> bool:
    """
    Watch a call that begins; tell whether the next call of this node is to be told too.

    A function is watched for its first call, and further on if that took long or its last runs did.
    """
    if node.title in _quick and not is_forced:
        return False
    _running.append((node, screen.add(Watch(node.title, expected_s(node.title)))))
    return True


def ended(node: Node, elapsed_s: float, outcome: str) -> None:
    """Stop watching a call, and remember how long it took if it was long."""
    watch = _taken(node)
    if watch is not None:
        screen.remove(watch)
    if elapsed_s < LONG_S:
        _quick.add(node.title)
    elif outcome == "ok":
        remember(node.title, elapsed_s)


def _taken(node: Node) -> Watch | None:
    """Take the latest watch of a node out of those that run."""
    with _ending:
        for at in range(len(_running) - 1, -1, -1):
            if _running[at][0] is node:
                return _running.pop(at)[1]
    return None


def expected_s(title: str) -> float | None:
    """Return what the last runs took, the median of five; None where there were none."""
    known = _history(title)
    return median(known) if known else None


def remember(title: str, elapsed_s: float) -> None:
    """Keep one more duration for the runs to come; a home that cannot be written costs one warning."""
    known = _history(title)
    known.append(round(elapsed_s, 3))
    del known[:-_KEPT]
    _quick.discard(title)
    path = _path(title)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unready = path.with_suffix(f".{os.getpid()}")
        unready.write_text(json.dumps({"title": title, "elapsed_s": known}))
        os.replace(unready, path)
    except OSError as error:
        _warning.warn(f"durations cannot be kept for progress lines: {error}", once="progress.write")


def _history(title: str) -> list[float]:
    key = (home(), title)
    if key not in _histories:
        try:
            kept = json.loads(_path(title).read_text())
            _histories[key] = [float(value) for value in kept["elapsed_s"]]
        except (OSError, ValueError, KeyError, TypeError):
            _histories[key] = []
    return _histories[key]


def _path(title: str) -> Path:
    return home() / "progress" / f"{hashlib.blake2b(title.encode(), digest_size=12).hexdigest()}.json"


# --- loops ------------------------------------------------------------------------------------------------------------


def is_shown(progress: bool | None = None) -> bool:
    """Tell whether progress is to be drawn: as told, else where somebody sits in front."""
    return spans.is_somebody_watching() if progress is None else progress


@contextlib.contextmanager
def shown(title: str, total: int | None = None, progress: bool | None = None) -> Iterator[Watch]:
    """
    Show a block in progress, such as a query or a store, where somebody sits in front.

    The block says how far it is by `watch.step()`; without steps its last runs tell.
    """
    watch = Watch(title, None if total else expected_s(title), total)
    is_drawn = is_shown(progress)
    if is_drawn:
        screen.add(watch)
    try:
        yield watch
    finally:
        screen.remove(watch)
    elapsed_s = spans.clock() - watch.began_s
    if elapsed_s >= LONG_S:
        remember(title, elapsed_s)


def tracked(items: Iterable[T], title: str, total: int | None = None, progress: bool | None = None) -> Iterator[T]:
    """See `lore.timing.track`."""
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    with shown(title, total, progress) as watch:
        for item in items:
            yield item
            watch.step()


@contextlib.contextmanager
def joblib_loop(title: str, total: int | None = None, progress: bool | None = None) -> Iterator[Watch]:
    """See `lore.timing.joblib_progress`."""
    from lore._extras import require

    parallel = require("joblib", extra="sklearn").Parallel
    original = parallel.print_progress

    with shown(title, total, progress) as watch:

        def print_progress(self: Any) -> Any:
            watch.done = self.n_completed_tasks
            return original(self)

        parallel.print_progress = print_progress
        try:
            yield watch
        finally:
            parallel.print_progress = original


def keras_callback(progress: bool | None = None) -> Any:
    """See `lore.timing.keras_progress`."""
    from lore._extras import require

    callback = require("keras", extra="keras").callbacks.Callback

    class Epochs(callback):  # type: ignore[misc, valid-type]
        """Shows epochs and notes what Keras measures after each."""

        def on_train_begin(self, logs: Any = None) -> None:
            self.block = shown("epochs", self.params.get("epochs"), progress)
            self.watch = self.block.__enter__()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.watch.step()
            spans.note({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})

        def on_train_end(self, logs: Any = None) -> None:
            self.block.__exit__(None, None, None)

    return Epochs()
