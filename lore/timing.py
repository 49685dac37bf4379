"""
Measure functions and blocks, remember runs, and see where the time went.

`timed` counts every call of a function: how often, how long, how it ended; for less than half a microsecond a call.
`report()` shows the tree of calls, `run()` keeps a record that survives the process, `prometheus()` tells a monitoring
system, `configure_logging()` and `on_error()` tell people.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Protocol, TextIO, TypeVar, overload

from lore import _wrapping
from lore._timing import events, spans, wrappers
from lore.errors import DecorationError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pandas import DataFrame

    from lore._timing.reports import Report
    from lore._timing.runs import Comparison, Record, Run, RunNotFound
    from lore.typing import (
        Cached,
        CachedSource,
        OfClass,
        P,
        Q,
        R,
        S,
        Source,
        Timed,
        TimedCached,
        TimedCachedSource,
        TimedDecorator,
    )
    from lore.typing import TimedSource as _TimedSource

__all__ = [
    "compare",
    "configure_logging",
    "export_mlflow",
    "export_opentelemetry",
    "joblib_progress",
    "keras_progress",
    "note",
    "off_error",
    "on_error",
    "overhead_s",
    "prometheus",
    "record",
    "report",
    "run",
    "RunNotFound",
    "runs",
    "timed",
    "TimingInfo",
    "track",
]

T = TypeVar("T")

_SPELLINGS = ("@lore.timed", '@lore.timed("name", slow_s=0.1)', 'with lore.timed("name"):')


@dataclass(frozen=True, slots=True)
class TimingInfo:
    """
    What was measured of one function in this process; seconds throughout, zeros where it was never called.

    Attributes:
        count: calls that ended, with or without an exception.
        errors: calls that ended with an exception; a cancelled coroutine and a closed generator are none.
        total_s: time inside the function. A call inside a call of the same function is not counted twice.
        min_s, mean_s, p50_s, p90_s, p99_s, max_s: over all calls; the quantiles are exact for up to 128 calls and
            within 5 % beyond.
        cpu_s: processor time of the process meanwhile, on all cores; None without `cpu=True`.
        memory_bytes: the largest growth of the process's memory over one call; None without `memory=True`.
    """

    count: int
    errors: int
    total_s: float
    min_s: float
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float
    cpu_s: float | None = None
    memory_bytes: int | None = None


class TimedLayer(_wrapping.Layer):
    """`timed` around one function; its state is the `Site` that counts the calls."""

    name = "timed"

    def new_state(self) -> spans.Site:
        options = {"slow_s": _SLOW_S, **self.options}
        title = options.pop("", None)
        function = _wrapping.name_of(self.function)
        return spans.Site(title or function, function, layer=self, **options)


class _Named(Protocol):
    """What `timed("name")` gives: a decorator and a block in one."""

    def __enter__(self) -> Block: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    async def __aenter__(self) -> Block: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


if TYPE_CHECKING:

    class NamedTimed(TimedDecorator, _Named, Protocol):
        """What `timed("name")` gives: a decorator and a block in one."""


_SLOW_S = 0.1


@overload  # above @classmethod
def timed(function: Callable[Concatenate[type[S], Q], R], /) -> OfClass[S, Q, R]: ...
@overload
def timed(function: CachedSource[P, R], /) -> TimedCachedSource[P, R]: ...
@overload
def timed(function: Source[P, R], /) -> _TimedSource[P, R]: ...
@overload
def timed(function: Cached[P, R], /) -> TimedCached[P, R]: ...
@overload
def timed(function: Callable[P, R], /) -> Timed[P, R]: ...
@overload
def timed(
    name: str | None = None,
    /,
    *,
    slow_s: float | None = 0.1,
    cpu: bool = False,
    memory: bool = False,
    progress: bool | None = None,
) -> NamedTimed: ...
@_wrapping.front(*_SPELLINGS)
def timed(
    name: Any = None,
    /,
    *,
    slow_s: float | None = _SLOW_S,
    cpu: bool = False,
    memory: bool = False,
    progress: bool | None = None,
) -> Any:
    """
    Measure every call of a function, or a block.

    `@timed`, `@timed("name", slow_s=1)` and `with timed("name"):` (also `async with`). A coroutine counts from its
    first step to its last, waiting included; a generator counts as one call, with the time spent inside it, when it is
    exhausted, closed or failed. Exceptions are counted and pass through untouched. Calls nest: `report()` shows who
    called whom, also across asyncio tasks. A thread of a pool begins at the root of the tree, unless it is started with
    `contextvars.copy_context().run`.

    A call costs 0.3-0.4 us. `LORE_TIMING=off` in the environment, when the function is decorated, makes `timed` return
    the function itself; `LORE_TIMING=aggregates` leaves out the tree, which halves the cost (there a recursive call
    adds to the total at each level).

    Args:
        name: how the function is called in reports, metrics and events; by default `module.qualname`.
        slow_s: a call that takes at least so long is told to structlog, as event `timed`; None tells none, 0 all.
            Where nobody has configured structlog nothing is printed.
        cpu: also measure processor time, of all threads of the process. 2 us a call.
        memory: also measure by how much the process's memory grew. 20 us a call.
        progress: show on stderr how far a call should be, judging by its last runs. None does so on a terminal or in a
            notebook, for calls that take longer than two seconds; False never; True always.

    Returns:
        The function, timed, with `timing_info()` and `timing_clear()`.

    Raises:
        DecorationError: what stands below is no function, or an option makes no sense.

    Threads: counts are exact under threads; no lock is taken on the way of a call. A forked child starts from zero.

    >>> @timed
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double(4)
    8
    >>> double.timing_info().count
    1
    """
    options = _options(slow_s=slow_s, cpu=cpu, memory=memory, progress=progress)
    if name is None:
        return Block(None, options)
    if isinstance(name, str):
        if not name.strip():
            raise DecorationError('a name of lore.timed must not be empty: @lore.timed("load")')
        return Block(name, {"": name, **options})
    return _decorated(name, options)


def _options(*, slow_s: Any, **switches: Any) -> dict[str, Any]:
    """Check the options and keep those that differ from their defaults."""
    is_number = isinstance(slow_s, int | float) and not isinstance(slow_s, bool)
    if slow_s is not None and not (is_number and slow_s >= 0):
        raise DecorationError(
            f"slow_s of lore.timed is a number of seconds from 0 on, or None for no events; it was {slow_s!r}. "
            f"Right: @lore.timed(slow_s=0.1)"
        )
    for option, value in switches.items():
        if not isinstance(value, bool) and not (option == "progress" and value is None):
            also = ", or None to decide by the terminal" if option == "progress" else ""
            raise DecorationError(f"{option} of lore.timed is True or False{also}; it was {value!r}.")
    options = {} if slow_s == _SLOW_S else {"slow_s": slow_s}
    return (
        options
        | {option: value for option, value in switches.items() if value not in (None, False)}
        | ({"progress": False} if switches["progress"] is False else {})
    )


def _decorated(target: Any, options: dict[str, Any]) -> Any:
    is_off, is_flat = _is_off(), _mode() == "aggregates"

    def make(function: Callable[..., Any]) -> Any:
        if is_off:
            return _unmeasured(function)
        layer = TimedLayer(function, options)
        site = layer.state
        wrapper = wrappers.wrap(function, _wrapping.kind_of(function), site, flat=is_flat)
        return _wrapping.finish(
            wrapper, layer, timing_info=lambda: _info(layer.state), timing_clear=lambda: layer.state.forget()
        )

    decorated = _wrapping.decorate(target, make, "@lore.timed")
    return target if is_off else decorated


def _unmeasured(function: Any) -> Any:
    """Leave a function as it is; what asks for its timing still gets an answer."""
    try:
        function.timing_info = lambda: TimingInfo(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        function.timing_clear = lambda: None
    except (AttributeError, TypeError):  # functions written in C
        pass
    return function


def _info(site: spans.Site) -> TimingInfo:
    durations, counted_s, counts = site.info()
    p50_s, p90_s, p99_s = durations.quantiles(0.5, 0.9, 0.99)
    return TimingInfo(
        count=durations.count,
        errors=int(counts.get("errors", 0)),
        total_s=counted_s,
        min_s=durations.min_s if durations.count else 0.0,
        mean_s=durations.total_s / durations.count if durations.count else 0.0,
        p50_s=p50_s,
        p90_s=p90_s,
        p99_s=p99_s,
        max_s=durations.max_s,
        cpu_s=sum(node.cpu_s for node in site.nodes.values()) if site.cpu else None,
        memory_bytes=max((node.memory_bytes for node in site.nodes.values()), default=0) if site.memory else None,
    )


class Block:
    """
    A name and options: decorates functions, and measures `with` blocks.

    One object may be entered again, while it is entered, in several threads and tasks.
    """

    __slots__ = ("_entered", "_name", "_options")

    def __init__(self, name: str | None, options: dict[str, Any]) -> None:
        self._name = name
        self._options = options
        self._entered: list[wrappers.Timing] = []

    def __call__(self, target: Any, /) -> Any:
        return _decorated(target, self._options)

    def __enter__(self) -> Block:
        if self._name is None:
            raise DecorationError('a block needs a name: with lore.timed("load"):')
        if _is_off():
            return self
        timing = wrappers.Timing(_site_of(self._name, self._options))
        _blocks.set((self, timing, _blocks.get()))
        self._entered.append(timing)
        events.enters_block()
        timing.resume()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._entered:
            return
        timing = self._leave()
        timing.pause()
        if error is None:
            timing.done()
        else:
            timing.failed(error)
            events.leaves_block(error, traceback)

    async def __aenter__(self) -> Block:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _leave(self) -> wrappers.Timing:
        """Find what this `with` began: the innermost of this context, or the latest where the context changed."""
        innermost = _blocks.get()
        if innermost is not None and innermost[0] is self and innermost[1] in self._entered:
            timing: wrappers.Timing = innermost[1]
            _blocks.set(innermost[2])
            self._entered.remove(timing)
            return timing
        return self._entered.pop()

    def __repr__(self) -> str:
        shown = (repr(value) if key == "" else f"{key}={value!r}" for key, value in self._options.items())
        return f"timed({', '.join(shown)})"


_blocks: ContextVar[Any] = ContextVar("lore_blocks", default=None)
_block_sites: dict[tuple[Any, ...], spans.Site] = {}
_MOST_BLOCKS = 2_000


def _mode() -> str:
    return os.environ.get("LORE_TIMING", "").strip().lower()


def _is_off() -> bool:
    return _mode() in ("off", "0", "false", "no")


def _site_of(name: str, options: dict[str, Any]) -> spans.Site:
    """Return where blocks of this name are counted, wherever in the code they stand."""
    key = tuple(options.items())
    site = _block_sites.get(key)
    if site is None:
        if len(_block_sites) >= _MOST_BLOCKS:  # names made of data: counted together from here on
            name, key = "(other blocks)", ()
        rest = {"slow_s": _SLOW_S, **{option: value for option, value in options.items() if option}}
        site = _block_sites.setdefault(key, spans.Site(name, name, **rest))
    return site


# --- seeing -----------------------------------------------------------------------------------------------------------


def report() -> Report:
    """
    Return what this process has measured as a tree of calls.

    As a statement of its own, `lore.timing.report()` prints the tree; in a REPL or notebook it shows itself; where the
    value is taken (`print(report())`, `report().to_frame()`) nothing is printed beside.

    Each line has calls, total and self time (what no timed function below accounts for), share of all time measured,
    p50, p95, max, and where there are any: errors, cache hits and the seconds they saved, queries and rows, requests.
    The last line is what lore itself cost.
    """
    from lore._timing import reports

    taken = reports.take()
    if reports.is_discarded(sys._getframe(1)):
        print(taken)
    return taken


def overhead_s() -> float:
    """
    Return the seconds that lore itself has cost this process so far, cache included.

    Folding, writing and what other parts of lore report are clocked; the wrappers count with what one call of one costs
    on this machine, which is measured at the first question (10 ms).
    """
    return spans.overhead_s()


def prometheus() -> str:
    """
    Return every metric in Prometheus' text format, summed over all processes that share `LORE_HOME`.

    Processes that have ended count too; no counter ever goes down. `lore_timed_seconds` (histogram by `function`),
    `lore_timed_errors_total`, `lore_cache_requests_total` (`function`, `outcome`), `lore_cache_saved_seconds_total`,
    `lore_http_requests_total`, `lore_http_request_seconds`, `lore_overhead_seconds_total`. What another living
    process measured is here 0.1 s later at the latest.
    """
    from lore._timing import metrics

    return metrics.read_prometheus()


def note(**values: Any) -> None:
    """
    Remember parameters or metrics of the call in progress, and of the run if there is one.

    Names that look like secrets are hidden wherever they are written. Outside of timed calls and runs nothing happens.
    """
    spans.note(values)


def on_error(hook: events.Hook) -> events.Hook:
    """
    Call `hook(exception, context)` once for every exception that leaves a timed function or block.

    However many timed functions it passes, an exception is told once. `context` has `function`, `path`, `elapsed_s`
    and, where there are any, the ids of `run` and `request`. A hook that fails costs one warning, never the call.

    >>> import lore
    >>> @lore.timing.on_error
    ... def tell(error: BaseException, context: dict) -> None:
    ...     print(type(error).__name__, "in", context["function"])
    >>> off_error(tell)
    """
    return events.on_error(hook)


def off_error(hook: events.Hook) -> None:
    """Stop calling a hook that was given to `on_error`."""
    events.off_error(hook)


def configure_logging(level: str = "info", *, json: bool | None = None, stream: TextIO | None = None) -> bool:
    """
    Set up structlog for people who have no set-up of their own; never touch that of those who have.

    Args:
        level: the lowest level that is written.
        json: one JSON object a line, or lines for people. None: for people on a terminal, JSON elsewhere.
        stream: where to; stderr by default.

    Returns:
        Whether anything was set up: False if structlog was configured already.
    """
    return events.configure_logging(level, json, stream)


# --- progress ---------------------------------------------------------------------------------------------------------


def track(
    items: Iterable[T], total: int | None = None, *, name: str = "loop", progress: bool | None = None
) -> Iterator[T]:
    """
    Yield the items of a loop and show on a terminal how far it is: `for row in lore.timing.track(rows):`.

    Args:
        items: what to go through.
        total: how many there are, where `len` does not tell.
        name: what the line says.
        progress: None shows it on a terminal or in a notebook after two seconds, True always, False never.
    """
    from lore._timing import progress as engine

    return engine.tracked(items, name, total, progress)


def joblib_progress(
    total: int | None = None, *, name: str = "joblib", progress: bool | None = None
) -> AbstractContextManager[object]:
    """
    Show on a terminal how many tasks of a joblib loop are done.

    `with lore.timing.joblib_progress(100): Parallel(n_jobs=4)(delayed(f)(x) for x in xs)`
    """
    from lore._timing import progress as engine

    return engine.joblib_loop(name, total, progress)


def keras_progress(progress: bool | None = None) -> Any:
    """
    Return a Keras callback that shows epochs on a terminal and notes the metrics of each.

    `model.fit(x, y, callbacks=[lore.timing.keras_progress()])`
    """
    from lore._timing import progress as engine

    return engine.keras_callback(progress)


# --- runs -------------------------------------------------------------------------------------------------------------


def run(name: str, /, *, seed: int | None = None, **parameters: Any) -> Run:
    """
    Keep a record of everything that happens in a block: `with lore.timing.run("nightly", depth=6) as run:`.

    The record is one file of JSON lines under `$LORE_HOME/runs`, whole after every line: a run whose process is killed
    keeps what it had written, and its status becomes `died`. It has the commit and a hash of uncommitted changes, the
    versions of the packages, the state of the random generators, the parameters, everything `note`d, every call that
    took 10 ms, the calls and seconds of every node of the tree, the keys of cached results and what they came from.
    Runs nest. Also a decorator: every call of the function is a run then.

    Args:
        name: any text; many runs may have the same.
        seed: seeds the generators of the standard library, numpy, Keras and torch (those that are loaded).
        parameters: what the run is about; secrets are hidden by their names.

    Raises:
        DecorationError: the name is no text.

    Threads: what other threads note and time belongs to the run while it is the only one of the process.
    """
    from lore._timing import runs as engine

    if not isinstance(name, str) or not name:
        raise DecorationError(f'a run needs a name: lore.timing.run("nightly"); it was {name!r}.')
    return engine.Run(name, parameters, seed)


def runs(name: str | None = None) -> DataFrame:
    """
    Return a row for each run of this home, oldest first.

    Columns: id, name, status ("running", "finished", "failed", "died"), started (UTC), elapsed_s, commit (None outside
    git), dirty ("" where everything was committed, else a hash of what was not), parameters, metrics (dicts), error,
    outer (the id of the run around it).

    Args:
        name: only runs of this name.

    Raises:
        MissingDependencyError: pandas is not installed.
    """
    from lore._timing import runs as engine

    return engine.frame(name)


def record(run: str | Run) -> Record:
    """
    Return everything that is known of one run: also its spans, cache keys, seeds, versions and the history of metrics.

    Args:
        run: an id (or its beginning), or a name, which means the latest run of that name.

    Raises:
        RunNotFound: there is none.
    """
    from lore._timing import runs as engine

    return engine.find(run)


def compare(a: str | Run, b: str | Run) -> Comparison:
    """
    Say what differs between two runs: parameters, metrics, code, versions, seeds, time by function, cache keys.

    Args:
        a, b: ids or names. A name means the latest run of that name; the same name twice its last two.

    Returns:
        An object that prints itself; `.differences`, `.to_frame()`, `.to_dict()`.

    Raises:
        RunNotFound: there is none.
    """
    from lore._timing import runs as engine

    return engine.compare(a, b)


def __getattr__(name: str) -> Any:
    """Load the classes of runs when they are first asked for."""
    if name == "RunNotFound":
        from lore._timing.runs import RunNotFound

        return RunNotFound
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# --- for other instruments --------------------------------------------------------------------------------------------


def export_opentelemetry(tracer_provider: Any = None, meter_provider: Any = None) -> Callable[[], None]:
    """
    Hand spans and counters to OpenTelemetry from now on.

    Spans are the remembered calls (10 ms and more, and the first few of each node) with their callers, run, request
    and notes; they go out when the outermost call ends. Counters are read when OpenTelemetry collects, of this process:
    lore.timed.calls, .time and .errors, lore.cache.requests and .saved, lore.http.requests.

    Args:
        tracer_provider, meter_provider: of the SDK; by default the global ones.

    Returns:
        A function that ends the export of spans.

    Raises:
        MissingDependencyError: opentelemetry-api is not installed.
    """
    from lore._timing import exporters

    return exporters.opentelemetry(tracer_provider, meter_provider)


def export_mlflow(run: str | Run, *, tracking_uri: str | None = None, experiment: str = "lore") -> str:
    """
    Copy a run into MLflow: parameters, metrics with their history, times by function, commit, versions, cache keys.

    Args:
        run: an id, or a name, which means the latest run of that name.
        tracking_uri: where to; MLflow's own setting by default.
        experiment: made if there is none of that name.

    Returns:
        MLflow's id of the run.

    Raises:
        RunNotFound: there is no such run.
        MissingDependencyError: mlflow is not installed.
    """
    from lore._timing import exporters

    return exporters.mlflow(record(run), tracking_uri, experiment)
