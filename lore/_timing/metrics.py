"""
Prometheus exposition, summed over the processes that share a home.

Every process keeps a small binary file under `home()/metrics` and holds a lock on it for as long as it lives; the
kernel lets go of the lock when the process dies, however it dies. A scrape adds up its own numbers, the files of the
living and one archive, into which it moves the files of the dead first: a scrape stays fast after thousands of workers,
and no counter ever goes down. What has been written counts, also after `kill -9`.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from lore import _warning
from lore._home import home
from lore._timing.quantiles import BOUNDS

try:
    import fcntl
except ImportError:  # pragma: no cover  (Windows: nobody is ever taken for dead)
    fcntl = None  # type: ignore[assignment]

Labels = tuple[tuple[str, str], ...]
Totals = dict[tuple[str, Labels], list[float]]

LIMITS = (
    1e-6, 1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0,
    50.0, 100.0, 250.0, 500.0, 1000.0,
)  # fmt: skip
"""The upper bounds of the histograms' buckets, in seconds; each is also a bound of `quantiles.BOUNDS`."""

HISTOGRAMS = {
    "lore_timed_seconds": "How long calls of timed functions took.",
    "lore_http_request_seconds": "How long requests took to answer.",
}
COUNTERS = {
    "lore_timed_errors_total": "Calls of timed functions that ended with an exception.",
    "lore_cache_requests_total": "Calls of cached functions: hit, miss, stale or error.",
    "lore_cache_saved_seconds_total": "Seconds of computing that hits spared.",
    "lore_http_requests_total": "Requests answered.",
    "lore_overhead_seconds_total": "Seconds that lore itself has cost.",
}

_FRESH_S, _LAG_S = 0.12, 0.05

MANY_FILES = 64
"""A process that finds more files than this when it starts its own moves the dead ones to the archive."""

_series: dict[tuple[str, Labels], Series] = {}
_changed: list[Series] = []
_writing = threading.Lock()
before_reading: list[Callable[[], object]] = []
"""Called at the start of a scrape: whoever holds numbers back hands them in."""


class Series:
    """
    One counter or histogram with its labels, in this process.

    `values` is `[total]` for a counter, `[sum, bucket, bucket, ...]` (not cumulative) for a histogram.

    Threads: change `values` only while holding the lock of whoever counts, and call `changed` afterwards.
    """

    __slots__ = ("is_changed", "key", "offset", "values")

    def __init__(self, name: str, labels: Labels) -> None:
        self.key = (name, labels)
        self.values = [0.0] * (len(LIMITS) + 2 if name in HISTOGRAMS else 1)
        self.offset = -1
        self.is_changed = False

    def changed(self) -> None:
        """Note that there is something to write."""
        if not self.is_changed:
            self.is_changed = True
            _changed.append(self)

    def count(self, amount: float = 1.0) -> None:
        """Add to a counter."""
        self.values[0] += amount
        self.changed()

    def observe(self, buckets: dict[int, int], total_s: float) -> None:
        """Add durations that `quantiles.bucketed` has counted."""
        self.values[0] += total_s
        for index, amount in buckets.items():
            self.values[_COARSE[index]] += amount
        self.changed()


def _coarse(index: int) -> int:
    return 1 + bisect_left(LIMITS, BOUNDS[index] * (1 - 1e-9)) if index < len(BOUNDS) else len(LIMITS) + 1


_COARSE = [_coarse(index) for index in range(len(BOUNDS) + 1)]


def series(name: str, **labels: str) -> Series:
    """Return the series of this process with this name and these labels, made at first use."""
    key = (name, tuple(labels.items()))
    found = _series.get(key)
    return found if found is not None else _series.setdefault(key, Series(*key))


def read_prometheus() -> str:
    """
    Give every metric of every process that shares this home, in Prometheus' text format 0.0.4.

    Counts the processes that are gone as well. A home that cannot be read costs one warning, and the answer is then
    about this process alone.
    """
    totals: Totals = {}
    try:
        _let_others_write()
        write_all()
        _add_others(totals)
    except OSError as error:
        _warning.warn(
            f"the metrics of other processes cannot be read ({error}); showing this one's", once="metrics.read"
        )
    for one in list(_series.values()):
        _add(totals, one.key, one.values)
    return "".join(_exposition(totals))


