"""
What a cached function read while it ran.

Whoever reads something that may change (a file, a database) notes it here; whoever keeps the result records the
notes and checks them when the result is found again. The two never meet: an input is written down as JSON and comes
back through the decoder that its kind registered.

A note is taken *before* the bytes are read. If they change in between, the result looks older than it is and is
computed again; the other order would keep a result of the old bytes under the new ones' digest.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, ClassVar, Protocol, runtime_checkable

__all__ = [
    "File",
    "Folder",
    "Input",
    "Pattern",
    "Recorder",
    "Remote",
    "active",
    "decode",
    "encode",
    "expire",
    "note",
    "of_path",
    "of_pattern",
    "pause",
    "record",
    "register",
    "without_password",
]


@runtime_checkable
class Input(Protocol):
    """One thing that was read: tells whether it still is what it was."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Return what `decode` needs to build the input again, as JSON values, without secrets."""
        ...

    def check(self) -> str | None:
        """Return None where the input is unchanged, else what happened to it, in words."""
        ...


class Recorder:
    """
    The notes of one run of one function.

    Attributes:
        expires_s: the earliest time (seconds since 1970) at which something that was used ceases to be valid.
    """

    __slots__ = ("_notes", "_outer", "_threads_before", "expires_s")

    def __init__(self, outer: Recorder | None = None) -> None:
        self.expires_s = math.inf
        self._notes: dict[str, Input] = {}
        self._outer = outer
        self._threads_before = threading.enumerate()

    @property
    def inputs(self) -> list[Input]:
        """Everything noted so far, in order, without repetitions."""
        return list(self._notes.values())

    def add(self, item: Input) -> None:
        """Note an input here and in the recorders around this one."""
        name = json.dumps(encode(item), sort_keys=True, default=str)
        recorder: Recorder | None = self
        while recorder is not None:
            recorder._notes.setdefault(name, item)
            recorder = recorder._outer

    def limit(self, expires_s: float) -> None:
        """Let nothing that is being recorded outlive `expires_s`."""
        recorder: Recorder | None = self
        while recorder is not None:
            recorder.expires_s = min(recorder.expires_s, expires_s)
            recorder = recorder._outer

    def started_this_thread(self) -> bool:
        """Tell whether the running thread is younger than this recorder, hence probably its helper."""
        return threading.current_thread() not in self._threads_before


class _Deaf(Recorder):
    """Takes no notes."""

    def add(self, item: Input) -> None:
        pass

    def limit(self, expires_s: float) -> None:
        pass


_recorder: ContextVar[Recorder | None] = ContextVar("lore_recorder", default=None)
_open: dict[int, Recorder] = {}


@contextlib.contextmanager
def record() -> Iterator[Recorder]:
    """
    Collect every input that is noted inside, in this thread, its tasks, and the threads started meanwhile.

    Recorders nest: what the inner one hears the outer one hears too.

    Threads: a thread does not inherit its starter's context, so a note from a thread without a recorder goes to every
    open recorder that is older than the thread. A note too many only means one more reason to compute again. Threads
    that were there before (a pool that is kept) are not heard, nor are other processes.
    """
    recorder = Recorder(_current())
    token = _recorder.set(recorder)
    _open[id(recorder)] = recorder
    try:
        yield recorder
    finally:
        _open.pop(id(recorder), None)
        _recorder.reset(token)


@contextlib.contextmanager
def pause() -> Iterator[None]:
    """Take no notes inside: for reading that belongs to lore's own work."""
    token = _recorder.set(_Deaf())
    try:
        yield
    finally:
        _recorder.reset(token)


def active() -> bool:
    """Tell whether anybody records, so that a costly note can be spared."""
    recorder = _recorder.get()
    if recorder is None:
        return bool(_open) and bool(_adopters())
    return not isinstance(recorder, _Deaf)


def note(item: Input) -> None:
    """Note one input with whoever records; without a recorder nothing happens."""
    for recorder in _listeners():
        recorder.add(item)


def expire(expires_s: float) -> None:
    """Note that something used ceases to be valid at a time, in seconds since 1970."""
    if expires_s != math.inf:
        for recorder in _listeners():
            recorder.limit(expires_s)


def _listeners() -> list[Recorder]:
    recorder = _recorder.get()
    if recorder is not None:
        return [recorder]
    return _adopters() if _open else []


