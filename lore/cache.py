"""
`lore.cached`: a result lives on disk until something it came from changes.

    @lore.cached
    def features(month: int) -> pd.DataFrame: ...

The next call with equal arguments reads the result instead of computing it, in this process and in any other, today and
next week, until the function's code changes, or that of anything it calls in your own code, or a file or table it read,
or its time is up. What counts as a change, and what cannot be seen, stands in `docs/cached.md`.

Everything else here looks after what is stored: `entries`, `prune`, `verify`, `clear`, `provenance`; says where it is
stored: `use`; or steps aside: `disabled`, `depends_on`.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import math
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, BinaryIO, Concatenate, NamedTuple, ParamSpec, TypeVar, cast, overload

from lore import _inputs
from lore._caching import entries as _entries
from lore._caching import keeping, open_formats, opening, publishing, reading, stores, travelling, values
from lore._caching.entries import Entry
from lore._caching.explaining import Explanation, explain
from lore._caching.keeping import Keeper, Plan
from lore._caching.references import Ref
from lore._caching.stores import FolderStore, Store
from lore._wrapping import Layer, decorate, find, finish, front, kind_of, signature_of
from lore.errors import CacheError, DecorationError, IntegrityError, StoreError, UnkeyableArgument
from lore.typing import (
    Cached,
    CachedDecorator,
    CachedSource,
    OfClass,
    Source,
    Timed,
    TimedCached,
    TimedCachedSource,
    TimedSource,
)

__all__ = [
    "cached",
    "CacheInfo",
    "clear",
    "Damage",
    "depends_on",
    "disabled",
    "entries",
    "Entry",
    "Explanation",
    "fetch",
    "fingerprint",
    "FolderStore",
    "Memory",
    "provenance",
    "prune",
    "publish",
    "Ref",
    "Store",
    "use",
    "verify",
]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Q = ParamSpec("Q")

_SPELLINGS = ("@lore.cached", "@lore.cached(ttl=3600, memory=1)")
_FORMATS = ("arrow", "joblib", "keras", "npy", "parquet")


class CacheInfo(NamedTuple):
    """
    What a cached function did in this process, and what it has stored.

    Attributes:
        hits: calls answered without computing.
        misses: calls for which nothing usable was stored.
        stale: calls for which something was stored that an input or its age had made invalid.
        errors: damaged entries and failures of the store; each also counts where its call ended.
        entries: results stored now, by all processes.
        bytes: their size.
        saved_s: seconds of computing that hits spared, less what the hits took.
    """

    hits: int
    misses: int
    stale: int
    errors: int
    entries: int
    bytes: int
    saved_s: float


# ---------------------------------------------------------------------------------------------------------------------
# The decorator


@overload  # below @classmethod
def cached(function: Callable[Concatenate[type[S], Q], R], /) -> OfClass[S, Q, R]: ...
@overload
def cached(function: TimedSource[P, R], /) -> TimedCachedSource[P, R]: ...
@overload
def cached(function: Source[P, R], /) -> CachedSource[P, R]: ...
@overload
def cached(function: Timed[P, R], /) -> TimedCached[P, R]: ...
@overload
def cached(function: Callable[P, R], /) -> Cached[P, R]: ...
@overload
def cached(
    *,
    store: str | os.PathLike[str] | Store | None = None,
    ttl: float | timedelta | None = None,
    version: object = None,
    code: bool = True,
    ignore: str | Iterable[str] = (),
    key: Callable[..., object] | None = None,
    memory: int = 0,
    verify: bool = True,
    format: str | None = None,
) -> CachedDecorator: ...
@front(*_SPELLINGS)
def cached(
    function: Any = None,
    /,
    *,
    store: str | os.PathLike[str] | Store | None = None,
    ttl: float | timedelta | None = None,
    version: object = None,
    code: bool = True,
    ignore: str | Iterable[str] = (),
    key: Callable[..., object] | None = None,
    memory: int = 0,
    verify: bool = True,
    format: str | None = None,
) -> Any:
    """
    Keep a function's results until something they came from changes.

    The call's arguments, by value, and the function's code, with everything it reaches in your own code, make the key.
    The files and tables it read are written down with the result and checked when it is found. Of all processes and
    threads that want the same result one computes, the others wait. Exceptions pass through and are not kept.

    Works on functions, methods (`self` counts by value), class and static methods, and `async def`.

    Args:
        store: a folder, an fsspec URL such as `s3://bucket/prefix`, or a `Store`; default: what `lore.cache.use` has
            set, else the folder `cache` in lore's home.
        ttl: seconds, or a timedelta, for which a result is valid; default: no limit of its own. Results that other
            cached functions make from it are not valid for longer either.
        version: part of the key. Change it to make earlier results invalid for a reason that lore cannot see.
        code: False leaves the function's code out of the key.
        ignore: names of parameters that do not change the result, such as `("verbose", "n_jobs")`.
        key: called as the function would be, all defaults filled in; what it returns stands for the arguments.
        memory: so many of the last results are also kept in the process. All callers get the same object: read it,
            do not change it. 0 keeps none, and every caller gets an object of its own.
        verify: check every byte of a result before it is used; False makes loading large frames and arrays quicker.
        format: keep results in an open format that other programs read, "parquet", "arrow", "npy", "keras" or
            "joblib", instead of lore's own container.

    Returns:
        The function, with `cache_info`, `cache_key`, `cache_contains`, `cache_explain`, `cache_refresh`,
        `cache_forget`, `cache_clear`, `cache_entries` and `cache_ref`. On a method, reach them through the class:
        `Model.fit.cache_key(model, x)`. With `LORE_CACHE=off` in the environment when the function is decorated, the
        function itself, whose `cache_` attributes then speak of a cache that is always empty.

    Raises:
        DecorationError: a wrong option, or a generator function. Calls raise UnkeyableArgument, before anything is
            computed, for an argument that has no faithful key.

    Threads: safe, between processes too.

    >>> @cached(ttl=3600)
    ... def square(x: int) -> int:
    ...     return x * x
    >>> square(12), square.cache_contains(x=12)
    (144, True)
    """
    options = _given(
        store=store,
        ttl=ttl,
        version=version,
        code=code,
        ignore=ignore,
        key=key,
        memory=memory,
        verify=verify,
        format=format,
    )
    plan = _plan(store, ttl, version, code, ignore, key, memory, verify, format)

    def make(target: Callable[..., Any]) -> Any:
        _check_function(target, plan)
        if os.environ.get("LORE_CACHE", "").lower() in ("off", "0", "false", "no"):
            return _without_cache(target, plan)
        return _wrap(CachedLayer(target, plan, options))

    def decorator(target: Any, /) -> Any:
        return decorate(target, make, _SPELLINGS[0])

    return decorator if function is None else decorator(function)


class CachedLayer(Layer):
    """A `cached` around a function."""

    name = "cached"

    def __init__(self, function: Callable[..., Any], plan: Plan, options: dict[str, Any]) -> None:
        super().__init__(function, options)
        self.plan = plan
        self.stored_name: str | None = None

    def new_state(self) -> Keeper:
        """Make what keeps the results in this process."""
        keeper = Keeper(self.function, self.plan, self.stored_name)
        _keepers.add(keeper)
        return keeper

    def identity(self) -> object:
        """The version: what is said to change results without showing in the code."""
        return self.plan.version

    def __getstate__(self) -> dict[str, Any]:
        """Take along what the function is called here, and its source: elsewhere both are unknown."""
        named = self.stored_name or keeping.stored_name_of(self.function)
        return super().__getstate__() | {"stored_name": named, "texts": travelling.texts_of(self.function)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for text in state.pop("texts"):
            reading.remember(text)
        self.__dict__.update(state)


_keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()


def _wrap(layer: CachedLayer) -> Any:
    """Make the function that stands in for the cached one: of its kind, and closing over nothing but the layer."""
    kind = kind_of(layer.function)
    wrapper = {"async": _coroutine_function, "foreign": _foreign_function}.get(kind, _plain_function)(layer)
    return finish(wrapper, layer, **_extras(layer, kind == "async"))


def _plain_function(layer: CachedLayer) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return layer.state.call(args, kwargs)

    return wrapper


def _coroutine_function(layer: CachedLayer) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await layer.state.call_async(args, kwargs)

    return wrapper


def _foreign_function(layer: CachedLayer) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return layer.state.call_foreign(args, kwargs)

    return wrapper


def _extras(layer: CachedLayer, is_async: bool) -> dict[str, Callable[..., Any]]:
    """Make what a cached function offers beside its call."""

    def cache_info() -> CacheInfo:
        return _info(layer.state)

    def cache_key(*args: Any, **kwargs: Any) -> str:
        return cast(str, layer.state.key(args, kwargs))

    def cache_contains(*args: Any, **kwargs: Any) -> bool:
        return cast(bool, layer.state.contains(args, kwargs))

    def cache_explain(*args: Any, **kwargs: Any) -> Explanation:
        return explain(layer.state, args, kwargs)

    def cache_refresh(*args: Any, **kwargs: Any) -> Any:
        return layer.state.refresh(args, kwargs)

    def cache_forget(*args: Any, **kwargs: Any) -> bool:
        return cast(bool, layer.state.forget(args, kwargs))

    def cache_clear() -> int:
        return cast(int, layer.state.clear())

    def cache_entries() -> list[Entry]:
        return list(_entries.listed(layer.state.store, layer.state.folder))

    def cache_ref(*args: Any, **kwargs: Any) -> Any:
        return layer.state.ref(args, kwargs)

    async def cache_ref_async(*args: Any, **kwargs: Any) -> Any:
        return await layer.state.ref_async(args, kwargs)

    return {
        "cache_info": cache_info,
        "cache_key": cache_key,
        "cache_contains": cache_contains,
        "cache_explain": cache_explain,
        "cache_refresh": cache_refresh,
        "cache_forget": cache_forget,
        "cache_clear": cache_clear,
        "cache_entries": cache_entries,
        "cache_ref": cache_ref_async if is_async else cache_ref,
    }


def _info(keeper: Keeper) -> CacheInfo:
    items = [item for item in keeper.store.scan(keeper.folder) if not stores.is_about_code(item.name)]
    return CacheInfo(
        hits=keeper.hits,
        misses=keeper.misses,
        stale=keeper.stale,
        errors=keeper.errors,
        entries=sum(_entries.is_entry(item.name) for item in items),
        bytes=sum(item.nbytes for item in items),
        saved_s=keeper.saved_s,
    )


def _without_cache(function: Callable[..., Any], plan: Plan) -> Callable[..., Any]:
    """Return the function itself for `LORE_CACHE=off`, dressed so that code that asks after its cache still runs."""

    def cache_ref(*args: Any, **kwargs: Any) -> Ref:
        raise CacheError(f"{function.__qualname__} stores nothing, so nothing can be referred to: LORE_CACHE is off.")

    extras: dict[str, Callable[..., Any]] = {
        "cache_info": lambda: CacheInfo(0, 0, 0, 0, 0, 0, 0.0),
        "cache_key": lambda *args, **kwargs: Keeper(function, plan).key(args, kwargs),
        "cache_contains": lambda *args, **kwargs: False,
        "cache_explain": lambda *args, **kwargs: Explanation(
            function.__qualname__, "", False, ["caching was off when the function was decorated (LORE_CACHE=off)"]
        ),
        "cache_refresh": lambda *args, **kwargs: function(*args, **kwargs),
        "cache_forget": lambda *args, **kwargs: False,
        "cache_clear": lambda: 0,
        "cache_entries": list,
        "cache_ref": cache_ref,
    }
    with contextlib.suppress(AttributeError, TypeError):  # a function written in C takes no attributes
        for name, extra in extras.items():
            setattr(function, name, extra)
    return function


# ---------------------------------------------------------------------------------------------------------------------
# Options


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults, fit to be shown."""
    defaults = {"code": True, "ignore": (), "memory": 0, "verify": True}
    given = {name: value for name, value in options.items() if value is not defaults.get(name) and value != ()}
    if isinstance(given.get("store"), str):
        given["store"] = _inputs.without_password(given["store"])
    return given


