"""
Protobuf messages: as parameters, as answers, as JSON.
"""

from __future__ import annotations

import sys
from typing import Any

from lore._serving.problems import Invalid

__all__ = ["MEDIA_TYPE", "is_message", "message_from_bytes", "message_from_json", "message_to_json", "schema_of"]

MEDIA_TYPE = "application/x-protobuf"


def is_message(kind: object) -> bool:
    """Tell whether a hint is a generated message class, without importing protobuf."""
    module = sys.modules.get("google.protobuf.message")
    return module is not None and isinstance(kind, type) and issubclass(kind, module.Message)


def message_from_bytes(kind: Any, data: bytes) -> Any:
    """
    Parse a body as a message of one class.

    The wire format does not say which message it holds. What can be seen is refused: bytes that do not parse, fields
    that the class does not know, required fields that are missing.
    """
    from google.protobuf.message import DecodeError
    from google.protobuf.unknown_fields import UnknownFieldSet

    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise Invalid(f"the body is not a message {kind.DESCRIPTOR.full_name}") from None
    unknown = sorted({field.field_number for field in UnknownFieldSet(message)})
    if unknown:
        numbers = ", ".join(map(str, unknown))
        raise Invalid(
            f"the body has fields that {kind.DESCRIPTOR.full_name} does not know (numbers {numbers}): another message?"
        )
    return _complete(message)


def message_from_json(kind: Any, value: Any) -> Any:
    """Make a message of its JSON form; unknown names and values of a wrong type are refused."""
    from google.protobuf import json_format

    if not isinstance(value, dict):
        raise Invalid(f"expected object, the JSON form of {kind.DESCRIPTOR.full_name}")
    try:
        return _complete(json_format.ParseDict(value, kind()))
    except json_format.ParseError as error:
        raise Invalid(str(error).partition("\n")[0]) from None


def _complete(message: Any) -> Any:
    missing = message.FindInitializationErrors()
    if missing:
        raise Invalid("required, but missing", [missing[0]])
    return message


def message_to_json(message: Any) -> Any:
    """Write a message in protobuf's own JSON form, with the names of the .proto file."""
    from google.protobuf import json_format

    return json_format.MessageToDict(message, preserving_proto_field_name=True)


_SCALARS = {
    "double": {"type": "number"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
}


def schema_of(kind: Any) -> dict[str, Any]:
    """Describe a message's JSON form; messages inside it stay unspecified objects."""
    return {
        "type": "object",
        "title": kind.DESCRIPTOR.full_name,
        "properties": {field.name: _schema_of_field(field) for field in kind.DESCRIPTOR.fields},
    }


def _schema_of_field(field: Any) -> dict[str, Any]:
    names = {
        field.TYPE_DOUBLE: "double",
        field.TYPE_FLOAT: "float",
        field.TYPE_BOOL: "bool",
        field.TYPE_STRING: "string",
        field.TYPE_BYTES: "bytes",
    }
    if field.message_type is not None:
        schema: dict[str, Any] = {"type": "object"}
        if field.message_type.GetOptions().map_entry:
            return schema
    elif field.enum_type is not None:
        schema = {"enum": [value.name for value in field.enum_type.values]}
    else:
        schema = _SCALARS.get(names.get(field.type, ""), {"type": ["integer", "string"]})
    return {"type": "array", "items": schema} if _is_repeated(field) else schema


def _is_repeated(field: Any) -> bool:
    # protobuf 7 took `label` away, older ones have no `is_repeated`
    repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED) if repeated is None else bool(repeated)
