"""
What a process measured: the call tree, and what the other rooms report into it.

A call of a timed function appends its duration to the buffer of its node, and that is all it does. A node is a function
below the chain of timed functions that called it. Now and then, and whenever somebody looks, the buffers are folded
into counts and quantiles; a fold takes away what it has counted and nothing else, so that counts are exact without a
lock on the way of a call.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from lore import _warning
from lore._timing import events, metrics
from lore._timing.events import emit, request_id, run_id
from lore._timing.quantiles import Durations

if TYPE_CHECKING:
    from lore._timing.runs import Run

__all__ = [
    "Node",
    "Site",
    "Span",
    "add_overhead",
    "cache_event",
    "collect",
    "emit",
    "note",
    "overhead_s",
    "query_event",
    "request_event",
    "request_id",
    "run_id",
    "run_in_progress",
]

SPAN_S = 0.01
"""Calls from this long on are remembered one by one: for the timeline, the run, the exporters."""

FIRST = 3
"""So many calls of every node are remembered one by one, however short."""

_MOST_NODES = 2_000
_MOST_ERRORS = 100
_LONG_S = 2.0
_OUTSIDE = frozenset({"StopIteration", "StopAsyncIteration", "GeneratorExit", "CancelledError"})
"""Exceptions that end a call without being an error of it."""

clock = time.perf_counter
"""Read through the module, so that a test can put its own in place."""
STARTED_S = clock()
EPOCH = time.time() - time.perf_counter()
"""What to add to a reading of the clock to get seconds since 1970."""


class Node:
    """
    A function below the chain of timed functions that called it.

    Attributes:
        path: titles from the outermost caller to this function; a recursive call stands where the first one stands.
        is_recursive: the function was already running when it was called here: its calls count, its seconds do not.
        append, due, limit: what the wrapper needs at hand: where a duration goes, when to fold, what is remarkable.
    """

    __slots__ = (
        "append", "buffer", "counted_s", "counts", "cpu_s", "due", "durations", "function", "is_recursive", "limit",
        "memory_bytes", "notes", "open", "parent", "path", "pause_s", "remembered", "series", "title",
    )  # fmt: skip

    def __init__(self, parent: Node | None, title: str, function: str) -> None:
        self.parent = parent
        self.title = title
        self.function = function
        self.is_recursive = parent is not None and title in parent.open
        self.path: tuple[str, ...]
        self.open: frozenset[str]
        self.path, self.open = _place(parent, title)
        self.buffer: list[float] = []
        self.append = self.buffer.append
        self.due = 0.0
        self.limit = 0.0
        self.pause_s = _PAUSE_S
        self.remembered = 0
        self.series: metrics.Series | None = None
        self.notes: dict[str, Any] = {}
        self.durations = Durations()
        self.clear()

    def clear(self) -> None:
        """Forget what has been folded."""
        self.durations.clear()
        self.counted_s = 0.0
        self.cpu_s = 0.0
        self.memory_bytes = 0
        self.counts: dict[str, float] = {}

    def add(self, what: str, amount: float) -> None:
        """Add to one of the counts: errors, hits, misses, stale, saved_s, queries, rows, bytes, query_s."""
        self.counts[what] = self.counts.get(what, 0) + amount


def _place(parent: Node | None, title: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Say where a call stands in the tree and what is running there: recursion folds back onto the first call."""
    if parent is None:
        return (), frozenset()
    if title in parent.path:
        return parent.path[: parent.path.index(title) + 1], parent.open
    return (*parent.path, title), parent.open | {title}