def _plan(
    store: Any, ttl: Any, version: Any, code: Any, ignore: Any, key: Any, memory: Any, verify: Any, format: Any
) -> Plan:
    """Check the options."""
    for name, value in (("code", code), ("verify", verify)):
        if not isinstance(value, bool):
            raise _wrong(name, value, "is True or False", f"{name}=False")
    if not isinstance(memory, int) or isinstance(memory, bool) or memory < 0:
        raise _wrong("memory", memory, "is how many results to keep in the process, 0 or more", "memory=1")
    if format is not None and format not in _FORMATS:
        raise _wrong("format", format, f"is one of {', '.join(map(repr, _FORMATS))}", 'format="parquet"')
    if key is not None and (not callable(key) or inspect.iscoroutinefunction(key)):
        raise _wrong(
            "key", key, "is a plain function of the same arguments", "key=lambda frame, depth: (len(frame), depth)"
        )
    names = (ignore,) if isinstance(ignore, str) else tuple(ignore) if isinstance(ignore, Iterable) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise _wrong("ignore", ignore, "is a list of parameter names", 'ignore=("verbose",)')
    if key is not None and names:
        raise DecorationError(
            "lore.cached takes ignore= or key=, not both: key= alone decides what stands for the arguments. "
            "Leave the ignored ones out of what it returns."
        )
    return Plan(
        store=_store_option(store),
        ttl_s=_ttl_option(ttl),
        version=_version_option(version),
        code=code,
        ignore=cast("tuple[str, ...]", names),
        key=key,
        memory=memory,
        verify=verify,
        format=format,
    )


