"""
The standard library's types as keys: numbers, dates, paths, enums, functions of packages, modules, patterns.

Each is taken by what it says in public, not by its pickle, so that its key is the same on every version of Python.
"""

from __future__ import annotations

import enum
import types
from operator import attrgetter
from typing import Any

from lore._caching.values import Encoder, Unkeyable, Walk, buffer_token, guarded, items_token, leaf, node, package_of
from lore._caching.values_objects import class_token

__all__ = ["find"]


def find(cls: type) -> Encoder | None:
    """Return the encoder of a type of the standard library, or None for all others."""
    if issubclass(cls, type):
        return _class
    if issubclass(cls, enum.Enum):
        return _enum_member
    if issubclass(cls, types.ModuleType):
        return _module
    if issubclass(cls, tuple) and hasattr(cls, "_fields") and cls.__new__ is not tuple.__new__:
        return guarded(_named_tuple)
    encode = _BY_NAME.get((package_of(cls), cls.__qualname__))
    return encode or _BY_TYPE.get(cls)


def _public(name: str, *read: str) -> Encoder:
    """Encode by a name of lore's own and the named attributes, all of them scalars."""
    get = attrgetter(*read) if len(read) > 1 else lambda value: (getattr(value, read[0]),)
    return lambda value, walk: leaf(name, *get(value))


def _text(name: str) -> Encoder:
    return lambda value, walk: leaf(name, str(value))


def _range(value: range, walk: Walk) -> bytes:
    """Encode a range by its bounds: ranges of the same numbers compare equal, but show different ends."""
    return leaf("range", value.start, value.stop, value.step)


def _slice(value: slice, walk: Walk) -> bytes:
    return node(b"slice", *map(walk.token, (value.start, value.stop, value.step)))


def _enum_member(value: enum.Enum, walk: Walk) -> bytes:
    return node(b"enum", walk.class_token(type(value)), walk.token(value._name_), guarded(_enum_value)(value, walk))


def _enum_value(value: enum.Enum, walk: Walk) -> bytes:
    return walk.token(value._value_)


def _named_tuple(value: Any, walk: Walk) -> bytes:
    names = value._fields
    tokens = walk.tokens(value, lambda i: f".{names[i]}")
    extra = getattr(value, "__dict__", None) or {}
    return node(b"named tuple", walk.class_token(type(value)), walk.token(names), walk.token(extra), *tokens)


def _class(value: type, walk: Walk) -> bytes:
    return walk.class_token(value)


def _module(value: types.ModuleType, walk: Walk) -> bytes:
    return leaf("module", value.__name__)


def _datetime(value: Any, walk: Walk) -> bytes:
    zone = value.tzinfo
    if zone is None:
        return leaf("datetime", value.isoformat(), value.fold)
    return node(b"datetime", leaf(value.replace(tzinfo=None).isoformat(), value.fold), walk.token(zone))


def _time(value: Any, walk: Walk) -> bytes:
    zone = value.tzinfo
    return node(b"time", leaf(value.replace(tzinfo=None).isoformat(), value.fold), walk.token(zone))


def _timezone(value: Any, walk: Walk) -> bytes:
    return node(b"timezone", walk.token(value.utcoffset(None)), walk.token(value.tzname(None)))


def _zone(value: Any, walk: Walk) -> bytes:
    if value.key is None:
        raise Unkeyable(value, "a time zone read from a file without a key has no name")
    return node(b"zone", walk.token(value.key))


def _array(value: Any, walk: Walk) -> bytes:
    return node(b"array.array", walk.token((value.typecode, value.itemsize)), buffer_token(memoryview(value).cast("B")))


def _memoryview(value: memoryview, walk: Walk) -> bytes:
    about = (value.format, value.itemsize, value.shape)
    flat = value if value.c_contiguous else memoryview(value.tobytes())
    return node(b"memoryview", walk.token(about), buffer_token(flat.cast("B") if flat.nbytes else b""))


def _stream(value: Any, walk: Walk) -> bytes:
    if value.closed:
        raise Unkeyable(value, "it is closed")
    return node(b"stream", type(value).__name__.encode(), walk.token(value.getvalue()), walk.token(value.tell()))


