"""
Where lore keeps its files.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["home"]

_MARKERS = ("pyproject.toml", "setup.cfg", ".git")

_homes: dict[tuple[str, str], Path] = {}


def home() -> Path:
    """
    Return the folder for everything lore keeps: `$LORE_HOME`, else `.lore` at the root of the project.

    The root is the nearest folder, from the working folder upwards, that holds a `pyproject.toml`, a `setup.cfg` or a
    `.git`; where there is none it is the working folder. The environment is read on every call, so a change takes
    effect at once; the search upwards is done once per working folder. Nothing is created.
    """
    configured = os.environ.get("LORE_HOME")
    if configured:
        place = (configured, "" if configured[0] == os.sep else _cwd())
    else:
        place = ("", _cwd())
    known = _homes.get(place)
    if known is None:
        known = _homes[place] = _configured(*place) if configured else _beside_marker(place[1])
    return known


def _cwd() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # the working folder was removed under us
        return os.path.expanduser("~")


def _configured(path: str, cwd: str) -> Path:
    return Path(cwd, os.path.expanduser(path))


def _beside_marker(cwd: str) -> Path:
    start = Path(cwd)
    for folder in (start, *start.parents):
        if any((folder / marker).exists() for marker in _MARKERS):
            return folder / ".lore"
    return start / ".lore"
