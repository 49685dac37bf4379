"""
What a type hint means on the wire: the type msgspec decodes, and what makes the wanted value out of it.

Most hints mean themselves. Classes with fields (dataclasses, attrs classes, TypedDicts) are decoded into a struct that
refuses unknown fields and then built by their own constructor, so that validators and converters run. Frames, arrays,
messages and pydantic models are decoded as plain values and built from those.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import functools
import inspect
import sys
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from lore._extras import require
from lore._serving import messages, tables
from lore._serving.problems import Invalid
from lore.errors import DecorationError

__all__ = ["Wire", "fault_of", "resolve", "unwrapped", "wire_of"]

Restore = Callable[[Any], Any]

_PLAIN = frozenset(
    {
        bool,
        int,
        float,
        str,
        bytes,
        bytearray,
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
        decimal.Decimal,
        uuid.UUID,
        type(None),
        list,
        dict,
        tuple,
        set,
        frozenset,
    }
)
_LISTS: dict[Any, Callable[[Any], Any] | None] = {
    list: None,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: None,
    collections.abc.MutableSequence: None,
    collections.abc.Collection: None,
    collections.abc.Iterable: None,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
_MAPPINGS = {dict, collections.abc.Mapping, collections.abc.MutableMapping}


class Wire(NamedTuple):
    """
    How one hint travels.

    Attributes:
        type: what msgspec decodes and describes.
        restore: makes the wanted value out of the decoded one; None where they are the same. Raises `Invalid`.
        form: how the value looks in a form or query string: "text", "list", or "json" for what has no plain text form.
    """

    type: Any
    restore: Restore | None = None
    form: str = "text"


def resolve(annotation: Any, function: Callable[..., Any], names: dict[str, Any], where: str) -> Any:
    """
    Evaluate a hint that may be a string.

    Args:
        annotation: what stands behind the parameter.
        function: the function it stands in; its globals are looked at first.
        names: further names that were seen where the function was decorated.
        where: the parameter, for the error.
    """
    holder = types.SimpleNamespace(__annotations__={"hint": annotation})
    try:
        hints = typing.get_type_hints(holder, getattr(function, "__globals__", {}), names, include_extras=True)
    except Exception as error:
        raise DecorationError(
            f"{where}: the hint {annotation!r} cannot be resolved ({error}). An endpoint's hints must be importable "
            f"at run time, not only under TYPE_CHECKING."
        ) from None
    return hints["hint"]


def wire_of(hint: Any, where: str) -> Wire:
    """
    Say how a hint travels.

    Args:
        hint: the resolved hint.
        where: the parameter it belongs to, for the error.

    Raises:
        DecorationError: no request can carry a value of this type.
    """
    return _Translation(where).wire(hint)


def unwrapped(hint: Any) -> Any:
    """Take `Annotated` and `None |` away from a hint."""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif _is_union(hint):
            some = [arg for arg in typing.get_args(hint) if arg is not type(None)]
            if len(some) != 1:
                return hint
            hint = some[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif _alias(hint) is not None:
            hint = _alias(hint)
        else:
            return hint


def _alias(hint: Any) -> Any:
    """Return what an alias with parameters stands for, such as `NDArray[float64]` since numpy 2.5; None for others."""
    origin = typing.get_origin(hint)
    return origin.__value__[typing.get_args(hint)] if type(origin).__name__ == "TypeAliasType" else None


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


_wires_of_classes: dict[type, Wire] = {}
"""One struct for one class, however many endpoints use it: the OpenAPI document describes it once."""


_names: set[tuple[str, str]] = set()


def _unique(kind: type) -> str:
    """Name a class as no other is named: functions and notebooks make several of one name."""
    name, number = kind.__qualname__, 2
    while (kind.__module__, name) in _names:
        name, number = f"{kind.__qualname__}_{number}", number + 1
    _names.add((kind.__module__, name))
    return name


class _Translation:
    """One hint being translated; knows the classes it is inside of, so that recursive ones end."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.msgspec = require("msgspec", "serve")
        self.open: dict[type, list[Restore]] = {}

    def wire(self, hint: Any) -> Wire:
        special = self._special(hint)
        if special is not None:
            return special
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            return self._annotated(*args)
        if _is_union(hint):
            return self._union(hint, args)
        if origin in _LISTS:
            return self._list(hint, origin, args)
        if origin is tuple:
            return self._tuple(hint, args)
        if origin in _MAPPINGS:
            return self._mapping(hint, args)
        if origin is typing.Literal:
            return Wire(hint)
        if hint in _LISTS:
            return Wire(hint, None, "list")
        if hint in _MAPPINGS:
            return Wire(dict, None, "json")
        if isinstance(origin, type) and self._has_fields(origin):
            return Wire(hint, None, "json")
        raise self.unsupported(hint)

    def unsupported(self, hint: Any) -> DecorationError:
        return DecorationError(
            f"{self.where}: no request can carry a {getattr(hint, '__qualname__', None) or hint!r}. An endpoint takes "
            f"scalars, Literal, Enum, dates, lists, dicts, attrs classes, dataclasses, TypedDicts, numpy arrays, "
            f"DataFrames and protobuf messages."
        )

    def _special(self, hint: Any) -> Wire | None:
        """Translate what is not composed of other hints."""
        if _alias(hint) is not None:
            return self.wire(_alias(hint))
        if hint is inspect.Parameter.empty or hint is Any or hint is object:
            return Wire(Any)
        if isinstance(hint, typing.NewType):
            return self.wire(hint.__supertype__)
        if type(hint).__name__ == "TypeAliasType":
            return self.wire(hint.__value__)
        if hint is None:
            return Wire(None)
        if isinstance(hint, typing.TypeVar):
            return self.wire(hint.__bound__ if hint.__bound__ is not None else Any)
        if tables.is_array(hint) or tables.is_array(typing.get_origin(hint)):
            return self._array(hint)
        if typing.get_origin(hint) is not None or not isinstance(hint, type):
            return None
        if hint in _PLAIN:
            return Wire(
                hint, None, "list" if hint in (list, set, frozenset, tuple) else "json" if hint is dict else "text"
            )
        return self._class(hint)

    def _class(self, hint: type) -> Wire | None:
        if tables.is_frame(hint):
            return Wire(self._described(_TABLE), tables.frame_of, "json")
        if tables.is_series(hint):
            return Wire(self._described(_ARRAY), tables.series_of, "list")
        if messages.is_message(hint):
            schema = messages.schema_of(hint)
            return Wire(self._described(schema), functools.partial(messages.message_from_json, hint), "json")
        if issubclass(hint, enum.Enum):
            return Wire(hint)
        if hint.__module__ == "numpy":
            return self._numpy_scalar(hint)
        if hint.__module__.partition(".")[0] == "pandas" and issubclass(hint, datetime.datetime):
            return Wire(datetime.datetime, hint)
        if issubclass(hint, self.msgspec.Struct) or (issubclass(hint, tuple) and hasattr(hint, "_fields")):
            return Wire(hint, None, "json")
        if self._has_fields(hint):
            return self._fields(hint)
        if hasattr(hint, "model_validate") and hasattr(hint, "model_json_schema"):
            return Wire(self._described({"type": "object"}), functools.partial(_pydantic_model, hint), "json")
        return None

    def _described(self, schema: dict[str, Any]) -> Any:
        return typing.Annotated[Any, self.msgspec.Meta(extra_json_schema=schema)]

    def _numpy_scalar(self, hint: Any) -> Wire | None:
        numpy = sys.modules["numpy"]
        for kind, plain in ((numpy.bool_, bool), (numpy.integer, int), (numpy.floating, float), (numpy.str_, str)):
            if issubclass(hint, kind):
                return Wire(plain, functools.partial(_checked, hint))
        return None

    def _array(self, hint: Any) -> Wire:
        args = typing.get_args(hint)
        dtypes = typing.get_args(args[1]) if len(args) > 1 else ()
        dtype = dtypes[0] if dtypes and isinstance(dtypes[0], type) else None
        numpy = sys.modules["numpy"]
        if dtype is not None and dtype in (numpy.generic, numpy.number, numpy.floating, numpy.integer):
            dtype = None
        return Wire(self._described(_ARRAY), tables.array_of(dtype), "list")

    def _annotated(self, inner: Any, *metadata: Any) -> Wire:
        wire = self.wire(inner)
        metas = [meta for meta in map(self._meta, metadata) if meta is not None]
        if not metas or wire.form == "json":
            return wire
        return Wire(typing.Annotated[(wire.type, *metas)], wire.restore, wire.form)

    def _meta(self, metadata: Any) -> Any:
        """Read msgspec's own metadata and that of annotated-types, which pydantic shares."""
        if isinstance(metadata, self.msgspec.Meta):
            return metadata
        limits = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
        if type(metadata).__module__.partition(".")[0] not in ("annotated_types", "pydantic"):
            return None
        nested = getattr(metadata, "metadata", [])
        given = {
            name: getattr(each, name)
            for each in (metadata, *nested)
            for name in limits
            if getattr(each, name, None) is not None
        }
        return self.msgspec.Meta(**given) if given else None

    def _union(self, hint: Any, args: tuple[Any, ...]) -> Wire:
        wires = [self.wire(arg) for arg in args]
        form = max((wire.form for wire in wires), key=("text", "list", "json").index)
        joined: Any = typing.Union.__getitem__(tuple(wire.type for wire in wires))
        optional = len(wires) == 2 and type(None) in args
        if optional:
            restore = next((wire.restore for wire in wires if wire.restore is not None), None)
            described = next(
                (wire for wire in wires if wire.restore and typing.get_origin(wire.type) is typing.Annotated), None
            )
            kind = described.type if described is not None else joined
            return Wire(kind, restore and functools.partial(_unless_none, restore), form)
        if not any(wire.restore for wire in wires) and self._decodes(joined):
            return Wire(joined, None, form)
        schema = {"anyOf": [self._schema(wire.type) for wire in wires]}
        return Wire(self._described(schema), functools.partial(_first_that_fits, tuple(wires), _words(hint)), form)

    def _schema(self, kind: Any) -> dict[str, Any]:
        try:
            return self.msgspec.json.schema(kind)  # type: ignore[no-any-return]
        except TypeError:
            return {}

    def _decodes(self, kind: Any) -> bool:
        try:
            self.msgspec.json.Decoder(kind)
        except TypeError:
            return False
        return True

    def _list(self, hint: Any, origin: Any, args: tuple[Any, ...]) -> Wire:
        inner = self.wire(args[0])
        if inner.restore is None:
            return Wire(hint if inner.type is args[0] else origin[inner.type], None, "list")
        restore = functools.partial(_each, inner.restore, _LISTS[origin])
        return Wire(list[inner.type], restore, "list")  # type: ignore[name-defined]

    def _tuple(self, hint: Any, args: tuple[Any, ...]) -> Wire:
        if len(args) == 2 and args[1] is Ellipsis:
            inner = self.wire(args[0])
            restore = inner.restore and functools.partial(_each, inner.restore, tuple)
            return Wire(tuple[inner.type, ...], restore, "list")  # type: ignore[name-defined]
        wires = [self.wire(arg) for arg in args]
        if not any(wire.restore for wire in wires):
            return Wire(tuple[tuple(wire.type for wire in wires)], None, "list")  # type: ignore[misc]
        restores = [wire.restore or _same for wire in wires]
        return Wire(
            tuple[tuple(wire.type for wire in wires)],  # type: ignore[misc]
            functools.partial(_one_by_one, restores),
            "list",
        )

    def _mapping(self, hint: Any, args: tuple[Any, ...]) -> Wire:
        key, value = self.wire(args[0]), self.wire(args[1])
        if key.restore is not None:
            raise self.unsupported(hint)
        restore = value.restore and functools.partial(_each_value, value.restore)
        return Wire(dict[key.type, value.type], restore, "json")  # type: ignore[name-defined]

    # -- classes with fields ---------------------------------------------------------------------------

    @staticmethod
    def _has_fields(kind: type) -> bool:
        return dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__") or typing.is_typeddict(kind)

    def _fields(self, kind: type) -> Wire:
        """Decode into a struct that refuses unknown fields, then let the class build itself."""
        known = _wires_of_classes.get(kind)
        if known is not None:
            return known
        if kind in self.open:
            return Wire(self._described({"type": "object"}), functools.partial(_later, self.open[kind]), "json")
        finished: list[Restore] = []
        self.open[kind] = finished
        unset = self.msgspec.UNSET
        restores: dict[str, Restore] = {}
        members: list[Any] = []
        for name, hint, required in _members(kind, self.where):
            wire = self.wire(hint)
            if required:
                members.append((name, wire.type))
            else:
                members.append((name, typing.Union[wire.type, self.msgspec.UnsetType], unset))  # noqa: UP007
            if wire.restore is not None:
                restores[name] = wire.restore
        struct = self.msgspec.defstruct(
            kind.__name__,
            members,
            forbid_unknown_fields=True,
            kw_only=True,
            module=kind.__module__,
            namespace={"__doc__": kind.__doc__, "__qualname__": _unique(kind)},
        )
        restore = functools.partial(_build, kind, tuple(struct.__struct_fields__), restores, unset)
        finished.append(lambda value: restore(self.msgspec.convert(value, struct)))
        del self.open[kind]
        return _wires_of_classes.setdefault(kind, Wire(struct, restore, "json"))


