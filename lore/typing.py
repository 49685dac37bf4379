"""
What type checkers see of a decorated function.

A decorated function keeps its parameters and gains the attributes of its layers, and binds as a method like any
function. Where several of lore's decorators meet, in any order, the types add up: `timed(cached(f))` is a
`TimedCached`. These are protocols: nothing here is ever instantiated, and a decorated function is a real function.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from typing import Self

    from pandas import DataFrame

    from lore.cache import CacheInfo, Entry, Explanation, Ref
    from lore.io import Statement
    from lore.timing import TimingInfo

__all__ = [
    "Cached",
    "CachedDecorator",
    "CachedSource",
    "OfClass",
    "Source",
    "SourceDecorator",
    "Timed",
    "TimedCached",
    "TimedCachedSource",
    "TimedDecorator",
    "TimedSource",
]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)
T = TypeVar("T")


class Function(Protocol[P, R_co]):
    """A function that also binds as a method."""

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Self: ...
    @overload
    def __get__(
        self: Function[Concatenate[S, Q], T], instance: S, owner: type[Any] | None = None, /
    ) -> Callable[Q, T]: ...
    @overload  # below @staticmethod, reached through an instance
    def __get__(self, instance: object, owner: type[Any] | None = None, /) -> Self: ...


class _CacheExtras(Function[P, R_co], Protocol[P, R_co]):
    def cache_info(self) -> CacheInfo:
        """Count hits, misses, stale, errors, entries, bytes, and the seconds that hits spared."""
        ...

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the call's key, hexadecimal; the same however the call is spelled."""
        ...

    def cache_contains(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Tell whether this call would be a hit now."""
        ...

    def cache_explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Say whether this call would hit, and why."""
        ...

    def cache_refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Compute again, store, return."""
        ...

    def cache_forget(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Drop the entry of one call; tell whether there was one."""
        ...

    def cache_clear(self) -> int:
        """Drop all entries of this function; tell how many."""
        ...

    def cache_entries(self) -> list[Entry]:
        """List the entries of this function."""
        ...

    @overload
    def cache_ref(  # type: ignore[overload-overlap]
        self: _CacheExtras[Q, Coroutine[Any, Any, T]], *args: Q.args, **kwargs: Q.kwargs
    ) -> Coroutine[Any, Any, Ref]: ...
    @overload
    def cache_ref(self, *args: P.args, **kwargs: P.kwargs) -> Ref: ...


class _TimingExtras(Function[P, R_co], Protocol[P, R_co]):
    def timing_info(self) -> TimingInfo:
        """Count calls and errors, and give seconds: total, min, mean, quantiles, max."""
        ...

    def timing_clear(self) -> None:
        """Forget what was measured of this function so far."""
        ...


class _SourceExtras(Function[P, R_co], Protocol[P, R_co]):
    def sql(self, *args: P.args, **kwargs: P.kwargs) -> Statement:
        """Show statement, parameters and values without running."""
        ...

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[DataFrame]:
        """Yield frames of `rows` rows each in constant memory."""
        ...


class Timed(_TimingExtras[P, R_co], Protocol[P, R_co]):
    """A function under `lore.timed`."""


class Cached(_CacheExtras[P, R_co], Protocol[P, R_co]):
    """A function under `lore.cached`."""


class Source(_SourceExtras[P, R_co], Protocol[P, R_co]):
    """A function under `lore.sql_source`."""


class TimedCached(_TimingExtras[P, R_co], _CacheExtras[P, R_co], Protocol[P, R_co]):
    """A function under `lore.timed` and `lore.cached`, in any order."""


class TimedSource(_TimingExtras[P, R_co], _SourceExtras[P, R_co], Protocol[P, R_co]):
    """A function under `lore.timed` and `lore.sql_source`, in any order."""


class CachedSource(_CacheExtras[P, R_co], _SourceExtras[P, R_co], Protocol[P, R_co]):
    """A function under `lore.cached` and `lore.sql_source`, in any order."""


class TimedCachedSource(_TimingExtras[P, R_co], _CacheExtras[P, R_co], _SourceExtras[P, R_co], Protocol[P, R_co]):
    """A function under `lore.timed`, `lore.cached` and `lore.sql_source`, in any order."""


class OfClass(  # type: ignore[misc]  # mypy wants S covariant, pyright contravariant; a parameter is contravariant
    _TimingExtras[Concatenate[type[S_contra], Q], R_co],
    _CacheExtras[Concatenate[type[S_contra], Q], R_co],
    _SourceExtras[Concatenate[type[S_contra], Q], R_co],
    Protocol[S_contra, Q, R_co],
):
    """
    A function whose first parameter is a class, as it stands below `@classmethod`, under any of the decorators.

    Type checkers show a decorator the plain function: only its first parameter tells that it will bind to the class.
    """

    def __get__(  # type: ignore[override]  # binds to the class, also where a plain function would not
        self, instance: object, owner: type[Any] | None = None, /
    ) -> Callable[Q, R_co]: ...


class CachedDecorator(Protocol):
    """`lore.cached(...)` with its options given: what is called with the function."""

    @overload
    def __call__(self, function: Callable[Concatenate[type[S], Q], R], /) -> OfClass[S, Q, R]: ...
    @overload
    def __call__(self, function: TimedSource[P, R], /) -> TimedCachedSource[P, R]: ...
    @overload
    def __call__(self, function: Source[P, R], /) -> CachedSource[P, R]: ...
    @overload
    def __call__(self, function: Timed[P, R], /) -> TimedCached[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Cached[P, R]: ...


class TimedDecorator(Protocol):
    """`lore.timed(...)` with its options given: what is called with the function."""

    @overload
    def __call__(self, function: Callable[Concatenate[type[S], Q], R], /) -> OfClass[S, Q, R]: ...
    @overload
    def __call__(self, function: CachedSource[P, R], /) -> TimedCachedSource[P, R]: ...
    @overload
    def __call__(self, function: Source[P, R], /) -> TimedSource[P, R]: ...
    @overload
    def __call__(self, function: Cached[P, R], /) -> TimedCached[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Timed[P, R]: ...


class SourceDecorator(Protocol):
    """
    `lore.sql_source(...)` with its options given: what is called with the function.

    The function returns a statement, the decorated function the statement's rows.
    """

    @overload
    def __call__(self, function: Callable[Concatenate[type[S], Q], Any], /) -> OfClass[S, Q, DataFrame]: ...
    @overload
    def __call__(
        self, function: TimedCached[P, Coroutine[Any, Any, Any]], /
    ) -> TimedCachedSource[P, Coroutine[Any, Any, DataFrame]]: ...
    @overload
    def __call__(self, function: TimedCached[P, Any], /) -> TimedCachedSource[P, DataFrame]: ...
    @overload
    def __call__(
        self, function: Timed[P, Coroutine[Any, Any, Any]], /
    ) -> TimedSource[P, Coroutine[Any, Any, DataFrame]]: ...
    @overload
    def __call__(self, function: Timed[P, Any], /) -> TimedSource[P, DataFrame]: ...
    @overload
    def __call__(
        self, function: Cached[P, Coroutine[Any, Any, Any]], /
    ) -> CachedSource[P, Coroutine[Any, Any, DataFrame]]: ...
    @overload
    def __call__(self, function: Cached[P, Any], /) -> CachedSource[P, DataFrame]: ...
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, Any]], /
    ) -> Source[P, Coroutine[Any, Any, DataFrame]]: ...
    @overload
    def __call__(self, function: Callable[P, Any], /) -> Source[P, DataFrame]: ...