class Site(dict[Node, Node]):
    """
    One decoration or block in this process: the node for each node that it was called from.

    `last` is the node of the caller seen last: most functions have one, and it costs less than a look into a dict.
    """

    __slots__ = (
        "__weakref__", "cpu", "function", "last", "layer", "limit", "memory", "nodes", "progress", "slow_s", "title"
    )  # fmt: skip

    def __init__(
        self,
        title: str,
        function: str,
        *,
        slow_s: float | None = None,
        cpu: bool = False,
        memory: bool = False,
        progress: bool | None = None,
        layer: Any = None,
    ) -> None:
        super().__init__()
        self.title = title
        self.function = function
        self.slow_s = float("inf") if slow_s is None else slow_s
        self.limit = min(self.slow_s, SPAN_S)
        self.cpu = cpu
        self.memory = memory
        self.progress = progress
        self.layer = layer
        self.nodes: dict[tuple[tuple[str, ...], frozenset[str], bool], Node] = {}
        self.last = _NOBODY
        _sites[id(self)] = weakref.ref(self)
        _titles[function] = title
        weakref.finalize(self, _retire, id(self), self.nodes).atexit = False

    def __missing__(self, parent: Node) -> Node:
        """Find the node for a caller that comes for the first time, or whose calls are watched while they run."""
        node = self._under(parent)
        if self.progress or (self.progress is None and is_somebody_watching()):
            from lore._timing import progress

            if progress.begins(node, is_forced=bool(self.progress)):
                node.limit = 0.0
                return node
        if len(self) >= _MOST_NODES:
            self.clear()
        self[parent] = self.last = node
        return node

    def _under(self, parent: Node) -> Node:
        if len(self.nodes) >= _MOST_NODES:
            parent = ROOT
        path, running = _place(parent, self.title)
        key = (path, running, self.title in parent.open)
        node = self.nodes.get(key)
        if node is None:
            node = self.nodes.setdefault(key, Node(parent, self.title, self.function))
        return node

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __reduce__(self) -> tuple[Any, ...]:
        return _state_of, (self.layer,)

    def info(self) -> tuple[Durations, float, dict[str, float]]:
        """Sum up all nodes: durations, seconds without those inside recursion, counts."""
        collect()
        durations, counted_s, counts = Durations(), 0.0, dict[str, float]()
        with _folding:
            for node in list(self.nodes.values()):
                durations.merge(node.durations)
                counted_s += node.counted_s
                for what, amount in node.counts.items():
                    counts[what] = counts.get(what, 0) + amount
        return durations, counted_s, counts

    def forget(self) -> None:
        """Forget what was measured; what Prometheus has been told stays counted."""
        collect()
        with _folding:
            for node in list(self.nodes.values()):
                node.clear()


def _state_of(layer: Any) -> Any:
    return layer.state


class Span(NamedTuple):
    """One remembered call: seconds on `clock`, its thread, and how it ended."""

    node: Node
    start_s: float
    elapsed_s: float
    thread: int
    outcome: str
    notes: Mapping[str, Any]
    run: str | None
    request: str | None


_PAUSE_S, _SWEEP_S = 0.05, 0.02
_sites: dict[int, weakref.ref[Site]] = {}
_titles: dict[str, str] = {}
_guests: dict[tuple[str, ...], Node] = {}
_retired: list[dict[Any, Node]] = []
_told: list[tuple[Any, ...]] = []
_answered: list[tuple[str, int, float]] = []
_folding = threading.Lock()
_watchers: list[Callable[[Span], object]] = []
_cache_watchers: list[Callable[[str, str], object]] = []
spans: deque[Span] = deque(maxlen=4096)
"""The calls remembered last, for the timeline."""
flows: dict[tuple[str, str], int] = {}
"""How often a result of one function was an argument of another."""
requests: dict[str, Durations] = {}
"""Answered requests by endpoint."""
statuses: dict[tuple[str, int], int] = {}
open_runs: dict[str, Run] = {}

ROOT = Node(None, "", "")
_NOBODY = Node(None, "", "")
_current: ContextVar[Node] = ContextVar("lore_span", default=ROOT)
current = _current.get
enter = _current.set
leave = _current.reset


# --- what other rooms report ------------------------------------------------------------------------------------------


def cache_event(
    function: str, outcome: str, saved_s: float = 0.0, key: str | None = None, sources: Iterable[Any] = ()
) -> None:
    """
    Report one call of a cached function.

    Args:
        function: `module.qualname`.
        outcome: "hit", "miss", "stale" or "error".
        saved_s: the seconds of computing that a hit spared.
        key: the key of the entry, for the run in progress.
        sources: what the entry came from, for the run in progress; written as `str` spells it.
    """
    _told.append((_told_cache, _node_of(function), function, outcome, saved_s))
    if _cache_watchers:
        for watcher in list(_cache_watchers):
            watcher(function, outcome)
    if open_runs and key is not None:
        run = current_run()
        if run is not None:
            run.cached(function, outcome, key, sources)
    _settle_told()


