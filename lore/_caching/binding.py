"""
How a call becomes the values that its key is made of.

`inspect.Signature.bind` costs 18 us a call. Here the signature is turned into the source of a function with the same
parameters, once, and Python's own call machinery does the binding in a fraction of a microsecond: defaults applied,
positional and keyword spelling the same, wrong calls refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

__all__ = ["Binder"]

_PLAIN = inspect.Parameter.POSITIONAL_OR_KEYWORD


class Binder:
    """
    Binds calls to a signature.

    Args:
        signature: of the function.
        ignore: names of parameters that do not count; a name that is no parameter is dropped from `**kwargs`.

    Attributes:
        values: takes a call's arguments and returns the tuple of the values that count, in the order of the signature;
            `*args` is a tuple in it, `**kwargs` a tuple of (name, value) in the order in which they were given: the
            function sees that order, and may show it (`DataFrame(columns)`).
            A default that is a bare `object()`, passed or not, is a stand-in there, which has a key.
        names: the names of the parameters that count, in the same order.
        spelled: takes a call's arguments and returns `(args, kwargs)` with every default applied, which call the
            function in the same way.
    """

    __slots__ = ("names", "signature", "spelled", "values")

    def __init__(self, signature: inspect.Signature, ignore: Collection[str] = ()) -> None:
        self.signature = signature
        self.names = tuple(name for name in signature.parameters if name not in ignore)
        inside_kwargs = frozenset(ignore) - frozenset(signature.parameters)
        parts = [
            _part(parameter, index, inside_kwargs)
            for index, (name, parameter) in enumerate(signature.parameters.items())
            if name in self.names
        ]
        self.values: Callable[..., tuple[Any, ...]] = _compiled(signature, _tuple_of(parts), inside_kwargs)
        self.spelled: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] = _compiled(
            signature, _spelling(signature), frozenset()
        )

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the values that count by the names of their parameters."""
        return dict(zip(self.names, self.values(*args, **kwargs), strict=True))


class Default:
    """Stands for a default that is a bare `object()`: such a one says only that nothing was passed."""

    def __lore_fingerprint__(self) -> str:
        return "the default"


_DEFAULT = Default()


def _part(parameter: inspect.Parameter, index: int, inside_kwargs: frozenset[str]) -> str:
    if type(parameter.default) is object:
        return f"__lore_stand_in if {parameter.name} is __lore_default_{index} else {parameter.name}"
    if parameter.kind is not parameter.VAR_KEYWORD:
        return parameter.name
    if inside_kwargs:
        return f"__lore_kept({parameter.name})"
    return f"__lore_tuple({parameter.name}.items()) if {parameter.name} else ()"


def _tuple_of(parts: list[str]) -> str:
    return f"({''.join(f'{part}, ' for part in parts)})" if parts else "()"


def _spelling(signature: inspect.Signature) -> str:
    """Write the expression that spells a call out: positional where possible."""
    positional: list[str] = []
    keyword: list[str] = []
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.append(f"*{name}")
        elif parameter.kind is parameter.VAR_KEYWORD:
            keyword.append(f"**{name}")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            keyword.append(f"{name!r}: {name}")
        else:
            positional.append(name)
    return f"{_tuple_of(positional)}, {{{', '.join(keyword)}}}"


def _compiled(signature: inspect.Signature, expression: str, inside_kwargs: frozenset[str]) -> Callable[..., Any]:
    """
    Compile a function of the same parameters that returns an expression of them.

    Defaults are looked up as globals when the function is made, where no parameter's name can hide them; nor can one
    hide the helpers, whose names no one gives to a parameter.
    """

    def kept(kwargs: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
        return tuple(item for item in kwargs.items() if item[0] not in inside_kwargs)

    scope: dict[str, Any] = {"__lore_kept": kept, "__lore_tuple": tuple, "__lore_stand_in": _DEFAULT}
    written: list[str] = []
    parameters = list(signature.parameters.values())
    for index, parameter in enumerate(parameters):
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in written and not _has_star(written):
            written.append("*")
        written.append(_declaration(parameter, index, scope))
        following = parameters[index + 1].kind if index + 1 < len(parameters) else None
        if parameter.kind is parameter.POSITIONAL_ONLY and following is not parameter.POSITIONAL_ONLY:
            written.append("/")
    exec(f"def bind({', '.join(written)}):\n    return {expression}\n", scope)
    bind: Callable[..., Any] = scope["bind"]
    return bind


def _has_star(written: list[str]) -> bool:
    return any(part.startswith("*") and not part.startswith("**") for part in written)


def _declaration(parameter: inspect.Parameter, index: int, scope: dict[str, Any]) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"*{parameter.name}"
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{parameter.name}"
    if parameter.default is parameter.empty:
        return parameter.name
    scope[f"__lore_default_{index}"] = parameter.default
    return f"{parameter.name}=__lore_default_{index}"