def flush(wait: bool = True) -> None:
    """
    Write what has changed in this process to its file; at most one warning where that is impossible.

    Args:
        wait: for another thread that is writing just now; else what it does not write is written the next time.
    """
    if not _changed or not _writing.acquire(blocking=wait):
        return
    try:
        pending, _changed[:] = _changed[:], []
        for one in pending:
            one.is_changed = False
        try:
            _file.write(pending)
        except OSError as error:
            _file.give_up()
            _warning.warn(
                f"metrics cannot be shared with other processes: {error}. This process counts for itself.",
                once="metrics.write",
            )
    finally:
        _writing.release()


# --- the file of this process -----------------------------------------------------------------------------------------


class _ProcessFile:
    """
    The file of this process: records of a length, a JSON key and numbers, each number rewritten in place.

    Written with `pwrite`: a full disk is then an error, where a mapped file would be the end of the process.
    """

    def __init__(self) -> None:
        self.home: Path | None = None
        self.forget()

    def forget(self) -> None:
        self.descriptor = -1
        self.end = 0
        self.name = ""

    def write(self, changed: list[Series]) -> None:
        place = home()
        if place != self.home:
            self._open(place)
            changed = list(_series.values())
        if self.descriptor < 0:
            return
        for one in changed:
            if one.offset < 0:
                self._append(one)
            else:
                os.pwrite(self.descriptor, struct.pack(f"<{len(one.values)}d", *one.values), one.offset)

    def _append(self, one: Series) -> None:
        record = _record(one.key, one.values)
        os.pwrite(self.descriptor, record, self.end)
        self.end += len(record)
        one.offset = self.end - 8 * len(one.values)

    def _open(self, place: Path) -> None:
        self.close()
        self.home = place
        folder = place / "metrics"
        folder.mkdir(parents=True, exist_ok=True)
        self.name = f"{os.getpid()}-{os.urandom(4).hex()}.metrics"
        unready = folder / f"{self.name}.new"
        descriptor = os.open(unready, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            _lock(descriptor)
            # renamed only when locked: nobody may take a file that has just been made for one of the dead
            os.rename(unready, folder / self.name)
        except OSError:
            os.close(descriptor)
            raise
        self.descriptor = descriptor
        _write_when_multiprocessing_ends()
        if len(os.listdir(folder)) > MANY_FILES:
            _add_others({}, own=self.name)

    def give_up(self) -> None:
        self.close()
        self.name = ""

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.forget()
        for one in list(_series.values()):
            one.offset = -1


_file = _ProcessFile()


def write_all() -> None:
    """Write everything that was counted so far."""
    for hand_in in before_reading:
        hand_in()
    flush()


def _write_when_multiprocessing_ends() -> None:
    """
    Write what is left at the end of a process of `multiprocessing`, which does not run `atexit` where it forked.

    A pool that is terminated, as at the end of `with Pool()`, ends by a signal: what was written until then counts.
    """
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, write_all, exitpriority=1)


def after_fork() -> None:
    """
    Start from nothing in a forked child: what the parent counted is in the parent's file.
    """
    global _writing
    _writing = threading.Lock()
    _file.close()  # the child's copy of the descriptor would keep the parent's lock alive
    _file.home = None
    _changed.clear()
    for one in _series.values():
        one.values = [0.0] * len(one.values)
        one.is_changed = False


# --- the files of the others ------------------------------------------------------------------------------------------

_ARCHIVE = "archive"
_MERGED = "merged"


def _let_others_write() -> None:
    """
    Wait a moment where another process has been writing just now: the end of its burst may still be in its memory.

    A process writes what is left within 0.02 s. So a scrape right after the last request counts it, whichever worker
    answered it.
    """
    now_s = time.time()
    with contextlib.suppress(OSError):  # no folder, or a file that is just moving to the archive
        others = [entry for entry in os.scandir(home() / "metrics") if entry.name.endswith(".metrics")]
        if any(0 <= now_s - other.stat().st_mtime < _FRESH_S for other in others if other.name != _file.name):
            time.sleep(_LAG_S)