def query_event(function: str, rows: int, nbytes: int, elapsed_s: float) -> None:
    """
    Report one query: the function behind it, what it brought and how long it took.
    """
    _told.append((_told_query, _node_of(function), rows, nbytes, elapsed_s))
    _settle_told()


def request_event(endpoint: str, status: int, elapsed_s: float) -> None:
    """
    Report one answered request.
    """
    _answered.append((endpoint, status, elapsed_s))
    _settle_told()


def add_overhead(seconds: float) -> None:
    """
    Add to what lore itself has cost this process.
    """
    _told.append((_told_overhead, seconds))


def run_in_progress() -> str | None:
    """Return the id of the run that what happens now belongs to."""
    run = current_run()
    return None if run is None else run.id


def current_run() -> Run | None:
    """Return the run of this context, or the only one of the process where the context knows of none."""
    if not open_runs:
        return None
    known = run_id.get()
    if known is not None:
        return open_runs.get(known)
    return next(iter(open_runs.values())) if len(open_runs) == 1 else None


def note(values: Mapping[str, Any]) -> None:
    """Remember parameters or metrics of the call in progress, and of the run."""
    node = current()
    if node is not ROOT:
        others = tuple(pair for pair in _noted.get() if pair[0] is not node)
        _noted.set((*others, (node, {**_noted_of(node), **values})))
        node.notes.update(values)
        node.limit = 0.0
        node.remembered = -1  # from now on every call is worth a look: it may have noted something
    run = current_run()
    if run is not None:
        run.note(values, node.path)


_noted: ContextVar[tuple[tuple[Node, dict[str, Any]], ...]] = ContextVar("lore_noted", default=())


def _node_of(function: str) -> Node:
    """Return the node of the call in progress where it is this function's, else one below it."""
    node = current()
    if node.function == function:
        return node
    title = _titles.get(function, function)
    path, _ = _place(node, title)
    guest = _guests.get(path)
    if guest is None:
        if len(_guests) >= _MOST_NODES:
            node, path = ROOT, (title,)
        guest = _guests.setdefault(path, Node(node, title, function))
    return guest


# --- the end of a call ------------------------------------------------------------------------------------------------


def told(
    site: Site, node: Node, start_s: float, now: float, result: object, arguments: tuple[Any, ...], keywords: Any = None
) -> None:
    """Take what a call cannot settle by appending a number: a fold that is due, a call worth remembering."""
    try:
        elapsed_s = now - start_s
        if elapsed_s >= node.limit:
            _remember(site, node, start_s, elapsed_s, "ok")
            _trace(node, result, arguments, keywords)
        if now >= node.due:
            _settle(node, now)
    except Exception as error:
        _failed_to_measure(error)


def failed(site: Site, node: Node, start_s: float, error: BaseException) -> None:
    """Count a call that ended with an exception; tell the hooks, once for every exception."""
    try:
        now = clock()
        elapsed_s = now - start_s
        node.append(elapsed_s)
        name = type(error).__name__
        is_error = name not in _OUTSIDE
        if is_error:
            _told.append((_told_error, node))
        outcome = "error" if is_error else "cancelled" if name == "CancelledError" else "ok"
        if elapsed_s >= node.limit or node.counts.get("errors", 0) < _MOST_ERRORS:
            _remember(site, node, start_s, elapsed_s, outcome, error if is_error else None)
        if is_error:
            events.report_error(error, function=node.title, elapsed_s=elapsed_s, path=list(node.path))
        _settle(node, now)
    except Exception as problem:
        _failed_to_measure(problem)


def _failed_to_measure(error: Exception) -> None:
    _warning.warn(f"lore.timed could not measure a call: {error!r}. Results are not affected.", once="spans.told")


def _remember(
    site: Site, node: Node, start_s: float, elapsed_s: float, outcome: str, error: BaseException | None = None
) -> None:
    if node.remembered >= 0:
        node.remembered += 1
        if node.remembered >= FIRST:
            node.limit = site.limit
    notes = _notes_of(node)
    run = current_run()
    span = Span(
        node, start_s, elapsed_s, threading.get_ident(), outcome, notes, run.id if run else None, request_id.get()
    )
    if elapsed_s >= _LONG_S or "lore._timing.progress" in sys.modules:
        from lore._timing import progress

        progress.ended(node, elapsed_s, outcome)
    # a call may be here for its event alone, with slow_s=0: many short ones must not push the long ones out
    if elapsed_s >= SPAN_S or 0 <= node.remembered <= FIRST or notes or outcome == "error":
        spans.append(span)
        if run is not None:
            run.span(span)
        for watcher in list(_watchers):
            watcher(span)
    if elapsed_s >= site.slow_s and events.wanted():
        emit("timed", **_event(span, error))


