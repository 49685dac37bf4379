"""
What is written down with each entry for people: who made it, from what, with which versions.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
from typing import Any

__all__ = ["brief", "of_process"]

_LONGEST = 80
_SHOWN_WHOLE = (int, float, complex, bool, type(None))
_SECRET = (
    *("password", "passwd", "pwd", "db_pass", "passphrase", "secret", "token", "credential", "authorization", "cookie"),
    *("api_key", "apikey", "access_key", "private_key"),
)


def of_process() -> dict[str, Any]:
    """Return what this process says about every entry it makes."""
    return {**_of_start(os.getpid()), "cwd": _working_folder()}


@functools.lru_cache(maxsize=1)
def _of_start(pid: int) -> dict[str, Any]:
    commit, dirty = _commit()
    return {
        "python": platform.python_version(),
        "host": platform.node(),
        "pid": pid,
        "command": " ".join(getattr(sys, "orig_argv", sys.argv))[:500],
        "commit": commit,
        "dirty": dirty,
    }


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _commit() -> tuple[str | None, bool | None]:
    """Return the git commit of the working folder, read from git's own files: no process is started for it."""
    folder = _working_folder()
    while folder and not os.path.exists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        folder = "" if parent == folder else parent
    if not folder:
        return None, None
    try:
        return _head_of(os.path.join(folder, ".git")), None
    except OSError:
        return None, None


def _head_of(git: str) -> str | None:
    if os.path.isfile(git):  # a work tree of its own points to where its repository lies
        git = os.path.join(os.path.dirname(git), _line_of(git).removeprefix("gitdir:").strip())
    head = _line_of(os.path.join(git, "HEAD"))
    if not head.startswith("ref:"):
        return head or None
    name = head.removeprefix("ref:").strip()
    shared = os.path.join(git, "commondir")
    places = [git, os.path.normpath(os.path.join(git, _line_of(shared)))] if os.path.exists(shared) else [git]
    for place in places:
        if os.path.exists(os.path.join(place, name)):
            return _line_of(os.path.join(place, name))
        packed = os.path.join(place, "packed-refs")
        if os.path.exists(packed):
            with open(packed) as lines:
                for line in lines:
                    commit, _, ref = line.strip().partition(" ")
                    if ref == name:
                        return commit
    return None


def _line_of(path: str) -> str:
    with open(path) as file:
        return file.readline().strip()


def brief(name: str, value: object) -> str:
    """
    Say what an argument was in a few words, at a cost that does not grow with the argument.

    Scalars and short texts are shown, frames and arrays by shape; what may be secret by its name is not shown at all,
    and no method of the user's own classes is called. What cannot be shown (a number of more digits than Python
    prints) is named by its type: a story never costs a result.
    """
    if _may_be_secret(name):
        return "(not shown)"
    try:
        return _brief(value)
    except Exception:
        return type(value).__qualname__


def _brief(value: object) -> str:
    kind = type(value)
    if kind in _SHOWN_WHOLE:
        return repr(value)
    if kind in (str, bytes):
        return repr(value) if len(value) <= _LONGEST else f"{value[:_LONGEST]!r}... ({len(value)} long)"  # type: ignore[arg-type, index]
    if kind in (list, tuple, dict, set, frozenset):
        return _brief_container(kind, value)
    module = kind.__module__.partition(".")[0]
    if module in ("numpy", "pandas", "scipy", "polars", "pyarrow"):
        shape = getattr(value, "shape", None)
        return f"{kind.__name__}{'' if shape is None else ' ' + 'x'.join(map(str, shape))}"
    if module in ("datetime", "pathlib", "decimal", "uuid", "fractions"):
        return repr(value)[:_LONGEST]
    if isinstance(value, type):
        return value.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


@functools.lru_cache(maxsize=1024)
def _may_be_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET)


def _brief_container(kind: type, value: Any) -> str:
    count = len(value)
    if kind in (list, tuple) and count <= 8 and all(type(item) in (*_SHOWN_WHOLE, str) for item in value):
        text = repr(value)
        if len(text) <= _LONGEST:
            return text
    return f"{kind.__name__} of {count}"