def _ttl_option(ttl: Any) -> float:
    if ttl is None:
        return math.inf
    right = "is how long a result is valid, more than 0 seconds", "ttl=3600 or ttl=timedelta(hours=1)"
    if isinstance(ttl, bool) or not isinstance(ttl, int | float | timedelta):
        raise _wrong("ttl", ttl, *right)
    try:
        ttl_s = ttl.total_seconds() if isinstance(ttl, timedelta) else float(ttl)
    except OverflowError:
        raise DecorationError(
            "lore.cached was given a ttl longer than any number: leave it out. Right: @lore.cached"
        ) from None
    if not ttl_s > 0:
        raise _wrong("ttl", ttl, *right)
    return ttl_s


def _version_option(version: Any) -> object:
    try:
        values.digest(version)
    except UnkeyableArgument as error:
        raise _wrong("version", version, f"is a value such as a number or a text ({error})", "version=2") from None
    return version


def _store_option(store: Any) -> Callable[[], Store]:
    if store is None:
        return opening.current
    if isinstance(store, str | os.PathLike | Store) and store != "":
        return opening.Opener(store)
    raise _wrong("store", store, "is a folder, an fsspec URL or a lore.cache.Store", 'store="s3://bucket/prefix"')


def _wrong(name: str, value: Any, what: str, right: str) -> DecorationError:
    return DecorationError(f"lore.cached was given {name}={value!r}, but {name} {what}. Right: @lore.cached({right})")


