"""
Objects as keys: an instance is its class and its state; a class is its name, and its code where that is the user's.
"""

from __future__ import annotations

import copyreg
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import CellType, FunctionType
from typing import Any

from lore._caching.values import Unkeyable, Walk, items_token, members_token, node, state_token

__all__ = ["class_token", "function_token", "instance", "is_library", "offered"]

_PROTOCOL = 4  # the last that hands out no buffers
_NOT_STATE = frozenset({"_attrs_cached_hash", "__weakref__"})  # depends on the hash seed; on nothing


def offered(value: Any, walk: Walk) -> bytes:
    """Encode an object that speaks for itself through `__lore_fingerprint__`."""
    said = value.__lore_fingerprint__()
    if isinstance(said, tuple) and len(said) == 2 and said[0] == "digest":
        return b"=" + bytes(said[1])
    if not isinstance(said, (bytes, str)):
        raise Unkeyable(value, f"its __lore_fingerprint__ returned {type(said).__name__} instead of bytes or str")
    return node(b"offered", walk.class_token(type(value)), walk.token(said))


def instance(value: Any, walk: Walk) -> bytes:
    """Encode any object by its class and by what it would hand to pickle or copy."""
    cls = type(value)
    if cls is object:
        raise Unkeyable(value, "a bare object() is nothing but its identity")
    if hasattr(cls, "__next__"):
        raise Unkeyable(value, "an iterator is consumed by the call and has no value to compare")
    reduced = _reduce(value, cls)
    if isinstance(reduced, str):
        return node(b"global", walk.token(getattr(value, "__module__", "") or ""), walk.token(reduced))
    make, args, state, items, pairs = (*reduced, None, None, None)[:5]
    if isinstance(value, (set, frozenset)):
        return node(b"set object", walk.class_token(cls), members_token(value, walk), _state(value.__dict__, walk))
    return node(
        b"object",
        walk.class_token(cls),
        walk.token(make),
        node(b"", *_arguments(args, walk)),
        _state(state, walk),
        node(b"", *walk.tokens(items)) if items is not None else b"",
        items_token(_Pairs(pairs), walk) if pairs is not None else b"",
    )


class _Pairs:
    """An iterator of pairs that reads like a mapping."""

    def __init__(self, pairs: Any) -> None:
        self.items = lambda: pairs


def _reduce(value: Any, cls: type) -> Any:
    """Ask an object what it is made of, as copy and pickle do."""
    reducer = copyreg.dispatch_table.get(cls)
    try:
        return reducer(value) if reducer is not None else value.__reduce_ex__(_PROTOCOL)
    except RecursionError:
        raise
    except Exception as error:
        raise Unkeyable(value, f"it does not say what it is made of ({error})") from error


def _arguments(args: Any, walk: Walk) -> list[bytes]:
    try:
        return walk.tokens(args)
    except Unkeyable as error:
        error.path = error.path.replace("[", "(", 1).replace("]", ")", 1)
        raise


def _state(state: Any, walk: Walk) -> bytes:
    """Encode a state: a dict of attributes, such a dict with another of slots, or whatever the class has chosen."""
    if type(state) is dict:
        return state_token(_known(state), walk)
    if type(state) is tuple and len(state) == 2 and all(type(part) is dict or part is None for part in state):
        return node(b"", *(state_token(_known(part or {}), walk) for part in state))
    return walk.token(state)


def _known(state: dict[Any, Any]) -> dict[Any, Any]:
    return state if _NOT_STATE.isdisjoint(state) else {k: v for k, v in state.items() if k not in _NOT_STATE}


def class_token(cls: type, walk: Walk) -> bytes:
    """Encode a class: by name where a package or the standard library brings it, else by its code too."""
    if is_library(cls.__module__):
        return node(b"class", _home(cls.__module__).encode(), cls.__qualname__.encode("utf-8", "surrogatepass"))
    return node(b"class of the user", walk.code(cls))


def function_token(function: FunctionType, walk: Walk) -> bytes:
    """Encode a function: by its code where it is the user's, else by name and what it closes over."""
    if not is_library(function.__module__ or ""):
        return b"F" + walk.code(function)
    name = f"{_home(function.__module__)}:{function.__qualname__}"
    held = [cell.cell_contents for cell in function.__closure__ or () if cell != _EMPTY_CELL]
    return node(b"function", name.encode(), walk.token(held) if held else b"")


_EMPTY_CELL = CellType()


def _home(module: str) -> str:
    """Name the package part of a module that may move between versions: `pathlib._local` is `pathlib`."""
    parts = module.split(".")
    return ".".join(part for part in parts if not part.startswith("_") or len(parts) == 1)


@lru_cache(maxsize=4096)
def is_library(module: str) -> bool:
    """Say whether a module comes from the interpreter, the standard library or an installed package."""
    if module.partition(".")[0] in sys.stdlib_module_names and module != "__main__":
        return True
    found = sys.modules.get(module)
    path = getattr(found, "__file__", None)
    if path is None:
        return False
    return any(Path(path).is_relative_to(folder) for folder in _library_folders())


@lru_cache(maxsize=1)
def _library_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
