"""
From a request's body or query string to the arguments of one function.

Everything that can be decided about a signature is decided when the app is built: the struct that msgspec decodes, and
generated functions that take the arguments out of it. The call path decodes, unpacks and calls.
"""

from __future__ import annotations

import difflib
import inspect
import json
import typing
from collections.abc import Callable, Sequence
from typing import Any

from lore._extras import require
from lore._serving import messages, tables
from lore._serving.hints import Wire, fault_of, resolve, unwrapped, wire_of
from lore._serving.nesting import too_deep
from lore._serving.problems import Fault, Invalid, Problem, pointer
from lore.errors import DecorationError

__all__ = ["Arguments"]

Values = tuple[Any, ...]
"""The arguments of one call, in the order of the parameters."""


class Arguments:
    """
    How the arguments of one function come out of requests.

    Args:
        function: what will be called; its signature and hints decide.
        where: names the endpoint, for errors.
        names: names that hints may use besides the function's globals.
        rows: the function is written for many rows and each request sends one (`batch=`).

    Raises:
        DecorationError: a hint that cannot be resolved or that no request can carry, or `*args`.
    """

    def __init__(self, function: Callable[..., Any], where: str, names: dict[str, Any], rows: bool = False) -> None:
        self._msgspec = require("msgspec", "serve")
        self._rows = rows
        inner = inspect.unwrap(function)
        self.parameters = tuple(inspect.signature(function).parameters.values())
        hints = [self._hint(parameter, inner, names, where) for parameter in self.parameters]
        self.hints = {parameter.name: hint for parameter, hint in zip(self.parameters, hints)}
        self.wires = {
            name: _row_wire(hint, f"{where}, parameter {name}") if rows else wire_of(hint, f"{where}, parameter {name}")
            for name, hint in self.hints.items()
        }
        self.required = tuple(one.name for one in self.parameters if one.default is one.empty)
        self.whole = self._whole(rows)
        self.struct = self._make_struct(where)
        self._decode = self._msgspec.json.Decoder(self.struct).decode
        self._decode_any = self._msgspec.json.Decoder().decode
        self._bind = _binder(self.parameters, self.wires, self._msgspec.UNSET)
        self._wrong = (self._msgspec.MsgspecError, ValueError, RecursionError)
        self._required_count = len(self.required)
        self._quoted = tuple(b'"%s"' % name.encode() for name in self.wires)
        self.call = _caller(function, self.parameters)
        if self.whole is not None:
            self.from_json = self._whole_from_json  # type: ignore[method-assign]

    @staticmethod
    def _hint(parameter: inspect.Parameter, inner: Callable[..., Any], names: dict[str, Any], where: str) -> Any:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DecorationError(
                f"{where}: an endpoint's parameters are the fields of a request, so each needs a name: "
                f"{parameter} has none."
            )
        return resolve(parameter.annotation, inner, names, f"{where}, parameter {parameter.name}")

    def _whole(self, rows: bool) -> str | None:
        """Name the only parameter where a request's whole body may stand for it."""
        if len(self.parameters) != 1:
            return None
        name = self.parameters[0].name
        hint = unwrapped(self.hints[name])
        if tables.is_frame(hint) or messages.is_message(hint):
            return name
        return name if not rows and _is_array_or_series(hint) else None

    def _make_struct(self, where: str) -> Any:
        msgspec = self._msgspec
        members: list[Any] = []
        for parameter in self.parameters:
            wire = self.wires[parameter.name]
            if parameter.default is parameter.empty:
                members.append((parameter.name, wire.type))
            elif wire.restore is not None:
                members.append((parameter.name, _or_unset(wire.type, msgspec), msgspec.UNSET))
            else:
                default = msgspec.field(default_factory=lambda value=parameter.default: value)
                members.append((parameter.name, wire.type, default))
        try:
            struct = msgspec.defstruct("Arguments", members, forbid_unknown_fields=True, kw_only=True)
            msgspec.json.Decoder(struct)
        except TypeError as error:
            raise DecorationError(f"{where}: {error}") from None
        return struct

    # -- JSON ----------------------------------------------------------------------------------------------------

    def from_json(self, body: bytes) -> Values:
        """
        Read a JSON body, strictly: nothing is converted that JSON tells apart.

        Raises:
            Problem: 400 for bytes that are not JSON in UTF-8, 422 for values that do not fit.
        """
        if too_deep(body):
            raise _not_json(RecursionError())
        try:
            values = self._bind(self._decode(body or b"{}"))
        except self._wrong as error:
            raise self._problem(error, lambda: self._decode_any(body or b"{}"), strict=True) from None
        # fewer colons than it takes for a name to come twice: the usual body is done here
        if body.count(b":") > self._required_count:
            self._refuse_twice(body)
        return values

    def _whole_from_json(self, body: bytes) -> Values:
        raw = self._any(body)
        prefix = self._prefix(raw)
        if prefix is None:
            return self._from_object(raw, strict=True)
        return self._from_whole(raw)

    def from_json_as_text(self, body: bytes) -> Values:
        """Read a JSON body that came under curl's default content type: text in it is converted."""
        raw = self._any(body)
        if self.whole is not None and self._prefix(raw) is not None:
            return self._from_whole(raw)
        values = self._from_object(raw, strict=False)
        self._refuse_twice(body)
        return values

    def _any(self, body: bytes) -> Any:
        if too_deep(body):
            raise _not_json(RecursionError())
        try:
            return self._decode_any(body or b"{}")
        except self._wrong as error:
            raise _not_json(error) from None

    def _prefix(self, raw: Any) -> tuple[str, ...] | None:
        """Say where the table stands: () for the whole body, None where it comes under its name or not at all."""
        if not isinstance(raw, dict):
            return ()
        if not raw:
            return None
        assert self.whole is not None
        inner = raw.get(self.whole, ())
        named = len(raw) == 1 and (isinstance(inner, dict) or (isinstance(inner, list) and not _is_flat(inner)))
        if self.whole in raw and not tables.is_frame(unwrapped(self.hints[self.whole])):
            named = named or len(raw) == 1
        return None if named else ()

    def _from_whole(self, raw: Any) -> Values:
        assert self.whole is not None
        wire = self.wires[self.whole]
        if self._rows and isinstance(raw, list) and len(raw) == 1:
            raw = raw[0]
        try:
            value = self._msgspec.convert(raw, wire.type)
            return (value if wire.restore is None else wire.restore(value),)
        except self._wrong as error:
            fault = fault_of(error)
            raise Problem.unprocessable([(pointer(fault.where), fault.why)]) from None

    def _from_object(self, raw: Any, strict: bool) -> Values:
        try:
            values = self._bind(self._msgspec.convert(raw, self.struct, strict=strict))
        except self._wrong as error:
            raise self._problem(error, lambda: raw, strict=strict) from None
        if not strict:
            self._refuse_nan(values)
        return values

    def _refuse_twice(self, body: bytes) -> None:
        """Refuse a name given twice in the outermost object: two readers of such a body may see two values."""
        if b"\\" not in body:
            for name in self._quoted:
                if body.count(name) > 1:
                    break
            else:
                return
        pairs: list[tuple[str, Any]] = []

        def last(found: list[tuple[str, Any]]) -> dict[str, Any]:
            pairs[:] = found  # objects close from the inside out, so the outermost is the last
            return dict(found)

        try:
            json.loads(body, object_pairs_hook=last)
        except RecursionError as error:
            raise _not_json(error) from None
        names = [name for name, _ in pairs]
        twice = dict.fromkeys(name for name in names if names.count(name) > 1)
        if twice:
            raise Problem.unprocessable([(pointer([name]), "given more than once") for name in twice])

    @staticmethod
    def _refuse_nan(values: Values) -> None:
        if any(type(value) is float and (value != value or value in (float("inf"), float("-inf"))) for value in values):
            raise Problem.unprocessable([("", "expected finite numbers")])

    # -- text ------------------------------------------------------------------------------------------

    def from_text(self, given: dict[str, list[Any]]) -> Values:
        """
        Read the fields of a form or query string, where every value is text and a name may come several times.

        Lists take a name's values one by one, or one JSON array; objects and tables are given as JSON.
        """
        faults: list[Fault] = []
        raw: dict[str, Any] = {}
        for name, texts in given.items():
            wire = self.wires.get(name)
            try:
                raw[name] = texts[0] if wire is None else _value_of_texts(wire, texts)
            except Invalid as error:
                faults.append((pointer([name]), error.why))
        if faults:
            raise Problem.unprocessable(faults)
        return self._from_object(raw, strict=False)

    # -- tables and messages ---------------------------------------------------------------------------

    def from_table(self, body: bytes, media_type: str) -> Values:
        """Read a body of CSV, Arrow or Parquet as the only parameter, which must be a frame."""
        if self.whole is None or not tables.is_frame(unwrapped(self.hints[self.whole])):
            raise _unsupported(media_type, "only an endpoint whose only parameter is a DataFrame")
        try:
            return (tables.frame_from_bytes(body, media_type),)
        except UnicodeDecodeError:
            raise Problem(400, "the body is not UTF-8") from None
        except Invalid as error:
            raise Problem(400, error.why) from None

    def from_message(self, body: bytes) -> Values:
        """Read a protobuf body as the only parameter, which must be a message."""
        kind = None if self.whole is None else unwrapped(self.hints[self.whole])
        if not messages.is_message(kind):
            raise _unsupported(messages.MEDIA_TYPE, "only an endpoint whose only parameter is a message")
        try:
            return (messages.message_from_bytes(kind, body),)
        except Invalid as error:
            raise Problem.unprocessable([(pointer(error.where), error.why)]) from None

    # -- what was wrong --------------------------------------------------------------------------------

    def _problem(self, error: BaseException, read: Callable[[], Any], strict: bool) -> Problem:
        """Look for everything that is wrong with the values; called when decoding has found the first."""
        try:
            raw = read()
        except self._wrong as syntax:
            return _not_json(syntax)
        faults = self.faults(raw, strict)
        if not faults:
            fault = fault_of(error)
            faults = [(pointer(fault.where), fault.why)]
        return Problem.unprocessable(faults)

    def faults(self, raw: Any, strict: bool) -> list[Fault]:
        """List all fields that are missing, unknown or wrong."""
        if not isinstance(raw, dict):
            expected = ", ".join(self.wires) or "nothing"
            return [("", f"expected an object with the fields {expected}, got {_json_name(raw)}")]
        found = [(pointer([name]), "required, but missing") for name in self.required if name not in raw]
        for name, value in raw.items():
            wire = self.wires.get(name)
            if wire is None:
                found.append((pointer([name]), "unknown field" + _did_you_mean(name, self.wires)))
                continue
            fault = self._fault(wire, value, strict)
            if fault is not None:
                found.append((pointer([name, *fault.where]), fault.why))
        return found

    def _fault(self, wire: Wire, value: Any, strict: bool) -> Invalid | None:
        try:
            made = self._msgspec.convert(value, wire.type, strict=strict)
            if wire.restore is not None:
                wire.restore(made)
        except self._wrong as error:
            return fault_of(error)
        return None


