"""
The function that stands around a timed one: written for its very signature, because that is what makes it cheap.

A wrapper that takes `(*args, **kwargs)` packs and unpacks every call; one with the signature of the function hands the
arguments on as they are. So the source of the wrapper is put together from the parameters and compiled once for every
shape of signature. Its closure holds the function and its site, which pickle; everything else it reaches through the
module `spans`.
"""

from __future__ import annotations

import functools
import inspect
import keyword
import sys
import time
import types
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, NamedTuple

from lore._timing import spans
from lore._timing.spans import Node, Site
from lore._wrapping import Kind

FILE = "<lore.timed>"
"""Where tracebacks say that a wrapper stands; also how an exception shows that it has passed one."""

_CALL = """\
def make(function{_}, site{_}, spans{_}):
    def wrapper({parameters}):
        parent{_} = spans{_}.current()
        node{_} = site{_}.last
        if node{_}.parent is not parent{_}:
            node{_} = site{_}[parent{_}]
        token{_} = spans{_}.enter(node{_})
        start{_} = spans{_}.clock()
        try:
            result{_} = function{_}({arguments})
        except BaseException as error{_}:
            spans{_}.leave(token{_})
            spans{_}.failed(site{_}, node{_}, start{_}, error{_})
            raise
        now{_} = spans{_}.clock()
        spans{_}.leave(token{_})
        elapsed{_} = now{_} - start{_}
        node{_}.append(elapsed{_})
        if now{_} >= node{_}.due or elapsed{_} >= node{_}.limit:
            spans{_}.told(site{_}, node{_}, start{_}, now{_}, result{_}, {given}, {keywords})
        return result{_}
    return wrapper
"""

_FLAT = """\
def make(function{_}, site{_}, spans{_}):
    def wrapper({parameters}):
        node{_} = site{_}.last
        if node{_}.parent is None:
            node{_} = site{_}[spans{_}.ROOT]
        start{_} = spans{_}.clock()
        try:
            result{_} = function{_}({arguments})
        except BaseException as error{_}:
            spans{_}.failed(site{_}, node{_}, start{_}, error{_})
            raise
        now{_} = spans{_}.clock()
        elapsed{_} = now{_} - start{_}
        node{_}.append(elapsed{_})
        if now{_} >= node{_}.due or elapsed{_} >= node{_}.limit:
            spans{_}.told(site{_}, node{_}, start{_}, now{_}, result{_}, {given}, {keywords})
        return result{_}
    return wrapper
"""

_METERED = """\
def make(function{_}, site{_}, wrappers{_}):
    def wrapper({parameters}):
        with wrappers{_}.metered(site{_}) as call{_}:
            result{_} = function{_}({arguments})
        call{_}.told(result{_}, {given}, {keywords})
        return result{_}
    return wrapper
"""

_ASYNC = """\
def make(function{_}, site{_}, wrappers{_}):
    async def wrapper({parameters}):
        return await wrappers{_}.awaited(site{_}, function{_}({arguments}))
    return wrapper
"""

_GENERATOR = """\
def make(function{_}, site{_}, wrappers{_}):
    def wrapper({parameters}):
        return (yield from wrappers{_}.walked(site{_}, function{_}({arguments})))
    return wrapper
"""

_ASYNC_GENERATOR = """\
def make(function{_}, site{_}, wrappers{_}):
    async def wrapper({parameters}):
        steps{_} = wrappers{_}.Steps(site{_}, function{_}({arguments}))
        resume{_}, sent{_} = steps{_}.send, None
        while True:
            try:
                item{_} = await resume{_}(sent{_})
            except StopAsyncIteration:
                return
            try:
                sent{_} = yield item{_}
                resume{_} = steps{_}.send
            except GeneratorExit:
                await steps{_}.close()
                raise
            except BaseException as error{_}:
                resume{_}, sent{_} = steps{_}.throw, error{_}
    return wrapper
"""

_FOREIGN = """\
def make(function{_}, site{_}, wrappers{_}):
    def wrapper({parameters}):
        return wrappers{_}.looked_at(site{_}, function{_}, {given}, {keywords})
    return wrapper
"""


def wrap(function: Any, kind: Kind, site: Site, flat: bool = False) -> Any:
    """
    Make the wrapper of one function.

    Args:
        function: what is timed.
        kind: how it runs.
        site: where its calls are counted.
        flat: count calls without the tree: every call stands at the root.
    """
    shape = _shape(function)
    template = {
        "async": _ASYNC,
        "generator": _GENERATOR,
        "async_generator": _ASYNC_GENERATOR,
        "foreign": _FOREIGN,
    }.get(kind)
    if template is None:
        template = _METERED if site.cpu or site.memory else _FLAT if flat else _CALL
    helper: Any = spans if template in (_CALL, _FLAT) else _myself()
    wrapper = _maker(template, shape)(function, site, helper)
    wrapper.__code__ = wrapper.__code__.replace(
        co_name=getattr(function, "__name__", "wrapper"), co_qualname=getattr(function, "__qualname__", "wrapper")
    )
    if shape is not _ANY:
        wrapper.__defaults__, wrapper.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return wrapper