def _check_function(function: Callable[..., Any], plan: Plan) -> None:
    """Refuse what cannot be cached as it is, and options that do not fit the function."""
    if kind_of(function) in ("generator", "async_generator"):
        raise DecorationError(
            f"lore.cached keeps finished results, and {function.__qualname__} is a generator function, whose result "
            f"comes in parts. Return a list instead of yielding, or put @lore.cached on a function that returns "
            f"list({function.__name__}(...))."
        )
    parameters = signature_of(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in plan.ignore:
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, n=1)
            raise DecorationError(
                f"lore.cached was told to ignore {name!r}, but {function.__qualname__} has no such parameter"
                f"{f': did you mean {close[0]!r}?' if close else '.'} It has: {', '.join(parameters) or 'none'}."
            )


# ---------------------------------------------------------------------------------------------------------------------
# The whole store


def fingerprint(value: object) -> str:
    """
    Return what stands for a value in keys: 32 hexadecimal digits, equal on every machine and run.

    The whole value counts, its types included, and nothing but the value: a view and its copy, a set built in another
    order, an estimator before and after a pickle round trip have one fingerprint.

    Raises:
        UnkeyableArgument: the value, or something in it, cannot be taken faithfully (an open file, a lock).

    >>> fingerprint(1) == fingerprint(1.0)
    False
    """
    return values.fingerprint(value)


def entries() -> list[Entry]:
    """List everything in the current store, least recently used first; damaged entries are left out (see `verify`)."""
    return sorted(_entries.listed(opening.current()), key=lambda entry: entry.used_s)