def _members(kind: Any, where: str) -> list[tuple[str, Any, bool]]:
    """List the fields of a class: the name its constructor takes, the hint, whether it must be given."""
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise DecorationError(f"{where}: a hint of {kind.__qualname__} cannot be resolved: {error}") from None
    if typing.is_typeddict(kind):
        return [_typed_dict_member(kind, name, hint) for name, hint in hints.items()]
    if dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        return [
            (field.name, hints[field.name], field.default is missing and field.default_factory is missing)
            for field in dataclasses.fields(kind)
            if field.init
        ]
    nothing = require("attr", "serve").NOTHING
    return [
        (field.alias or field.name.lstrip("_"), hints.get(field.name, Any), field.default is nothing)
        for field in kind.__attrs_attrs__
        if field.init
    ]


def _typed_dict_member(kind: Any, name: str, hint: Any) -> tuple[str, Any, bool]:
    origin = typing.get_origin(hint)
    if origin is typing.Required or origin is typing.NotRequired:
        return name, typing.get_args(hint)[0], origin is typing.Required
    return name, hint, name in kind.__required_keys__


# -- restoring -------------------------------------------------------------------------------------


def _same(value: Any) -> Any:
    return value


def _unless_none(restore: Restore, value: Any) -> Any:
    return None if value is None else restore(value)


