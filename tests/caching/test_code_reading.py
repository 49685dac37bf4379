"""
What a code object says: real code in other layouts, and real code with one thing changed.
"""

from __future__ import annotations

import argparse
import ast
import asyncio.queues
import copy
import csv
import dataclasses
import json.decoder
import linecache
import random
import statistics
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lore._caching.code import digest_of
from lore._caching.reading import Reading, read
from lore._caching.referring import Ref

MODULES = [argparse, asyncio.queues, csv, dataclasses, json.decoder, statistics, textwrap]
PARTS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


def functions(code: types.CodeType) -> Iterator[types.CodeType]:
    """Walk through the functions in a module's code, in the order of the text."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_flags & 0x2 and constant.co_name not in PARTS:
                yield constant
            yield from functions(constant)


def readings(text: str, path: Path) -> dict[str, Reading]:
    """Write a module and read its functions, by qualified name and turn."""
    path.write_text(text, encoding="utf-8")
    found: dict[str, Reading] = {}
    for turn, code in enumerate(functions(compile(text, str(path), "exec", dont_inherit=True))):
        found[f"{code.co_qualname} {turn}"] = read(code, {})
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_real_code_says_the_same_in_another_layout(module: types.ModuleType, tmp_path: Path) -> None:
    """Written anew without comments and layout, each function of a module has the same digest and references."""
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    before = readings(text, tmp_path / "before.py")
    after = readings(ast.unparse(ast.parse(text)), tmp_path / "after.py")
    assert all(reading.from_source for reading in before.values())
    assert before == after


class Change(ast.NodeTransformer):
    """Changes the one node of a tree whose turn it is, if it is one whose change must count."""

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self.changed = False

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            return node
        if isinstance(node, ast.While) and isinstance(node.test, ast.Constant):
            return node  # `while 1` is `while True`
        if isinstance(node, ast.arg):
            node.annotation = None
        other = _other(self.generic_visit(node))
        if other is None:
            return node
        self.turn -= 1
        self.changed = self.changed or self.turn == 0
        return other if self.turn == 0 else node


def _other(node: Any) -> ast.AST | None:
    match node:
        case ast.Constant(value=bool()):
            return ast.copy_location(ast.Constant(int(bool(node.value))), node)
        case ast.Constant(value=int(number)):
            return ast.copy_location(ast.Constant(float(number)), node)
        case ast.Constant(value=str(text)):
            return ast.copy_location(ast.Constant(text + "x"), node)
        case ast.Add():
            return ast.Sub()
        case ast.Lt():
            return ast.LtE()
        case ast.Is():
            return ast.IsNot()
        case ast.And():
            return ast.Or()
        case ast.Attribute(ctx=ast.Load()):
            return ast.copy_location(ast.Attribute(node.value, f"{node.attr}_", node.ctx), node)
        case ast.Name(ctx=ast.Load()):
            return ast.copy_location(ast.Name(f"{node.id}_", node.ctx), node)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            return ast.copy_location(ast.Expr(value), node)
        case ast.Not():
            return ast.Invert()
        case ast.Raise():
            return ast.copy_location(ast.Pass(), node)
    return None


def digests(tree: ast.Module, with_source: bool) -> list[bytes]:
    """Digest the functions of a tree, by their source or by their bytecode."""
    text = ast.unparse(tree)
    name = f"<tree {hash(text)}>"
    if with_source:
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    found = [read(code, {}) for code in functions(compile(text, name, "exec", dont_inherit=True))]
    linecache.cache.pop(name, None)
    assert all(reading.from_source is with_source for reading in found)
    return [reading.digest for reading in found]


@pytest.mark.parametrize("with_source", [True, False], ids=["by source", "by bytecode"])
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_one_change_anywhere_in_real_code_is_seen(module: types.ModuleType, with_source: bool) -> None:
    """A name, operator, constant or type of constant changed inside a function changes that function's digest."""
    if module is statistics and not with_source:
        pytest.skip("its constants are folded: 2.0 ** 3 and 2.0 ** 3.0 are the same code")
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    whole = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    drawn = random.Random(1).sample(whole, min(len(whole), 6))
    tried = 0
    for node in drawn:
        node.decorator_list, node.returns, node.args.defaults, node.args.kw_defaults = [], None, [], []
        node.args.kwonlyargs = []
        before = digests(ast.Module([node], []), with_source)
        for turn in range(1, 25):
            change = Change(turn)
            other = change.visit(copy.deepcopy(node))
            if not change.changed:
                break
            try:
                after = digests(ast.fix_missing_locations(ast.Module([other], [])), with_source)
            except SyntaxError:
                continue
            assert before != after, ast.unparse(other)
            tried += 1
    assert tried > 10 or not whole


