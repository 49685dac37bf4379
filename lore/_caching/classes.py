"""
What a class is made of: what the user wrote into it, and what it was told in other ways.

Dataclasses, attrs, enumerations, named tuples and the models of other packages keep what their author wrote in places
of their own, and write methods that their author did not.
"""

from __future__ import annotations

import abc
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from lore._caching import origins

__all__ = ["UNWRITTEN", "described", "generates", "registered", "type_text", "written"]

_MADE_ON_DEMAND = ("__init__", "__repr__", "__eq__", "__lt__", "__hash__", "__setattr__")
_ORDERS = ("eq", "order", "frozen", "unsafe_hash")
_LAYOUT = (types.MemberDescriptorType, types.GetSetDescriptorType)
# Put there by Python, by generators of code, or told by `described`.
UNWRITTEN = frozenset(
    {
        "__abstractmethods__",
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__attrs_attrs__",
        "__attrs_init__",
        "__attrs_own_setattr__",
        "__attrs_props__",
        "__class_vars__",
        "__conditional_annotations__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__lore_layer__",
        "__module__",
        "__name__",
        "__non_callable_proto_members__",
        "__orig_bases__",
        "__parameters__",
        "__protocol_attrs__",
        "__pydantic_complete__",
        "__pydantic_computed_fields__",
        "__pydantic_core_schema__",
        "__pydantic_custom_init__",
        "__pydantic_decorators__",
        "__pydantic_fields_complete__",
        "__pydantic_generic_metadata__",
        "__pydantic_parent_namespace__",
        "__pydantic_post_init__",
        "__pydantic_root_model__",
        "__pydantic_serializer__",
        "__pydantic_setattr_handlers__",
        "__pydantic_validator__",
        "__qualname__",
        "__signature__",
        "__slotnames__",  # by copyreg, when an instance is pickled or copied
        "__static_attributes__",
        "__type_params__",
        "__weakref__",
        "__mapper__",
        "_abc_impl",
        "_is_protocol",
        "_is_runtime_protocol",
        "_sa_class_manager",
        "_sa_registry",
    }
)


def generates(cls: type) -> bool:
    """Tell whether the methods of a class are written from its fields."""
    return "__dataclass_fields__" in cls.__dict__ or (issubclass(cls, tuple) and "_fields" in cls.__dict__)


def registered(cls: type) -> list[bytes]:
    """Name the classes that were registered with an abstract one: `isinstance` takes them for its subclasses."""
    known = getattr(abc, "_get_dump", lambda cls: ((),))(cls)[0]
    classes = [one() for one in known]
    return sorted(f"{one.__module__}.{one.__qualname__}".encode() for one in classes if one is not None)


def written(cls: type) -> list[tuple[str, Any]]:
    """List what the user wrote into a class, without what Python and generators of code put there."""
    names = dict(cls.__dict__)
    generated = _generator_of(cls)
    return sorted(
        (name, value)
        for name, value in names.items()
        if name not in UNWRITTEN and not isinstance(value, _LAYOUT) and not generated(name, value)
    )


def _generator_of(cls: type) -> Callable[[str, Any], bool]:
    """Return what tells the names that a generator of classes put there from those that the user wrote."""
    names = cls.__dict__
    if issubclass(cls, enum.Enum):
        members = names.get("_member_map_", {})
        return lambda name, value: name in members or (_is_special(name) and not _is_own(value))
    if "__dataclass_fields__" in names or "__attrs_attrs__" in names:
        return lambda name, value: _is_special(name) and _function_in(value) is not None and not _is_own(value)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return lambda name, value: (
            type(value).__name__ == "_tuplegetter" or (_function_in(value) is not None and not _is_own(value))
        )
    return lambda name, value: False


def _is_special(name: str) -> bool:
    return name.startswith("_") and name.endswith("_")


def _is_own(value: Any) -> bool:
    """Tell whether a method is the user's: neither a package's nor written by dataclasses, attrs or namedtuple."""
    function = _function_in(value)
    if function is None:
        return isinstance(value, property | functools.cached_property)
    code = function.__code__
    if code.co_filename.startswith("<attrs generated") or code.co_qualname.startswith("__create_fn__."):
        return False
    if str(function.__globals__.get("__name__")).startswith("namedtuple_"):
        return False
    return origins.of_file(code.co_filename) in (None, origins.OWN)