def _myself() -> types.ModuleType:
    from lore._timing import wrappers

    return wrappers


# --- source -----------------------------------------------------------------------------------------------------------


class _Shape(NamedTuple):
    """The parameters of a function: the names, and of how many there are defaults."""

    positional: tuple[str, ...] = ()
    by_position_only: int = 0
    defaults: int = 0
    star: str | None = "args"
    named: tuple[str, ...] = ()
    named_defaults: frozenset[str] = frozenset()
    stars: str | None = "kwargs"


_ANY = _Shape()


def _shape(function: Callable[..., Any]) -> _Shape:
    """Read the parameters off a function's code; whatever is no plain function takes anything."""
    if type(function) is not types.FunctionType:
        return _ANY
    code = function.__code__
    positional, rest = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    names = code.co_varnames
    has_star, has_stars = bool(code.co_flags & inspect.CO_VARARGS), bool(code.co_flags & inspect.CO_VARKEYWORDS)
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in names[: rest + has_star + has_stars]):
        return _ANY
    return _Shape(
        names[:positional],
        code.co_posonlyargcount,
        len(function.__defaults__ or ()),
        names[rest] if has_star else None,
        names[positional:rest],
        frozenset(function.__kwdefaults__ or ()),
        names[rest + has_star] if has_stars else None,
    )


@functools.lru_cache(maxsize=1024)
def _maker(template: str, shape: _Shape) -> Any:
    """Compile the wrapper for one shape of signature."""
    taken = [*shape.positional, *shape.named, shape.star or "", shape.stars or ""]
    mark = "_"
    while any(name.endswith(mark) for name in taken):
        mark += "_"
    star = [f"*{shape.star}"] if shape.star else []
    stars = [f"**{shape.stars}"] if shape.stars else []
    by_keyword = [f"{name!r}: {name}" for name in shape.named]
    source = template.format(
        _=mark,
        parameters=", ".join([*_parameters(shape), *stars]),
        arguments=", ".join([*shape.positional, *star, *(f"{name}={name}" for name in shape.named), *stars]),
        given=f"({''.join(f'{one}, ' for one in (*shape.positional, *star))})",
        keywords=f"{{{', '.join([*by_keyword, *stars])}}}",
    )
    scope: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, FILE, "exec"), scope)
    return scope["make"]


def _parameters(shape: _Shape) -> list[str]:
    """Spell the parameters; the values of the defaults are set on the finished function."""
    required = len(shape.positional) - shape.defaults
    parameters = [f"{name}=None" if at >= required else name for at, name in enumerate(shape.positional)]
    if shape.by_position_only:
        parameters.insert(shape.by_position_only, "/")
    if shape.star or shape.named:
        parameters.append(f"*{shape.star or ''}")
    return parameters + [f"{name}=None" if name in shape.named_defaults else name for name in shape.named]


# --- what runs longer than a call -------------------------------------------------------------------------------------


class Timing:
    """One call in progress whose time comes in pieces: a coroutine, a generator, a block, a metered call."""

    __slots__ = ("active_s", "before", "node", "parent", "site", "started_s")

    def __init__(self, site: Site) -> None:
        self.site = site
        parent = spans.current()
        node = site.last
        self.node: Node = node if node.parent is parent else site[parent]
        self.active_s = 0.0
        self.before = _meter(site) if site.cpu or site.memory else None

    def resume(self) -> None:
        """Go on: what is called now is called from here."""
        # a token would belong to the context that began; a generator may be resumed in another
        self.parent = spans.current()
        spans.enter(self.node)
        self.started_s = spans.clock()

    def pause(self) -> None:
        """Stop for a while: the caller goes on."""
        self.active_s += spans.clock() - self.started_s
        spans.enter(self.parent)

    def done(self, result: object = None, arguments: tuple[Any, ...] = (), keywords: Any = None) -> None:
        """Count the call."""
        now, node = spans.clock(), self.node
        node.append(self.active_s)
        self._metered()
        if now >= node.due or self.active_s >= node.limit:
            spans.told(self.site, node, now - self.active_s, now, result, arguments, keywords)

    def failed(self, error: BaseException) -> None:
        """Count the call and its exception."""
        self._metered()
        spans.failed(self.site, self.node, spans.clock() - self.active_s, error)

    def _metered(self) -> None:
        if self.before is not None:
            cpu_s, memory_bytes = (now - before for now, before in zip(_meter(self.site), self.before))
            spans._told.append((spans._told_meter, self.node, cpu_s, memory_bytes))