def prune(*, max_bytes: int | str | None = None, older_than: float | timedelta | None = None) -> int:
    """
    Free space in the current store, least recently used first.

    Args:
        max_bytes: how much may stay: a number of bytes, or a text such as "2GB".
        older_than: remove everything that was not used for so long: seconds, or a timedelta.

    Returns:
        How many results were removed.

    Raises:
        TypeError, ValueError: a limit that is neither of these, or less than 0.
    """
    limit, age_s = stores.bytes_limit(max_bytes), stores.age_limit("older_than", older_than)
    return stores.prune(opening.current(), limit, age_s)


class Damage(NamedTuple):
    """A stored result that cannot be used, and why."""

    name: str
    reason: str


def verify() -> list[Damage]:
    """
    Check every byte of everything in the current store.

    Returns:
        What is damaged, cut short, not lore's, or not signed as it should be. Nothing is removed: a damaged result is
        replaced when its call comes again.
    """
    store = opening.current()
    damages = []
    for item in store.scan():
        try:
            _entries.check(store, item.name)
        except (IntegrityError, OSError) as error:
            damages.append(Damage(item.name, str(error)))
    return damages


def clear() -> int:
    """Remove everything from the current store and from memory; return how many results there were."""
    for keeper in list(_keepers):
        keeper.forget_memory()
    store = opening.current()
    removed = [item.name for item in list(store.scan()) if store.delete(item.name)]
    return sum(map(_entries.is_entry, removed))


class _Use(contextlib.AbstractContextManager[Store]):
    """What `use` returns: ends what it began where it is used with `with`."""

    def __init__(self, store: Store, before: Store | None) -> None:
        self._store = store
        self._before = before

    def __enter__(self) -> Store:
        return self._store

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        opening.set_current(self._before)


def use(store: str | os.PathLike[str] | Store | None) -> contextlib.AbstractContextManager[Store]:
    """
    Set the store of all functions that name none, for the whole process.

    Holds from the call on; with `with`, until the end of the block.

    Args:
        store: a folder, an fsspec URL or a `Store`; None for the default, the folder `cache` in lore's home.

    Raises:
        StoreError, MissingDependencyError: there is no such store.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, use(folder):
    ...     entries()
    []
    """
    chosen = None if store is None else opening.opened(store)
    before = opening.set_current(chosen)
    return _Use(opening.current(), before)


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """
    Run cached functions as if they were not cached: nothing is read from a store or written to it.

    Threads: holds for the running thread or task and for the tasks it starts, and for no other.
    """
    token = keeping.disabled.set(True)
    try:
        yield
    finally:
        keeping.disabled.reset(token)


def depends_on(*paths: str | os.PathLike[str]) -> None:
    """
    Say which files the running function reads by means that lore does not see.

    Called inside a cached function, before the files are read. Its result is valid as long as they hold what they hold
    now, and so is every cached result made from it. Outside of cached functions it does nothing.

    Args:
        paths: files, folders (everything below them), patterns such as `data/*.csv` (files that come to match later
            count), or fsspec URLs. One that is not there counts too: the result ceases to be valid when it appears.
    """
    for path in paths:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"lore.cache.depends_on takes paths, and was given {path!r}.")
        if _inputs.active():
            text = os.path.expanduser(os.fspath(path))
            is_pattern = "://" not in text and not os.path.exists(text)
            _inputs.note(_inputs.of_pattern(text) if is_pattern else _inputs.of_path(path))