def _adopters() -> list[Recorder]:
    return [recorder for recorder in list(_open.values()) if recorder.started_this_thread()]


def _current() -> Recorder | None:
    """Return the recorder around the caller; a helper thread's is made of all that adopt it."""
    listeners = _listeners()
    if len(listeners) <= 1:
        return listeners[0] if listeners else None
    return _Choir(listeners)


class _Choir(Recorder):
    """Hands every note to several recorders."""

    __slots__ = ("_members",)

    def __init__(self, members: list[Recorder]) -> None:
        super().__init__()
        self._members = members

    def add(self, item: Input) -> None:
        for member in self._members:
            member.add(item)

    def limit(self, expires_s: float) -> None:
        for member in self._members:
            member.limit(expires_s)


# ---------------------------------------------------------------------------------------------------------------------
# Kinds, on their way to JSON and back


def register(kind: str, decoder: str) -> None:
    """
    Say how inputs of a kind come back from JSON.

    Args:
        kind: the input's `kind`.
        decoder: `module:name` of a callable that takes what `to_json` gave; imported when first needed.
    """
    _decoders[kind] = decoder


def encode(item: Input) -> dict[str, Any]:
    """Return an input as JSON values that `decode` understands."""
    return {"kind": item.kind, **item.to_json()}


def decode(facts: dict[str, Any]) -> Input:
    """
    Build an input from its JSON values.

    One that cannot be built, because it was written by another version of lore or by a module that is not there,
    comes back as an input that has always changed: nothing is trusted that cannot be checked.
    """
    kind = facts.get("kind", "")
    try:
        build = _decoder(kind)
        return build({name: value for name, value in facts.items() if name != "kind"})
    except Exception as error:
        return _Unknown(facts, f"an input of kind {kind!r} cannot be checked here ({error})")


def _decoder(kind: str) -> Callable[[dict[str, Any]], Input]:
    known = _decoders[kind]
    if isinstance(known, str):
        module, _, name = known.partition(":")
        known = _decoders[kind] = getattr(importlib.import_module(module), name)
    decoder: Callable[[dict[str, Any]], Input] = known
    return decoder


class _Unknown:
    kind: ClassVar[str] = "unknown"

    def __init__(self, facts: dict[str, Any], reason: str) -> None:
        self.facts = facts
        self.reason = reason

    def to_json(self) -> dict[str, Any]:
        return {"facts": self.facts, "reason": self.reason}

    def check(self) -> str | None:
        return self.reason


# ---------------------------------------------------------------------------------------------------------------------
# Files


def of_path(path: str | os.PathLike[str]) -> Input:
    """
    Take down the state of a file, a folder (everything below it) or a URL, as it is now.

    What is not there counts too: a function that looked for a file and found none gives another answer once it exists.
    """
    text = os.fspath(path)
    local = _local(text)
    if local is None:
        return Remote.of(text)
    if os.path.isdir(local):
        return Folder.of(local)
    return File.take(local)


def of_pattern(pattern: str) -> Input:
    """Take down the state of all local files that a pattern such as `data/**/*.parquet` matches, or of one file."""
    import glob

    return Pattern.of(pattern) if glob.has_magic(pattern) else of_path(pattern)


def _local(text: str) -> str | None:
    """Return the local path that a path or URL means, or None for a URL of another file system."""
    for scheme in ("file://", "local://"):
        if text.startswith(scheme) and "::" not in text:
            return text[len(scheme) :]
    return None if "://" in text else os.path.expanduser(text)