# -- generated at build time -----------------------------------------------------------------------


def _binder(parameters: Sequence[inspect.Parameter], wires: dict[str, Wire], unset: Any) -> Callable[[Any], Values]:
    """Generate what takes the arguments out of the struct, in order, each restored where it must be."""
    scope: dict[str, Any] = {"unset": unset}
    parts = []
    for at, parameter in enumerate(parameters):
        read = f"struct.{parameter.name}"
        restore = wires[parameter.name].restore
        if restore is not None:
            scope[f"restore{at}"] = restore
            scope[f"default{at}"] = parameter.default
            made = f"restore{at}({read})"
            optional = parameter.default is not parameter.empty
            read = f"(default{at} if {read} is unset else {made})" if optional else made
        parts.append(f"{read}, ")
    return eval(f"lambda struct: ({''.join(parts)})", scope)  # type: ignore[no-any-return]


def _caller(function: Callable[..., Any], parameters: Sequence[inspect.Parameter]) -> Callable[..., Any]:
    """Return what calls the function with its arguments in order, also those it takes by name only."""
    if not any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters):
        return function
    names = [f"a{at}" for at in range(len(parameters))]
    passed = [
        f"{parameter.name}={name}" if parameter.kind is parameter.KEYWORD_ONLY else name
        for name, parameter in zip(names, parameters)
    ]
    source = f"lambda {', '.join(names)}: function({', '.join(passed)})"
    return eval(source, {"function": function})  # type: ignore[no-any-return]


