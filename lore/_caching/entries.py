"""
Entries: what stands in a store beside each result, and how it is told whether the result is still valid.

The facts that every hit needs (key, age, inputs) are read each time; the story of the entry (arguments, code, who made
it) is packed into one string that costs a hit nothing and is unpacked for people only.
"""

from __future__ import annotations

import base64
import json
import math
import os
import pickle
import re
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from lore import _inputs
from lore._caching import open_formats, payloads
from lore._caching.stores import ABOUT_CODE, Item, Store, is_about_code
from lore.errors import IntegrityError, StoreError

__all__ = [
    "Entry",
    "Stored",
    "ago",
    "check",
    "described",
    "facts_name",
    "is_entry",
    "listed",
    "opened",
    "read",
    "read_facts",
    "signing_key",
    "why_invalid",
    "write",
    "write_facts",
]

# A clock of another machine may be a little ahead; an entry from further in the future has no age to speak of.
_SKEW_S = 2.0
_SMALL = 4096
# The environment is asked on every hit, and os.environ takes eight times as long to say that a name is not there.
_environment: Mapping[bytes, bytes] = getattr(os.environ, "_data", os.environb)
_KEY = re.compile(r"[0-9a-f]{32}")

# How the text of an entry's meta begins: a mark, the key, three doubles (created, elapsed, expires) in hexadecimal.
_PLAIN, _MORE = '{"head":"-', '{"head":"+'
_TIMES = struct.Struct("<3d")
_KEY_AT = len(_PLAIN)
_TIMES_AT = _KEY_AT + 32
_HEAD_SIZE = _TIMES_AT + 2 * _TIMES.size


@dataclass(frozen=True, slots=True)
class Entry:
    """
    What is known about one stored result, without loading it.

    Attributes:
        function: module and qualified name of the function that made it.
        key: of the call, 32 hexadecimal digits.
        arguments: what was passed, in short, by the names of the parameters.
        nbytes: size in the store.
        created_s: when it was stored, in seconds since 1970.
        used_s: when it was last used, to about a minute, in seconds since 1970.
        expires_s: when it ceases to be valid; None where only its inputs and its code decide.
        elapsed_s: how long the function took.
        inputs: what the function read: a JSON-able dict each, with its `kind`.
        version: the `version=` it was made under, as `repr` shows it.
        code: digest of the code that made it.
        python: version of the interpreter.
        host, pid, command, commit: who made it: machine, process, command line, git commit of the working folder.
        run: the id of the `lore.timing.run` that was open, if one was; see `lore.timing.record`.
    """

    function: str
    key: str
    arguments: dict[str, str]
    nbytes: int
    created_s: float
    used_s: float
    expires_s: float | None
    elapsed_s: float
    inputs: tuple[dict[str, Any], ...]
    version: str
    code: str
    python: str
    host: str
    pid: int
    command: str
    commit: str | None
    run: str | None
    name: str = field(repr=False)
    store: Store = field(repr=False, compare=False)

    def load(self) -> Any:
        """
        Return the result, private to the caller, whether or not it is still valid.

        Raises:
            StoreError: it is gone.
            IntegrityError: it is damaged.
        """
        stored = read(self.store, self.name)
        if stored is None:
            raise StoreError(f"The entry {self.name} is no longer in {self.store.url}.")
        return stored.load()


