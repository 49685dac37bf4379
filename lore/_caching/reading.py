"""
What one code object says: the digest of its text, and the names it reaches for.

The text is the syntax tree of its source, without what does not count: comments, layout, docstrings, annotations,
positions. A source is believed only if it compiles to the very code that runs: a file that was edited after it was
imported must not lend its new text to the old code. Where no source says what the code says, the bytecode itself is
the text; it differs from one version of Python to the next.
"""

from __future__ import annotations
import __future__

import ast
import collections
import contextlib
import functools
import linecache
import operator
import os
import sys
import threading
import tokenize
import types
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import xxhash

from lore._caching.outputs import outputs_of
from lore._caching.referring import Ref, refs_of, stored_in

__all__ = ["Reading", "close", "read"]


class Reading(NamedTuple):
    """
    What one code object says.

    Args:
        digest: of the text, 16 bytes.
        refs: what it reaches for, sorted, each once.
        from_source: whether the text is a source's; else it is the bytecode's.
        outputs: the names that it only writes to.
        stored: the attributes that it sets, of whatever it may be.
    """

    digest: bytes
    refs: tuple[Ref, ...]
    from_source: bool
    outputs: frozenset[str] = frozenset()
    stored: frozenset[str] = frozenset()


_readings: dict[int, tuple[types.CodeType, Reading]] = {}
_MOST_READINGS = 20_000


def read(code: types.CodeType, names: dict[str, Any]) -> Reading:
    """
    Read a code object; the second time it costs a look-up.

    Args:
        code: of a function.
        names: the function's globals, which tell where the source of its module is.
    """
    known = _readings.get(id(code))
    if known is not None and known[0] is code:
        return known[1]
    form = _bytecode(code)
    node = _node_of(code, form, names)
    refs = refs_of(code)
    if node is None:
        text = b"\0".join((str(sys.implementation.cache_tag).encode(), form))
    else:
        writing = _Writing(node)
        text = writing.text()
        refs = tuple(ref for ref in refs if ref.kind != "global" or writing.uses(ref.name))
    outputs = frozenset() if node is None else outputs_of(node)
    reading = Reading(xxhash.xxh3_128_digest(text), refs, node is not None, outputs, stored_in(code))
    if len(_readings) >= _MOST_READINGS:
        _readings.clear()
    _readings[id(code)] = (code, reading)
    return reading


def close() -> None:
    """Let go of the sources that were read, save the last few: syntax trees are large."""
    while len(_sources) > _MOST_SOURCES:
        _sources.popitem(last=False)  # in one step: other threads may be doing the same


# --- bytecode ---------------------------------------------------------------------------------------------------------

_NO_DOCSTRING = ("<lambda>", "<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>")
_HAS_DOCSTRING = 0x4000000
_NESTED = 0x10
# CO_NESTED is the flag of the oldest of them, and says something else today
_FUTURE = ~_NESTED & functools.reduce(
    operator.or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)


def _bytecode(code: types.CodeType) -> bytes:
    """Write down everything that decides what a code object does: no names of files, no lines, no docstring."""
    parts: list[bytes] = []
    _write_bytecode(code, parts)
    return xxhash.xxh3_128_digest(b"\0".join(parts))


def _write_bytecode(code: types.CodeType, parts: list[bytes]) -> None:
    head = (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & ~_FUTURE & ~_NESTED & ~_HAS_DOCSTRING,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        len(code.co_consts),
    )
    parts += [repr(head).encode("utf-8", "backslashreplace"), code.co_code, getattr(code, "co_exceptiontable", b"")]
    for index, constant in enumerate(code.co_consts):
        if index == 0 and _is_docstring(code, constant):
            parts.append(b"docstring")
        else:
            _write_constant(constant, parts)


def _is_docstring(code: types.CodeType, constant: object) -> bool:
    if sys.version_info >= (3, 13):
        return bool(code.co_flags & _HAS_DOCSTRING)
    # up to 3.12 the first constant of a function is its docstring or None; that of a class body is its qualified name
    function = bool(code.co_flags & 0x2) and code.co_name not in _NO_DOCSTRING
    return function and isinstance(constant, str)


def _write_constant(constant: object, parts: list[bytes]) -> None:
    if isinstance(constant, types.CodeType):
        parts.append(f"code {constant.co_name}".encode("utf-8", "backslashreplace"))
        _write_bytecode(constant, parts)
    elif isinstance(constant, tuple):
        parts.append(b"tuple %d" % len(constant))
        for item in constant:
            _write_constant(item, parts)
    elif isinstance(constant, frozenset):
        parts.append(b"frozenset %d" % len(constant))
        items: list[bytes] = []
        for item in constant:
            one: list[bytes] = []
            _write_constant(item, one)
            items.append(b"\1".join(one))
        parts.extend(sorted(items))
    else:
        parts.append(_constant(constant).encode())