def _later(finished: list[Restore], value: Any) -> Any:
    return finished[0](value)


def _each(restore: Restore, collect: Callable[[Any], Any] | None, values: Any) -> Any:
    try:
        made = [restore(value) for value in values]
    except ValueError:
        return _find_fault(enumerate(values), restore)
    return made if collect is None else collect(made)


def _find_fault(items: Any, restore: Restore) -> Any:
    """Run again, one by one, to say where it fails (a comprehension's counter is its own)."""
    for where, value in items:
        try:
            restore(value)
        except ValueError as error:
            raise fault_of(error).inside(where) from None
    raise Invalid("not accepted")


def _one_by_one(restores: list[Restore], values: Any) -> Any:
    made = []
    for at, (restore, value) in enumerate(zip(restores, values)):
        try:
            made.append(restore(value))
        except ValueError as error:
            raise fault_of(error).inside(at) from None
    return tuple(made)


def _each_value(restore: Restore, values: dict[Any, Any]) -> Any:
    try:
        return {key: restore(value) for key, value in values.items()}
    except ValueError:
        return _find_fault(values.items(), restore)


def _checked(kind: Any, value: Any) -> Any:
    try:
        return kind(value)
    except (OverflowError, ValueError):
        raise Invalid(f"out of range for {kind.__name__}") from None


