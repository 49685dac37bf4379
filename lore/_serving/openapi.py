"""
The OpenAPI 3.1 document, from the same structs that decode the requests.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from lore._extras import require
from lore._serving import messages, tables
from lore._serving.endpoints import Endpoint
from lore._serving.hints import unwrapped

__all__ = ["document", "dumps"]

_PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "pointer": {"type": "string", "description": "JSON pointer to the first place that is wrong."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}

_FAILURES = {
    400: "The request is not what its type says: syntax or encoding.",
    401: "A token is missing or unknown.",
    406: "The answer cannot be written as the client accepts it.",
    413: "The body is too long.",
    415: "The body is of a type, charset or packing that is not read here.",
    422: "A field is missing, unknown, of another type or out of range.",
    500: "The function failed; the log has the reason under the id.",
    503: "Too many requests at once; try again after Retry-After seconds.",
    504: "The function took too long.",
}


def document(endpoints: Sequence[Endpoint], title: str, version: str) -> dict[str, Any]:
    """Describe endpoints as an OpenAPI 3.1 document."""
    msgspec = require("msgspec", "serve")
    described, components = _components(msgspec, endpoints)
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(endpoint.path, {})
        for method in endpoint.options.methods:
            operations[method.lower()] = _operation(endpoint, method, described)
    _tell_apart(operation for operations in paths.values() for operation in operations.values())
    schemas = {**components, "Problem": _PROBLEM}
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if any(endpoint.is_guarded for endpoint in endpoints):
        schemes = {"bearer": {"type": "http", "scheme": "bearer"}}
        found["components"]["securitySchemes"] = schemes
    return found


def dumps(found: dict[str, Any]) -> bytes:
    """Write a document as JSON."""
    return json.dumps(found, ensure_ascii=False, default=str).encode()


def _components(msgspec: Any, endpoints: Sequence[Endpoint]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe the structs of all endpoints: classes they share once, and those of one name apart."""
    known: dict[str, Any] = {}
    described: dict[Any, Any] = {}
    for endpoint in endpoints:
        (fields, *answers), parts = _schemas(msgspec, endpoint)
        own = _inlined(fields, parts)
        names = {name: _free_name(name, schema, known) for name, schema in parts.items()}
        own, answers, parts = _renamed([own, answers, parts], {old: new for old, new in names.items() if old != new})
        own.pop("title", None)
        own.pop("description", None)
        described[endpoint] = own
        described[endpoint, "answer"] = _answer(endpoint, answers)
        known.update((names[name], schema) for name, schema in parts.items())
    return described, known


_PLACE = "#/components/schemas/"


def _schemas(msgspec: Any, endpoint: Endpoint) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
    """Describe what one endpoint takes and answers; where two classes in it share their full name, only its fields."""
    kinds = [endpoint.arguments.struct, *endpoint.answer_types()]
    try:
        found: tuple[Sequence[dict[str, Any]], dict[str, Any]] = msgspec.json.schema_components(
            kinds, ref_template=_PLACE + "{name}", schema_hook=_no_schema
        )
        return found
    except KeyError:
        return [{"type": "object", "properties": {name: {} for name in endpoint.arguments.wires}}], {}


def _free_name(name: str, schema: dict[str, Any], known: dict[str, Any]) -> str:
    """Name a component so that another class of the same name keeps its own."""
    free, number = name, 2
    while known.get(free, schema) != schema:
        free, number = f"{name}_{number}", number + 1
    return free


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    """Let references lead to the new names of components."""
    if not names:
        return schema
    if isinstance(schema, list):
        return [_renamed(one, names) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _renamed(value, names) for key, value in schema.items()}
    to = found.get("$ref")
    if isinstance(to, str) and to.removeprefix(_PLACE) in names:
        found["$ref"] = _PLACE + names[to.removeprefix(_PLACE)]
    return found


def _answer(endpoint: Endpoint, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if tables.is_frame(unwrapped(endpoint.returns)) and endpoint.options.batch is None:
        return {"type": "array", "items": {"type": "object"}, "description": "records"}
    return answers[0] if answers else {}


def _inlined(schema: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Take the struct of the arguments out of the components: it belongs to one operation."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = parts.pop(name, schema)
    return dict(found)


def _no_schema(kind: type) -> dict[str, Any]:
    return {}


# -- operations ------------------------------------------------------------------------------------


def _operation(endpoint: Endpoint, method: str, described: dict[Any, Any]) -> dict[str, Any]:
    summary, description, examples = _told(endpoint.doc)
    fields = _with_defaults(endpoint, described[endpoint])
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.title}_{method.lower()}" if len(endpoint.options.methods) > 1 else endpoint.title,
        "summary": summary or endpoint.title,
        "responses": _responses(endpoint, described[endpoint, "answer"]),
    }
    if description:
        operation["description"] = description
    if method in ("GET", "DELETE"):
        operation["parameters"] = _parameters(fields)
    elif endpoint.arguments.parameters:
        operation["requestBody"] = _body(endpoint, fields, _example(endpoint, examples))
    if endpoint.is_guarded:
        operation["security"] = [{"bearer": []}]
    return operation