class File:
    """
    A local file, recognised by size and times first, then by content.

    A relative path stays relative: what counts is what the function would read if it ran now.

    Args:
        path: as the function gave it.
        size: in bytes; -1 for a file that does not exist.
        mtime_ns: time of the last change of the content, in nanoseconds since 1970.
        digest: of the content, 32 hex digits.
        ctime_ns: time of the last change of the file's entry in the file system; 0 for a file so young that the next
            change might carry the same time, which is then always recognised by its content.
    """

    kind: ClassVar[str] = "file"
    __slots__ = ("ctime_ns", "digest", "mtime_ns", "path", "size")

    def __init__(self, path: str, size: int, mtime_ns: int, digest: str, ctime_ns: int = 0) -> None:
        self.path = path
        self.size = size
        self.mtime_ns = mtime_ns
        self.digest = digest
        self.ctime_ns = ctime_ns

    @staticmethod
    def of(path: str | os.PathLike[str]) -> Input:
        """Take down what is at a path or URL now: see `of_path`."""
        return of_path(path)

    @classmethod
    def take(cls, path: str) -> File:
        """Take down the state of one local file."""
        try:
            status = os.stat(path)
        except OSError:
            return cls(path, -1, 0, "")
        return cls(
            path,
            status.st_size,
            status.st_mtime_ns,
            _content(path, status),
            status.st_ctime_ns if _settled(status) else 0,
        )

    def check(self) -> str | None:
        """Return None where the file holds what it held, else what happened to it."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None if self.size == -1 else f"file {self.path} is gone"
        if (status.st_mtime_ns, status.st_ctime_ns, status.st_size) == (self.mtime_ns, self.ctime_ns, self.size):
            return None
        if self.size == -1:
            return f"file {self.path} is there now"
        if status.st_size != self.size or _content(self.path, status) != self.digest:
            return f"file {self.path} changed"
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the attributes."""
        return {name: getattr(self, name) for name in ("path", "size", "mtime_ns", "digest", "ctime_ns")}

    def __repr__(self) -> str:
        return f"File({self.path!r}, {self.size} bytes)" if self.size >= 0 else f"File({self.path!r}, missing)"


class Folder:
    """
    A local folder: the names and contents of all files below it.

    Args:
        path: as the function gave it.
        files: the files below, by their paths.
    """

    kind: ClassVar[str] = "folder"
    __slots__ = ("files", "path")

    def __init__(self, path: str, files: list[File]) -> None:
        self.path = path
        self.files = files

    @classmethod
    def of(cls, path: str) -> Folder:
        """Take down the state of everything below a folder."""
        return cls(path, [File.take(name) for name in _below(path)])

    def check(self) -> str | None:
        """Return None where the folder holds what it held, else the first difference."""
        if not os.path.isdir(self.path):
            return f"folder {self.path} is gone"
        return _difference(self.files, _below(self.path), self.path)

    def to_json(self) -> dict[str, Any]:
        """Return path and files."""
        return {"path": self.path, "files": [file.to_json() for file in self.files]}

    def __repr__(self) -> str:
        return f"Folder({self.path!r}, {len(self.files)} files)"


class Pattern:
    """
    The local files that a pattern matches: their names and contents, a new one as much as one that is gone.

    Args:
        path: the pattern, as the statement gave it.
        files: the files that it matches, by their paths.
    """

    kind: ClassVar[str] = "pattern"
    __slots__ = ("files", "path")

    def __init__(self, path: str, files: list[File]) -> None:
        self.path = path
        self.files = files

    @classmethod
    def of(cls, path: str) -> Pattern:
        """Take down the state of every file that matches."""
        return cls(path, [File.take(name) for name in _matching(path)])

    def check(self) -> str | None:
        """Return None where the same files match and hold what they held, else the first difference."""
        return _difference(self.files, _matching(self.path), self.path)

    def to_json(self) -> dict[str, Any]:
        """Return pattern and files."""
        return {"path": self.path, "files": [file.to_json() for file in self.files]}

    def __repr__(self) -> str:
        return f"Pattern({self.path!r}, {len(self.files)} files)"


def _difference(files: list[File], names: Iterable[str], where: str) -> str | None:
    """Say what is new among the names of files, else what happened to the first of the known ones that changed."""
    before = {file.path for file in files}
    new = next((name for name in names if name not in before), None)
    if new is not None:
        return f"file {new} is new in {where}"
    return next(filter(None, (file.check() for file in files)), None)


class Remote:
    """
    A file behind a URL, recognised by what its file system says of it (etag, version, times, size).

    Where a file system says nothing but a size, the content is read and compared.

    Args:
        url: any URL that fsspec understands, without credentials.
        facts: what identifies the bytes; empty for a file that does not exist.
    """

    kind: ClassVar[str] = "remote"
    __slots__ = ("facts", "url")

    def __init__(self, url: str, facts: dict[str, Any]) -> None:
        self.url = url
        self.facts = facts

    @classmethod
    def of(cls, url: str) -> Remote:
        """Take down the state of what is behind a URL now."""
        return cls(url, _remote_facts(url))

    def check(self) -> str | None:
        """Return None where the file system still says the same, else what happened."""
        now = _remote_facts(self.url)
        if now == self.facts:
            return None
        if not now:
            return f"{without_password(self.url)} is gone"
        return f"{without_password(self.url)} {'changed' if self.facts else 'is there now'}"

    def to_json(self) -> dict[str, Any]:
        """Return URL and facts."""
        return {"url": self.url, "facts": self.facts}

    def __repr__(self) -> str:
        return f"Remote({without_password(self.url)!r})"