def refs(text: str) -> set[tuple[str, ...]]:
    name = f"<refs {hash(text)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    code = next(one for one in functions(compile(text, name, "exec", dont_inherit=True)) if one.co_name == "f")
    return {(ref.kind, ref.name, ref.attribute, ".".join(ref.path)) for ref in read(code, {}).refs}


def test_references_are_what_the_code_reaches_for() -> None:
    """Globals with their attributes, closure variables, imports inside and attributes of the first argument."""
    assert refs("def f(x): return a.b.c(x), a.b, d") == {
        ("global", "a", "", "b.c"), ("global", "a", "", "b"), ("global", "d", "", "")
    }  # fmt: skip
    assert refs("def o(k, m):\n    def f(x): return k, m.n\n    return f") == {
        ("free", "k", "", ""),
        ("free", "m", "", "n"),
    }
    assert refs("def f(self, x):\n    self.y = self.z(x)\n    return [self.q for _ in x]") == {
        ("self", "", "", "z"), ("self", "", "", "q")
    }  # fmt: skip
    assert refs("def f(x):\n    import a.b as c, d\n    from .e import g as h\n    return c.i, d.j.k, h.m, c") == {
        ("import", "a.b", "", ""), ("import", "a.b", "", "i"), ("import", "d", "", ""), ("import", "d", "", "j.k"),
        ("import", ".e", "", ""), ("import", ".e", "g", "m"),
    }  # fmt: skip
    assert refs("def f(x: a = 1) -> b:\n    def g(y: c) -> d: return e\n    z: h = 1\n    return g") == {
        ("global", "e", "", "")
    }
    assert refs("def f(x):\n    class A(B):\n        k = K\n        def m(self): return L\n    return A") == {
        ("global", "B", "", ""), ("global", "K", "", ""), ("global", "L", "", "")
    }  # fmt: skip


def test_a_reference_is_spelled_in_one_way_only() -> None:
    """No two references have one spelling."""
    some = [Ref("global", "a", ("b",)), Ref("global", "a.b"), Ref("import", "a", (), "b"), Ref("import", "a", ("b",))]
    assert len({ref.spelled() for ref in some}) == len(some)


# --- constants --------------------------------------------------------------------------------------------------------

ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(), st.binary(), st.just(...)
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.booleans()), inner, max_size=4),
        st.sets(st.one_of(st.text(), st.integers(), st.binary()), max_size=4),
        st.frozensets(st.one_of(st.text(), st.integers()), max_size=4),
    ),
    max_leaves=8,
)


def reaching(value: object) -> bytes:
    names: dict[str, Any] = {"VALUE": value}
    exec("def f(x): return VALUE", names)
    return digest_of(names["f"])


def told(value: object) -> str:
    """Write a value down so that two texts are equal just when the values are, types and order included."""
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({sorted(map(told, value))})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({[told(item) for item in value]})"
    if isinstance(value, dict):
        return f"dict({[(told(key), told(item)) for key, item in value.items()]})"
    return f"{type(value).__name__}({value!r})"


@given(VALUES, VALUES)
@settings(max_examples=300)
def test_constants_are_equal_just_when_they_are_written_alike(one: object, other: object) -> None:
    """A global's content decides, with every type told apart, at any depth."""
    assert (reaching(one) == reaching(other)) == (told(one) == told(other))
    assert reaching(one) == reaching(copy.deepcopy(one))


@given(VALUES)
def test_the_place_where_a_constant_lives_does_not_decide_over_its_content(value: object) -> None:
    """The same value as a global, in a closure and as a default is found equal to its copy in the same place."""

    def closed(value: object) -> Any:
        def f(x: object) -> object:
            return value

        return f

    def defaulted(value: object) -> Any:
        def f(x: object = value) -> object:
            return x

        return f

    for make in (closed, defaulted):
        assert digest_of(make(value)) == digest_of(make(copy.deepcopy(value)))
        assert digest_of(make(value)) != digest_of(make([value]))