def _meter(site: Site) -> tuple[float, int]:
    return time.process_time() if site.cpu else 0.0, _resident_bytes() if site.memory else 0


def _resident_bytes() -> int:
    """Give the memory that the process holds now; where the system does not say, the most that it has held."""
    import resource

    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class metered:
    """A call that is also measured for processor time or memory; too dear for small functions, fine for coarse ones."""

    __slots__ = ("timing",)

    def __init__(self, site: Site) -> None:
        self.timing = Timing(site)

    def __enter__(self) -> metered:
        self.timing.resume()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.timing.pause()
        if error is not None:
            self.timing.failed(error)

    def told(self, result: object, arguments: tuple[Any, ...], keywords: Any) -> None:
        self.timing.done(result, arguments, keywords)


async def awaited(site: Site, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine and count it when it is done, cancelled or failed."""
    timing = Timing(site)
    timing.resume()
    try:
        result = await coroutine
    except BaseException as error:
        timing.pause()
        timing.failed(error)
        raise
    timing.pause()
    timing.done(result)
    return result


def walked(site: Site, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run a generator to its end and count the time spent inside it, not what its consumer does meanwhile."""
    timing: Timing | None = None
    resume: Callable[[Any], Any] = generator.send
    sent: Any = None
    while True:
        timing = timing or Timing(site)
        timing.resume()
        try:
            item = resume(sent)
        except StopIteration as stop:
            timing.pause()
            timing.done(stop.value)
            return stop.value
        except BaseException as error:
            timing.pause()
            timing.failed(error)
            raise
        timing.pause()
        try:
            sent = yield item
            resume = generator.send
        except GeneratorExit:
            _close(timing, generator)
            raise
        except BaseException as error:
            resume, sent = generator.throw, error


def _close(timing: Timing, generator: Generator[Any, Any, Any]) -> None:
    timing.resume()
    try:
        generator.close()
    except BaseException as error:
        timing.pause()
        timing.failed(error)
        raise
    timing.pause()
    timing.done()


class Steps:
    """The steps of an asynchronous generator, each timed, counted as one call at the end."""

    def __init__(self, site: Site, generator: AsyncGenerator[Any, Any]) -> None:
        self.site = site
        self.generator = generator
        self.timing: Timing | None = None

    async def send(self, value: Any) -> Any:
        return await self._step(self.generator.asend(value))

    async def throw(self, error: BaseException) -> Any:
        return await self._step(self.generator.athrow(error))

    async def close(self) -> None:
        await self._step(self.generator.aclose())
        if self.timing is not None:
            self.timing.done()

    async def _step(self, step: Any) -> Any:
        timing = self.timing = self.timing or Timing(self.site)
        timing.resume()
        try:
            item = await step
        except StopAsyncIteration:
            timing.pause()
            timing.done()
            raise
        except BaseException as error:
            timing.pause()
            timing.failed(error)
            raise
        timing.pause()
        return item


def looked_at(site: Site, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function of unknown kind; if it hands on a coroutine or generator, that is what is timed."""
    timing = Timing(site)
    timing.resume()
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        timing.pause()
        timing.failed(error)
        raise
    timing.pause()
    if isinstance(result, types.CoroutineType):
        return awaited(site, result)
    if isinstance(result, types.GeneratorType):
        return walked(site, result)
    if isinstance(result, types.AsyncGeneratorType):
        return _maker(_ASYNC_GENERATOR, _ANY)(lambda: result, site, _myself())()
    timing.done(result, args, kwargs)
    return result


# --- what it costs ----------------------------------------------------------------------------------------------------


def measured_cost_s(calls: int = 2_000, rounds: int = 7) -> float:
    """Measure what a wrapper adds to the call of a function that does nothing, folding included."""

    def nothing(value: int) -> int:
        return value

    site = Site("lore.nothing", "lore.nothing")
    spans._sites.pop(id(site), None)
    node = site[spans.current()]
    node.due = node.limit = float("inf")
    timed = _maker(_CALL, _shape(nothing))(nothing, site, spans)
    bare_s = min(_spent_s(nothing, calls) for _ in range(rounds))
    timed_s = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        _spent_s(timed, calls)
        node.durations.add(node.buffer[:])
        node.buffer.clear()
        timed_s = min(timed_s, time.perf_counter() - start)
    node.clear()
    return max(0.0, timed_s - bare_s) / calls


def _spent_s(function: Callable[[int], int], calls: int) -> float:
    start = time.perf_counter()
    for value in range(calls):
        function(value)
    return time.perf_counter() - start