def _constant(constant: object) -> str:
    # hex: Python refuses to write very long integers in decimal
    text = hex(constant) if type(constant) is int else ascii(constant)
    return f"{type(constant).__name__} {text}"


# --- source -----------------------------------------------------------------------------------------------------------

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class _Source:
    """
    The functions of one source file.

    The whole file is compiled to compare with: what a function compiles to also depends on what stands around it.
    """

    def __init__(self, text: str) -> None:
        with _quiet():
            self.tree = ast.parse(text)
        self._codes: dict[int, dict[tuple[str, int], list[types.CodeType]]] = {}
        self._lambdas: list[_Function] | None = None
        self._named: dict[str, list[_Function]] = {}
        for node in _definitions_in(self.tree.body):
            self._named.setdefault(node.name, []).append(node)

    def match(self, code: types.CodeType, form: bytes) -> _Function | None:
        """Find the function whose text compiles to just this code, the nearest by line where there are several."""
        codes = self._compiled(code.co_flags & _FUTURE)
        for node in sorted(self._called(code.co_name), key=lambda node: abs(_first_line(node) - code.co_firstlineno)):
            made = codes.get((code.co_name, _first_line(node)), ())
            if any(_bytecode(other) == form and _stands_at(other, node, len(made) > 1) for other in made):
                return node
        return None

    def _called(self, name: str) -> list[_Function]:
        if name != "<lambda>":
            return self._named.get(name, [])
        if self._lambdas is None:
            self._lambdas = [node for node in ast.walk(self.tree) if isinstance(node, ast.Lambda)]
        return self._lambdas

    def _compiled(self, flags: int) -> dict[tuple[str, int], list[types.CodeType]]:
        """Return the code of all functions in the file by name and first line."""
        made = self._codes.get(flags)
        if made is None:
            made = {}
            flags_to_compile = flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # cells of a notebook may wait
            with _quiet():
                whole = compile(self.tree, "<source>", "exec", flags_to_compile, dont_inherit=True)
            for code in _codes_in(whole):
                made.setdefault((code.co_name, code.co_firstlineno), []).append(code)
            self._codes[flags] = made
        return made


def _definitions_in(body: list[Any]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Walk through statements to the functions that they define, at any depth."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement
        for name in ("body", "orelse", "handlers", "finalbody", "cases"):
            yield from _definitions_in(getattr(statement, name, None) or [])


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes_in(constant)


def _first_line(node: _Function) -> int:
    decorators = getattr(node, "decorator_list", ())
    return min((one.lineno for one in decorators), default=node.lineno)


def _stands_at(code: types.CodeType, node: _Function, crowded: bool) -> bool:
    """Tell lambdas on one line apart by where their instructions stand."""
    if not crowded or not isinstance(node, ast.Lambda):
        return True
    spans = [place for place in code.co_positions() if None not in place and place[:2] + place[2:] != (0, 0, 0, 0)]
    spans = [place for place in spans if (place[0], place[2]) != (place[1], place[3])]
    if not spans:
        return False
    start = min((line, column) for line, _, column, _ in spans)  # type: ignore[type-var]
    end = max((line, column) for _, line, _, column in spans)  # type: ignore[type-var]
    body = node.body
    return start == (body.lineno, body.col_offset) and end == (body.end_lineno, body.end_col_offset)


_sources: collections.OrderedDict[tuple[Any, ...], _Source | None] = collections.OrderedDict()
_MOST_SOURCES = 4
_filters_lock = threading.Lock()


def _node_of(code: types.CodeType, form: bytes, names: dict[str, Any]) -> _Function | None:
    for key, lines in _versions_of(code.co_filename, names):
        source = _parsed(key, lines)
        node = source.match(code, form) if source is not None else None
        if node is not None:
            return node
    return None


def _versions_of(filename: str, names: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], list[str] | None]]:
    """Yield what may be the source: the file as it is now, then what `linecache` knows (notebooks, zip files)."""
    module_file = names.get("__file__")
    if not os.path.isabs(filename) and isinstance(module_file, str) and module_file.endswith(filename):
        filename = module_file  # a script is compiled under the name that it was called by
    try:
        status = os.stat(filename)
        yield (filename, status.st_mtime_ns, status.st_size, status.st_ino), None
    except (OSError, ValueError):
        pass
    entry = linecache.cache.get(filename)
    lines = list(entry[2]) if entry is not None and len(entry) > 1 else linecache.getlines(filename, names)
    if lines:
        yield (filename, hash(tuple(lines))), lines
    if filename.startswith("<") and isinstance(module_file, str):
        # cloudpickle forgets the file of a function, but not that of its module
        yield from _versions_of(module_file, names)
    for text in list(_brought):  # code that was pickled by value no longer says which file it is from
        yield ("brought", text), text.splitlines(keepends=True)