def _event(span: Span, error: BaseException | None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "function": span.node.title,
        "elapsed_s": round(span.elapsed_s, 6),
        "outcome": span.outcome,
        "span": "/".join(span.node.path),
    }
    if span.run is not None:
        fields["run"] = span.run
    if error is not None:
        fields["error"] = type(error).__name__
    return {**span.notes, **fields}


def _noted_of(node: Node) -> Mapping[str, Any]:
    """Return what was noted so far during the call in progress."""
    return next((values for owner, values in _noted.get() if owner is node), {})


def _notes_of(node: Node) -> Mapping[str, Any]:
    """Take what was noted during the call that ends."""
    if not _noted.get():
        return {}
    notes = _noted_of(node)
    _noted.set(tuple(pair for pair in _noted.get() if pair[0] is not node))
    return notes


# --- who fed whom -----------------------------------------------------------------------------------------------------

_made: dict[int, tuple[weakref.ref[Any], str]] = {}


def _trace(node: Node, result: object, arguments: tuple[Any, ...], keywords: Mapping[str, Any] | None) -> None:
    """Note which functions made the arguments of this call, and that its result is its own."""
    values = (*arguments, *keywords.values()) if keywords else arguments
    for value in values:
        for one in value if type(value) in (list, tuple) and len(value) <= 16 else (value,):
            known = _made.get(id(one))
            if known is not None and known[0]() is one and known[1] != node.title:
                flows[known[1], node.title] = flows.get((known[1], node.title), 0) + 1
    for one in result if type(result) is tuple else (result,):
        _is_made_by(node.title, one)


def _is_made_by(title: str, value: object) -> None:
    try:
        known = weakref.ref(value)
    except TypeError:  # numbers, strings, lists: nothing that can be told apart
        return
    if len(_made) >= 4096:
        for key in [key for key, (ref, _) in list(_made.items()) if ref() is None] or list(_made)[:1024]:
            _made.pop(key, None)
    # who hands on what another one made feeds those that get it from here on: the outermost that returned it
    _made[id(value)] = (known, title)


# --- folding ----------------------------------------------------------------------------------------------------------


def collect() -> None:
    """
    Fold everything that has been measured so far, in this process.
    """
    with _folding:
        _fold_all()


def nodes() -> list[Node]:
    """Give all nodes that have something to say; call `collect` before."""
    found = [node for site in _living_sites() for node in list(site.nodes.values())]
    return [node for node in (*found, *list(_guests.values())) if node.durations.count or node.counts]


def _living_sites() -> list[Site]:
    return [site for ref in list(_sites.values()) if (site := ref()) is not None]


def _fold_all() -> int:
    folded = sum(_fold(node) for site in _living_sites() for node in list(site.nodes.values()) if node.buffer)
    while _retired:
        for node in _retired.pop().values():
            folded += _fold(node)
            _bequeath(node)
    return folded + _fold_told()


def _fold(node: Node) -> int:
    """Count what stands in a node's buffer. Calls that append meanwhile are left for the next fold."""
    global _calls
    buffer = node.buffer
    count = len(buffer)
    if not count:
        return 0
    taken = buffer[:count]
    del buffer[:count]
    before_s = node.durations.total_s
    added = node.durations.add(taken)
    spent_s = node.durations.total_s - before_s
    if not node.is_recursive:
        node.counted_s += spent_s
    if node.series is None:
        node.series = metrics.series("lore_timed_seconds", function=node.title)
    node.series.observe(added, spent_s)
    _calls += count
    return count


def _fold_told() -> int:
    count = len(_told)
    taken = _told[:count]
    del _told[:count]
    for take, *what in taken:
        take(*what)
    return count + _fold_answered()