def _build(kind: Any, names: tuple[str, ...], restores: dict[str, Restore], unset: Any, struct: Any) -> Any:
    given: dict[str, Any] = {}
    for name in names:
        value = getattr(struct, name)
        if value is unset:
            continue
        if name in restores:
            try:
                value = restores[name](value)
            except ValueError as error:
                raise fault_of(error).inside(name) from None
        given[name] = value
    try:
        return kind(**given)
    except (ValueError, TypeError) as error:
        raise fault_of(error) from None


def _pydantic_model(kind: Any, value: Any) -> Any:
    try:
        return kind.model_validate(value)
    except ValueError as error:
        first = error.errors()[0] if hasattr(error, "errors") else {"msg": str(error), "loc": ()}
        raise Invalid(str(first["msg"]), first["loc"]) from None


def _first_that_fits(wires: tuple[Wire, ...], expected: str, value: Any) -> Any:
    convert = require("msgspec", "serve").convert
    for wire in wires:
        try:
            made = convert(value, wire.type)
            return made if wire.restore is None else wire.restore(made)
        except ValueError:
            continue
    raise Invalid(f"expected one of {expected}")


def _words(hint: Any) -> str:
    names = [getattr(arg, "__name__", str(arg)) for arg in typing.get_args(hint)]
    return ", ".join("null" if name == "NoneType" else name for name in names)


