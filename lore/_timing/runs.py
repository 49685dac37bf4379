"""
Tracked runs: one append-only file of JSON lines for each, which is whole after every line.

A run that is killed leaves what it had written. Its process held a lock on the file: a run has died when nobody holds
the lock any more and no last line says how it ended. Ended runs also stand in one index, so that a thousand of them are
read from one file.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lore import _warning
from lore._home import home
from lore._timing import events, spans
from lore._wrapping import kind_of
from lore.errors import DecorationError, LoreError

try:
    import fcntl
except ImportError:  # pragma: no cover  (Windows: a run without an end counts as running)
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pandas import DataFrame

_MOST_LINES = 10_000
_INDEX = "index.jsonl"


class RunNotFound(LoreError, LookupError):
    """No run has this id or name."""


class Run(contextlib.ContextDecorator):
    """
    One tracked run, from `with` to the end of the block.

    Attributes:
        id: names the run everywhere: in `runs()`, in events, in the entries that cached functions store meanwhile.
        name: what it was called.
        path: its file.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any], seed: int | None = None) -> None:
        self.name = name
        self.id = ""
        self.path = Path()
        self._given = (name, dict(parameters), seed)
        self._descriptor = -1
        self._process = 0
        self._inside: list[Run] = []
        self._outer: str | None = None
        self._lines = 0
        self._began_s = 0.0
        self._before: dict[tuple[str, ...], tuple[int, float]] = {}
        self._versions: dict[str, str] = {}

    def _recreate_cm(self) -> Run:  # a decorated function opens a run of its own at each call
        return Run(*self._given)

    def __call__(self, function: Any) -> Any:
        """Make every call of a function, or of a coroutine function, a run of its own."""
        kind = kind_of(function)
        if kind in ("generator", "async_generator"):
            raise DecorationError(
                f"@lore.timing.run does not take generator functions such as {function.__qualname__}: "
                f"write `with lore.timing.run(...):` around the loop that consumes it."
            )
        if kind != "async":
            return super().__call__(function)

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await function(*args, **kwargs)

        return wrapper

    def __repr__(self) -> str:
        return f"<run {self.name!r} {self.id or 'not started'}>"

    def __enter__(self) -> Run:
        if self._process:  # entered while it is entered: a run inside itself
            self._inside.append(self._recreate_cm())
            return self._inside[-1].__enter__()
        _, parameters, seed = self._given
        started = time.time()
        self._process = os.getpid()
        self.id = f"{datetime.fromtimestamp(started, UTC):%Y%m%dT%H%M%S}-{os.urandom(4).hex()}"
        self._outer = events.run_id.get()
        if seed is not None:
            sow(seed)
        self._open()
        self._versions = versions()
        self._write(self._first_line(started, parameters, seed))
        self._before = _calls()
        self._began_s = spans.clock()
        spans.open_runs[self.id] = self
        events.run_id.set(self.id)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if self._inside:
            self._inside.pop().__exit__(kind, error, traceback)
            return
        if os.getpid() != self._process:  # a forked child leaves the block: the run is its parent's
            return
        spans.open_runs.pop(self.id, None)
        events.run_id.set(self._outer)
        is_finished = error is None or (isinstance(error, SystemExit) and error.code in (None, 0))
        self._write(
            {
                "what": "ended",
                "at": time.time(),
                "status": "finished" if is_finished else "failed",
                "elapsed_s": spans.clock() - self._began_s,
                **events.scrub({"error": None if is_finished else f"{type(error).__name__}: {error}"[:1000]}),
                "versions": {name: version for name, version in versions().items() if name not in self._versions},
                "tree": _difference(self._before),
            }
        )
        self._close()
        self._process = self._lines = 0

    def _first_line(self, started: float, parameters: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
        outer = spans.open_runs.get(self._outer or "")
        code = _git_of(outer.path) if outer is not None else git()
        return {
            "what": "started",
            "at": started,
            "id": self.id,
            "name": self.name,
            "outer": self._outer,
            "pid": self._process,
            "host": socket.gethostname(),
            "python": platform.python_version(),
            **events.scrub({"command": sys.argv}),
            "folder": os.getcwd(),
            **code,
            "parameters": events.scrub(parameters),
            "seeds": seeds(seed),
            "versions": self._versions,
        }

    # --- what happens meanwhile ---

    def note(self, values: Mapping[str, Any], path: Sequence[str] = ()) -> None:
        """Add parameters and metrics."""
        self._write({"what": "noted", "at": time.time(), "values": events.scrub(values), "path": list(path)})

    def span(self, span: spans.Span) -> None:
        """Add one remembered call."""
        if self._has_room():
            self._write(
                {
                    "what": "span",
                    "at": span.start_s + spans.EPOCH,
                    "elapsed_s": span.elapsed_s,
                    "path": list(span.node.path),
                    "outcome": span.outcome,
                    "thread": span.thread,
                    **({"notes": events.scrub(span.notes)} if span.notes else {}),
                }
            )

    def cached(self, function: str, outcome: str, key: str, sources: Iterable[Any]) -> None:
        """Add one answer of a cached function: from which entry, and what that came from."""
        if self._has_room():
            self._write(
                {
                    "what": "cached",
                    "at": time.time(),
                    "function": function,
                    "outcome": outcome,
                    "key": key,
                    "sources": [_in_words(source) for source in sources],
                }
            )

    def _has_room(self) -> bool:
        self._lines += 1
        return self._lines <= _MOST_LINES

    def after_fork(self) -> None:
        """Let go of the lock in a forked child, which may write on but does not keep the run alive."""
        self._close(is_over=False)
        with contextlib.suppress(OSError):
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    # --- the file ---

    def _open(self) -> None:
        folder = home() / "runs"
        self.path = folder / f"{self.id}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            if fcntl is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError as error:
            self._cannot_write(error)

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._descriptor < 0:
            return
        try:
            os.write(self._descriptor, (json.dumps(line, default=_plain) + "\n").encode())
        except (OSError, ValueError, TypeError) as error:
            self._cannot_write(error)

    def _cannot_write(self, error: Exception) -> None:
        _warning.warn(
            f"the run {self.name!r} cannot be written to {self.path}: {error}. It goes on without a record.",
            once=("runs.write", self.id),
        )

    def _close(self, is_over: bool = True) -> None:
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        if is_over:
            try:
                _index(self.path.parent, [Record.read(self.path)])
            except (OSError, ValueError) as error:
                self._cannot_write(error)


# --- what there was ---------------------------------------------------------------------------------------------------


@dataclass
class Record:
    """
    What is known of one run, read from its file.

    Attributes:
        status: "running", "finished", "failed", or "died": the process is gone and did not say how the run ended.
        started: UTC.
        elapsed_s: until the end; for a run that died until its last sign of life, for a running one until now.
        commit: of git, None outside a repository. `dirty` is "" where the working tree is as committed, else a hash of
            what is not.
        parameters: what `run` was given and what was noted that is no number.
        metrics: the numbers that were noted, each with its last value. A whole number may be either and stands in both.
        history: every value of every metric, with the seconds since the start.
        spans: the calls remembered; tree: calls and seconds of every node during the run.
        cached: the answers of cached functions: function, outcome, key, sources.
    """

    id: str
    name: str = ""
    status: str = "running"
    started: datetime = field(default_factory=lambda: datetime.fromtimestamp(0, UTC))
    elapsed_s: float = 0.0
    commit: str | None = None
    dirty: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    outer: str | None = None
    seeds: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    history: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    spans: list[dict[str, Any]] = field(default_factory=list)
    cached: list[dict[str, Any]] = field(default_factory=list)
    tree: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a run's file; a last line that is not whole is what a kill left."""
        record = cls(path.stem)
        last_at = at = 0.0
        for line in _lines(path):
            at = line.get("at", last_at)
            last_at = max(last_at, at + (line.get("elapsed_s", 0.0) if line.get("what") == "span" else 0.0))
            record._take(line)
        if record.status == "running":
            is_alive = _is_alive(path)
            record.status = "running" if is_alive else "died"
            record.elapsed_s = max(0.0, (time.time() if is_alive else last_at) - record.started.timestamp())
        return record

    def _take(self, line: dict[str, Any]) -> None:
        what = line.get("what")
        if what == "started":
            self._begin(line)
        elif what == "noted":
            self._note(line)
        elif what == "span":
            self.spans.append({key: value for key, value in line.items() if key != "what"})
        elif what == "cached":
            self.cached.append({key: value for key, value in line.items() if key != "what"})
        elif what == "ended":
            self.status, self.elapsed_s, self.error = line["status"], line["elapsed_s"], line["error"]
            self.versions |= line["versions"]
            self.tree = line["tree"]

    def _begin(self, line: dict[str, Any]) -> None:
        self.name = line["name"]
        self.started = datetime.fromtimestamp(line["at"], UTC)
        self.outer, self.commit, self.dirty = line["outer"], line["commit"], line["dirty"]
        self.parameters = dict(line["parameters"])
        self.seeds, self.versions = line["seeds"], line["versions"]
        self.machine = {key: line[key] for key in ("host", "pid", "python", "command", "folder")}

    def _note(self, line: dict[str, Any]) -> None:
        since_s = line["at"] - self.started.timestamp()
        for name, value in line["values"].items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number:
                self.metrics[name] = value
                self.history.setdefault(name, []).append((since_s, value))
            if not isinstance(value, float):
                self.parameters[name] = value

    def summary(self) -> dict[str, Any]:
        """Return what stands in the index and in `runs()`."""
        names = ("id", "name", "status", "started", "elapsed_s", "commit", "dirty", "parameters", "metrics")
        return {name: getattr(self, name) for name in (*names, "error", "outer")}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"started": self.started.isoformat()}

    def __str__(self) -> str:
        return "\n".join(self._told())

    __repr__ = __str__

    def _told(self) -> Iterator[str]:
        from lore._timing.reports import seconds

        yield f"{self.name}  {self.id}  {self.status} after {seconds(self.elapsed_s)}" + (
            f": {self.error}" if self.error else ""
        )
        yield f"  started {self.started:%Y-%m-%d %H:%M:%S} UTC on {self.machine.get('host')}"
        if self.commit:
            yield f"  commit {self.commit[:12]}{f' with changes {self.dirty[:8]}' if self.dirty else ''}"
        for title, values in (("parameters", self.parameters), ("metrics", self.metrics), ("seeds", self.seeds)):
            if values:
                yield f"  {title}: {', '.join(f'{name}={value!r}' for name, value in values.items())}"
        for row in self.tree[:20]:
            yield f"  {row['path']}: {row['calls']:,} calls, {seconds(row['total_s'])}"
        for answer in self.cached[:20]:
            came = f" from {', '.join(answer['sources'])}" if answer["sources"] else ""
            yield f"  {answer['outcome']} {answer['function']} {answer['key'][:12]}{came}"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _is_alive(path: Path) -> bool:
    if fcntl is None:  # pragma: no cover
        return True
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def records(name: str | None = None) -> list[dict[str, Any]]:
    """Return the summaries of all runs of this home, oldest first."""
    folder = home() / "runs"
    if not folder.is_dir():
        return []
    known = {line["id"]: line for line in _lines(folder / _INDEX)} if (folder / _INDEX).exists() else {}
    for summary in known.values():
        summary["started"] = datetime.fromisoformat(summary["started"])
    files = {entry[: -len(".jsonl")] for entry in os.listdir(folder) if entry.endswith(".jsonl") and entry != _INDEX}
    unknown = [Record.read(folder / f"{identity}.jsonl") for identity in sorted(files - set(known))]
    with contextlib.suppress(OSError):
        _index(folder, [record for record in unknown if record.status != "running"])
    found = [summary for summary in known.values() if summary["id"] in files]
    found += [record.summary() for record in unknown if record.name]
    return sorted(
        (summary for summary in found if name is None or summary["name"] == name),
        key=lambda summary: (summary["started"], summary["id"]),
    )


