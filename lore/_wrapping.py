"""
How every lore decorator wraps: kinds, layers, spelling.

A decorator of lore's makes a closure around the function, gives it to `finish` together with a `Layer`, and is done:
name, signature, docstring, binding and pickling by name follow. What a layer knows (its options, the function it wraps)
pickles with the closure, so that functions of `__main__` and of notebooks travel by value; what lives in the process
(locks, handles, counters) is the layer's `state` and never travels.
"""

from __future__ import annotations

import collections
import difflib
import functools
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeVar

from lore.errors import DecorationError

__all__ = [
    "Kind",
    "Layer",
    "decorate",
    "find",
    "finish",
    "front",
    "kind_of",
    "layers",
    "name_of",
    "signature_of",
]

Kind = Literal["sync", "async", "generator", "async_generator", "foreign"]
F = TypeVar("F", bound=Callable[..., Any])
L = TypeVar("L", bound="Layer")

_states: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_states_guard = threading.Lock()
# A worker gets its function anew with each task: without this, what it keeps in memory would go with the task.
_kept: collections.deque[Any] = collections.deque(maxlen=64)


def _renew_guard() -> None:
    global _states_guard
    _states_guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_guard)


class Layer:
    """
    One lore decorator around one function.

    A face subclasses it, sets `name` and, where it keeps something in the process, `new_state`.

    Args:
        function: what the layer wraps; may itself be wrapped by other layers.
        options: the options that differ from their defaults, for the repr; without secrets.

    Attributes:
        token: names this decoration in every process that the function reaches; a function decorated again, as in a
            notebook cell that runs twice, gets a new one.
    """

    name: ClassVar[str]
    travelled = False

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any] | None = None) -> None:
        self.function = function
        self.options = dict(options or {})
        self.token = os.urandom(8).hex()

    @functools.cached_property
    def state(self) -> Any:
        """The layer's part of this process: made at first use, shared by all copies that carry the same token."""
        made = self.new_state()
        with _states_guard:  # threads may be here at once, and setdefault is not one step
            state = _states.setdefault(self.token, made)
        if self.travelled and state not in _kept:
            _kept.append(state)
        return state

    def new_state(self) -> Any:
        """Make what the layer keeps in one process. The object must allow weak references."""
        raise NotImplementedError(f"{type(self).__name__} keeps no state")

    def identity(self) -> object:
        """Return what decides over results besides the wrapped function's code: a keyable value, None for nothing."""
        return None

    def __repr__(self) -> str:
        shown = (repr(value) if key == "" else f"{key}={value!r}" for key, value in self.options.items())
        return f"{self.name}({', '.join(shown)})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "state"} | {"travelled": True}


def finish(wrapper: F, layer: Layer, **extras: Callable[..., Any]) -> F:
    """
    Dress `wrapper` as the function it wraps and note its layer and what the layer offers.

    The extras are set after `functools.update_wrapper`, which copies those of the layers below: what an inner layer
    offers stays reachable, and where two layers offer the same the outer one answers.
    """
    functools.update_wrapper(wrapper, layer.function)
    for name, extra in extras.items():
        extra.__name__, extra.__qualname__ = name, f"{wrapper.__qualname__}.{name}"
        setattr(wrapper, name, extra)
    wrapper.__lore_layer__ = layer  # type: ignore[attr-defined]
    return wrapper


def layers(function: object) -> list[Layer]:
    """
    List the lore decorators around a function, outermost first; empty for a plain function.

    Decorators of other libraries between them are looked through where they were made with `functools.wraps`.

    >>> import lore
    >>> @lore.timed
    ... @lore.cached(ttl=60)
    ... def answer() -> int:
    ...     return 42
    >>> lore.layers(answer)
    [timed(), cached(ttl=60)]
    """
    found: list[Layer] = []
    for link in _links(function):
        layer = getattr(link, "__lore_layer__", None)
        # functools.wraps copies the attribute outwards: the same layer seen again is no second layer
        if isinstance(layer, Layer) and not any(layer is known for known in found):
            found.append(layer)
    return found


def find(function: object, layer_class: type[L]) -> L | None:
    """Return the outermost layer of one class around a function, or None."""
    return next((layer for layer in layers(function) if isinstance(layer, layer_class)), None)