def provenance(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Entry:
    """
    Return where the result of a call came from: code, arguments, inputs, versions, command, commit.

    Raises:
        CacheError: the function is not cached, or nothing is stored for the call.
    """
    layer = find(function, CachedLayer)
    if layer is None:
        raise CacheError(
            f"{getattr(function, '__qualname__', function)!r} is not cached, so nothing is known of its results."
        )
    keeper: Keeper = layer.state
    key = keeper.key(args, kwargs)
    stored = keeper.stored(key)
    if stored is None:
        raise StoreError(f"Nothing is stored for this call of {keeper.name}.")
    name = f"{keeper.folder}/{key}"
    item = next((item for item in keeper.store.scan(keeper.folder) if item.name == name), None)
    return _entries.described(stored, keeper.store, item or stores.Item(name, stored.nbytes, stored.created_s))


# ---------------------------------------------------------------------------------------------------------------------
# For others: scikit-learn, and hubs


class Memory:
    """
    A store under the interface that scikit-learn's `memory=` takes: `Pipeline(steps, memory=lore.cache.Memory())`.

    What the steps of a pipeline are fitted on is keyed by its content, the steps by class, parameters and, where the
    class is your own, by its code; a fit done before, in this process or in another, is found.

    Args:
        store: as for `cached`.
        options: further options of `cached`, such as `ttl`.

    Raises:
        DecorationError: (when a pipeline is fitted) a wrong option.
    """

    def __init__(self, store: str | os.PathLike[str] | Store | None = None, **options: Any) -> None:
        self.store = store
        self.options = options

    def cache(self, function: Callable[..., R], ignore: Iterable[str] | None = None, **_: Any) -> Callable[..., R]:
        """Return the function under `cached`; further options of joblib's, such as `verbose`, have no effect."""
        decorator: Any = cached(store=self.store, ignore=tuple(ignore or ()), **self.options)
        kept: Callable[..., R] = decorator(function)
        return kept

    def __repr__(self) -> str:
        return f"Memory({'' if self.store is None else repr(self.store)})"


def publish(
    result: Ref | Entry,
    to: str | os.PathLike[str],
    /,
    *,
    title: str | None = None,
    summary: str = "",
    metrics: Mapping[str, float] | None = None,
    license: str | None = None,
    tags: Iterable[str] = (),
    saved_model: bool = False,
) -> str:
    """
    Publish a stored result as a folder that model hubs show, with a card filled from what lore knows about it.

    The value is written in a format that executes nothing when it is opened: an estimator by skops, a Keras model as
    `.keras`, arrays (also a dict of them) as safetensors, a frame as Parquet, plain data as JSON. Beside it stand
    `README.md` with the card, `lore.json` with the origin, and `requirements.txt` with the versions it was made under.

    Args:
        result: what `cache_ref` or `cache_entries` gave.
        to: a folder or an fsspec URL: `hf://user/name`, `s3://bucket/prefix`.
        title: of the card; default: the function's name.
        summary: a paragraph on what it is for.
        metrics: figures to show, by name.
        license: as the hub names it, such as "mit".
        tags: for the hub's search.
        saved_model: for a Keras model, also write TensorFlow's SavedModel, which TensorFlow Hub loads as a folder.

    Returns:
        Where it stands.

    Raises:
        StoreError: the result is gone, or the place cannot be written; what was written of it so far stays there and
            does not count as published.
        CacheError: there is no safe format for such a value.
        MissingDependencyError: the format's package is not installed.
    """
    return publishing.publish(
        _entry_of(result) if isinstance(result, Ref) else result,
        os.fspath(to),
        title=title,
        summary=summary,
        metrics=metrics or {},
        license=license,
        tags=tuple(tags),
        saved_model=saved_model,
    )


def fetch(url: str | os.PathLike[str], /, trusted: Iterable[str] = ()) -> Any:
    """
    Load a published result.

    Nothing in it is executed: no pickle is opened. Where it was made under other versions of Python or of packages, a
    warning names them.

    Args:
        url: the folder or fsspec URL that `publish` wrote.
        trusted: names of types that skops may build although it does not know them. Ask who published them.

    Raises:
        StoreError: nothing published stands there.
        IntegrityError: it is damaged, or holds types that are not trusted.
    """
    return publishing.fetch(os.fspath(url), tuple(trusted))


def _entry_of(ref: Ref) -> Entry:
    """Return what is known about the result that a reference stands for."""
    entry = next((entry for entry in _entries.listed(opening.opened(ref.url)) if entry.key == ref.key), None)
    if entry is None:
        raise StoreError(f"The result is no longer in {ref.url}: it was dropped or evicted. Compute it again.")
    return entry


def _dump(value: object, file: BinaryIO, format_: str) -> None:
    from lore import _formats

    _formats.dump(value, file, format_)


def _load(file: BinaryIO, format_: str) -> Any:
    from lore import _formats

    trusted = {"trusted": True} if format_ in ("joblib", "keras") else {}
    return _formats.load(file, format_, **trusted)


# The engines know neither faces nor formats: they are told here where stores are found and what reads a file.
Ref.find_store = opening.opened
open_formats.use_codec(_dump, _load)