def _index(folder: Path, ended: list[Record]) -> None:
    """Add runs that will not change any more to the index; one that stands there twice is read once."""
    lines = [
        json.dumps(record.summary() | {"started": record.started.isoformat()}, default=_plain) + "\n"
        for record in ended
    ]
    if lines:
        descriptor = os.open(folder / _INDEX, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, "".join(lines).encode())
        finally:
            os.close(descriptor)


def frame(name: str | None = None) -> DataFrame:
    """See `lore.timing.runs`."""
    from lore._extras import require

    pandas = require("pandas", extra="report")
    columns = list(Record("").summary())
    rows = records(name)
    table: DataFrame = pandas.DataFrame(rows, columns=columns)
    # object, so that None stays None and no column changes its type with what the runs were
    for column in ("commit", "dirty", "error", "outer", "parameters", "metrics"):
        table[column] = pandas.Series([row[column] for row in rows], dtype=object)
    table["started"] = pandas.to_datetime(table["started"], utc=True)
    table["elapsed_s"] = table["elapsed_s"].astype(float)
    return table


def find(which: str | Run | Record, before: str | None = None) -> Record:
    """
    Find a run by its id, by the beginning of its id, or the latest of a name.

    Args:
        which: an id or name.
        before: an id; look among the runs older than that.

    Raises:
        RunNotFound: there is none.
    """
    if isinstance(which, Record):
        return which
    wanted = which.id if isinstance(which, Run) else which
    known = [summary for summary in records() if before is None or summary["id"] != before]
    found = (
        [summary for summary in known if summary["id"] == wanted]
        or [summary for summary in known if summary["name"] == wanted]
        or [summary for summary in known if len(wanted) >= 6 and summary["id"].startswith(wanted)]
    )
    if found:
        return Record.read(home() / "runs" / f"{found[-1]['id']}.jsonl")
    names = sorted({summary["name"] for summary in known})
    near = difflib.get_close_matches(wanted, names, n=3) or names[:5]
    raise RunNotFound(
        f"no run has the id or name {wanted!r} under {home() / 'runs'}. "
        + (f"There are: {', '.join(near)}." if near else "There are none yet.")
    )


