"""
What an object is, asked without running any of its code where that can be helped.

Objects may lie about their class, answer to every name or raise at any question; all of these have to be looked at
without harm.
"""

from __future__ import annotations

import abc
import functools
import importlib.util
import os
import struct
import sys
import types
import typing
import weakref
from collections.abc import Iterator
from typing import Any

import xxhash

from lore._caching import origins
from lore._caching.origins import Origin

__all__ = [
    "absolute_name",
    "attributes_of",
    "class_items",
    "compiled_file",
    "full_name",
    "is_a",
    "is_importable",
    "is_mock",
    "is_transparent",
    "is_typing",
    "layer_of",
    "made_on_demand",
    "module_named",
    "named_attributes",
    "options_of",
    "origin_of",
    "origin_of_class",
    "qualname",
    "slots_of",
    "spelled_out",
    "unrepeatable",
    "wrapped_by",
]

# Bases whose instances keep nothing that their attributes and items do not show.
_TRANSPARENT = frozenset(
    {object, dict, list, set, frozenset, tuple, str, int, float, bytes, abc.ABC, typing.Generic, typing.Protocol}
)
_POINTER = struct.calcsize("P")


def is_a(value: object, kinds: Any) -> bool:
    """Tell what a value is, as `isinstance`, but by its type alone: an object may claim to be of another class."""
    return issubclass(type(value), kinds)


def full_name(value: Any) -> bytes:
    module = getattr(value, "__module__", None) or ""
    return f"{module}.{getattr(value, '__qualname__', None) or getattr(value, '__name__', '')}".encode()


def qualname(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).replace("<locals>.", "")


def layer_of(function: types.FunctionType) -> Any:
    """Return the lore layer that a function is the wrapper of; wrappers of others around it only carry a copy."""
    layer = function.__dict__.get("__lore_layer__")
    return layer if layer is not None and function.__dict__.get("__wrapped__") is layer.function else None


def origin_of(function: types.FunctionType) -> Origin:
    """Tell whose function this is: by the file of its code, for `wraps` and others change what it is called."""
    origin = origins.of_file(function.__code__.co_filename)
    return origin if origin is not None else origins.of_module_named(function.__globals__.get("__name__") or "")


def is_importable(value: Any) -> bool:
    """Tell whether a function or class of a package is one that the package itself has under that name."""
    found: Any = sys.modules.get(value.__module__)
    if found is None or origins.of_module(found).kind == "own":
        return False
    for name in value.__qualname__.split("."):
        found = (
            attributes_of(found).get(name)
            if is_a(found, types.ModuleType)
            else vars(found).get(name)
            if is_a(found, type)
            else None
        )
    return found is value


def origin_of_class(cls: type) -> Origin:
    return origins.of_module_named(cls.__module__) if cls.__module__ in sys.modules else origins.PYTHON


def absolute_name(function: types.FunctionType, name: str) -> str:
    if not name.startswith("."):
        return name
    try:
        package = function.__globals__.get("__package__") or function.__globals__["__name__"].rpartition(".")[0]
        return importlib.util.resolve_name(name, package)
    except (ImportError, KeyError, AttributeError):
        return name


def module_named(name: str) -> types.ModuleType | None:
    module = sys.modules.get(name)
    if module is None:
        try:
            return importlib.import_module(name)
        except Exception:  # the function itself will meet it, if it ever gets there
            return None
    return module


def made_on_demand(module: types.ModuleType, name: str) -> Any:
    """Ask a module for what it makes when asked (`__getattr__`) or for a part that is not loaded yet."""
    if "__getattr__" in module.__dict__:
        try:
            return getattr(module, name)
        except Exception:
            return None
    return None


_mocks: dict[int, tuple[weakref.ref[object], bytes]] = {}


def is_mock(kind: type) -> bool:
    return any(base.__module__ == "unittest.mock" for base in kind.__mro__[:-1])


def unrepeatable(value: object) -> bytes:
    """A stand-in of a test is equal to itself alone: what was computed with it is found by nobody else."""
    known = _mocks.get(id(value))
    if known is None or known[0]() is not value:
        known = _mocks[id(value)] = (weakref.ref(value), os.urandom(16))
    return known[1]


def is_typing(value: Any) -> bool:
    return issubclass(type(value), types.GenericAlias | types.UnionType) or type(value).__module__ == "typing"


def is_transparent(kind: type) -> bool:
    """Tell whether an object's attributes and items are all there is to it."""
    return kind.__module__ != "builtins" and all(
        base in _TRANSPARENT or _is_written_in_python(base) for base in kind.__mro__
    )


def _is_written_in_python(cls: type) -> bool:
    """Tell a class of the user's that keeps its state in attributes from one written in C, which keeps it elsewhere."""
    if origins.of_module_named(cls.__module__).kind != "own":
        return False
    own = cls.__dict__.get("__slots__", ())
    slots = 1 if isinstance(own, str) else len(tuple(own))
    return cls.__basicsize__ - cls.__base__.__basicsize__ <= _POINTER * (slots + 2)  # type: ignore[union-attr]


@functools.lru_cache(maxsize=256)
def compiled_file(module: str) -> bytes:
    """An extension module that the user built: by the bytes of its file."""
    try:
        with open(getattr(sys.modules.get(module), "__file__", None) or "", "rb") as file:
            return xxhash.xxh3_128_digest(file.read())
    except OSError:
        return b""


def spelled_out(value: object) -> bytes:
    try:
        text = repr(value)
    except Exception:
        return b""
    return b"" if text.startswith("<") or "0x" in text or len(text) > 10_000 else text.encode("utf-8", "replace")


def attributes_of(value: Any) -> dict[str, Any]:
    """Return an object's own attributes as they are kept, empty where it keeps none."""
    try:
        state = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return state if isinstance(state, dict) else {}


def wrapped_by(value: Any) -> types.FunctionType | None:
    """Return the function that an object was made to stand for, if it is one."""
    try:
        inner = value.function if hasattr(type(value), "__pydantic_validator__") else value.__wrapped__
    except Exception:
        return None
    return inner if callable(value) and is_a(inner, types.FunctionType) else None


def options_of(value: Any) -> dict[str, Any]:
    """Return what numba or pydantic were told about a function that an object of theirs stands for."""
    options = {name: getattr(value, name, None) for name in ("targetoptions", "validate_return")}
    config = getattr(getattr(value, "config_wrapper", None), "config_dict", None)
    return {name: option for name, option in {**options, "config": config}.items() if option is not None}


def named_attributes(value: Any) -> Iterator[tuple[str, Any]]:
    for name, item in list(attributes_of(value).items()):
        if isinstance(name, str):
            yield name, item


def slots_of(kind: type) -> list[str]:
    names: set[str] = set()
    for base in kind.__mro__:
        own = base.__dict__.get("__slots__", ())
        for name in (own,) if isinstance(own, str) else own:
            hidden = name.startswith("__") and not name.endswith("__")
            names.add(f"_{base.__name__.lstrip('_')}{name}" if hidden else name)
    return sorted(names - {"__dict__", "__weakref__"})


def class_items(kind: type) -> Iterator[tuple[str, Any]]:
    for base in kind.__mro__:
        yield from base.__dict__.items()
