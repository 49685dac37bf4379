"""
The names that code reaches for, read from its bytecode: what runs is what counts, whether or not a source is there.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Ref", "refs_of", "stored_in"]

_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_CELLS = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_BETWEEN = frozenset({"EXTENDED_ARG", "CACHE", "NOP", "PUSH_NULL", "NOT_TAKEN"})
_IN_CLASS_BODIES = frozenset({"__name__", "__module__", "__qualname__", "__classdict__", "__firstlineno__"})


class Ref(NamedTuple):
    """
    A name that code reaches for, and the attributes it asks of what it finds.

    Args:
        kind: "global", "free" (a closure's variable), "self" (an attribute of the first argument) or "import".
        name: the name; for an import the module, with leading dots where it is relative.
        path: the attributes, outermost first: `("linalg", "norm")` in `np.linalg.norm`.
        attribute: for `from module import attribute`, the attribute.
    """

    kind: str
    name: str
    path: tuple[str, ...] = ()
    attribute: str = ""

    def spelled(self) -> str:
        """Return one string that tells this reference from all others."""
        return "\0".join((self.kind, self.name, self.attribute, *self.path))


_Bindings = dict[str, frozenset[Ref]]


def refs_of(code: types.CodeType) -> tuple[Ref, ...]:
    """Return what a function's code reaches for, sorted, each once."""
    found: set[Ref] = set()
    first = code.co_varnames[0] if code.co_argcount else ""
    _collect(code, frozenset(code.co_freevars), first, {}, found)
    reached = {ref.name for ref in found if ref.kind == "free"}
    found.update(Ref("free", name) for name in code.co_freevars if name not in reached)
    # import statements come first: what they load is there for the names that follow
    return tuple(sorted(found, key=lambda ref: (ref.path != ("",), ref)))


def stored_in(code: types.CodeType) -> frozenset[str]:
    """Return the names of the attributes that a function's code sets, of whatever it may be."""
    names = {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_ATTR"}
    inner = (stored_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return frozenset(names.union(*inner))


def _collect(code: types.CodeType, free: frozenset[str], first: str, outer: _Bindings, found: set[Ref]) -> None:
    """
    Collect the references of a code object and of those nested in it.

    Args:
        code: a function, or a function, comprehension or class body inside it.
        free: the closure variables of the outermost function that are visible here.
        first: the name of its first argument, where that is visible here.
        outer: what imports in the functions around have bound, each name to all that it may stand for.
        found: is filled.
    """
    instructions = [one for one in dis.get_instructions(code) if one.opname not in _BETWEEN]
    bindings = dict(outer)
    for name, ref, for_all in _imports_in(instructions, found):
        bindings[name] = bindings.get(name, frozenset()) | {ref}
        if for_all:  # other functions find it there, and this one before it has run
            found.add(ref)
    in_class = not code.co_flags & 0x1
    for kind, name, path in _loads_in(instructions, {*code.co_cellvars, *code.co_freevars}):
        if name in bindings:
            found.update(ref._replace(path=ref.path + path) for ref in bindings[name])
            if kind != "global":
                continue
        if kind in ("global", "name"):
            if not (in_class and name in _IN_CLASS_BODIES):
                found.add(Ref("global", name, path))
        elif kind == "cell" and name in free:
            found.add(Ref("free", name, path))
        elif name == first and path:
            found.add(Ref("self", "", path[:1]))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = frozenset(constant.co_freevars)
            seen = {name: refs for name, refs in bindings.items() if name in inner}
            _collect(constant, free & inner, first if first in inner else "", seen, found)


def _loads_in(instructions: list[dis.Instruction], captured: set[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the names that are loaded, how, and the attributes that are asked of them at once."""
    for position, one in enumerate(instructions):
        operation, name = one.opname, one.argval
        if operation in _CELLS:
            yield "cell", name, _path_after(instructions, position)
        elif operation in _GLOBALS:
            yield "global" if operation == "LOAD_GLOBAL" else "name", name, _path_after(instructions, position)
        elif operation.startswith("LOAD_FAST") or operation == "STORE_FAST_LOAD_FAST":
            names = name if isinstance(name, tuple) else (name,)
            if operation.startswith("LOAD_FAST") and len(names) == 2 and names[0] not in captured:
                yield "local", names[0], ()
            if names[-1] not in captured:  # else a cell is handed to an inner function, which is no use of its content
                yield "local", names[-1], _path_after(instructions, position)


def _path_after(instructions: list[dis.Instruction], position: int) -> tuple[str, ...]:
    path: list[str] = []
    for one in instructions[position + 1 :]:
        if one.opname not in _ATTRIBUTES:
            break
        path.append(one.argval)
    return tuple(path)


def _imports_in(instructions: list[dis.Instruction], found: set[Ref]) -> Iterator[tuple[str, Ref, bool]]:
    """Yield the names that imports inside a function bind, what they stand for, and whether the names are global."""
    for position, one in enumerate(instructions):
        if one.opname != "IMPORT_NAME":
            continue
        level, names = (before.argval for before in instructions[position - 2 : position])
        module = "." * (level or 0) + one.argval
        found.add(Ref("import", module, ("",)))
        following = instructions[position + 1 :]
        if names:
            for taken, stored in zip(following[::2], following[1::2]):
                if taken.opname != "IMPORT_FROM":
                    break
                yield _stored(stored), Ref("import", module, (), taken.argval), _is_global(stored)
        elif following and following[0].opname.startswith("STORE_"):
            top = module.partition(".")[0] if not level else module
            yield _stored(following[0]), Ref("import", top), _is_global(following[0])
        else:
            last = next((after for after in following if after.opname.startswith("STORE_")), None)
            if last is not None:
                yield _stored(last), Ref("import", module), _is_global(last)


def _stored(instruction: dis.Instruction) -> str:
    name = instruction.argval
    return str(name[0] if isinstance(name, tuple) else name)


def _is_global(instruction: dis.Instruction) -> bool:
    return instruction.opname == "STORE_GLOBAL"