# --- two of them ------------------------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """
    What differs between two runs.

    Attributes:
        a, b: the two.
        differences: by subject ("parameters", "metrics", "code", "versions", "seeds", "result", "time", "cache") the
            names that differ, each with the values of a and b; None where one of them has none.
    """

    a: Record
    b: Record
    differences: dict[str, dict[str, tuple[Any, Any]]]

    def to_dict(self) -> dict[str, Any]:
        """Return both ids and the differences."""
        return {"a": self.a.id, "b": self.b.id, **self.differences}

    def to_frame(self) -> DataFrame:
        """Return a row for each difference: subject, name, a, b, difference (b - a where both are numbers)."""
        from lore._extras import require

        rows = [
            (subject, name, one, other, _minus(other, one))
            for subject, values in self.differences.items()
            for name, (one, other) in values.items()
        ]
        table: DataFrame = require("pandas", extra="report").DataFrame(
            rows, columns=["subject", "name", "a", "b", "difference"]
        )
        return table

    def __str__(self) -> str:
        return "\n".join(self._told())

    __repr__ = __str__

    def _told(self) -> Iterator[str]:
        yield f"a  {self.a.name}  {self.a.id}  {self.a.status}"
        yield f"b  {self.b.name}  {self.b.id}  {self.b.status}"
        if not any(self.differences.values()):
            yield "No differences."
        for subject, values in self.differences.items():
            if values:
                yield subject
            for name, (one, other) in values.items():
                change = _minus(other, one)
                yield f"  {name}: {_shown(one)} -> {_shown(other)}" + (
                    f"  ({change:+.4g})" if change is not None else ""
                )


def compare(a: str | Run | Record, b: str | Run | Record) -> Comparison:
    """See `lore.timing.compare`."""
    second = find(b)
    first = find(a, before=second.id) if a == b else find(a)
    return Comparison(
        first,
        second,
        {
            "parameters": _differing(first.parameters, second.parameters),
            "metrics": _differing(first.metrics, second.metrics, also_equal=True),
            "result": _differing(_outcome(first), _outcome(second)),
            "code": _differing(_code(first), _code(second)),
            "versions": _differing(_all_versions(first), _all_versions(second)),
            "seeds": _differing(first.seeds, second.seeds),
            "time": _differing(_times(first), _times(second)),
            "cache": _differing(_keys(first), _keys(second)),
        },
    )


def _differing(
    one: Mapping[str, Any], other: Mapping[str, Any], also_equal: bool = False
) -> dict[str, tuple[Any, Any]]:
    return {
        name: (one.get(name), other.get(name))
        for name in (*one, *(name for name in other if name not in one))
        if also_equal or one.get(name) != other.get(name)
    }


def _outcome(record: Record) -> dict[str, Any]:
    return {"status": record.status, "error": record.error}


def _code(record: Record) -> dict[str, Any]:
    return {"commit": record.commit, "dirty": record.dirty}


def _all_versions(record: Record) -> dict[str, str]:
    return {"python": record.machine.get("python", ""), **record.versions}


def _times(record: Record) -> dict[str, float]:
    return {"elapsed_s": record.elapsed_s, **{row["path"]: row["total_s"] for row in record.tree}}


def _keys(record: Record) -> dict[str, str]:
    return {answer["function"]: f"{answer['outcome']} {answer['key'][:12]}" for answer in record.cached}


def _minus(one: Any, other: Any) -> float | None:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one - other
    return None


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


# --- what a run stands on ---------------------------------------------------------------------------------------------


def git() -> dict[str, Any]:
    """
    Return the commit, the branch and a hash of what is not committed, of the repository around the working folder.

    The hash covers the text of all changes and of files that git does not know yet, those of a megabyte and more by
    size and time: equal hashes, equal code.
    """
    nothing = {"commit": None, "branch": None, "dirty": ""}
    if shutil.which("git") is None:
        return nothing
    status = _git("status", "--porcelain=v2", "--branch", "--untracked-files=all")
    if status is None:
        return nothing
    lines = status.decode(errors="replace").splitlines()
    heads: dict[str, str] = dict(
        line[2:].split(" ", 1) for line in lines if line.startswith("# branch.") and line.count(" ") >= 2
    )
    commit = heads.get("branch.oid")
    changed = [line for line in lines if not line.startswith("#")]
    return {
        "commit": None if commit == "(initial)" else commit,
        "branch": heads.get("branch.head"),
        "dirty": _dirty_hash(changed) if changed else "",
    }


def _dirty_hash(changed: list[str]) -> str:
    digest = hashlib.blake2b("\n".join(changed).encode(), digest_size=16)
    digest.update(_git("diff", "HEAD", "--binary") or b"")
    root = (_git("rev-parse", "--show-toplevel") or b".").decode().strip()
    for line in changed:
        if line.startswith("? "):
            with contextlib.suppress(OSError):
                file = Path(root, line[2:])
                status = file.stat()
                about = f"{status.st_size} {status.st_mtime_ns}"  # not when it was last read
                digest.update(file.read_bytes() if status.st_size < 1_000_000 else about.encode())
    return digest.hexdigest()


def _git(*command: str) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", "-c", "core.quotePath=false", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _git_of(path: Path) -> dict[str, Any]:
    """Return what the run around this one has found out, from its file."""
    first = next(_lines(path), {}) if path.exists() else {}
    return {name: first.get(name) for name in ("commit", "branch")} | {"dirty": first.get("dirty", "")}


def versions() -> dict[str, str]:
    """Return the versions of the packages that are loaded, lore's own among them."""
    found = {}
    for name, module in list(sys.modules.items()):
        if "." in name or name.startswith("_") or name in sys.stdlib_module_names:
            continue
        version = vars(module).get("__version__")  # getattr would wake modules that load or warn at a touch
        if isinstance(version, str):
            found[name] = version
    return dict(sorted(found.items()))


