"""
What a function takes along when it travels by value, out of a script or a notebook into another process.

There the module `__main__` is another one, and a pickled function no longer says which file it is from; without both
it would look like a different function, and what one process has computed the others would not find.
"""

from __future__ import annotations

import inspect
import linecache
import types
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["texts_of"]


def texts_of(function: Callable[..., Any]) -> list[str]:
    """
    Return the source of everything that travels with a function: whole scripts and notebook cells.

    Args:
        function: one that is pickled by value; what it reaches in its own module is pickled with it.
    """
    files = sorted({code.co_filename for code in _codes(function)})
    return [text for file in files if (text := "".join(linecache.getlines(file)))]


def _codes(function: Callable[..., Any]) -> Iterator[types.CodeType]:
    """Yield the code of a function and of all functions and classes that it reaches in its own module."""
    home = getattr(function, "__module__", None)
    seen: set[int] = set()
    waiting: list[Any] = [function]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or getattr(value, "__module__", None) != home:
            continue
        seen.add(id(value))
        if isinstance(value, type):
            waiting += [getattr(member, "__func__", member) for member in vars(value).values()] + list(value.__bases__)
        elif inspect.isfunction(value):
            yield value.__code__
            waiting += _reached(value)


def _reached(function: types.FunctionType) -> list[Any]:
    """List what the code of a function names, directly or inside its nested functions, and what it encloses."""
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    named = [function.__globals__[name] for name in names if name in function.__globals__]
    return [*named, getattr(function, "__wrapped__", None), *_enclosed(function)]


def _enclosed(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not yet filled
            continue