def _partial(value: Any, walk: Walk) -> bytes:
    parts = (value.func, value.args, value.keywords, value.__dict__)
    return node(b"partial", *map(walk.token, parts))


def _bound_method(value: types.MethodType, walk: Walk) -> bytes:
    return node(b"bound method", walk.token(value.__func__), walk.token(value.__self__))


def _builtin(value: Any, walk: Walk) -> bytes:
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return leaf("builtin", value.__module__ or "builtins", value.__qualname__)
    return node(b"builtin method", value.__qualname__.encode(), walk.token(owner))


def _descriptor(value: Any, walk: Walk) -> bytes:
    return node(b"descriptor", class_token(value.__objclass__, walk), value.__name__.encode())


def _method_wrapper(value: Any, walk: Walk) -> bytes:
    return node(b"method wrapper", value.__name__.encode(), walk.token(value.__self__))


def _wrapped_function(value: Any, walk: Walk) -> bytes:
    return node(b"around", type(value).__name__.encode(), walk.token(value.__func__))


def _property(value: property, walk: Walk) -> bytes:
    return node(b"property", *map(walk.token, (value.fget, value.fset, value.fdel)))


def _memoized(value: Any, walk: Walk) -> bytes:
    return node(b"memoized", walk.token(value.__wrapped__))


def _mapping_proxy(value: Any, walk: Walk) -> bytes:
    return node(b"mapping proxy", items_token(value, walk))


def _view(value: Any, walk: Walk) -> bytes:
    return node(type(value).__name__.encode(), walk.token(list(value)))


def _code(value: types.CodeType, walk: Walk) -> bytes:
    raise Unkeyable(value, "bytecode differs between versions of Python; pass the function")


_BY_TYPE: dict[type, Encoder] = {
    memoryview: _memoryview,
    range: _range,
    slice: guarded(_slice),
    type(NotImplemented): lambda value, walk: leaf("NotImplemented"),
    types.MethodType: guarded(_bound_method),
    types.BuiltinFunctionType: guarded(_builtin),
    types.MethodDescriptorType: _descriptor,
    types.WrapperDescriptorType: _descriptor,
    types.ClassMethodDescriptorType: _descriptor,
    types.GetSetDescriptorType: _descriptor,
    types.MemberDescriptorType: _descriptor,
    types.MethodWrapperType: guarded(_method_wrapper),
    types.MappingProxyType: guarded(_mapping_proxy),
    types.CodeType: _code,
    type({}.keys()): guarded(_view),
    type({}.values()): guarded(_view),
    type({}.items()): guarded(_view),
    staticmethod: guarded(_wrapped_function),
    classmethod: guarded(_wrapped_function),
    property: guarded(_property),
}

_BY_NAME: dict[tuple[str, str], Encoder] = {
    ("decimal", "Decimal"): _text("Decimal"),
    ("fractions", "Fraction"): _public("Fraction", "numerator", "denominator"),
    ("uuid", "UUID"): _public("UUID", "int"),
    ("datetime", "date"): _public("date", "year", "month", "day"),
    ("datetime", "datetime"): _datetime,
    ("datetime", "time"): _time,
    ("datetime", "timedelta"): _public("timedelta", "days", "seconds", "microseconds"),
    ("datetime", "timezone"): _timezone,
    ("zoneinfo", "ZoneInfo"): _zone,
    ("pathlib", "PosixPath"): _text("posix path"),
    ("pathlib", "WindowsPath"): _text("windows path"),
    ("pathlib", "PurePosixPath"): _text("pure posix path"),
    ("pathlib", "PureWindowsPath"): _text("pure windows path"),
    ("re", "Pattern"): _public("pattern", "pattern", "flags"),
    ("array", "array"): _array,
    ("functools", "partial"): guarded(_partial),
    ("functools", "_lru_cache_wrapper"): guarded(_memoized),
    ("_io", "BytesIO"): _stream,
    ("_io", "StringIO"): _stream,
    ("ipaddress", "IPv4Address"): _text("IPv4Address"),
    ("ipaddress", "IPv6Address"): _text("IPv6Address"),
}
