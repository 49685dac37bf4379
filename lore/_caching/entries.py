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
import re
import time
from collections.abc import Iterable, Iterator
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
    "read",
    "read_facts",
    "signing_key",
    "why_invalid",
    "write",
    "write_facts",
]

# A clock of another machine may be a little ahead; an entry from further in the future has no age to speak of.
_SKEW_S = 2.0
_KEY = re.compile(r"[0-9a-f]{32}")


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
    """

    __slots__ = ("_payload", "_place", "created_s", "elapsed_s", "expires_s", "inputs", "key", "later")

    def __init__(self, payload: payloads.Payload, store: Store, name: str) -> None:
        meta = payload.meta
        self._payload = payload
        self._place = (store, name)
        try:
            self.key: str = meta["key"]
            self.created_s = float(meta["created_s"])
            self.elapsed_s = float(meta["elapsed_s"])
            expires_s = meta["expires_s"]
            self.expires_s = math.inf if expires_s is None else float(expires_s)
            inputs = meta["inputs"]
            self.inputs = [_inputs.decode(facts) for facts in inputs] if inputs else ()
            self.later = "later" in meta
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"It is no entry of this version of lore ({error!r}).") from None

    @property
    def nbytes(self) -> int:
        """The size of the entry, the file in an open format included."""
        return self._payload.nbytes + (self._payload.meta["format"]["nbytes"] if "format" in self._payload.meta else 0)

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
        meta = self._payload.meta
        return str(meta["format"]["checksum"]) if "format" in meta else self._payload.checksum.hex()

    def until(self, ttl_s: float) -> float:
        """Return when the entry ceases to be valid for a function with a ttl."""
        return self.expires_s if ttl_s == math.inf else min(self.expires_s, self.created_s + ttl_s)

    def why_invalid(self, ttl_s: float) -> list[str]:
        """Return everything that makes the entry invalid, in words; nothing for one as good as when it was made."""
        too_old = _why_too_old(self.created_s, self.until(ttl_s))
        return [reason for reason in (too_old, *(item.check() for item in self.inputs)) if reason]

    def verify(self) -> None:
        """Check every byte; IntegrityError says what is wrong."""
        self._payload.verify()
        if "format" in self._payload.meta:
            open_formats.verify(*self._place, self._payload.meta["format"])

    def load(self, verify: bool = True) -> Any:
        """Return the value, private to the caller."""
        if "format" in self._payload.meta:
            # A signature covers the file through its checksum, so with a key it is compared in any case.
            return open_formats.load(*self._place, self._payload.meta["format"], verify or signing_key() is not None)
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
    if data is None:
        return None
    stored = Stored(payloads.Payload(data, signing_key()), store, name)
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
    meta: dict[str, Any] = {
        "key": key,
        "created_s": time.time(),
        "expires_s": None if expires_s == math.inf else expires_s,
        "elapsed_s": elapsed_s,
        "inputs": [_inputs.encode(item) for item in inputs],
        "story": base64.b64encode(json.dumps(story).encode()).decode(),
    }
    if later:
        meta["later"] = True
    if format_ is not None:
        meta["format"] = format_
        value = None
    payloads.dump(value, meta, file, key=signing_key())


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
    text = os.environ.get("LORE_SIGNING_KEY")
    return text.encode() if text else None


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