def _fold_answered() -> int:
    """Count the answered requests, those of one endpoint and status together."""
    count = len(_answered)
    if not count:
        return 0
    taken = _answered[:count]
    del _answered[:count]
    alike: dict[tuple[str, int], list[float]] = {}
    for endpoint, status, elapsed_s in taken:
        alike.setdefault((endpoint, status), []).append(elapsed_s)
    for (endpoint, status), elapsed in alike.items():
        _count_requests(endpoint, status, elapsed)
    return count


def _told_error(node: Node) -> None:
    node.add("errors", 1)
    metrics.series("lore_timed_errors_total", function=node.title).count()


def _told_cache(node: Node, function: str, outcome: str, saved_s: float) -> None:
    node.add({"hit": "hits", "miss": "misses", "error": "cache_errors"}.get(outcome, outcome), 1)
    metrics.series("lore_cache_requests_total", function=function, outcome=outcome).count()
    if saved_s > 0:
        node.add("saved_s", saved_s)
        metrics.series("lore_cache_saved_seconds_total", function=function).count(saved_s)


def _told_query(node: Node, rows: int, nbytes: int, elapsed_s: float) -> None:
    node.add("queries", 1)
    node.add("rows", rows)
    node.add("bytes", nbytes)
    node.add("query_s", elapsed_s)


def _count_requests(endpoint: str, status: int, elapsed: list[float]) -> None:
    durations = requests.get(endpoint)
    if durations is None:
        durations = requests[endpoint] = Durations()
    added = durations.add(elapsed)
    statuses[endpoint, status] = statuses.get((endpoint, status), 0) + len(elapsed)
    metrics.series("lore_http_requests_total", endpoint=endpoint, status=str(status)).count(len(elapsed))
    metrics.series("lore_http_request_seconds", endpoint=endpoint).observe(added, sum(elapsed))


def _told_overhead(seconds: float) -> None:
    global _overhead_s
    _overhead_s += seconds


def _told_meter(node: Node, cpu_s: float, memory_bytes: int) -> None:
    node.cpu_s += cpu_s
    node.memory_bytes = max(node.memory_bytes, memory_bytes)


def _retire(identity: int, nodes: dict[Any, Node]) -> None:
    """A decorated function is gone: what it measured stays in the tree, below its name."""
    _sites.pop(identity, None)
    _retired.append(nodes)


def _bequeath(node: Node) -> None:
    if not node.durations.count and not node.counts:
        return
    heir = _guests.get(node.path)
    if heir is None:
        heir = _guests[node.path] = Node(None, node.title, node.function)
        heir.path = node.path
    heir.durations.merge(node.durations)
    heir.counted_s += node.counted_s
    heir.cpu_s += node.cpu_s
    heir.memory_bytes = max(heir.memory_bytes, node.memory_bytes)
    heir.notes.update(node.notes)
    for what, amount in node.counts.items():
        heir.add(what, amount)
    node.clear()


# --- when to write ----------------------------------------------------------------------------------------------------


class _Pace:
    """Fifty writes a second and two hundred at once: what a busy process pays for being seen by others is bounded."""

    def __init__(self) -> None:
        self.left, self.at = 200.0, 0.0

    def allows(self, now: float) -> bool:
        self.left = min(200.0, self.left + max(0.0, now - self.at) * 50.0)
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


_pace = _Pace()
_told_due = 0.0
_calls = 0
_overhead_s = 0.0


def _settle(node: Node, now: float) -> None:
    """Fold one node, and let the other processes see it unless that was done a moment ago."""
    if not _folding.acquire(blocking=False):
        _sweeper.wake()
        return
    try:
        count = _fold(node)  # clocked with the calls, see `overhead_s`
        since = clock()
        if _pace.allows(now):
            _fold_told()
            metrics.flush(wait=False)
            node.due = 0.0
        else:
            # so that a fold finds about 4,096 durations, which is what the processor's cache likes
            if count > 8192:
                node.pause_s = max(0.0005, node.pause_s * 4096 / count)
            elif count < 1024:
                node.pause_s = min(_PAUSE_S, node.pause_s * 2)
            node.due = now + node.pause_s
            _sweeper.wake()
        _told_overhead(clock() - since)
    finally:
        _folding.release()


def _settle_told() -> None:
    global _told_due
    now = clock()
    if now < _told_due or not _folding.acquire(blocking=False):
        return
    try:
        _fold_told()
        if _pace.allows(now):
            metrics.flush(wait=False)
            _told_due = 0.0
        else:
            _told_due = now + 0.02
            _sweeper.wake()
        _told_overhead(clock() - now)
    finally:
        _folding.release()