_brought: collections.OrderedDict[str, None] = collections.OrderedDict()
_MOST_BROUGHT = 64


def remember(text: str) -> None:
    """Know the text of a script or a cell that came with a pickled function: it may be the source of what came."""
    _brought[text] = None
    _brought.move_to_end(text)
    while len(_brought) > _MOST_BROUGHT:
        _brought.popitem(last=False)


def _parsed(key: tuple[Any, ...], lines: list[str] | None) -> _Source | None:
    if key not in _sources:
        try:
            text = "".join(lines) if lines is not None else _text_in(key[0])
            _sources[key] = _Source(text)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            return _sources.setdefault(key, None)
    return _sources.get(key)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Compile without warnings: they are no news to anybody, and must not be errors where warnings are."""
    with _filters_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _text_in(filename: str) -> str:
    with tokenize.open(filename) as file:
        return file.read()


# --- syntax trees -----------------------------------------------------------------------------------------------------

# Fields that say nothing about what a function does, or not the same in every version of Python.
_SILENT = frozenset({"ctx", "type_comment", "type_ignores", "kind", "type_params", "returns", "annotation", "simple"})


class _Writing:
    """
    Writes a function's own text down.

    Its name, decorators and default values are left out: what they made is looked at where it lives, in the object.
    """

    def __init__(self, node: _Function) -> None:
        self._parts: list[str] = [type(node).__name__]
        self._names: set[str] = set()
        self._arguments(node.args, with_defaults=False)
        if isinstance(node, ast.Lambda):
            self._node(node.body)
        else:
            self._body(node.body)

    def text(self) -> bytes:
        return "\0".join(self._parts).encode("utf-8", "backslashreplace")

    def uses(self, name: str) -> bool:
        """Tell whether a name stands anywhere but in annotations; in a class it may stand there without its prefix."""
        return name in self._names or (name.startswith("_") and any(name.endswith(one) for one in self._names))

    def _node(self, node: ast.AST) -> None:
        self._parts.append(type(node).__name__)
        match node:
            case ast.Constant():
                self._parts.append(_constant(node.value))
            case ast.Name():
                self._names.add(node.id)
                self._parts.append(node.id)
            case ast.JoinedStr():
                self._list(_joined(node.values))
            case ast.Delete(targets=[ast.Tuple() | ast.List() as only]):
                self._list(only.elts)
            case ast.arguments():
                self._arguments(node)
            case _:
                for name in node._fields:
                    if name not in _SILENT:
                        self._field(node, name, getattr(node, name, None))

    def _field(self, node: ast.AST, name: str, value: object) -> None:
        if isinstance(value, ast.AST):
            self._node(value)
        elif isinstance(value, list) and name in ("body", "orelse", "finalbody"):
            self._body(value, in_class=isinstance(node, ast.ClassDef))
        elif isinstance(value, list):
            self._list(value)
        else:
            self._parts.append(_constant(value))

    def _list(self, values: list[Any]) -> None:
        self._parts.append(f"[{len(values)}")
        for value in values:
            if isinstance(value, ast.AST):
                self._node(value)
            else:
                self._parts.append(_constant(value))

    def _body(self, body: list[ast.stmt], in_class: bool = False) -> None:
        """Write statements, without those that do nothing and, except in classes, without annotations."""
        self._parts.append("{")
        for statement in body:
            if isinstance(statement, ast.AnnAssign):
                self._annotated(statement, in_class)
            elif not _does_nothing(statement):
                self._node(statement)
        self._parts.append("}")

    def _annotated(self, node: ast.AnnAssign, in_class: bool) -> None:
        if in_class:  # dataclasses and their like are made of annotations
            self._parts.append("AnnAssign")
            self._list([node.target, node.annotation, node.value])
        elif node.value is not None:
            self._parts.append("Assign")
            self._list([node.target])
            self._node(node.value)

    def _arguments(self, node: ast.arguments, with_defaults: bool = True) -> None:
        for group in (node.posonlyargs, node.args, [node.vararg], node.kwonlyargs, [node.kwarg]):
            self._parts.append("(" + ",".join(one.arg if one is not None else "" for one in group))
        if with_defaults:
            self._list(node.defaults)
            self._list(node.kw_defaults)


def _does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """Merge the constants of an f-string, which versions of Python cut differently."""
    merged: list[ast.expr] = []
    for value in values:
        last = merged[-1] if merged else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            merged[-1] = ast.Constant(str(last.value) + str(value.value))
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            merged.append(value)
    return merged
