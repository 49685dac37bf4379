"""
Where entries lie: a folder, with its locks, its limits and its order of use.

A store keeps named runs of bytes. It knows nothing of functions and values; what it promises is that a name shows
either the whole of what was saved under it or nothing, and that of all processes that ask for the claim of a name one
gets it.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import math
import mmap
import os
import re
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

from lore._warning import warn

try:
    import fcntl
except ImportError:  # Windows has no record locks of this kind: single flight ends at the process there
    fcntl = None  # type: ignore[assignment]

__all__ = ["Claim", "FolderStore", "Item", "Store", "is_about_code", "prune", "size_of"]

SUFFIX = ".lore"
# Names of what is known about code: it belongs to all results of its folder and goes with the last of them.
ABOUT_CODE = "code-"
OPEN_SUFFIXES = (".arrow", ".joblib", ".keras", ".npy", ".parquet")
_SMALL = 1 << 16
_MAPPED = 4 << 20
_READING = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_TOUCH_S = 60.0
_LEFT_OVER_S = 3600.0
_ENFORCE_S = 600.0


class Item(NamedTuple):
    """What a store knows of one entry without opening it: name, size, last use (seconds since 1970)."""

    name: str
    nbytes: int
    used_s: float


@runtime_checkable
class Claim(Protocol):
    """The right to compute one entry."""

    def try_acquire(self) -> bool:
        """Take the claim if nobody has it; never wait."""
        ...

    def acquire(self) -> None:
        """Wait until the claim is free and take it."""
        ...

    def release(self) -> None:
        """Give the claim back."""
        ...


@runtime_checkable
class Store(Protocol):
    """
    What keeps entries. Pass an object of your own as `store=` to keep them elsewhere.

    Names have the form `folder/entry`, or `folder/entry.parquet` for results in an open format. All methods may be
    called from several threads and processes at once. Any `OSError` they raise costs the user one warning, never a
    result.

    Attributes:
        url: how another process finds the store; goes into `Ref`s.
    """

    @property
    def url(self) -> str: ...

    def open(self, name: str) -> Any:
        """Return the bytes saved under a name (anything with the buffer protocol), None where there are none."""
        ...

    def save(self, name: str, write: Callable[[BinaryIO], Any]) -> int:
        """Call `write` with a binary file, put what it wrote under the name in one step, return the size in bytes."""
        ...

    def used(self, name: str) -> None:
        """Note that an entry is used now; called on every hit, so it must cost next to nothing."""
        ...

    def delete(self, name: str) -> bool:
        """Remove a name; tell whether it was there."""
        ...

    def scan(self, folder: str = "") -> Iterator[Item]:
        """Yield every entry, or those of one folder."""
        ...

    def claim(self, name: str) -> Claim:
        """Return the claim to compute what goes under a name; nothing is taken yet."""
        ...


def prune(store: Store, max_bytes: int | None, max_age_s: float | None) -> int:
    """
    Remove what was not used for `max_age_s`, then the least recently used until `max_bytes` suffice.

    Returns:
        How many entries were removed.
    """
    if isinstance(store, FolderStore):
        return store.sweep(max_bytes, max_age_s)
    _, removed = _sweep(store.scan(), max_bytes, max_age_s, lambda item: store.delete(item.name))
    return removed


def _sweep(
    scanned: Iterable[Item], max_bytes: int | None, max_age_s: float | None, remove: Callable[[Item], bool]
) -> tuple[int, int]:
    """Remove items, least recently used first, as `prune` says; return the bytes that stay and how many went."""
    now = time.time()
    together: dict[str, list[Item]] = {}
    for item in scanned:
        together.setdefault(_entry_of(item.name), []).append(item)
    total = sum(item.nbytes for items in together.values() for item in items)
    removed = 0
    for used_s, name in _by_use(together, now):
        too_old = max_age_s is not None and now - used_s > max_age_s
        too_much = max_bytes is not None and total > max_bytes
        if not too_old and not too_much:
            break
        gone = [item for item in together[name] if remove(item)]
        total -= sum(item.nbytes for item in gone)
        removed += bool(gone) and not is_about_code(name)
    return total, removed


def _by_use(together: dict[str, list[Item]], now: float) -> list[tuple[float, str]]:
    """Return when each entry was last used, the longest ago first."""
    # A use in the future (a clock was set back) counts as now: it must not make an entry immortal.
    used = {name: min(max(item.used_s for item in items), now) for name, items in together.items()}
    latest: dict[str, float] = {}
    for name, used_s in used.items():
        folder = name.rpartition("/")[0]
        latest[folder] = max(latest.get(folder, 0.0), used_s)
    return sorted(
        (latest[name.rpartition("/")[0]] if is_about_code(name) else used_s, name) for name, used_s in used.items()
    )


def is_about_code(name: str) -> bool:
    return name.rpartition("/")[2].startswith(ABOUT_CODE)


def _entry_of(name: str) -> str:
    """Return the name of the entry to which a name belongs; a file in an open format goes with its entry."""
    folder, _, rest = name.rpartition("/")
    return f"{folder}/{rest.partition('.')[0]}"


class FolderStore:
    """
    Entries as files of a local (or mounted) folder, one file each, replaced only by rename.

    Args:
        path: the folder; made at the first save.
        max_bytes: keep at most so much (a number of bytes, or a text such as `500MB`), least recently used first;
            None means `$LORE_CACHE_MAX_BYTES`, written likewise, and where that is not set no limit.
        max_age_s: drop what was not used for so many seconds, or so long a timedelta; None means
            `$LORE_CACHE_MAX_AGE_S`, and where that is not set no limit.

    Threads: safe, also between processes and after a fork. The order of use is written down at most once a minute
    and entry, so that a hit costs no system call for it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int | str | None = None,
        max_age_s: float | timedelta | None = None,
    ) -> None:
        self.path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        self.url = Path(self.path).as_uri()
        self.max_bytes = bytes_limit(max_bytes)
        self.max_age_s = age_limit("max_age_s", max_age_s)
        self._root = self.path + os.sep
        self._locks = _locks_of(self.path)
        self._uses = _Uses(self._root)
        self.used = self._uses.note
        self._swept_s = 0.0
        self._tidy = False

    def __repr__(self) -> str:
        return f"FolderStore({self.path!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _folder_store, (self.path, self.max_bytes, self.max_age_s)

    def open(self, name: str) -> bytes | bytearray | mmap.mmap | None:
        """
        Return the bytes of an entry: read where they are few, mapped privately where they are many.

        A map is copy-on-write: who changes it changes no file. Files of a few megabytes are read as well, because a
        map would take the process down if somebody cut its file short in place.
        """
        path = self._root + name if name.endswith(OPEN_SUFFIXES) else self._root + name + SUFFIX
        try:
            descriptor = os.open(path, _READING)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            data = os.read(descriptor, _SMALL)
            return data if len(data) < _SMALL else _rest(descriptor)
        finally:
            os.close(descriptor)

    def path_of(self, name: str) -> str:
        """Return the path of an entry's file."""
        return self._root + (name if name.endswith(OPEN_SUFFIXES) else name + SUFFIX)

    def save(self, name: str, write: Callable[[BinaryIO], Any]) -> int:
        """
        Write an entry under a temporary name and rename it.

        Raises:
            OSError: the folder is not writable, the disk is full; the old entry, if any, is untouched and nothing is
                left behind.
        """
        if not self._tidy:
            self._prepare()
        temporary = f"{self._root}tmp{os.sep}{os.getpid()}-{os.urandom(6).hex()}"
        target = self.path_of(name)
        try:
            with _created(temporary) as file:
                write(file)
                file.flush()
                now = time.time_ns()
                os.utime(file.fileno(), ns=(now, now))
                nbytes = os.fstat(file.fileno()).st_size
            limit = self._limit()
            if limit is not None and nbytes > limit:
                raise OSError(
                    errno.EFBIG, f"the entry has {nbytes} bytes, more than the whole store may have ({limit})"
                )
            replaced = _size(target) if limit is not None else 0
            _rename(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._enforce(limit, nbytes - replaced)
        return nbytes

    def delete(self, name: str) -> bool:
        """Remove an entry; who has it mapped keeps it."""
        path = self.path_of(name)
        nbytes = _size(path)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        self._uses.forget(name)
        if self._limit() is not None:
            with contextlib.suppress(OSError), self._locks.books() as books:
                books.add(-nbytes)
        return True

    def scan(self, folder: str = "") -> Iterator[Item]:
        """Yield every entry, or those of one folder; what vanishes meanwhile is left out."""
        self._uses.flush()
        for place in [folder] if folder else _folders(self.path):
            for entry in _files(self._root + place):
                if not entry.name.endswith((SUFFIX, *OPEN_SUFFIXES)):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    yield Item(f"{place}/{entry.name.removesuffix(SUFFIX)}", status.st_size, status.st_mtime)

    def claim(self, name: str) -> Claim:
        """Return the claim of a name: a lock of one byte in the store's lock file, which the kernel frees at death."""
        return _FolderClaim(self._locks, _offset(name))

    def sweep(self, max_bytes: int | None, max_age_s: float | None) -> int:
        """Do what `prune` does, with the accounts of the folder kept."""
        with self._locks.books() as books:
            kept, removed = self._sweep(max_bytes, max_age_s)
            books.set(kept)
        return removed

    def _sweep(self, max_bytes: int | None, max_age_s: float | None) -> tuple[int, int]:
        return _sweep(self.scan(), max_bytes, max_age_s, self._unlink_unless_used)

    def _unlink_unless_used(self, item: Item) -> bool:
        """Remove an entry that was neither used nor replaced since it was seen."""
        path = self.path_of(item.name)
        with contextlib.suppress(OSError):
            if os.stat(path).st_mtime == item.used_s:
                os.unlink(path)
                return True
        return False

    def _enforce(self, limit: int | None, added: int) -> None:
        """Keep the limits after a save; what goes wrong here is no failure of the save."""
        max_age_s = self.max_age_s if self.max_age_s is not None else _environment_seconds("LORE_CACHE_MAX_AGE_S")
        if limit is None and max_age_s is None:
            return
        due = time.monotonic() - self._swept_s > _ENFORCE_S or self._swept_s == 0.0
        try:
            with self._locks.books() as books:
                total = books.add(added)
                if due or (limit is not None and total > limit):
                    self._swept_s = time.monotonic()
                    kept, _ = self._sweep(None, max_age_s)
                    if limit is not None and kept > limit:
                        kept, _ = self._sweep(int(limit * 0.9), max_age_s)
                    books.set(kept)
        except OSError as error:
            warn(f"The limits of {self.path} could not be enforced: {error}.", once=("limits", self.path))

    def _limit(self) -> int | None:
        return self.max_bytes if self.max_bytes is not None else _environment_bytes("LORE_CACHE_MAX_BYTES")

    def _prepare(self) -> None:
        """Make the folder, say to backups and git that it is a cache, and remove what killed writers left."""
        temporary = self._root + "tmp"
        os.makedirs(temporary, exist_ok=True)
        for name, text in _NOTICES.items():
            with contextlib.suppress(FileExistsError), open(self._root + name, "x") as file:
                file.write(text)
        _remove_left_overs(temporary)
        self._tidy = True


def _folder_store(path: str, max_bytes: int | None, max_age_s: float | None) -> FolderStore:
    return FolderStore(path, max_bytes=max_bytes, max_age_s=max_age_s)


_NOTICES = {
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache made by lore.\n",
    ".gitignore": "*\n",
}


def _rest(descriptor: int) -> bytearray | mmap.mmap:
    """Return a larger file as a whole, in memory that is the process's own."""
    size = os.fstat(descriptor).st_size
    if size > _MAPPED:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    data = bytearray(size)
    count = os.preadv(descriptor, [data], 0)
    return data if count == size else data[:count]


def _created(path: str) -> BinaryIO:
    """Open a new file for writing; its folder may have been removed since."""
    try:
        return open(path, "xb")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(path, "xb")


def _rename(temporary: str, target: str) -> None:
    try:
        os.replace(temporary, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(temporary, target)


def _remove_left_overs(folder: str) -> None:
    for entry in _files(folder):
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > _LEFT_OVER_S:
                os.unlink(entry.path)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and entry.name != "tmp")
    except (FileNotFoundError, NotADirectoryError):
        return []


def _files(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


class _Uses:
    """
    When entries were last used, written to their modification times now and then.

    The modification time is free for this: what an entry says of its own age stands inside it.
    """

    __slots__ = ("__weakref__", "_due_s", "_new", "_root")

    def __init__(self, root: str) -> None:
        self._root = root
        self._new: dict[str, float] = {}
        self._due_s = perf_counter() + _TOUCH_S
        _all_uses.add(self)

    def note(self, name: str) -> None:
        """Remember that an entry is used now."""
        now_s = self._new[name] = perf_counter()
        if now_s > self._due_s:
            self.flush()

    def forget(self, name: str) -> None:
        """Remember nothing of an entry that is gone."""
        self._new.pop(name, None)

    def flush(self) -> None:
        """Write down what is not written yet."""
        now_s = perf_counter()
        since_s = time.time() - now_s
        self._due_s = now_s + _TOUCH_S
        new, self._new = self._new, {}
        for name, used_s in list(new.items()):
            with contextlib.suppress(OSError):
                os.utime(self._root + name + SUFFIX, (since_s + used_s, since_s + used_s))


_all_uses: weakref.WeakSet[_Uses] = weakref.WeakSet()


@atexit.register
def _flush_all() -> None:
    for uses in list(_all_uses):
        uses.flush()


# ---------------------------------------------------------------------------------------------------------------------
# Locks: one file per store, one byte of it per name


class _Locks:
    """
    The lock file of a store.

    Every name owns one byte of one file, found by hashing: locks never pile up, and no file is ever removed under a
    process that waits for it. The locks are POSIX record locks. They belong to the process, so a child that was forked
    meanwhile does not keep them alive, and the kernel drops them when their holder dies. Between the threads of a
    process they do not hold: `flights` does that.
    """

    def __init__(self, path: str) -> None:
        self._path = path + os.sep + ".lock"
        self._file = -1
        self._identity = (0, 0)
        self._renew()

    def _renew(self) -> None:
        self._guard = threading.Lock()
        self._books = threading.Lock()

    def descriptor(self) -> int:
        """
        Return the open lock file, -1 where there can be none.

        A file that was replaced (somebody removed the folder) is opened anew; the old one stays open, because closing
        it would drop the locks that other threads hold on it.
        """
        with self._guard:
            try:
                status = os.stat(self._path)
                if (status.st_dev, status.st_ino) == self._identity:
                    return self._file
            except FileNotFoundError:
                pass
            except OSError:
                return -1
            return self._opened()

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            try:
                self._file = os.open(self._path, flags, 0o666)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(self._path), exist_ok=True)
                self._file = os.open(self._path, flags, 0o666)
        except OSError:
            return -1
        status = os.fstat(self._file)
        self._identity = (status.st_dev, status.st_ino)
        return self._file

    @contextlib.contextmanager
    def books(self) -> Iterator[_Books]:
        """Hold the store's accounts: how many bytes it has."""
        with self._books:
            descriptor = self.descriptor()
            claim = _FolderClaim(self, _BOOKS_OFFSET)
            claim.acquire()
            try:
                yield _Books(descriptor)
            finally:
                claim.release()


_BOOKS_OFFSET = 16
_FIRST_OFFSET = 4096
_LAST_OFFSET = 2**62


def _offset(name: str) -> int:
    """Return the byte of the lock file that belongs to a name."""
    digits = name.rpartition("/")[2][:15]
    try:
        number = int(digits, 16)
    except ValueError:
        from xxhash import xxh3_64_intdigest

        number = xxh3_64_intdigest(name.encode())
    return _FIRST_OFFSET + number % _LAST_OFFSET


class _Books:
    """The number of bytes in a store, kept in the first eight bytes of its lock file."""

    def __init__(self, descriptor: int) -> None:
        self._file = descriptor

    def add(self, nbytes: int) -> int:
        """Add to the account and return the sum."""
        if self._file < 0:
            return nbytes
        data = os.pread(self._file, 8, 0)
        total = max(0, (struct.unpack("<q", data)[0] if len(data) == 8 else 0) + nbytes)
        self.set(total)
        return int(total)

    def set(self, nbytes: int) -> None:
        """Set the account to what was counted."""
        if self._file >= 0:
            os.pwrite(self._file, struct.pack("<q", nbytes), 0)


class _FolderClaim:
    """One byte of a lock file."""

    __slots__ = ("_descriptor", "_locks", "_offset")

    def __init__(self, locks: _Locks, offset: int) -> None:
        self._locks = locks
        self._offset = offset
        self._descriptor = -1

    def try_acquire(self) -> bool:
        return self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB if fcntl else 0)

    def acquire(self) -> None:
        pause_s = 0.001
        while not self._lock(fcntl.LOCK_EX if fcntl else 0):
            # The kernel saw a circle among processes. Their threads may well not stand in one: ask again.
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.1)

    def release(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._offset)
            self._descriptor = -1

    def _lock(self, operation: int) -> bool:
        """Lock; True also where the file system has no locks, because then everybody computes."""
        self._descriptor = self._locks.descriptor() if fcntl else -1
        if self._descriptor < 0:
            return True
        try:
            fcntl.lockf(self._descriptor, operation, 1, self._offset)
        except OSError as error:
            taken = error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
            self._descriptor = -1
            return not taken
        return True


