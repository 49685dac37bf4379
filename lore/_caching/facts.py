"""
What a digest of code was made of, in a form that is stored beside a result, and the difference of two in words.
"""

from __future__ import annotations

import functools
import os
import re
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypedDict

__all__ = ["Fact", "Facts", "explain", "place", "shown"]


class Fact(TypedDict, total=False):
    """
    One thing that code depends on; JSON-able.

    Args:
        kind: "function", "class", "constant", "closure", "default", "layer", "packages", "python", ...
        name: as the user knows it: `clean`, `Model.fit`, `LIMIT`.
        file: where it stands, relative to the working folder where it lies below; empty where there is none.
        line: its line in that file.
        digest: of what is its own, without what it depends on; hexadecimal.
        source: of a function: whether its source was found to say what runs.
        shown: the value, where it is small and no secret.
        versions: of packages: name to version.
    """

    kind: str
    name: str
    file: str
    line: int
    digest: str
    source: bool
    shown: str
    versions: dict[str, str]


Facts = dict[str, Fact]

_SECRET = re.compile(
    r"(^|_)pass$|passw|passphrase|pwd|secret|token|credential|api_?key|access_?key|authorization|cookie|private|dsn|signing",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(://[^:/@\s'\"]*:)[^\s'\"]*@")
_LONGEST = 60
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 4
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = _SHORT.maxfrozenset = _SHORT.maxdeque = 16
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = _LONGEST + 10


def shown(name: str, value: object) -> str:
    """Show a small value as it may be stored and printed: short, and never a secret; else the empty string."""
    if _SECRET.search(name):
        return ""
    try:
        text = _SHORT.repr(value)
    except Exception:  # an integer that is too long to be written
        return ""
    whole = len(text) <= _LONGEST and "..." not in text and not _SECRET.search(text)
    return _URL_PASSWORD.sub(r"\1***@", text) if whole else ""


@functools.lru_cache(maxsize=1024)
def place(filename: str, folder: str) -> str:
    """
    Name a file as a reader would: relative to the working folder if it lies below it.

    Args:
        filename: of the code.
        folder: the working folder.
    """
    if filename.startswith("<") or not filename:
        return filename
    try:
        relative = os.path.relpath(filename, folder)
    except (ValueError, OSError):
        return filename
    return filename if relative.startswith("..") else relative


def explain(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """
    Say in words what differs between the facts of two digests, what changed before what came or went.

    >>> old = {"a": {"kind": "constant", "name": "LIMIT", "file": "features.py", "digest": "0", "shown": "3"}}
    >>> new = {"a": {"kind": "constant", "name": "LIMIT", "file": "features.py", "digest": "1", "shown": "4"}}
    >>> explain(old, new)
    ['constant LIMIT in features.py changed from 3 to 4']
    """
    changed = [line for key in new if key in old for line in _changed(old[key], new[key])]
    gone = [old[key] for key in old if key not in new]
    come = [new[key] for key in new if key not in old]
    return changed + list(_moved(gone, come))


def _changed(old: Fact, new: Fact) -> Iterator[str]:
    if new["kind"] in ("packages", "python"):
        yield from _versions(old.get("versions", {}), new.get("versions", {}))
    elif old.get("digest") != new.get("digest"):
        before, after = old.get("shown"), new.get("shown")
        values = f" from {before} to {after}" if before and after and before != after else ""
        unread = old.get("source", True) and not new.get("source", True)
        why = " (or its file no longer says what runs)" if unread else ""
        yield f"{_called(new)} changed{values}{why}"


def _versions(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before is None:
            yield f"{name} {after} is now used"
        elif after is None:
            yield f"{name} {before} is no longer used"
        elif before != after:
            yield f"{name} {before} -> {after}"


def _moved(gone: list[Fact], come: list[Fact]) -> Iterator[str]:
    """What left one place and came to another unchanged has only moved, which counts for nothing."""
    left = [fact for fact in come if not _taken(gone, fact, "digest")]
    for fact in left:
        twin = _taken(gone, fact, "name")
        if twin is not None:
            yield from _changed(twin, fact)
        else:
            value = f" = {fact['shown']}" if fact.get("shown") else ""
            yield f"{_called(fact)}{value} is now used"
    for fact in gone:
        yield f"{_called(fact)} is no longer used"


def _taken(gone: list[Fact], fact: Fact, by: Literal["digest", "name"]) -> Fact | None:
    """Take what is of the same kind and equal in one respect out of what is gone."""
    twin = next((old for old in gone if (old["kind"], old.get(by)) == (fact["kind"], fact.get(by))), None)
    if twin is not None:
        gone.remove(twin)
    return twin


def _called(fact: Fact) -> str:
    kind, name = fact["kind"], fact.get("name", "")
    called = f"{name}()" if kind in ("function", "helper", "sql_source") else name
    where = f" in {fact['file']}" if fact.get("file") else ""
    return f"{kind} {called}{where}"
