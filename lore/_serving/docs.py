"""
The page at `/docs`: every endpoint with its fields, an example, and a form to try it, in one file that fetches nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from typing import Any

from lore._serving.docs_page import SCRIPT, STYLE

__all__ = ["HEADERS", "render"]


def _allowed(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


HEADERS = [
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src {_allowed(STYLE)}; script-src {_allowed(SCRIPT)}; connect-src 'self'; "
        f"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
]
"""Nothing runs or is styled but what stands in the page, and nothing is reached but the server itself."""

Schema = dict[str, Any]


def render(document: dict[str, Any]) -> bytes:
    """Write the page for an OpenAPI document."""
    page = _Page(document)
    title = escape(document["info"]["title"])
    parts = [
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<link rel="icon" href="{_ICON}">',
        f"<style>{STYLE}</style>\n</head>\n<body>",
        '<a class="skip" href="#endpoints">Skip to the endpoints</a>\n<div class="page">',
        *page.side(),
        '<main id="endpoints">',
        *page.sections(),
        "</main>\n</div>",
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(parts).encode()


_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' "
    "rx='4' fill='%230b5f73'/%3E%3Cpath d='M5 4v8h6' stroke='white' stroke-width='2' fill='none'/%3E%3C/svg%3E"
)


class _Page:
    """The parts of one page."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.info = document["info"]
        self.schemas = document["components"]["schemas"]
        self.is_guarded = "securitySchemes" in document["components"]
        self.operations = [
            (method.upper(), path, operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        ]

    def side(self) -> Iterator[str]:
        yield '<div class="side">\n<header>'
        yield f"<h1>{escape(self.info['title'])}</h1>"
        yield f'<p class="version">Version {escape(str(self.info["version"]))}</p>\n</header>'
        if self.is_guarded:
            yield '<form class="token" aria-label="Token"><label for="token"><b>Token</b>'
            yield "<span>sent as bearer</span></label>"
            yield '<input id="token" type="password" autocomplete="off" spellcheck="false"></form>'
        yield '<nav aria-label="Endpoints"><ul>'
        for method, path, _ in self.operations:
            yield f'<li><a href="#{_id(method, path)}"><small>{method}</small>{escape(path)}</a></li>'
        yield "</ul></nav>"
        yield '<nav aria-label="More" class="more"><a href="openapi.json">OpenAPI</a><a href="health">Health</a>'
        yield '<a href="ready">Readiness</a><a href="metrics">Metrics</a></nav>\n</div>'

    def sections(self) -> Iterator[str]:
        for method, path, operation in self.operations:
            yield from self._section(method, path, operation)

    def _section(self, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
        name = _id(method, path)
        lock = '<span class="lock">needs a token</span>' if operation.get("security") else ""
        yield f'<section class="card" id="{name}" aria-labelledby="{name}-title">\n<div class="head">'
        yield f'<h2 id="{name}-title"><span class="method">{method}</span>{escape(path)}{lock}</h2>'
        if operation["summary"] != operation["operationId"]:
            yield f'<p class="summary">{escape(operation["summary"])}</p>'
        if operation.get("description"):
            yield f'<p class="text">{escape(operation["description"])}</p>'
        yield '</div>\n<div class="work">'
        yield from self._form(name, method, path, operation)
        yield '<div class="got">'
        yield '<div class="row"><h3>From a terminal</h3><button type="button" class="quiet copy">Copy</button></div>'
        yield '<pre class="curl" tabindex="0" aria-label="Command"></pre>'
        yield '<h3>Answer</h3>\n<div role="status" aria-live="polite">'
        yield f'<p class="told">{escape(self._answer(operation))}</p></div>'
        yield '<pre class="answer" tabindex="0" aria-label="Answer" hidden></pre>'
        yield "</div>\n</div>\n</section>"

    def _answer(self, operation: dict[str, Any]) -> str:
        """Say what comes back, until something has."""
        content = operation["responses"]["200"]["content"]
        first: Schema = {}
        for told in content.values():
            first = first or told.get("schema", {})
        forms = ", ".join(content)
        words = self._words(first)
        what = "" if words == "anything" else f" with {_article(words)}"
        return f"Nothing sent yet. It answers{what} ({forms})."

    # -- forms ---------------------------------------------------------------------------------------------------------

    def _form(self, name: str, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
        fields, example, whole = self._fields(operation)
        told = f'data-method="{method}" data-path="{escape(path)}" data-whole="{"true" if whole else "false"}"'
        yield f'<form class="ask" {told} novalidate aria-label="Try {escape(path)}">\n<h3>Try it</h3>'
        if not fields:
            yield '<p class="empty">It takes no arguments.</p>'
        for at, (field, schema, required) in enumerate(fields):
            yield from self._field(f"{name}-{at}", field, schema, required, example.get(field, _NOTHING))
        yield '<button type="submit" class="send">Send</button>\n</form>'

    def _fields(self, operation: dict[str, Any]) -> tuple[list[tuple[str, Schema, bool]], dict[str, Any], bool]:
        """List an operation's fields, its example, and whether the body as a whole is the only one."""
        if "parameters" in operation:
            return [(one["name"], one["schema"], one["required"]) for one in operation["parameters"]], {}, False
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            return [], {}, False
        schema, example = content["schema"], content.get("example", {})
        if "properties" not in schema:
            values = list(example.values())
            shown = {"body": values[0]} if len(values) == 1 else {"body": example} if example else {}
            return [("body", schema, True)], shown, True
        required = schema.get("required", [])
        return [(name, inner, name in required) for name, inner in schema["properties"].items()], example, False

    def _field(self, name: str, field: str, schema: Schema, required: bool, example: Any) -> Iterator[str]:
        flat = self._flat(schema)
        words = self._words(schema) + ("" if required else ", optional")
        notes = [escape(text) for text in (schema.get("description"), self._default(schema)) if text]
        described = f"{name}-fault" + (f" {name}-hint" if notes else "")
        common = f'id="{name}" data-name="{escape(field)}" aria-describedby="{described}"'
        common += " required" if required else ""
        yield f'<div class="field"><label for="{name}"><b>{escape(field)}</b> <span>{escape(words)}</span></label>'
        yield _control(common, flat, required, example)
        if notes:
            yield f'<p class="hint" id="{name}-hint">{" ".join(notes)}</p>'
        yield f'<p class="fault" id="{name}-fault"></p></div>'

    @staticmethod
    def _default(schema: Schema) -> str:
        if "default" not in schema or schema["default"] is None:
            return ""
        return f"Left out, it is {json.dumps(schema['default'], ensure_ascii=False)}."

    # -- schemas -------------------------------------------------------------------------------------------------------

    def _flat(self, schema: Schema) -> Schema:
        """Follow references, and look through `null |`."""
        if "$ref" in schema:
            return self._flat(self.schemas.get(schema["$ref"].rpartition("/")[2], {}))
        some = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
        return self._flat(some[0]) if len(some) == 1 else schema

    def _words(self, schema: Schema) -> str:
        """Describe a schema in a few words."""
        flat = self._flat(schema)
        if "enum" in flat:
            return "one of " + ", ".join(json.dumps(value, ensure_ascii=False) for value in flat["enum"])
        if "anyOf" in flat:
            inner = dict.fromkeys(one.get("description") or self._words(one) for one in flat["anyOf"][:3])
            return " or ".join(inner)
        kind = flat.get("type")
        if kind == "array":
            return f"list of {_plural(self._words(flat['items']))}" if flat.get("items") else "list"
        if kind == "object" and flat.get("properties"):
            return "object with " + ", ".join(flat["properties"])
        if isinstance(kind, list):
            kind = " or ".join(kind)
        return (flat.get("format") or kind or "anything") + _range(flat)


def _article(words: str) -> str:
    if words.startswith(("one of", "records")):
        return words
    return ("an " if words[0] in "aeiou" else "a ") + words


def _plural(words: str) -> str:
    noun, space, rest = words.partition(" ")
    return f"{noun}s{space}{rest}" if noun not in ("one", "anything") else words


_NOTHING = object()


def _control(common: str, schema: Schema, required: bool, example: Any) -> str:
    """Write the input for one field."""
    kind = schema.get("type")
    choices = schema.get("enum") or ([True, False] if kind == "boolean" else None)
    if choices is not None:
        blank = "" if required and example is not _NOTHING else '<option value=""></option>'
        options = "".join(_option(value, value == example and type(value) is type(example)) for value in choices)
        return f'<select {common} data-kind="choice">{blank}{options}</select>'
    if kind in ("integer", "number"):
        shown = "" if example is _NOTHING else json.dumps(example)
        mode = "numeric" if kind == "integer" else "decimal"
        return f'<input {common} data-kind="number" inputmode="{mode}" autocomplete="off" value="{escape(shown)}">'
    if kind == "string":
        shown = "" if example is _NOTHING or example is None else str(example)
        return f'<input {common} data-kind="text" autocomplete="off" spellcheck="false" value="{escape(shown)}">'
    shown = "" if example is _NOTHING else json.dumps(example, indent=2, ensure_ascii=False)
    return f'<textarea {common} data-kind="json" spellcheck="false" rows="3">{escape(shown)}</textarea>'


def _option(value: Any, is_chosen: bool) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    chosen = " selected" if is_chosen else ""
    return f'<option value="{escape(json.dumps(value))}"{chosen}>{escape(str(text))}</option>'


_LIMITS = (
    ("minimum", "from {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "to {}"),
    ("exclusiveMaximum", "below {}"),
    ("minLength", "at least {} long"),
    ("maxLength", "at most {} long"),
    ("pattern", "like {}"),
)


def _range(schema: Schema) -> str:
    said = [words.format(schema[name]) for name, words in _LIMITS if name in schema]
    return " " + ", ".join(said) if said else ""


def _id(method: str, path: str) -> str:
    letters = "".join(letter if letter.isascii() and letter.isalnum() else f"-{ord(letter):x}-" for letter in path)
    return f"{method.lower()}{letters}"