_decoders: dict[str, Any] = {
    "file": lambda facts: File(**facts),
    "folder": lambda facts: Folder(facts["path"], [File(**file) for file in facts["files"]]),
    "pattern": lambda facts: Pattern(facts["path"], [File(**file) for file in facts["files"]]),
    "remote": lambda facts: Remote(**facts),
    "source": "lore._querying.freshness:decode",  # also in a process that has not read from a database yet
    "unknown": lambda facts: _Unknown(**facts),
}

# Coarse clocks of file systems: two changes inside this span may carry the same time.
_TICK_NS = 50_000_000
_COARSE_TICK_NS = 2_000_000_000

_known: dict[str, tuple[tuple[int, ...], str]] = {}
_KNOWN_FILES = 10_000


def _settled(status: os.stat_result) -> bool:
    """Tell whether the next change of a file is sure to carry another time."""
    tick = _TICK_NS if status.st_ctime_ns % 1_000_000_000 else _COARSE_TICK_NS
    return status.st_ctime_ns + tick < time.time_ns()


def _content(path: str, status: os.stat_result) -> str:
    """Return the digest of a file's content; remembered in this process for as long as the file stays untouched."""
    if not stat.S_ISREG(status.st_mode):
        return f"not a regular file, {time.time_ns()}"
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    place = os.path.abspath(path)
    known = _known.get(place)
    if known is not None and known[0] == identity:
        return known[1]
    digest = _read(path)
    if _settled(status):
        if len(_known) >= _KNOWN_FILES:
            _known.clear()
        _known[place] = (identity, digest)
    return digest


def _read(path: str) -> str:
    from xxhash import xxh3_128

    state = xxh3_128()
    buffer = memoryview(bytearray(1 << 20))
    try:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                state.update(buffer[:count])
    except OSError as error:
        return f"unreadable, {error.errno}"
    return state.hexdigest()


def _below(folder: str) -> Iterator[str]:
    """Yield the paths of all files below a folder, in order; linked folders are gone into as well, each once."""
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        try:
            status = os.stat(place)
        except OSError:  # removed meanwhile
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (os.path.join(place, name) for name in sorted(files))


def _matching(pattern: str) -> list[str]:
    """List the files that a pattern matches, in order; `**` stands for folders at any depth, and for none."""
    import glob

    return [name for name in sorted(glob.glob(pattern, recursive=True, include_hidden=True)) if os.path.isfile(name)]


_IDENTIFYING = ("etag", "md5", "md5hash", "content_md5", "checksum", "generation", "versionid", "oid", "sha256")
_TIMES = ("lastmodified", "last_modified", "mtime", "updated", "created", "modified")


def _remote_facts(url: str) -> dict[str, Any]:
    """Ask a remote file system what it knows of a file, anew."""
    from lore._extras import require

    url_to_fs = require("fsspec.core", extra="remote").url_to_fs
    fs, path = url_to_fs(url)
    fs.invalidate_cache()
    try:
        info = fs.info(path)
    except FileNotFoundError:
        return {}
    if info.get("type") == "directory":
        return {name: _told(fs.info(name)) for name in sorted(fs.find(path))}
    return _told(info) or {"digest": _read_remote(fs, path)}


def _told(info: dict[str, Any]) -> dict[str, Any]:
    """Pick what identifies the bytes from a file system's answer; empty where there is nothing of the kind."""
    lower = {name.lower().replace("-", "_"): value for name, value in info.items()}
    names: Iterable[str] = [name for name in _IDENTIFYING if lower.get(name)]
    names = names or [name for name in _TIMES if lower.get(name)]
    facts = {name: str(lower[name]) for name in names}
    return {**facts, "size": info.get("size")} if facts else {}


def _read_remote(fs: Any, path: str) -> str:
    from xxhash import xxh3_128

    state = xxh3_128()
    with fs.open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()


def without_password(url: str) -> str:
    """Return a URL fit to be shown."""
    scheme, mark, rest = url.partition("://")
    credentials, at, place = rest.partition("@")
    return f"{scheme}{mark}{place}" if at and "/" not in credentials else url
