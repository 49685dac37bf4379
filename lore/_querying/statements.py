"""
From the text that a function wrote and its arguments to a statement that a database can run.

A `Template` is a text read once: what is code, what is a literal, where its `:name` parameters stand. A `Statement` is
a template with values. Values never become text here; `render` hands them to the driver beside the statement.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import ipaddress
import json
import pathlib
import re
import sys
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from lore.errors import StatementError

__all__ = ["Slot", "Statement", "Template", "bind", "plain", "read_template", "render", "to_json"]

Placeholder = Callable[[int], str]

# Members of an IN list above which one value stands for all: databases take long over thousands of places.
_LONG = 500


class Slot(NamedTuple):
    """
    One place in a text where a parameter stands.

    Attributes:
        name: the parameter.
        place: "value" for a plain value, "list" for the whole right side of an IN, "member" for one of several
            members of an IN list.
        negated: the IN is a NOT IN.
        width: how many columns stand left of the IN.
        written: the text that the slot stands for.
    """

    name: str
    place: Literal["value", "list", "member"]
    negated: bool
    width: int
    written: str


class Template(NamedTuple):
    """A statement's text, taken apart: literal text and slots in the order they were written."""

    text: str
    parts: tuple[str | Slot, ...]

    @property
    def verb(self) -> str:
        """The first word of the statement, in capitals."""
        words = (token.text.upper() for token in _tokens(self.text, False) if token.kind == "word")
        return next(words, "")

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, each once, in the order of their first use."""
        return tuple(dict.fromkeys(part.name for part in self.parts if isinstance(part, Slot)))


class Statement:
    """
    A statement with its parameters, as `f.sql(...)` shows it.

    `str()` shows the text and every value: it is made to be looked at. `repr()` shows no value.

    Attributes:
        statement: the text as the function wrote it.
        parameters: the names that the text uses, in order.
        values: what each name stands for.
        owner: the function, as `module.qualname`.
        path: how its rows will travel, such as "copy binary" or "cursor"; the result never depends on it.
    """

    __slots__ = ("owner", "path", "template", "values")

    def __init__(self, template: Template, values: Mapping[str, Any], owner: str) -> None:
        self.template = template
        self.values = dict(values)
        self.owner = owner
        self.path = ""

    @property
    def statement(self) -> str:
        """The text as it was written."""
        return self.template.text

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names that the text uses, in order of first use."""
        return self.template.names

    def __str__(self) -> str:
        lines = [f"-- :{name} = {value!r} ({type(value).__name__})" for name, value in self.values.items()]
        path = [f"-- by {self.path}"] if self.path else []
        return "\n".join([self.statement, *lines, *path])

    def __repr__(self) -> str:
        return f"<Statement of {self.owner} with parameters {', '.join(self.parameters) or 'none'}>"

    def __await__(self) -> Generator[Any, None, Statement]:
        return self
        yield  # makes it a generator: awaiting a statement gives it at once

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Statement):
            return NotImplemented
        return self.statement == other.statement and self.values == other.values

    __hash__ = None  # type: ignore[assignment]


def bind(text: str, arguments: Mapping[str, Any], owner: str, *, backslashes: bool = False) -> Statement:
    """
    Bind each `:name` of a text to the argument of that name; arguments that the text does not use are left aside.

    Args:
        text: one SQL statement; a trailing semicolon is dropped.
        arguments: names and values, of any Python, numpy or pandas scalar type, or lists of these.
        owner: the function, for errors.
        backslashes: whether a backslash escapes in plain strings, as in MySQL.

    Raises:
        StatementError: a name without an argument, a value that no database takes, several statements, or none.
    """
    problem = None
    try:
        template = read_template(text, backslashes)
    except StatementError as error:
        problem = str(error)
    if problem is not None:
        raise StatementError(f"{owner}: {problem}")
    missing = [name for name in template.names if name not in arguments]
    if missing:
        raise StatementError(
            f"{owner}: the statement uses {_listed(missing)}, and there is no argument of that name. "
            f"Arguments: {', '.join(arguments) or 'none'}."
        )
    return Statement(template, {name: _bound(arguments[name], name, owner) for name in template.names}, owner)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f":{name}" for name in names)


def _bound(value: Any, name: str, owner: str) -> Any:
    try:
        return plain(value)
    except (TypeError, ValueError, OverflowError) as error:
        why = str(error) if isinstance(error, _Unbindable) else f"a {type(value).__name__} cannot be bound"
    raise StatementError(f"{owner}: the value of :{name} does not fit a database parameter: {why}.")