_locks: dict[str, _Locks] = {}
_locks_guard = threading.Lock()


def _locks_of(path: str) -> _Locks:
    """Return the locks of a folder: one object per process, since closing a second one would drop the first one's."""
    with _locks_guard:
        known = _locks.get(path)
        if known is None:
            known = _locks[path] = _Locks(path)
        return known


def _renew_locks() -> None:
    global _locks_guard
    _locks_guard = threading.Lock()
    for locks in _locks.values():
        locks._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


# ---------------------------------------------------------------------------------------------------------------------
# Limits from the environment

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def size_of(text: str) -> int:
    """
    Read a number of bytes.

    >>> size_of("1_000"), size_of("500MB"), size_of("2 GiB")
    (1000, 500000000, 2147483648)
    """
    match = re.fullmatch(r"\s*([0-9_]*\.?[0-9]+)\s*([kmgt]?i?)b?\s*", text.lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{text!r} is no number of bytes: write it like 1000000, 500MB or 2GiB")
    return int(float(match[1].replace("_", "")) * _UNITS[match[2]])


def bytes_limit(limit: object) -> int | None:
    """
    Read a limit in bytes: a number, or a text such as `500MB`; None for none.

    Raises:
        TypeError, ValueError: it is neither, or less than 0.
    """
    if isinstance(limit, str):
        return size_of(limit)
    if limit is not None and (not isinstance(limit, int | float) or isinstance(limit, bool)):
        raise TypeError(f"max_bytes={limit!r} is no number of bytes: write it like 1000000, '500MB' or '2GiB'")
    if limit is not None and not 0 <= limit < math.inf:
        raise ValueError(f"max_bytes={limit!r} is no number of bytes, 0 or more")
    return None if limit is None else int(limit)


def age_limit(name: str, limit: object) -> float | None:
    """
    Read an age: seconds, or a timedelta; None for none.

    Raises:
        TypeError, ValueError: it is neither, or less than 0.
    """
    if isinstance(limit, timedelta):
        limit = limit.total_seconds()
    if limit is None:
        return None
    if not isinstance(limit, int | float) or isinstance(limit, bool):
        raise TypeError(f"{name}={limit!r} is no age: write it in seconds, like 3600, or as timedelta(hours=1)")
    if not limit >= 0:
        raise ValueError(f"{name}={limit!r} is no age: it is less than 0 seconds")
    return limit


def _environment_bytes(name: str) -> int | None:
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return size_of(text)
    except ValueError as error:
        warn(f"{name} is ignored: {error}.", once=(name, text))
        return None


def _environment_seconds(name: str) -> float | None:
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        warn(f"{name} is ignored: {text!r} is no number of seconds.", once=(name, text))
        return None