def seeds(seed: int | None) -> dict[str, Any]:
    """
    Return what is known of the random generators.

    A state cannot be turned back into a seed, but equal digests say that two runs began with equal generators.
    """
    import random

    known: dict[str, Any] = {"PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED"), "random": _digest(random.getstate())}
    if seed is not None:
        known["seed"] = seed
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        known["numpy"] = _digest(numpy.random.get_state()[1].tobytes())
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "initial_seed"):
        known["torch"] = torch.initial_seed()
    return known


def sow(seed: int) -> None:
    """Seed the generators of the standard library and, where they are loaded, of numpy, Keras and torch."""
    import random

    random.seed(seed)
    if "numpy" in sys.modules:
        numpy: Any = sys.modules["numpy"]
        numpy.random.seed(seed % 2**32)
    if "keras" in sys.modules:
        keras: Any = sys.modules["keras"]
        keras.utils.set_random_seed(seed % 2**32)
    if "torch" in sys.modules:
        torch: Any = sys.modules["torch"]
        torch.manual_seed(seed)


def _digest(state: object) -> str:
    data = state if isinstance(state, bytes) else repr(state).encode()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _calls() -> dict[tuple[str, ...], tuple[int, float]]:
    spans.collect()
    found: dict[tuple[str, ...], tuple[int, float]] = {}
    for node in spans.nodes():
        count, total_s = found.get(node.path, (0, 0.0))
        found[node.path] = (count + node.durations.count, total_s + node.counted_s)
    return found