class Stored:
    """
    One entry as it was found, its value not yet loaded.

    Attributes:
        key: of the call, 32 hexadecimal digits.
        created_s: when it was stored, in seconds since 1970.
        expires_s: when something it was made from ceases to be valid; infinite where nothing does. What the function
            that finds it says of its age (`ttl`) comes on top: see `until`.
        elapsed_s: how long the function took.
        inputs: what the function read.
        later: a plain function answered with an awaitable.
        data: the bytes it was found as.
        signed_with: the key that its signature was checked with, None where none is set.
    """

    __slots__ = (
        "_format",
        "_payload",
        "_pickle",
        "_place",
        "created_s",
        "data",
        "elapsed_s",
        "expires_s",
        "inputs",
        "key",
        "later",
        "signed_with",
    )

    def __init__(self, data: Any, store: Store, name: str) -> None:
        self.data = data
        self.signed_with = signing_key()
        self._payload = payloads.Payload(data, self.signed_with)
        self._place = (store, name)
        self.inputs: Sequence[_inputs.Input] = ()
        self.later = False
        self._format: dict[str, Any] | None = None
        try:
            self._read_head(self._payload.peek(_HEAD_SIZE).decode())
        except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
            raise IntegrityError(f"It is no entry of this version of lore ({error!r}).") from None

    def _read_head(self, head: str) -> None:
        """Read what every hit needs from a text of fixed length, and the rest from JSON only where there is a rest."""
        mark = head[: len(_PLAIN)]
        if mark not in (_PLAIN, _MORE):
            raise ValueError("another kind of head")
        self.key = head[_KEY_AT:_TIMES_AT]
        self.created_s: float
        self.elapsed_s: float
        self.expires_s: float
        self.created_s, self.elapsed_s, self.expires_s = _TIMES.unpack(bytes.fromhex(head[_TIMES_AT:]))
        if mark == _MORE:
            meta = self._payload.meta
            self.inputs = [_inputs.decode(facts) for facts in meta["inputs"]]
            self.later = meta["later"]
            self._format = meta["format"]

    def remember(self) -> bool:
        """
        Keep the pickle of a small value that was verified at hand for `again`; tell whether it is of that kind.
        """
        small = type(self.data) is bytes and len(self.data) <= _SMALL and self._format is None
        self._pickle = self._payload.in_one if small else None
        return self._pickle is not None

    def again(self) -> Any:
        """Return the value of an entry that was verified before and is found with the same bytes."""
        try:
            return pickle.loads(self._pickle)  # type: ignore[arg-type]
        except Exception:
            return self._payload.load(verify=False)  # which says what is wrong

    @property
    def nbytes(self) -> int:
        """The size of the entry, the file in an open format included."""
        return self._payload.nbytes + (self._format["nbytes"] if self._format else 0)

    @property
    def story(self) -> dict[str, Any]:
        """What is known about how the entry came to be."""
        try:
            story: dict[str, Any] = json.loads(base64.b64decode(self._payload.meta["story"]))
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"It is no entry of this version of lore ({error!r}).") from None
        return {**_UNTOLD, **story}

    @property
    def checksum(self) -> str:
        """What tells the bytes of this value from those of any other, in 32 hexadecimal digits."""
        return str(self._format["checksum"]) if self._format else self._payload.checksum.hex()

    def until(self, ttl_s: float) -> float:
        """Return when the entry ceases to be valid for a function with a ttl."""
        until_s = self.created_s + ttl_s
        return until_s if until_s < self.expires_s else self.expires_s

    def why_invalid(self, ttl_s: float) -> list[str]:
        """Return everything that makes the entry invalid, in words; nothing for one as good as when it was made."""
        too_old = _why_too_old(self.created_s, self.until(ttl_s))
        return [reason for reason in (too_old, *(item.check() for item in self.inputs)) if reason]

    def verify(self) -> None:
        """Check every byte; IntegrityError says what is wrong."""
        self._payload.verify()
        if self._format:
            open_formats.verify(*self._place, self._format)

    def load(self, verify: bool = True) -> Any:
        """Return the value, private to the caller."""
        if self._format:
            # A signature covers the file through its checksum, so with a key it is compared in any case.
            return open_formats.load(*self._place, self._format, verify or self.signed_with is not None)
        return self._payload.load(verify)


_UNTOLD: dict[str, Any] = {
    "function": "",
    "arguments": {},
    "version": "",
    "code": "",
    "ttl_s": None,
    "python": "",
    "host": "",
    "pid": 0,
    "command": "",
    "commit": None,
    "run": None,
}


def why_invalid(created_s: float, until_s: float, inputs: Iterable[_inputs.Input]) -> str | None:
    """
    Return the first thing that makes a result invalid, in words; None for one that is as good as when it was made.

    Args:
        created_s: when it was made.
        until_s: when it ceases to be valid by its age.
        inputs: what it was made from.
    """
    if until_s != math.inf:
        reason = _why_too_old(created_s, until_s)
        if reason:
            return reason
    for item in inputs:
        reason = item.check()
        if reason:
            return reason
    return None


def _why_too_old(created_s: float, expires_s: float) -> str | None:
    if expires_s == math.inf:
        return None
    now = time.time()
    if now >= expires_s:
        return f"its age: what it was made from, or its ttl, was valid until {ago(now - expires_s)} ago"
    if created_s > now + _SKEW_S:
        return f"its age: it was made {ago(created_s - now)} in the future, so a clock was set back"
    return None