def _or_unset(kind: Any, msgspec: Any) -> Any:
    return typing.Union[kind, msgspec.UnsetType]  # noqa: UP007


# -- rows ------------------------------------------------------------------------------------------


def _row_wire(hint: Any, where: str) -> Wire:
    """Say what one row of a parameter written for many rows looks like."""
    bare = unwrapped(hint)
    if tables.is_frame(bare):
        return Wire(dict[str, Any], None, "json")
    if _is_array_or_series(bare):
        meta = require("msgspec", "serve").Meta(extra_json_schema={"type": ["number", "array"]})
        return Wire(typing.Annotated[Any, meta], _element, "list")
    if bare is list:
        return Wire(Any)
    if typing.get_origin(bare) is list:
        return wire_of(typing.get_args(bare)[0], where)
    raise DecorationError(
        f"{where}: with batch= a function is written for many rows, so each parameter is a DataFrame, an array or a "
        f"list, with one item per request; {getattr(hint, '__name__', hint)} is none of these."
    )


def _element(value: Any) -> Any:
    """Check what one row adds to an array; the array itself is made of the rows of several requests."""
    if type(value) not in (int, float, list):
        raise Invalid(f"expected a number or an array of numbers, got {_json_name(value)}")
    return value


def _is_array_or_series(hint: Any) -> bool:
    return tables.is_array(hint) or tables.is_array(typing.get_origin(hint)) or tables.is_series(hint)