def _difference(before: Mapping[tuple[str, ...], tuple[int, float]]) -> list[dict[str, Any]]:
    """Return calls and seconds of every node since the run began, the dearest first."""
    rows = []
    for path, (count, total_s) in _calls().items():
        earlier, earlier_s = before.get(path, (0, 0.0))
        if count > earlier:
            rows.append({"path": "/".join(path), "calls": count - earlier, "total_s": total_s - earlier_s})
    return sorted(rows, key=lambda row: -float(row["total_s"]))[:200]  # type: ignore[arg-type]


def _in_words(source: Any) -> str:
    """Say in short what an input is: its kind, and its path or whatever tells it from others."""
    if isinstance(source, str):
        return source
    facts = source.to_json() if hasattr(source, "to_json") else {"value": source}
    place = facts.get("path") or facts.get("url") or facts.get("sql") or next(iter(facts.values()), "")
    return f"{getattr(source, 'kind', type(source).__name__)} {' '.join(str(place).split())}".strip()[:300]


def _plain(value: Any) -> Any:
    """Turn into JSON what is none: numbers of numpy by value, the rest by its repr, in short."""
    number: Any = value
    if callable(getattr(value, "item", None)) and getattr(value, "size", 1) == 1:
        return number.item()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return repr(value)[:1000]