# ---------------------------------------------------------------------------------------------------------------------
# values


class _Unbindable(TypeError):
    """A value of a type that no database takes; the message names the type and never the value."""


_PLAIN = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        str,
        bytes,
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
        decimal.Decimal,
        uuid.UUID,
    }
)


def plain(value: Any) -> Any:
    """
    Turn a value of any usual type into what a database driver takes.

    numpy and pandas scalars become Python's own, missing ones (`NaT`, `NA`) become None, members of an Enum their
    value, paths and IP addresses text; arrays, series, sets, ranges and tuples become lists, tuples inside a list stay
    tuples (rows of an `IN`). Dicts stay dicts (JSON). NaN stays a number. Databases hold microseconds: finer parts of
    a timestamp are cut off.

    Raises:
        TypeError: nothing above applies.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Mapping):
        json.dumps(value, default=_json_default)
        return dict(value)
    scalar = _scalar(value)
    if scalar is not _OTHER:
        return scalar
    if isinstance(value, list | tuple | set | frozenset | range) or _is_listlike(value):
        return [_member(item) for item in _items(value)]
    raise _Unbindable(f"a {type(value).__name__} cannot be bound")


_OTHER: Any = object()
_SPELLED = (
    pathlib.PurePath,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)


def _scalar(value: Any) -> Any:
    """Turn a scalar of a subclass or of another library into the plain one; `_OTHER` where it is no scalar."""
    if _is_missing(value):
        return None
    if hasattr(value, "to_pydatetime") and not hasattr(value, "__len__"):
        return value.to_pydatetime(warn=False)
    if hasattr(value, "to_pytimedelta") and not hasattr(value, "__len__"):
        return value.to_pytimedelta()
    if _is_numpy_scalar(value):
        return _from_numpy(value)
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, _SPELLED):
        return str(value)
    if isinstance(value, tuple(_PLAIN - {type(None)})):
        return value
    return _OTHER


def _is_missing(value: Any) -> bool:
    return type(value).__name__ in {"NaTType", "NAType"} and type(value).__module__.startswith("pandas.")


def _is_numpy_scalar(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and (
        isinstance(value, numpy.generic) or (isinstance(value, numpy.ndarray) and value.ndim == 0)
    )


def _from_numpy(value: Any) -> Any:
    if value.dtype.kind in "mM":
        import numpy

        return None if numpy.isnat(value) else value.astype(f"{value.dtype.kind}8[us]").item()
    return plain(value.item())


def _is_listlike(value: Any) -> bool:
    return hasattr(value, "tolist") or isinstance(value, type({}.keys()) | type({}.values()))


def _items(value: Any) -> Iterator[Any]:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray) and value.dtype.kind not in "mMO":
        return iter(value.tolist())
    return iter(value)


def _member(item: Any) -> Any:
    """Make one member of a list plain; a tuple stays a tuple, for rows in an IN."""
    if isinstance(item, tuple):
        return tuple(plain(part) for part in item)
    return plain(item)


def _json_default(value: Any) -> Any:
    """Say how the values inside a JSON parameter are written that JSON has no type for."""
    made = plain(value)
    if made is None or isinstance(made, bool | int | float | str | list | dict):
        return made
    if isinstance(made, bytes):
        raise _Unbindable("bytes cannot stand inside JSON")
    return made.isoformat() if hasattr(made, "isoformat") else str(made)


def to_json(value: Any) -> str:
    """Write a dict or a list as the JSON text of a parameter or a column."""
    return json.dumps(value, default=_json_default, ensure_ascii=False, allow_nan=True)


# ---------------------------------------------------------------------------------------------------------------------
# rendering


def render(
    statement: Statement,
    *,
    placeholder: Placeholder,
    adapt: Callable[[Any], Any],
    tag: str = "",
    percent: bool = False,
    escape_colons: bool = False,
    empty: Callable[[bool, int], str] | None = None,
    rows: str = "",
    long: Callable[[list[Any]], str | None] = lambda members: None,
) -> tuple[str, list[Any]]:
    """
    Write a statement in a database's own spelling and list its values in the order of their placeholders.

    Args:
        statement: what to write.
        placeholder: spells the n-th value's place, counted from 1.
        adapt: turns a plain value into what the driver takes.
        tag: a comment to put in front.
        percent: whether literal percent signs are doubled.
        escape_colons: whether literal colons get a backslash, as SQLAlchemy's `text` wants.
        empty: spells the right side of an IN whose list is empty, operator included, from (negated, width).
        rows: a word before the rows of an IN list of tuples (SQLite wants VALUES).
        long: spells a query over one value, at `{}`, that stands for the members of a long list; None where the
            database has no such thing for these.
    """
    values: list[Any] = []

    def place(value: Any) -> str:
        if isinstance(value, tuple):
            return f"({', '.join(place(part) for part in value)})"
        values.append(adapt(value))
        return placeholder(len(values))

    written = []
    for part in (f"{tag} " if tag else "", *statement.template.parts):
        if isinstance(part, str):
            text = part.replace("%", "%%") if percent else part
            written.append(text.replace(":", "\\:") if escape_colons else text)
        else:
            written.append(_render_slot(part, statement.values[part.name], place, empty or _empty_list, rows, long))
    return "".join(written), values


def _render_slot(
    slot: Slot,
    value: Any,
    place: Callable[[Any], str],
    empty: Callable[[bool, int], str],
    rows: str,
    long: Callable[[list[Any]], str | None],
) -> str:
    if slot.place == "value":
        return place(value)
    members = value if isinstance(value, list) else [value]
    if slot.place == "member":
        return ", ".join(place(member) for member in members) if members else _empty_member(slot)
    if not members:
        return empty(slot.negated, slot.width)
    inside = long(members) if len(members) > _LONG else None
    if inside is not None:
        return f"{_operator(slot.negated)} ({inside.format(place(members))})"
    lead = f"{rows} " if rows and isinstance(members[0], tuple) else ""
    return f"{_operator(slot.negated)} ({lead}{', '.join(place(member) for member in members)})"


def _operator(negated: bool) -> str:
    return "NOT IN" if negated else "IN"


def _empty_member(slot: Slot) -> str:
    if slot.negated:
        raise StatementError(
            f"The list :{slot.name} is empty and stands among others in a NOT IN: give it an IN of its own."
        )
    return "NULL"


def _empty_list(negated: bool, width: int) -> str:
    return f"{_operator(negated)} (SELECT {', '.join(['NULL'] * width)} WHERE 1 = 0)"


# ---------------------------------------------------------------------------------------------------------------------
# reading a text


class _Token(NamedTuple):
    kind: str
    text: str


_TOKEN = re.compile(
    r"""
      (?P<space>   \s+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<escaped> [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z) )
    | (?P<string>  '(?:[^']|'')*(?:'|\Z) )
    | (?P<quoted>  "(?:[^"]|"")*(?:"|\Z) | `(?:[^`]|``)*(?:`|\Z) )
    | (?P<dollar>  \$(?:[^\W\d]\w*)?\$ )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<number>  \d[\w.]* )
    | (?P<cast>    :{2,} | := )
    | (?P<slot>    :[^\W\d]\w* )
    | (?P<end>     ; )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_BACKSLASHED = re.compile(r"""'(?:[^'\\]|\\.|'')*(?:'|\Z)|"(?:[^"\\]|\\.|"")*(?:"|\Z)""", re.DOTALL)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
