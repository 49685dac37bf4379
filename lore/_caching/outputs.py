"""
Names that code only writes to: a list of calls, a counter, a log kept in memory.

What a function appends to and never looks at does not decide over its result, so its content is no reason to compute
again. Without this, a function that counts its own calls would change its own validity with every call.
"""

from __future__ import annotations

import ast
import collections
from collections.abc import Iterable
from typing import Any

__all__ = ["are_holders", "outputs_of"]

# What the changes below do to these is known to stay in them: a class of the user's own may do more.
_HOLDERS = frozenset(
    {list, dict, set, int, float, bool, str, bytearray}
    | {collections.deque, collections.Counter, collections.defaultdict, collections.OrderedDict}
)
# Changes that succeed whatever is there already: one that may raise would tell of the content.
_CHANGES = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "subtract", "update"}
)


def are_holders(value: Any, written: Iterable[str]) -> bool:
    """
    Tell whether what is written to is a plain container or number.

    Args:
        value: what the name stands for.
        written: the name itself, or attributes of it.
    """
    attributes = getattr(value, "__dict__", {})
    held = (attributes.get(name.partition(".")[2]) if "." in name else value for name in written)
    return all(type(each) in _HOLDERS for each in held)


def outputs_of(node: ast.AST) -> frozenset[str]:
    """
    Return the names (and attributes, as `name.attribute`) that the code below a node changes and never reads.

    A change is a method call that stands alone (`calls.append(x)`), an assignment to the name, an item or an attribute
    of it, and an augmented one (`count += 1`, `count["n"] += 1`). What it is changed from may be its own content
    (`n = n + 1`). A name that stands anywhere else, also in a function inside, is read.
    """
    uses = _Uses()
    uses.visit(node)
    return frozenset(name for name in uses.written if name.partition(".")[0] not in uses.read)


class _Uses(ast.NodeVisitor):
    def __init__(self) -> None:
        self.written: set[str] = set()
        self.read: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        (self.read if isinstance(node.ctx, ast.Load) else self.written).add(node.id)

    def visit_Expr(self, node: ast.Expr) -> None:
        match node.value:
            case ast.Call(func=ast.Attribute(value=place, attr=change), args=args, keywords=keywords) if (
                change in _CHANGES and _place_of(place)
            ):
                self._write(place)
                self._visit_all([*args, *keywords])
            case _:
                self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if _place_of(node.value) and not isinstance(node.ctx, ast.Load):
            self._write(node.value)
            self.visit(node.slice)
        else:
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and not isinstance(node.ctx, ast.Load):
            self._write(node)
        else:
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._visit_all(node.targets)
        changed = _place_of(_held_in(node.targets[0]))
        if len(node.targets) == 1 and changed and _only_of_itself(node.value, changed):
            return
        self.visit(node.value)

    def _write(self, place: ast.expr) -> None:
        self.written.add(_place_of(place))

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)


def _held_in(target: ast.expr) -> ast.expr:
    return target.value if isinstance(target, ast.Subscript) else target


def _place_of(node: ast.expr) -> str:
    """Spell a name, or an attribute of a name; nothing for what is neither."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            return f"{name}.{attribute}"
    return ""


def _only_of_itself(value: ast.expr, changed: str) -> bool:
    """Tell whether a value is made of constants and of the old content of what it goes into, as in `n["x"] + 1`."""
    match value:
        case ast.Constant():
            return True
        case ast.BinOp(left=left, right=right):
            return _only_of_itself(left, changed) and _only_of_itself(right, changed)
        case ast.Subscript(value=place, slice=ast.Constant() | ast.Name()):
            return _place_of(place) == changed
        case ast.Call(func=ast.Attribute(value=place, attr="get"), keywords=[]):
            return _place_of(place) == changed and all(isinstance(arg, ast.Constant | ast.Name) for arg in value.args)
    return _place_of(value) == changed
