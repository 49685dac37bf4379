"""A call bound by generated code is the call that Python binds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lore._caching.binding import Binder
from lore._caching.values import digest
from lore.errors import UnkeyableArgument

NAMES = ("a", "b", "c", "d", "args", "kwargs", "self", "bind", "sorted", "tuple", "class_", "_", "key", "parts")


@st.composite
def signatures(draw: st.DrawFn) -> inspect.Signature:
    """Draw any signature that Python allows."""
    names = list(draw(st.permutations(NAMES)))
    kinds = sorted(
        draw(st.lists(st.sampled_from([k for k in inspect._ParameterKind if not k.name.startswith("VAR")]), max_size=5))
    )
    if draw(st.booleans()):
        kinds.append(inspect.Parameter.VAR_POSITIONAL)
    if draw(st.booleans()):
        kinds.append(inspect.Parameter.VAR_KEYWORD)
    parameters = []
    optional = False
    for kind in sorted(kinds):
        name = names.pop()
        if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            parameters.append(inspect.Parameter(name, kind))
            continue
        if kind is inspect.Parameter.KEYWORD_ONLY:
            default = draw(st.sampled_from([inspect.Parameter.empty, 0, "x"]))
        else:
            optional = optional or draw(st.booleans())
            default = draw(st.sampled_from([0, None, "x"])) if optional else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, kind, default=default))
    return inspect.Signature(parameters)


calls = st.tuples(
    st.lists(st.integers(0, 3), max_size=5).map(tuple),
    st.dictionaries(st.sampled_from((*NAMES, "z")), st.integers(4, 6), max_size=4),
)


def bound_by_python(signature: inspect.Signature, args: Any, kwargs: Any) -> Any:
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return TypeError
    bound.apply_defaults()
    return bound


@given(signatures(), calls)
def test_binding_is_pythons_own(signature: inspect.Signature, call: tuple[Any, Any]) -> None:
    """Values, defaults and refusals are those of inspect.Signature.bind, for every signature and call."""
    args, kwargs = call
    # inspect of Python 3.13.0 takes a keyword for a positional-only parameter where a real call does not
    assume(not any(p.kind is p.POSITIONAL_ONLY and name in kwargs for name, p in signature.parameters.items()))
    binder = Binder(signature)
    expected = bound_by_python(signature, args, kwargs)
    if expected is TypeError:
        with pytest.raises(TypeError):
            binder.values(*args, **kwargs)
        return
    named = binder.named(args, kwargs)
    for name, parameter in signature.parameters.items():
        value = expected.arguments[name]
        assert named[name] == (tuple(value.items()) if parameter.kind is parameter.VAR_KEYWORD else value)


@given(signatures(), calls)
def test_a_spelled_call_is_the_same_call(signature: inspect.Signature, call: tuple[Any, Any]) -> None:
    """A call with its defaults spelled out binds to the same values."""
    args, kwargs = call
    binder = Binder(signature)
    assume(not any(p.kind is p.POSITIONAL_ONLY and name in kwargs for name, p in signature.parameters.items()))
    if bound_by_python(signature, args, kwargs) is TypeError:
        return
    more_args, more_kwargs = binder.spelled(*args, **kwargs)
    assert binder.values(*more_args, **more_kwargs) == binder.values(*args, **kwargs)


def test_ignored_parameters_are_left_out() -> None:
    """An ignored name is dropped wherever it is: a parameter, *args, **kwargs or a name within it."""

    def f(a: int, *args: int, b: int = 2, **kwargs: int) -> None: ...

    def values(*ignore: str) -> Callable[..., Any]:
        return Binder(inspect.signature(f), ignore).values

    assert values()(1, 2, z=3) == (1, (2,), 2, (("z", 3),))
    assert values("a", "kwargs")(1, 2, z=3) == ((2,), 2)
    assert values("args", "b")(1, 2, z=3) == (1, (("z", 3),))
    assert values("z")(1, z=3, y=4) == (1, (), 2, (("y", 4),))


def test_defaults_are_the_objects_themselves() -> None:
    """A default that changes in place counts as it is when the function is called."""
    default: list[int] = []

    def f(a: Any = default) -> None: ...

    binder = Binder(inspect.signature(f))
    default.append(1)
    assert binder.values() == ([1],)
    assert binder.values()[0] is default


def test_the_order_of_further_keywords_counts() -> None:
    """The order of named parameters is that of the signature; of `**kwargs` it is the call's, as the function sees."""

    def f(a: int, b: int = 2, **kwargs: int) -> list[str]:
        return list(kwargs)

    binder = Binder(inspect.signature(f))
    assert binder.values(b=2, a=1) == binder.values(1)
    assert binder.values(1, x=3, y=4) != binder.values(1, y=4, x=3)
    assert Binder(inspect.signature(f), ("x",)).values(1, x=3, y=4) == (1, 2, (("y", 4),))


def test_a_sentinel_that_is_the_default_has_a_key() -> None:
    """A bare object() as a default counts as the default, however it came there; another one has no key."""
    missing = object()

    def f(a: int, b: Any = missing, *, c: Any = missing) -> None: ...

    binder = Binder(inspect.signature(f))
    assert digest(binder.values(1)) == digest(binder.values(1, missing, c=missing))
    assert digest(binder.values(1)) != digest(binder.values(1, None))
    assert binder.spelled(1) == ((1, missing), {"c": missing})
    with pytest.raises(UnkeyableArgument):
        digest(binder.values(1, object()))