class _Sweeper:
    """
    A thread that writes what a burst of calls has left unwritten; there is none while there is nothing to write.

    It ends when it has found nothing for a tenth of a second, and before the process forks.
    """

    def __init__(self) -> None:
        self.changing = threading.Lock()
        self.thread: threading.Thread | None = None
        self.stopping = threading.Event()

    def wake(self) -> None:
        if self.thread is not None:
            return
        with self.changing:
            if self.thread is None:
                thread = threading.Thread(target=self._run, name="lore-timing", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down: `at_exit` will write
                    return
                self.thread = thread

    def _run(self) -> None:
        idle, pause_s = 0, _SWEEP_S / 4
        while not self.stopping.wait(pause_s):
            idle, pause_s = 0 if self._sweep() else idle + 1, _SWEEP_S
            # no call is put off for longer than the pause of its node: after that one would wake the next thread
            if idle * _SWEEP_S > 2 * _PAUSE_S:
                with self.changing:
                    self.thread = None
                return

    def _sweep(self) -> int:
        try:
            with _folding:
                count = _fold_all()
            metrics.flush()
        except Exception as error:
            _failed_to_measure(error)
            return 0
        return count

    def stop(self) -> bool:
        """End the thread; tell whether there was one."""
        thread = self.thread
        if thread is None or thread is threading.current_thread():
            return False
        self.stopping.set()
        thread.join(1.0)
        self.stopping.clear()
        self.thread = None
        return True


_sweeper = _Sweeper()
_was_sweeping = False


def _before_fork() -> None:
    global _was_sweeping
    _was_sweeping = _sweeper.stop()


def _after_fork_in_parent() -> None:
    if _was_sweeping:
        _sweeper.wake()


def _after_fork_in_child() -> None:
    """Start from nothing: what was measured before the fork is the parent's to tell."""
    global _folding, _sweeper, _pace, _calls, _overhead_s, _told_due
    _folding = threading.Lock()
    _sweeper = _Sweeper()
    _pace = _Pace()
    _calls, _overhead_s, _told_due = 0, 0.0, 0.0
    _told.clear()
    _answered.clear()
    _retired.clear()
    spans.clear()
    flows.clear()
    requests.clear()
    statuses.clear()
    for node in [node for site in _living_sites() for node in site.nodes.values()] + list(_guests.values()):
        node.buffer.clear()
        node.clear()
        node.due = 0.0
    metrics.after_fork()
    if "lore._timing.progress" in sys.modules:
        sys.modules["lore._timing.progress"].after_fork()
    for watcher in _watchers:
        getattr(watcher, "after_fork", lambda: None)()
    for run in list(open_runs.values()):
        run.after_fork()


def _at_exit() -> None:
    try:
        _sweeper.stop()
        metrics.write_all()
    except Exception as error:
        _failed_to_measure(error)


def _hand_in() -> None:
    collect()
    spent = metrics.series("lore_overhead_seconds_total")
    now_s = _overhead_s + _calls * (_call_cost_s[0] if _call_cost_s else _USUAL_CALL_COST_S)
    if now_s > spent.values[0]:
        spent.count(now_s - spent.values[0])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
metrics.before_reading.append(_hand_in)


# --- what it costs ----------------------------------------------------------------------------------------------------

_call_cost_s: list[float] = []
_USUAL_CALL_COST_S = 4e-7


def overhead_s() -> float:
    """Return the seconds that lore has cost this process: what was reported, and calls times the measured cost."""
    collect()
    return _overhead_s + _calls * cost_of_a_call_s()


def cost_of_a_call_s() -> float:
    """Measure, once, what a timed call of a function costs beyond the function."""
    if not _call_cost_s:
        from lore._timing import wrappers

        _call_cost_s.append(wrappers.measured_cost_s())
    return _call_cost_s[0]


# --- progress ---------------------------------------------------------------------------------------------------------


def is_somebody_watching() -> bool:
    """Tell whether somebody sits in front of this process: a terminal or a notebook, and no CI."""
    if "ipykernel" in sys.modules:
        return True
    try:
        return sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("CI")
    except Exception:
        return False