def ago(seconds: float) -> str:
    """Say a span of time in the unit that people would."""
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} seconds"


def read(store: Store, name: str) -> Stored | None:
    """
    Find an entry in a store, its head checked and its key compared with its name.

    Raises:
        IntegrityError: there are bytes under the name, and they are no entry, are damaged, unsigned, or those of
            another entry.
        OSError: the store cannot be read.
    """
    data = store.open(name)
    return None if data is None else opened(data, store, name)


def opened(data: Any, store: Store, name: str) -> Stored:
    """Do what `read` does with bytes that were read already."""
    stored = Stored(data, store, name)
    if not name.endswith(stored.key):
        raise IntegrityError(f"The entry is that of another call: its key is {stored.key}.")
    return stored


def write(
    value: object,
    file: BinaryIO,
    *,
    key: str,
    elapsed_s: float,
    expires_s: float,
    inputs: list[_inputs.Input],
    story: dict[str, Any],
    later: bool = False,
    format_: dict[str, Any] | None = None,
) -> None:
    """Write an entry to a file: the other side of `read`. With `format_` the value lies in a file of its own."""
    plain = not inputs and not later and format_ is None
    times = _TIMES.pack(time.time(), elapsed_s, expires_s).hex()
    meta: dict[str, Any] = {"head": f"{'-' if plain else '+'}{key}{times}"}
    if not plain:
        meta |= {"inputs": [_inputs.encode(item) for item in inputs], "later": later, "format": format_}
    meta["story"] = base64.b64encode(json.dumps(story).encode()).decode()
    payloads.dump(value if format_ is None else None, meta, file, key=signing_key())


def write_facts(facts: dict[str, Any], file: BinaryIO) -> None:
    """Write what is known about one state of a function's code."""
    payloads.dump(None, {"facts": facts}, file, key=signing_key())


def read_facts(store: Store, folder: str, code: str) -> dict[str, Any] | None:
    """Return what is known about one state of a function's code, None where that is lost."""
    try:
        data = store.open(facts_name(folder, code))
        facts: dict[str, Any] | None = data and payloads.Payload(data, signing_key()).meta["facts"]
    except (IntegrityError, OSError, KeyError):
        return None
    return facts


def signing_key() -> bytes | None:
    """Return what signs entries, or None."""
    return _environment.get(b"LORE_SIGNING_KEY") or None


def is_entry(name: str) -> bool:
    """Tell an entry's name from those of other things in a store."""
    return _KEY.fullmatch(name.rpartition("/")[2]) is not None


def facts_name(folder: str, code: str) -> str:
    """Return the name under which the facts about one state of a function's code stand, for explanations."""
    return f"{folder}/{ABOUT_CODE}{code}"


def listed(store: Store, folder: str = "") -> Iterator[Entry]:
    """Yield what is known about the entries of a store, or of one folder of it; what is damaged is left out."""
    for item in store.scan(folder):
        if is_entry(item.name):
            try:
                stored = read(store, item.name)
                if stored is not None:
                    yield described(stored, store, item)
            except (IntegrityError, OSError):
                continue


def check(store: Store, name: str) -> None:
    """
    Check every byte of what stands under a name.

    Raises:
        IntegrityError: something is wrong with it.
        OSError: it cannot be read.
    """
    if is_entry(name):
        stored = read(store, name)
        if stored is not None:
            stored.verify()
    elif is_about_code(name):
        data = store.open(name)
        if data is not None:
            payloads.Payload(data, signing_key()).verify()


def described(stored: Stored, store: Store, item: Item) -> Entry:
    """Return what is known about one entry."""
    story = stored.story
    until_s = stored.until(math.inf if story["ttl_s"] is None else story["ttl_s"])
    return Entry(
        function=story["function"],
        key=stored.key,
        arguments={name: shown for name, (_, shown) in story["arguments"].items()},
        nbytes=stored.nbytes,
        created_s=stored.created_s,
        used_s=item.used_s,
        expires_s=None if until_s == math.inf else until_s,
        elapsed_s=stored.elapsed_s,
        inputs=tuple(_inputs.encode(each) for each in stored.inputs),
        version=story["version"],
        code=story["code"],
        python=story["python"],
        host=story["host"],
        pid=story["pid"],
        command=story["command"],
        commit=story["commit"],
        run=story["run"],
        name=item.name,
        store=store,
    )