def _links(function: object) -> Iterator[object]:
    """Walk from a function inwards along `__wrapped__`."""
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        yield function
        function = getattr(function, "__wrapped__", None)


def kind_of(function: Callable[..., Any]) -> Kind:
    """
    Tell how a function runs, so that its wrapper can be of the same kind.

    "foreign" is a plain function around a coroutine or generator function, as other people's decorators make it:
    whether it hands the coroutine on or runs it, only its result can tell.
    """
    kind = _own_kind(function)
    if kind != "sync":
        return kind
    inner = inspect.unwrap(function)
    called = vars(type(function)).get("__call__")
    if any(_own_kind(other) != "sync" for other in (inner, called) if other is not None and other is not function):
        return "foreign"
    return "sync"


def _own_kind(function: Any) -> Kind:
    if inspect.iscoroutinefunction(function):
        return "async"
    if inspect.isasyncgenfunction(function):
        return "async_generator"
    if inspect.isgeneratorfunction(function):
        return "generator"
    return "sync"


def name_of(function: Callable[..., Any]) -> str:
    """Return the name under which a function stands in events, metrics and reports: `module.qualname`."""
    return f"{function.__module__}.{function.__qualname__}"


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of the innermost function; one that cannot be read counts as `(*args, **kwargs)`."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        return inspect.signature(lambda *args, **kwargs: None)


def decorate(target: Any, make: Callable[[Callable[..., Any]], Any], spelling: str) -> Any:
    """
    Apply `make` to the function in `target`.

    Class and static methods are unwrapped, decorated and wrapped again, so that the order of the decorators does not
    matter.

    Args:
        target: what stands below the decorator.
        make: makes the wrapper of a function.
        spelling: the decorator as it should be written, for errors, such as `@lore.cached(ttl=60)`.

    Raises:
        DecorationError: `target` is no function.
    """
    if isinstance(target, classmethod | staticmethod):
        return type(target)(decorate(target.__func__, make, spelling))
    if isinstance(target, type):
        raise DecorationError(
            f"{spelling} decorates functions and methods, and {target.__qualname__} is a class. "
            f"Decorate the methods inside it."
        )
    if isinstance(target, property | functools.cached_property):
        raise DecorationError(f"{spelling} decorates functions: put it below @property, next to the def.")
    if not callable(target):
        raise DecorationError(
            f"{spelling} decorates functions, and it was given {_brief(target)}. "
            f"Options are given by name; write {spelling} above a def."
        )
    if not hasattr(target, "__qualname__") or not hasattr(target, "__module__"):
        raise DecorationError(
            f"{spelling} decorates functions that have a name, and {_brief(target)} has none: write a def around it."
        )
    return make(target)


def front(*spellings: str) -> Callable[[F], F]:
    """
    Make a public decorator answer a call it does not understand with a `DecorationError`.

    Python's own error for an unknown option does not say which options there are; this one does, and shows how the
    decorator is spelled.
    """

    def dress(make: F) -> F:
        @functools.wraps(make)
        def decorator(*args: Any, **options: Any) -> Any:
            try:
                return make(*args, **options)
            except TypeError as error:
                raised_inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
                if raised_inside:
                    raise
                raise DecorationError(_misuse(make, spellings, args, options)) from None

        return decorator  # type: ignore[return-value]

    return dress


def _misuse(
    make: Callable[..., Any], spellings: tuple[str, ...], args: tuple[Any, ...], options: Mapping[str, Any]
) -> str:
    """Say what is wrong with the call of a decorator and how it is spelled."""
    known = [
        parameter.name
        for parameter in inspect.signature(make).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    problems = [_unknown(name, known) for name in options if name not in known]
    if not problems:
        problems = [f"It takes no positional {'options' if len(args) > 1 else 'option'} like {_brief(args[-1])}."]
    return (
        f"lore.{make.__name__} was used in a wrong way. {' '.join(problems)} "
        f"Options, by name: {', '.join(known)}. Right: {'  or  '.join(spellings)}"
    )


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"There is no option {name!r}{f': did you mean {close[0]!r}?' if close else '.'}"


def _brief(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