# -- text ------------------------------------------------------------------------------------------


def _value_of_texts(wire: Wire, texts: list[Any]) -> Any:
    if wire.form == "list":
        if len(texts) == 1 and isinstance(texts[0], str) and texts[0].lstrip().startswith("["):
            return _json_in_text(texts[0])
        return [_number_or_text(text) for text in texts] if wire.restore is not None else texts
    if len(texts) > 1:
        raise Invalid(f"given {len(texts)} times, expected once")
    if wire.form == "json" and isinstance(texts[0], str):
        return _json_in_text(texts[0])
    return texts[0]


def _json_in_text(text: str) -> Any:
    try:
        return _loaded(text)
    except (ValueError, RecursionError):
        raise Invalid("expected JSON in this field") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _number_or_text(text: Any) -> Any:
    try:
        return _loaded(text)
    except (ValueError, TypeError, RecursionError):
        return text


def _loaded(text: str) -> Any:
    if too_deep(text.encode()):
        raise RecursionError
    return json.loads(text, parse_constant=_no_constant)


# -- words -----------------------------------------------------------------------------------------


def _not_json(error: BaseException) -> Problem:
    if isinstance(error, UnicodeDecodeError):
        return Problem(400, "the body is not UTF-8")
    if isinstance(error, RecursionError):
        return Problem(400, "the body is nested too deeply")
    if type(error).__name__ == "ValidationError":  # it is JSON, with a number that no computer holds
        fault = fault_of(error)
        return Problem.unprocessable([(pointer(fault.where), fault.why)])
    return Problem(400, f"the body is not JSON: {str(error).removeprefix('JSON is malformed: ').lower()}")


def _unsupported(media_type: str, who: str) -> Problem:
    return Problem(415, f"{who} takes {media_type}", headers=[("Accept-Post", "application/json")])


def _did_you_mean(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _is_flat(values: list[Any]) -> bool:
    """Tell a column of plain values from a list of records."""
    return bool(values) and not isinstance(values[0], dict | list)


def _json_name(value: object) -> str:
    kinds: list[tuple[Any, str]] = [(list, "array"), (str, "string"), (bool, "boolean"), (type(None), "null")]
    return next((name for kind, name in kinds if isinstance(value, kind)), "number")