def _add_others(totals: Totals, own: str | None = None) -> None:
    """Add the archive and the files of all other processes, after moving those of the dead to the archive."""
    folder = home() / "metrics"
    if not folder.is_dir():
        return
    mine = _file.name if own is None else own
    with _scraping(folder) as may_write:
        archived = _read(folder / _ARCHIVE)
        merged = {labels[0][1] for name, labels in archived if name == _MERGED}
        files = [entry for entry in os.listdir(folder) if entry.endswith(".metrics") and entry not in {mine, *merged}]
        dead = [entry for entry in files if _is_dead(folder / entry)] if may_write else []
        if dead:
            _archive(folder, archived, dead, merged)
        for entry in files:
            if entry not in dead:
                _add_all(totals, _read(folder / entry))
        _add_all(totals, {key: values for key, values in archived.items() if key[0] != _MERGED})


def _archive(folder: Path, archived: Totals, dead: list[str], merged: set[str]) -> None:
    """Move dead files into the archive. It names them, so that a crash before they are removed counts nothing twice."""
    for entry in merged:
        (folder / entry).unlink(missing_ok=True)
    for key in [key for key in archived if key[0] == _MERGED]:
        del archived[key]
    for entry in dead:
        _add_all(archived, _read(folder / entry))
    names: Totals = {(_MERGED, (("file", entry),)): [] for entry in dead}
    unready = folder / f"{_ARCHIVE}.new"
    unready.write_bytes(b"".join(_record(key, values) for key, values in {**archived, **names}.items()))
    os.replace(unready, folder / _ARCHIVE)
    for entry in dead:
        (folder / entry).unlink(missing_ok=True)


class _scraping:
    """Let one process at a time look at the folder: a file must not move to the archive between two looks."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        self.file: IO[Any] | None = None

    def __enter__(self) -> bool:
        try:
            self.file = open(self.path, "a")
            if fcntl is not None:
                fcntl.flock(self.file, fcntl.LOCK_EX)
        except OSError:
            return False
        return fcntl is not None

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_dead(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        _lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _record(key: tuple[str, Labels], values: list[float]) -> bytes:
    name = json.dumps([key[0], *key[1]]).encode()
    name += b" " * (-len(name) % 8)
    return struct.pack(f"<II{len(name)}s{len(values)}d", len(name), len(values), name, *values)


def _read(path: Path) -> Totals:
    """Read a file's records, up to the first that is not whole."""
    totals: Totals = {}
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return totals
    at = 0
    while at + 8 <= len(data):
        length, count = struct.unpack_from("<II", data, at)
        end = at + 8 + length + 8 * count
        if end > len(data):
            break
        try:
            name, *labels = json.loads(data[at + 8 : at + 8 + length])
            key = (str(name), tuple((str(label), str(value)) for label, value in labels))
        except ValueError:
            break
        _add(totals, key, list(struct.unpack_from(f"<{count}d", data, end - 8 * count)))
        at = end
    return totals


def _add_all(totals: Totals, more: Totals) -> None:
    for key, values in more.items():
        _add(totals, key, values)


def _add(totals: Totals, key: tuple[str, Labels], values: list[float]) -> None:
    known = totals.get(key)
    # another length is another version's file: its numbers cannot be added to ours
    if known is None:
        totals[key] = list(values)
    elif len(known) == len(values):
        totals[key] = [one + other for one, other in zip(known, values)]


# --- text -------------------------------------------------------------------------------------------------------------


def _exposition(totals: Totals) -> Iterator[str]:
    for name, text in {**HISTOGRAMS, **COUNTERS}.items():
        found = sorted((labels, values) for (known, labels), values in totals.items() if known == name)
        if not found:
            continue
        yield f"# HELP {name} {text}\n# TYPE {name} {'histogram' if name in HISTOGRAMS else 'counter'}\n"
        for labels, values in found:
            yield from _histogram(name, labels, values) if name in HISTOGRAMS else _counter(name, labels, values)


def _counter(name: str, labels: Labels, values: list[float]) -> Iterator[str]:
    yield f"{name}{_labelled(labels)} {_number(values[0])}\n"


def _histogram(name: str, labels: Labels, values: list[float]) -> Iterator[str]:
    total, *buckets = values
    below = 0.0
    for limit, amount in zip((*map(_number, LIMITS), "+Inf"), buckets):
        below += amount
        yield f"{name}_bucket{_labelled((*labels, ('le', limit)))} {_number(below)}\n"
    yield f"{name}_sum{_labelled(labels)} {total!r}\n"
    yield f"{name}_count{_labelled(labels)} {_number(below)}\n"


def _labelled(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and value < 2**53 else repr(value)