# A colon right behind one of these belongs to it: a[i:j], {'a':b}, payload:field, f(x):field
_BEFORE_A_COLON = frozenset({"word", "number", "string", "escaped", "quoted", "dollar"})


@functools.lru_cache(maxsize=512)
def read_template(text: str, backslashes: bool = False) -> Template:
    """
    Take a text apart into literal text and parameters.

    Left alone are `::casts`, `:=`, array slices, and everything in strings, quoted names, dollar quotes and comments.

    Raises:
        StatementError: the text holds several statements or none.
    """
    tokens = _one_statement(list(_tokens(text, backslashes)))
    parts: list[str | Slot] = []
    at = 0
    while at < len(tokens):
        end, part = _part(tokens, at)
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
        at = end
    return Template(text, tuple(parts))


def _tokens(text: str, backslashes: bool) -> Iterator[_Token]:
    at, before = 0, ""
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None
        assert match.lastgroup is not None
        kind, end = match.lastgroup, match.end()
        if backslashes and text[at] in "'\"":
            end = _BACKSLASHED.match(text, at).end()  # type: ignore[union-attr]
        elif kind == "comment":
            kind, end = "space", _comment_end(text, end)
        elif kind == "dollar":
            kind, end = _dollar_end(text, match)
        elif kind == "slot" and (before in _BEFORE_A_COLON or text[at - 1 : at] in {")", "]"}):
            kind, end = "other", at + 1
        yield _Token(kind, text[at:end])
        at, before = end, kind


