"""
Objects as keys: an instance is its class and its state; a class or function is its name, and its code where that is the
user's own.
"""

from __future__ import annotations

import copyreg
from functools import lru_cache
from io import IOBase
from itertools import chain
from types import CellType, FunctionType
from typing import Any

from lore._caching.origins import of_file, of_module_named
from lore._caching.values import (
    SCALARS,
    Encoder,
    Unkeyable,
    Walk,
    guarded,
    items_token,
    leaf,
    members_token,
    module_of,
    node,
    remember,
    state_token,
)

__all__ = ["class_token", "encoder", "function_token", "instance", "is_own", "offered"]

_PROTOCOL = 4  # the last that hands out no buffers
_NOT_STATE = frozenset({"_attrs_cached_hash", "__weakref__"})  # the first differs with the hash seed
_MAKE: Any = copyreg.__newobj__  # type: ignore[attr-defined]
_EMPTY_CELL = CellType()
_ASKED = ("__reduce_ex__", "__reduce__", "__getstate__", "__getattribute__")
_TAGS = {
    (False, False): b"object",
    (True, False): b"object with items",
    (False, True): b"object with pairs",
    (True, True): b"object with items and pairs",
}


def offered(value: Any, walk: Walk) -> bytes:
    """Encode an object that speaks for itself through `__lore_fingerprint__`."""
    said = value.__lore_fingerprint__()
    if isinstance(said, tuple) and len(said) == 2 and said[0] == "digest":
        if not isinstance(said[1], bytes) or len(said[1]) != 16:
            raise Unkeyable(value, "its __lore_fingerprint__ returned a digest that is not of 16 bytes")
        return b"=" + said[1]
    if not isinstance(said, (bytes, str)):
        raise Unkeyable(value, f"its __lore_fingerprint__ returned {type(said).__name__} instead of bytes or str")
    return node(b"offered", walk.class_token(type(value)), walk.token(said))


def encoder(cls: type) -> Encoder:
    """Return the encoder of a class that says itself what its instances are made of."""
    refusal = ""
    if cls is object:
        refusal = "a bare object() is nothing but its identity"
    elif issubclass(cls, IOBase):
        refusal = "what is open can change while nobody looks; pass its path or its content"
    elif hasattr(cls, "__next__"):
        refusal = "what is used up by being read has no value to compare; pass a list"
    return _refusing(refusal) if refusal else guarded(instance)


def _refusing(reason: str) -> Encoder:
    def encode(value: Any, walk: Walk) -> bytes:
        raise Unkeyable(value, reason)

    return encode


def instance(value: Any, walk: Walk) -> bytes:
    """Encode any object by its class and by what it would hand to pickle or copy."""
    cls = type(value)
    reduced = _reduced(value, cls)
    if isinstance(reduced, str):
        return leaf("global", getattr(value, "__module__", None) or "", reduced)
    make, args, state, items, pairs = (*reduced, None, None, None)[:5]
    if isinstance(value, (set, frozenset)):
        state = getattr(value, "__dict__", None)
        return node(b"set object", walk.class_token(cls), members_token(value, walk), _state(state, walk))
    if make is _MAKE and len(args) == 1 and items is None and pairs is None:
        if _is_its_dict(cls):
            remember(cls, _plain_instance)
        return _scalar_instance(cls, state or {}, walk) or _nested_instance(cls, state, walk)
    parts = [walk.class_token(cls), walk.token(make), _state(state, walk)]
    parts += walk.tokens(args, "<argument {} of its making>".format)
    if items is not None:
        parts.append(node(b"items", *walk.tokens(items)))
    if pairs is not None:
        parts.append(items_token(dict(pairs), walk))
    return node(_TAGS[items is not None, pairs is not None], *parts)


def _plain_instance(value: Any, walk: Walk) -> bytes:
    """Encode an instance of a class that is known to be no more than its `__dict__`."""
    cls, state = type(value), value.__dict__
    return _scalar_instance(cls, state, walk) or walk.inside(
        value, lambda value, walk: _nested_instance(cls, state or None, walk)
    )


def _scalar_instance(cls: type, state: Any, walk: Walk) -> bytes | None:
    """Encode an instance whose attributes are all scalars at one stroke; None for all others."""
    if (
        type(state) is dict
        and SCALARS.issuperset(map(type, state.values()))
        and SCALARS.issuperset(map(type, state))
        and _NOT_STATE.isdisjoint(state)
    ):
        try:
            items = sorted(state.items())
        except TypeError:  # an attribute's name that is not text
            return None
        return leaf("instance", walk.class_token(cls), *chain.from_iterable(items))
    return None


def _nested_instance(cls: type, state: Any, walk: Walk) -> bytes:
    return node(b"instance", walk.class_token(cls), _state(state, walk))


def _is_its_dict(cls: type) -> bool:
    """Say whether pickle would take no more of an instance, which it has accepted once, than its `__dict__`."""
    return (
        all(getattr(cls, name) is getattr(object, name) for name in _ASKED)
        and cls.__dictoffset__ != 0
        and cls not in copyreg.dispatch_table
        and not copyreg._slotnames(cls)  # type: ignore[attr-defined]
        and not hasattr(cls, "__getnewargs__")
        and not hasattr(cls, "__getnewargs_ex__")
    )


def _reduced(value: Any, cls: type) -> Any:
    """Ask an object what it is made of, as copy and pickle do."""
    reducer = copyreg.dispatch_table.get(cls)
    try:
        return reducer(value) if reducer is not None else value.__reduce_ex__(_PROTOCOL)
    except RecursionError:
        raise
    except Exception as error:
        raise Unkeyable(value, f"it does not say what it is made of ({error})") from error


def _state(state: Any, walk: Walk) -> bytes:
    """Encode a state: a dict of attributes, such a dict beside another of slots, or whatever the class has chosen."""
    if state is None:
        return b""
    if type(state) is dict:
        return state_token(_known(state), walk)
    if type(state) is tuple and len(state) == 2 and all(type(part) is dict or part is None for part in state):
        return node(b"slots", *(state_token(_known(part or {}), walk) for part in state))
    return walk.token(state)


def _known(state: dict[Any, Any]) -> dict[Any, Any]:
    return state if _NOT_STATE.isdisjoint(state) else {k: v for k, v in state.items() if k not in _NOT_STATE}


# --- classes and functions ------------------------------------------------------------------------------------------


def class_token(cls: type, walk: Walk) -> bytes:
    """Encode a class: by name where a package or the standard library brings it, else by its code."""
    module = module_of(cls)
    if module and is_own(module):
        return b"C" + walk.code(cls)
    return leaf("class", module, cls.__qualname__)


def function_token(function: FunctionType, walk: Walk) -> bytes:
    """
    Encode a function: by its code where it is the user's, else by name and what it closes over and wraps.

    Whose it is, its code says: its name may be that of the function which it wraps.
    """
    module, home = function.__module__ or "", function.__globals__.get("__name__") or ""
    if is_own(module) or (of_file(function.__code__.co_filename) or of_module_named(home)).kind == "own":
        return b"F" + walk.code(function)
    held = [cell.cell_contents for cell in function.__closure__ or () if cell != _EMPTY_CELL]
    names = leaf(module, function.__qualname__, home, function.__code__.co_qualname)
    wrapped = function.__dict__.get("__wrapped__")
    return node(b"function", names, walk.token(held) if held else b"", b"" if wrapped is None else walk.token(wrapped))


@lru_cache(maxsize=4096)
def is_own(module: str) -> bool:
    """Say whether a module is the user's own, and not a package's, the standard library's or lore's."""
    return of_module_named(module).kind == "own"