# -- faults ----------------------------------------------------------------------------------------


def fault_of(error: BaseException) -> Invalid:
    """Read where and why out of a failed conversion: msgspec's, lore's, or a constructor's own ValueError."""
    if isinstance(error, Invalid):
        return error
    message = str(error.args[0]) if error.args and isinstance(error.args[0], str) else "not accepted"
    if type(error).__module__.partition(".")[0] != "msgspec":
        return Invalid(message)
    why, _, path = message.partition(" - at ")
    return Invalid(*_reworded(why.replace("`", ""), _tokens(path)))


def _tokens(path: str) -> list[str | int]:
    """Read msgspec's path, `$.rows[3].name`, into reference tokens; what it does not name is left out."""
    tokens: list[str | int] = []
    for part in path.strip("`").partition("$")[2].replace("[", ".[").split("."):
        if part.startswith("["):
            index = part[1:-1]
            if not index.isdigit():  # `[...]`: a value of an object, and msgspec does not say whose
                break
            tokens.append(int(index))
        elif part:
            tokens.append(part)
    return tokens


def _reworded(why: str, where: list[str | int]) -> tuple[str, list[str | int]]:
    for text, said in (
        ("Object missing required field ", "required, but missing"),
        ("Object contains unknown field ", "unknown field"),
    ):
        if why.startswith(text):
            return said, [*where, why.removeprefix(text)]
    return why[:1].lower() + why[1:], where


_ARRAY: dict[str, Any] = {
    "type": "array",
    "items": {"anyOf": [{"type": "number"}, {"type": "null"}, {"type": "array"}]},
}

_TABLE: dict[str, Any] = {
    "anyOf": [
        {"type": "array", "items": {"type": "object"}, "description": "records"},
        {"type": "object", "additionalProperties": {"type": "array"}, "description": "columns"},
    ]
}