def _comment_end(text: str, at: int) -> int:
    """Find the end of a comment whose opening was just read; comments nest."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, at)
        if edge is None:
            return len(text)
        depth += 1 if edge.group() == "/*" else -1
        at = edge.end()
    return at


def _dollar_end(text: str, opening: re.Match[str]) -> tuple[str, int]:
    """Find the end of a dollar-quoted string; without a closing, the dollar is just a sign."""
    closing = text.find(opening.group(), opening.end())
    return ("other", opening.start() + 1) if closing < 0 else ("dollar", closing + len(opening.group()))


def _one_statement(tokens: list[_Token]) -> list[_Token]:
    """Drop what follows the statement; refuse a second one and an empty one."""
    end = next((n for n, token in enumerate(tokens) if token.kind == "end"), len(tokens))
    if any(token.kind not in {"space", "end"} for token in tokens[end:]):
        raise StatementError("The text holds more than one statement: a source runs one.")
    tokens = tokens[:end]
    while tokens and tokens[-1].kind == "space" and not tokens[-1].text.startswith(("-", "/")):
        tokens.pop()
    if all(token.kind == "space" for token in tokens):
        raise StatementError("The text holds no statement: the function returned an empty one.")
    return tokens


def _part(tokens: list[_Token], at: int) -> tuple[int, str | Slot]:
    """Read the part that starts at one token; return it with the index behind it."""
    token = tokens[at]
    if token.kind == "slot":
        return at + 1, _value_slot(tokens, at)
    if token.kind == "word" and token.text.upper() in {"IN", "NOT"}:
        found = _list_slot(tokens, at)
        if found is not None:
            return found
    return at + 1, token.text


def _list_slot(tokens: list[_Token], at: int) -> tuple[int, Slot] | None:
    """Read `[NOT] IN :name` or `[NOT] IN (:name)`, or return None."""
    start, negated = at, tokens[at].text.upper() == "NOT"
    if negated:
        at = _skip(tokens, at + 1)
        if at >= len(tokens) or tokens[at].text.upper() != "IN":
            return None
    at = _skip(tokens, at + 1)
    bracket = at < len(tokens) and tokens[at].text == "("
    if bracket:
        at = _skip(tokens, at + 1)
    if at >= len(tokens) or tokens[at].kind != "slot":
        return None
    name = tokens[at].text[1:]
    if bracket:
        at = _skip(tokens, at + 1)
        if at >= len(tokens) or tokens[at].text != ")":
            return None
    written = "".join(token.text for token in tokens[start : at + 1])
    return at + 1, Slot(name, "list", negated, _width_before(tokens, start), written)


def _skip(tokens: list[_Token], at: int, step: int = 1) -> int:
    """Step over white space and comments."""
    while 0 <= at < len(tokens) and tokens[at].kind == "space":
        at += step
    return at


def _width_before(tokens: list[_Token], at: int) -> int:
    """Count the columns of a row such as `(a, b)` that ends just before `at`; 1 for anything else."""
    at = _skip(tokens, at - 1, -1)
    if at < 0 or tokens[at].text != ")":
        return 1
    width, depth = 1, 0
    while at >= 0:
        depth += (tokens[at].text == ")") - (tokens[at].text == "(")
        width += depth == 1 and tokens[at].text == ","
        if depth == 0:
            break
        at -= 1
    before = _skip(tokens, at - 1, -1)
    called = before >= 0 and tokens[before].kind == "word" and tokens[before].text.upper() not in _CLAUSES
    return 1 if called else width


_CLAUSES = frozenset({"WHERE", "AND", "OR", "NOT", "ON", "HAVING", "WHEN", "SELECT", "FILTER", "ROW"})


def _value_slot(tokens: list[_Token], at: int) -> Slot:
    """Read a parameter that is no whole list; tell whether it is one of several members of an IN list."""
    depth, back = 0, at - 1
    while back >= 0:
        depth += (tokens[back].text == ")") - (tokens[back].text == "(")
        if depth < 0:
            break
        back -= 1
    operator = _skip(tokens, back - 1, -1) if back > 0 else -1
    name = tokens[at].text[1:]
    if operator < 0 or tokens[operator].text.upper() != "IN" or _has_select(tokens, back + 1, at):
        return Slot(name, "value", False, 1, tokens[at].text)
    before = _skip(tokens, operator - 1, -1)
    negated = before >= 0 and tokens[before].text.upper() == "NOT"
    return Slot(name, "member", negated, 1, tokens[at].text)


def _has_select(tokens: list[_Token], start: int, end: int) -> bool:
    return any(token.text.upper() in {"SELECT", "VALUES", "WITH"} for token in tokens[start:end])
