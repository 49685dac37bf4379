"""
Where entries lie when a cluster shares them: any file system that fsspec knows, with a local folder in front.

An object appears when its upload is complete. That one of all machines computes rests on conditional writes: the claim
of a name is an object that only one can create, and that its holder keeps alive by writing to it. One that stays as it
is for longer than its lease belongs to nobody any more; it is not removed (a slow hand might remove its successor) but
outnumbered: whoever creates the next generation has the claim.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, BinaryIO

from xxhash import xxh3_64_hexdigest

from lore import _home
from lore._caching.stores import OPEN_SUFFIXES, SUFFIX, Claim, FolderStore, Item, Store
from lore._extras import require
from lore.errors import LoreError, StoreError

__all__ = ["LayeredStore", "RemoteStore", "remote_store"]

_LEASE_S = 30.0
_LONGEST_PAUSE_S = 1.0
# On these an upload shows only when it is complete; elsewhere it goes to a temporary name first.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory", "oss", "r2", "oci"})
# These live in or beside the process: a folder in front would be slower, and outlive them.
_NEAR = frozenset({"memory", "file", "local"})


def remote_store(url: str) -> Store:
    """
    Return the store at a URL, with a folder in lore's home in front of it where the way is long.

    Raises:
        StoreError: there is no such file system, or it cannot be set up.
        MissingDependencyError: fsspec, or the package for this file system, is not installed.
    """
    far = RemoteStore(url)
    if far.protocol in _NEAR:
        return far
    return LayeredStore(FolderStore(_home.home() / "near" / xxh3_64_hexdigest(url.encode())), far)


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    """Turn what goes wrong on the way to a file system into a StoreError."""
    try:
        yield
    except (LoreError, FileNotFoundError, FileExistsError):
        raise
    except Exception as error:
        raise StoreError(f"{type(error).__name__}: {error}") from error


class RemoteStore:
    """
    Entries as objects below an fsspec URL.

    The order of use is not written down there: `prune` removes what was stored first. Limits on size are the bucket's
    own affair (`LORE_CACHE_MAX_BYTES` holds for the folder in front).

    Args:
        url: such as `s3://bucket/prefix`.
        lease_s: how long a claim lives without a sign of its holder; the time for which the others wait when a
            machine dies while it computes.

    Threads: safe, between machines too, as far as the file system's conditional writes go.
    """

    slow = True

    def __init__(self, url: str, *, lease_s: float = _LEASE_S) -> None:
        url_to_fs = require("fsspec.core", extra="remote").url_to_fs
        try:
            self._fs, path = url_to_fs(url)
        except ImportError:
            raise
        except ValueError as error:
            raise StoreError(f"The store {url!r} cannot be opened: {error}") from error
        self.url = url
        self.lease_s = lease_s
        self.protocol = url.partition("://")[0]
        self._root = path.rstrip("/")

    def __repr__(self) -> str:
        return f"RemoteStore({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _remote, (self.url, self.lease_s)

    def open(self, name: str) -> bytes | None:
        """Download an entry."""
        try:
            with _told(self.url):
                data: bytes = self._fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        return data

    def fetch(self, name: str, file: BinaryIO) -> bool:
        """Download an entry into a file; tell whether it is there."""
        try:
            with _told(self.url):
                self._fs.get_file(self._path(name), file.name)
        except FileNotFoundError:
            return False
        return True

    def save(self, name: str, write: Callable[[BinaryIO], Any]) -> int:
        """Upload an entry in one step."""
        buffer = io.BytesIO()
        write(buffer)
        with _told(self.url), self._complete(name) as path:
            self._fs.pipe_file(path, buffer.getvalue())
        return buffer.tell()

    def upload(self, name: str, local: str) -> None:
        """Upload an entry that lies in a local file."""
        with _told(self.url), self._complete(name) as path:
            self._fs.put_file(local, path)

    @contextlib.contextmanager
    def _complete(self, name: str) -> Iterator[str]:
        """Give the path to write to, so that nobody sees half of it."""
        target = self._path(name)
        if self.protocol in _OBJECT_STORES:
            yield target
            return
        self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        temporary = f"{self._root}/tmp/{os.getpid()}-{os.urandom(6).hex()}"
        self._fs.makedirs(f"{self._root}/tmp", exist_ok=True)
        yield temporary
        self._fs.mv(temporary, target)

    def used(self, name: str) -> None:
        """Nothing is written down about uses."""

    def delete(self, name: str) -> bool:
        """Remove an entry."""
        path = self._path(name)
        with _told(self.url):
            self._fs.invalidate_cache()
            if not self._fs.exists(path):
                return False
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(path)
        return True

    def scan(self, folder: str = "") -> Iterator[Item]:
        """Yield every entry, or those of one folder."""
        place = f"{self._root}/{folder}" if folder else self._root
        with _told(self.url):
            self._fs.invalidate_cache()
            try:
                found: dict[str, dict[str, Any]] = self._fs.find(place, detail=True)
            except FileNotFoundError:
                return
        for path, info in found.items():
            name = path.removeprefix(self._root).lstrip("/")
            if name.endswith((SUFFIX, *OPEN_SUFFIXES)) and name.count("/") == 1:
                yield Item(name.removesuffix(SUFFIX), int(info.get("size") or 0), _stored_s(info))

    def claim(self, name: str) -> Claim:
        """Return the claim of a name."""
        return _Lease(self, f"{self._root}/claims/{name.replace('/', '-')}")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}{'' if name.endswith(OPEN_SUFFIXES) else SUFFIX}"

    # -- what leases are made of

    def create(self, path: str, content: bytes) -> bool:
        """Create an object; False where there is one."""
        with _told(self.url):
            if self.protocol not in _OBJECT_STORES:
                self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            try:
                self._fs.pipe_file(path, content, mode="create")
            except FileExistsError:
                return False
        return True

    def replace(self, path: str, content: bytes) -> None:
        """Write an object anew."""
        with _told(self.url):
            self._fs.pipe_file(path, content)

    def read(self, path: str) -> bytes | None:
        """Return the content of an object, None where there is none."""
        try:
            with _told(self.url):
                content: bytes = self._fs.cat_file(path)
        except FileNotFoundError:
            return None
        return content

    def remove(self, path: str) -> None:
        """Remove an object that may be gone."""
        with _told(self.url), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(path)


def _remote(url: str, lease_s: float) -> RemoteStore:
    return RemoteStore(url, lease_s=lease_s)


def _stored_s(info: dict[str, Any]) -> float:
    """Return when an object was stored, from whatever its file system calls that; 0 where it does not say."""
    for name in ("LastModified", "last_modified", "updated", "mtime", "modified", "created"):
        when = info.get(name)
        if isinstance(when, datetime):
            return when.timestamp()
        if isinstance(when, int | float):
            return float(when)
        if isinstance(when, str):
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(when).timestamp()
    return 0.0


class _Lease:
    """
    The claim of a name in a remote store.

    Clocks of different machines are never compared: a lease is over when its object stayed the same for `lease_s` on
    the clock of the one who waits.
    """

    def __init__(self, store: RemoteStore, path: str) -> None:
        self._store = store
        self._path = path
        self._owner = os.urandom(8).hex()
        self._generation = 0
        self._seen: tuple[int, bytes] | None = None
        self._seen_s = 0.0
        self._heart: tuple[threading.Event, threading.Thread] | None = None

    def try_acquire(self) -> bool:
        if self._seen is None and self._create():
            return True
        content = self._store.read(self._place())
        if content is None:  # it was given back a moment ago, and all generations before it
            self._generation, self._seen = 0, None
            return self._create()
        if self._seen != (self._generation, content):
            self._seen, self._seen_s = (self._generation, content), time.monotonic()
            return False
        if time.monotonic() - self._seen_s < _lease_of(content, self._store.lease_s):
            return False
        self._generation += 1
        return self._create()

    def acquire(self) -> None:
        pause_s = 0.02
        while not self.try_acquire():
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)

    def release(self) -> None:
        if self._heart is None:
            return
        (stop, thread), self._heart = self._heart, None
        stop.set()
        thread.join(self._store.lease_s)  # or a beat that is under way writes again what is removed now
        for generation in range(self._generation, -1, -1):
            self._store.remove(self._place(generation))

    def _create(self) -> bool:
        if not self._store.create(self._place(), self._content(0)):
            return False
        stop = threading.Event()
        thread = threading.Thread(target=self._keep_alive, args=(stop,), name="lore-lease", daemon=True)
        thread.start()
        self._heart = stop, thread
        return True

    def _keep_alive(self, stop: threading.Event) -> None:
        """Write to the object now and then, until it is given back."""
        beat = 0
        place = self._place()
        while not stop.wait(self._store.lease_s / 3):
            beat += 1
            with contextlib.suppress(OSError):
                self._store.replace(place, self._content(beat))

    def _place(self, generation: int | None = None) -> str:
        return f"{self._path}.{self._generation if generation is None else generation}"

    def _content(self, beat: int) -> bytes:
        return json.dumps({"owner": self._owner, "beat": beat, "lease_s": self._store.lease_s}).encode()


def _lease_of(content: bytes, default_s: float) -> float:
    try:
        return float(json.loads(content)["lease_s"])
    except (ValueError, KeyError, TypeError):
        return default_s


class LayeredStore:
    """
    A remote store with a folder in front: what was fetched or saved once is read from the folder.

    Args:
        near: the folder.
        far: what machines share.
    """

    slow = True

    def __init__(self, near: FolderStore, far: RemoteStore) -> None:
        self.near = near
        self.far = far
        self.url = far.url
        self.used = near.used

    def __repr__(self) -> str:
        return f"LayeredStore({self.near!r}, {self.far!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return LayeredStore, (self.near, self.far)

    def open(self, name: str) -> Any:
        """Return an entry from the folder, and if it is not there fetch it first."""
        data = self._open_near(name)
        if data is not None:
            return data
        try:
            self.near.save(name, lambda file: self._fetched(name, file))
        except FileNotFoundError:
            return None
        except StoreError:
            raise
        except OSError:  # the folder is full or not writable: then straight from afar
            return self.far.open(name)
        return self.near.open(name)

    def _open_near(self, name: str) -> Any:
        try:
            return self.near.open(name)
        except OSError:
            return None

    def _fetched(self, name: str, file: BinaryIO) -> None:
        if not self.far.fetch(name, file):
            raise FileNotFoundError(name)

    def save(self, name: str, write: Callable[[BinaryIO], Any]) -> int:
        """Write an entry to the folder and upload it from there."""
        try:
            nbytes = self.near.save(name, write)
        except StoreError:
            raise
        except OSError:
            return self.far.save(name, write)
        self.far.upload(name, self.near.path_of(name))
        return nbytes

    def path_of(self, name: str) -> str:
        """Return the path of an entry that was opened before."""
        return self.near.path_of(name)

    def renew(self, name: str) -> None:
        """Drop what lies in the folder under a name: afar there may be something newer."""
        with contextlib.suppress(OSError):
            self.near.delete(name)

    def delete(self, name: str) -> bool:
        """Remove an entry here and there."""
        self.renew(name)
        return self.far.delete(name)

    def scan(self, folder: str = "") -> Iterator[Item]:
        """Yield every entry that machines share, or those of one folder."""
        return self.far.scan(folder)

    def claim(self, name: str) -> Claim:
        """Return the claim of a name, the same for all machines."""
        return self.far.claim(name)