def _tell_apart(operations: Iterable[dict[str, Any]]) -> None:
    """Number the ids of operations of functions that share their name."""
    taken: set[str] = set()
    for operation in operations:
        name = free = operation["operationId"]
        number = 2
        while free in taken:
            free, number = f"{name}_{number}", number + 1
        taken.add(free)
        operation["operationId"] = free


def _with_defaults(endpoint: Endpoint, fields: dict[str, Any]) -> dict[str, Any]:
    """Say which fields may be left out and what they are then, where JSON can say it."""
    properties = {name: dict(schema) for name, schema in fields.get("properties", {}).items()}
    for parameter in endpoint.arguments.parameters:
        schema = properties.get(parameter.name)
        if schema is None:
            continue
        schema.pop("default", None)
        if type(parameter.default) in (bool, int, float, str, type(None)) and parameter.default == parameter.default:
            schema["default"] = parameter.default
    told: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if endpoint.arguments.required:
        told["required"] = list(endpoint.arguments.required)
    return told


def _parameters(fields: dict[str, Any]) -> list[dict[str, Any]]:
    required = fields.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in fields["properties"].items()
    ]


def _body(endpoint: Endpoint, fields: dict[str, Any], example: dict[str, Any] | None) -> dict[str, Any]:
    whole = endpoint.arguments.whole
    content: dict[str, Any] = {}
    schema = fields
    if whole is not None:
        schema = {"anyOf": [fields["properties"][whole], fields]}
        if endpoint.options.batch is not None:
            schema = {"type": "object", "description": "One row, its columns by name."}
    content["application/json"] = {"schema": schema}
    if example is not None:
        content["application/json"]["example"] = example
    kind = None if whole is None else unwrapped(endpoint.arguments.hints[whole])
    if whole is None and all(wire.form == "text" for wire in endpoint.arguments.wires.values()):
        content["application/x-www-form-urlencoded"] = {"schema": fields}
    elif messages.is_message(kind):
        content[messages.MEDIA_TYPE] = {"schema": {"type": "string", "format": "binary"}}
    elif tables.is_frame(kind) and endpoint.options.batch is None:
        for form in (tables.CSV, tables.ARROW, tables.PARQUET):
            content[form] = {"schema": {"type": "string", "format": "binary"}}
    return {"required": bool(endpoint.arguments.required), "content": content}


def _responses(endpoint: Endpoint, answer: dict[str, Any]) -> dict[str, Any]:
    content = {}
    for form in endpoint.answers.offered:
        bare = form.partition(";")[0]
        content[bare] = {"schema": answer} if bare == "application/json" and not endpoint.streams else {}
    found: dict[str, Any] = {"200": {"description": "The answer.", "content": content}}
    for status, description in _FAILURES.items():
        if endpoint.can_answer(status):
            found[str(status)] = {
                "description": description,
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
    return found


# -- docstrings ------------------------------------------------------------------------------------

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?|Notes?|Threads|Source):?\s*$")


def _told(doc: str) -> tuple[str, str, list[str]]:
    """Split a docstring into its first sentence, the text up to the sections, and the calls in its examples."""
    summary, _, rest = doc.partition("\n\n")
    kept = []
    for line in rest.splitlines():
        if _SECTION.match(line) or line.lstrip().startswith(">>>"):
            break
        kept.append(line)
    examples = [line.strip()[4:] for line in doc.splitlines() if line.strip().startswith(">>> ")]
    return " ".join(summary.split()), "\n".join(kept).strip(), examples


def _example(endpoint: Endpoint, examples: list[str]) -> dict[str, Any] | None:
    """Read the arguments out of a docstring's example call of this function."""
    import ast

    for line in examples:
        try:
            tree = ast.parse(line, mode="eval").body
        except SyntaxError:
            continue
        for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
            if getattr(call.func, "id", getattr(call.func, "attr", None)) != endpoint.title:
                continue
            try:
                args = [ast.literal_eval(arg) for arg in call.args]
                keywords = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
                signature = inspect.Signature(endpoint.arguments.parameters)
                found: dict[str, Any] = dict(signature.bind_partial(*args, **keywords).arguments)
                json.dumps(found)
                return found
            except (ValueError, TypeError, SyntaxError):
                continue
    return None