def _function_in(value: Any) -> types.FunctionType | None:
    inner = getattr(value, "__func__", value)
    while isinstance(getattr(inner, "__wrapped__", None), types.FunctionType) and _is_of_library(inner):
        inner = inner.__wrapped__  # what a package's decorator wraps, as dataclasses do with a repr
    return inner if isinstance(inner, types.FunctionType) else None


def _is_of_library(value: Any) -> bool:
    code = getattr(value, "__code__", None)
    return code is not None and origins.of_file(code.co_filename) == origins.PYTHON


def described(cls: type) -> list[tuple[str, Any]]:
    """List what a class was told in other ways than by attributes: members, fields, annotations that are read."""
    parts: list[tuple[str, Any]] = []
    names = cls.__dict__
    if issubclass(cls, enum.Enum):
        parts += [(f"member {name}", member.value) for name, member in cls.__members__.items()]
    if "__dataclass_fields__" in names:
        parts += [(f"field {name}", _field(one)) for name, one in names["__dataclass_fields__"].items()]
        flags = names.get("__dataclass_params__")
        parts.append(("dataclass", tuple(getattr(flags, name, None) for name in ("init", "repr", *_ORDERS))))
    if "__attrs_attrs__" in names:
        parts += [(f"field {one.name}", _attribute(one)) for one in names["__attrs_attrs__"]]
        parts.append(("attrs", tuple(name for name in _MADE_ON_DEMAND if name in names)))
    for name in (
        "__struct_fields__",
        "__struct_encode_fields__",
    ):  # msgspec keeps them outside of the class's dictionary
        if hasattr(cls, name) and name not in names:
            parts.append((name, getattr(cls, name)))
    if hasattr(cls, "__struct_config__"):
        parts.append(
            (
                "__struct_defaults__",
                tuple(getattr(one, "factory", one) for one in getattr(cls, "__struct_defaults__", ())),
            )
        )
        parts.append(("__struct_config__", _struct_options(cls.__struct_config__)))
    told = _annotations(cls) if _reads_annotations(cls) else ()
    if told:
        parts.append(("annotations", told))
    return parts


def _field(field: Any) -> tuple[Any, ...]:
    from dataclasses import MISSING

    default = () if field.default is MISSING else (field.default,)
    factory = () if field.default_factory is MISSING else (field.default_factory,)
    flags = tuple(bool(getattr(field, name, False)) for name in ("init", "repr", "hash", "compare", "kw_only"))
    return default, factory, flags, dict(field.metadata)


def _attribute(attribute: Any) -> tuple[Any, ...]:
    default = attribute.default
    factory = getattr(default, "factory", None)
    known = ("NOTHING",) if repr(default) == "NOTHING" else (factory, default.takes_self) if factory else (default,)
    flags = (
        "validator",
        "converter",
        "init",
        "kw_only",
        "alias",
        "eq",
        "order",
        "hash",
        "repr",
        "on_setattr",
        "eq_key",
        "order_key",
    )
    return known, dict(attribute.metadata), *(getattr(attribute, name, None) for name in flags)


def _struct_options(config: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((name, getattr(config, name)) for name in dir(config) if not name.startswith("_"))


def _reads_annotations(cls: type) -> bool:
    if "__dataclass_fields__" in cls.__dict__ or "__attrs_attrs__" in cls.__dict__ or hasattr(cls, "_fields"):
        return True
    if type(cls) not in (type, abc.ABCMeta, enum.EnumType, type(typing.Protocol)):
        return True
    return any(origins.of_module_named(base.__module__).kind == "package" for base in cls.__mro__[1:-1])


def _annotations(cls: type) -> tuple[tuple[str, str], ...]:
    try:
        found = inspect.get_annotations(cls)
    except Exception:  # a name in them that is not there; evaluated when asked for, from 3.14 on
        return ()
    return tuple((name, type_text(kind)) for name, kind in found.items())


def type_text(kind: Any) -> str:
    """Write an annotation down."""
    if isinstance(kind, str):
        return kind
    return kind.__qualname__ if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) else repr(kind)
