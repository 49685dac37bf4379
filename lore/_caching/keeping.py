"""
Keeping results: from a call to its key, from the key to an entry, and where there is none, to a computation.

One `Keeper` stands behind each cached function in each process. What it does is the same for plain and for coroutine
functions: find, else take the flight, take the claim, find again, compute, save. The two shells that differ by `await`
stand next to each other; everything else they share.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from io import BytesIO, IOBase, StringIO
from time import perf_counter
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar

from xxhash import xxh3_64_hexdigest, xxh3_128_digest, xxh3_128_hexdigest

from lore import _inputs
from lore._caching import entries, flights, open_formats, references, stories, values
from lore._caching.binding import Binder
from lore._caching.code import Code
from lore._caching.entries import Stored, signing_key, why_invalid
from lore._caching.references import Ref
from lore._caching.stores import Claim, Store
from lore._timing import spans
from lore._warning import warn
from lore._wrapping import Kind, kind_of, name_of, signature_of
from lore.errors import IntegrityError, StoreError, UnkeyableArgument

__all__ = ["Keeper", "Plan", "disabled"]

T = TypeVar("T")

_LARGE = 4 << 20
_MOST_KNOWN = 256

disabled: ContextVar[bool] = ContextVar("lore_cache_disabled", default=False)


class Plan(NamedTuple):
    """The options of one `cached`, checked; travels with the function."""

    store: Callable[[], Store]
    ttl_s: float = math.inf
    version: object = None
    code: bool = True
    ignore: tuple[str, ...] = ()
    key: Callable[..., object] | None = None
    memory: int = 0
    verify: bool = True
    format: str | None = None


Outcome = Literal["miss", "stale"] | IntegrityError | OSError


# A valid result: the value, when it was made, how long that took, until when it is valid, what it was made from.
# A plain tuple, because one is made on every hit.
Found = tuple[Any, float, float, float, Sequence[_inputs.Input]]


class Kept:
    """A result that stays in the process, the store it belongs to, and when it had its turn."""

    __slots__ = ("found", "store", "turn")

    def __init__(self, found: Found, store: Store, turn: int) -> None:
        self.found = found
        self.store = store
        self.turn = turn

    def still_valid(self) -> bool:
        _, created_s, _, until_s, inputs = self.found
        return why_invalid(created_s, until_s, inputs) is None


class Keeper:
    """
    Keeps the results of one function.

    Args:
        function: what is cached.
        plan: how.
        stored_name: the name that its results are stored under; default: what this process would call it.

    Attributes:
        name: of the function, as events and metrics know it.
        folder: the part of the store that holds the function's entries.
        hits, misses, stale, errors, saved_s: what happened so far in this process.

    Threads: safe. The counters are plain additions, which CPython does not interrupt.
    """

    def __init__(self, function: Callable[..., Any], plan: Plan, stored_name: str | None = None) -> None:
        self.function = function
        self.plan = plan
        self.kind: Kind = kind_of(function)
        self.name = name_of(function)
        self.stored_name = stored_name or stored_name_of(function)
        self.folder = _folder_of(self.stored_name)
        self.binder = Binder(signature_of(function), plan.ignore)
        self.code = Code.of(function) if plan.code else None
        self.code_digest = _digest_of(self.code, Code.of(plan.key) if plan.key is not None else None)
        self.hits = self.misses = self.stale = self.errors = 0
        self.saved_s = 0.0
        self._memory: dict[str, Kept] = {}
        self._turn = 0
        self._prefix = self.folder + "/"
        self._fixed = xxh3_128_digest(repr((self.stored_name, self.binder.names)).encode()) + values.digest(
            plan.version
        )
        self._told_facts: set[tuple[str, str]] = set()
        self._slow = False
        self._known: dict[str, Stored] = {}
        self._answers: Literal["at once", "later", "in parts"] | None = None
        self._open_store, self._ttl_s, self._verify = plan.store, plan.ttl_s, plan.verify
        self.look = self._look_kept if plan.memory else self.find

    # -- keys

    def parts(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[bytes]:
        """Return the digests of the values that a call's key is made of."""
        counting = self._counting(args, kwargs)
        try:
            return list(map(values.digest, counting))
        except UnkeyableArgument:
            self._complain(args, kwargs)

    def _counting(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return the values that count."""
        if self.plan.key is not None:
            return (self._own_key(args, kwargs),)
        try:
            return self.binder.values(*args, **kwargs)
        except TypeError:
            # A wrong call, which the function itself will refuse, or a decorator of somebody's that takes other
            # arguments than it shows: what was passed is then all there is to go by.
            return (args, tuple(kwargs.items()))

    def _own_key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        key = self.plan.key
        assert key is not None
        args, kwargs = references.resolved(args, kwargs)
        try:
            args, kwargs = self.binder.spelled(*args, **kwargs)
        except TypeError:
            return key(*args, **kwargs)
        return key(*args, **kwargs)

    def key_of(self, parts: list[bytes]) -> str:
        """Return the key of a call from its parts."""
        return xxh3_128_hexdigest(self._fixed + self.code_digest() + b"".join(parts))

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the key of a call."""
        return self.key_of(self.parts(args, kwargs))

    def _complain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        """Find out which argument has no key, and say so with the ways out."""
        if self.plan.key is not None:
            what, named = "what key= returned", {"": self._own_key(args, kwargs)}
        else:
            what, named = "", self._named(args, kwargs)
        for name, value in named.items():
            try:
                values.digest(value)
            except UnkeyableArgument as error:
                raise _unkeyable(self.name, name, what or f"argument {name!r}", error) from error.__cause__
        raise AssertionError("unreachable: no argument is unkeyable")

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.binder.named(args, kwargs)
        except TypeError:
            return {**{f"args[{i}]": value for i, value in enumerate(args)}, **kwargs}

    # -- finding

    @property
    def store(self) -> Store:
        """The store that the next call will use."""
        return self.plan.store()

    def find(self, key: str, since: float) -> Found | Outcome:
        """
        Find a valid result in the store, load it and count the hit.

        Returns:
            The result, or what there is instead: "miss", "stale" or the error that was met.
        """
        name = self._prefix + key
        try:
            store = self._open_store()
            data = store.open(name)
            if data is None:
                return "miss"
            stored = self._known.get(key)
            known = stored is not None and stored.data == data and stored.signed_with == signing_key()
            if stored is None or not known:
                stored = entries.opened(data, store, name)
            inputs, until_s = stored.inputs, stored.until(self._ttl_s)
            if (inputs or until_s != math.inf) and why_invalid(stored.created_s, until_s, inputs) is not None:
                return "stale"
            value = stored.again() if known else stored.load(self._verify)
            store.used(name)
        except (IntegrityError, OSError) as error:
            return error
        if not known:
            self._learn(key, stored)
        found = value, stored.created_s, stored.elapsed_s, until_s, inputs
        self._count_hit(key, found, since)
        return found

    def _learn(self, key: str, stored: Stored) -> None:
        """
        Remember a small entry that was checked byte by byte: the same bytes need not be checked again.

        Also remember whether finding results may take so long that an event loop should not wait for it.
        """
        if self._verify and stored.remember():
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = stored
        if stored.nbytes > _LARGE or any(item.kind not in ("file", "folder") for item in stored.inputs):
            self._slow = True

    def _count_hit(self, key: str, found: Found, since: float) -> None:
        _, _, elapsed_s, until_s, inputs = found
        spent_s = perf_counter() - since
        saved_s = elapsed_s - spent_s if elapsed_s > spent_s else 0.0
        self.hits += 1
        self.saved_s += saved_s
        if inputs or until_s != math.inf:  # what is made from this result inherits
            for item in inputs:
                _inputs.note(item)
            _inputs.expire(until_s)
        spans.cache_event(self.name, "hit", saved_s, key, inputs)
        spans.add_overhead(spent_s)

    def _count_failure(self, key: str, outcome: Outcome) -> None:
        """Count a call that found nothing to use, and say so where something is wrong."""
        if isinstance(outcome, str):
            spans.cache_event(self.name, outcome, 0.0, key)
        else:
            spans.cache_event(self.name, "error", 0.0, key)
            self._tell(key, outcome)
        if outcome == "stale":
            self.stale += 1
        else:
            self.misses += 1

    def _tell(self, key: str, error: IntegrityError | OSError) -> None:
        if isinstance(error, IntegrityError):
            self.errors += 1
            warn(f"A cached result of {self.name} is not used and is computed again ({self._prefix}{key}): {error}")
        else:
            self._store_failed("read", error)

    def _store_failed(self, what: str, error: BaseException) -> None:
        self.errors += 1
        warn(
            f"The cache of {self.name} could not be {what} ({self.store.url}): {error}. "
            f"The function answers all the same.",
            once=("store", what, self.name, type(error)),
        )

    def _look_kept(self, key: str, since: float) -> Found | Outcome:
        """Find a valid result in the process, else in the store."""
        kept = self._memory.get(key)
        if kept is not None and kept.store is not self._open_store():
            kept = None
        if kept is not None and kept.still_valid():
            self._turn = kept.turn = self._turn + 1
            self._count_hit(key, kept.found, since)
            return kept.found
        found = self.find(key, since)
        if isinstance(found, tuple):
            return self._remember(key, found)
        return "stale" if kept is not None and found == "miss" else found

    # -- calling, plain functions

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer a call from the store, or compute, keep and return."""
        since = perf_counter()
        if disabled.get():
            return self.run(args, kwargs)
        parts = self.parts(args, kwargs)
        key = self.key_of(parts)
        found = self.look(key, since)
        if isinstance(found, tuple):
            return found[0]
        return self.compute(key, args, kwargs, parts, found, since)

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function as if it were not cached."""
        args, kwargs = references.resolved(args, kwargs)
        return self.function(*args, **kwargs)

    def compute(
        self,
        key: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parts: list[bytes],
        outcome: Outcome,
        since: float,
        anew: bool = False,
    ) -> Any:
        """Compute a result that is not there, or wait for whoever computes it; `anew` does not look before."""
        if flights.computing(key):
            return self.run(args, kwargs)
        while (flight := flights.board(key)) is not None:
            if not flight.wait():
                return self.run(args, kwargs)
            found = outcome if anew else self.look(key, since)
            if isinstance(found, tuple):
                return found[0]
            if flight.lost and not anew:
                self._count_failure(key, outcome)
                return self.run(args, kwargs)
        kept = True
        try:
            with flights.inside(key), self._claimed(key):
                self._look_again(key, outcome)
                found = outcome if anew else self.look(key, since)
                if isinstance(found, tuple):
                    return found[0]
                self._count_failure(key, outcome)
                story = self.story(args, kwargs, parts)
                args, kwargs = references.resolved(args, kwargs)
                with _inputs.record() as recorder:
                    begun = perf_counter()
                    value = self.function(*args, **kwargs)
                    elapsed_s = perf_counter() - begun
                kept = self._keep(key, value, elapsed_s, recorder, story)
                spans.add_overhead(perf_counter() - since - elapsed_s)
                return value
        finally:
            flights.land(key, lost=not kept)

    def _look_again(self, key: str, outcome: Outcome) -> None:
        """Let a store that keeps a copy at hand look for a newer one: what was found is of no use."""
        if outcome != "miss":
            renew = getattr(self.store, "renew", None)
            if renew is not None:
                renew(self._prefix + key)

    @contextlib.contextmanager
    def _claimed(self, key: str) -> Iterator[None]:
        """Hold the store's claim of a key, so that other processes wait; without one where the store fails."""
        claim = self._claim(key)
        try:
            claim.acquire()
        except OSError as error:
            self._store_failed("locked", error)
        try:
            yield
        finally:
            self._release(claim)

    # -- calling, coroutine functions

    async def call_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what `call` does for a coroutine function."""
        since = perf_counter()
        if disabled.get():
            return await self.run(args, kwargs)
        parts = self.parts(args, kwargs)
        key = self.key_of(parts)
        found = await self._aside(self.look, key, since)
        if isinstance(found, tuple):
            return found[0]
        return await self.compute_async(key, args, kwargs, parts, found, since)

    async def compute_async(
        self,
        key: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parts: list[bytes],
        outcome: Outcome,
        since: float,
        anew: bool = False,
    ) -> Any:
        """Do what `compute` does without ever blocking the event loop on somebody else."""
        if flights.computing(key):
            return await self.run(args, kwargs)
        while (flight := flights.board(key)) is not None:
            await flight.wait_async()
            found = outcome if anew else await self._aside(self.look, key, since)
            if isinstance(found, tuple):
                return found[0]
            if flight.lost and not anew:
                self._count_failure(key, outcome)
                return await self.run(args, kwargs)
        kept = True
        try:
            with flights.inside(key):
                async with self._claimed_async(key):
                    self._look_again(key, outcome)
                    found = outcome if anew else await self._aside(self.look, key, since)
                    if isinstance(found, tuple):
                        return found[0]
                    self._count_failure(key, outcome)
                    story = self.story(args, kwargs, parts)
                    args, kwargs = references.resolved(args, kwargs)
                    with _inputs.record() as recorder:
                        begun = perf_counter()
                        value = await self.function(*args, **kwargs)
                        elapsed_s = perf_counter() - begun
                    kept = await self._aside(self._keep, key, value, elapsed_s, recorder, story)
                    spans.add_overhead(perf_counter() - since - elapsed_s)
                    return value
        finally:
            flights.land(key, lost=not kept)

    @contextlib.asynccontextmanager
    async def _claimed_async(self, key: str) -> AsyncIterator[None]:
        import asyncio

        claim = await self._aside(self._claim, key)
        pause_s = 0.001
        try:
            while not await self._try_aside(claim):
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, 0.05)
        except OSError as error:
            self._store_failed("locked", error)
        try:
            yield
        finally:
            await self._aside(self._release, claim)

    async def _aside(self, call: Callable[..., T], *args: Any) -> T:
        """Call something that reaches for the store: in a thread where that may take its time."""
        if self._slow or getattr(self.plan.store(), "slow", False):
            import asyncio  # here and below: most processes that import lore never need it

            return await asyncio.to_thread(call, *args)
        return call(*args)

    async def _try_aside(self, claim: Claim) -> bool:
        """Try to take a claim; one that a thread gets for a task that was cancelled meanwhile is given back."""
        if not getattr(self.plan.store(), "slow", False):
            return claim.try_acquire()
        import asyncio

        attempt = asyncio.ensure_future(asyncio.to_thread(claim.try_acquire))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            loop = asyncio.get_running_loop()
            attempt.add_done_callback(lambda done: loop.run_in_executor(None, self._release, claim))
            raise

    # -- calling, plain functions that answer with an awaitable

    def call_foreign(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """
        Answer a call of a plain function that somebody's decorator made around a coroutine or generator function.

        What such a function hands out shows only when it is called: the first answer, or the first entry found,
        decides how it is called from then on.
        """
        if disabled.get() or self._answers == "in parts":
            return self.run(args, kwargs)
        if self._answers == "later":
            return self.call_async(args, kwargs)
        if self._answers == "at once":
            return self.call(args, kwargs)
        return self._first_answer(args, kwargs)

    def _first_answer(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        since = perf_counter()
        parts = self.parts(args, kwargs)
        key = self.key_of(parts)
        stored = self._valid(key)
        if stored is not None:
            self._answers = "later" if stored.later else "at once"
            return self.call_foreign(args, kwargs)
        story = self.story(args, kwargs, parts)
        with _inputs.record() as recorder:
            begun = perf_counter()
            answer = self.run(args, kwargs)
            elapsed_s = perf_counter() - begun
        if inspect.isawaitable(answer):
            self._answers = "later"
            getattr(answer, "close", getattr(answer, "cancel", None))()  # type: ignore[misc]
            return self.call_async(args, kwargs)
        if inspect.isgenerator(answer) or inspect.isasyncgen(answer):
            self._answers = "in parts"
            warn(f"{self.name} answers with a generator, which lore.cached leaves alone: nothing of it is stored.")
            return answer
        self._answers = "at once"
        self._count_failure(key, "miss")
        self._keep(key, answer, elapsed_s, recorder, story)
        spans.add_overhead(perf_counter() - since - elapsed_s)
        return answer

    # -- claims

    def _claim(self, key: str) -> Claim:
        try:
            return self.store.claim(self._prefix + key)
        except OSError as error:
            self._store_failed("locked", error)
            return _NoClaim()

    def _release(self, claim: Claim) -> None:
        try:
            claim.release()
        except OSError as error:
            self._store_failed("unlocked", error)

    # -- keeping

    def story(self, args: tuple[Any, ...], kwargs: dict[str, Any], parts: list[bytes]) -> dict[str, Any]:
        """Write down what is known before the function runs: it may change its arguments."""
        names = ("key",) if self.plan.key is not None else self.binder.names
        if len(names) != len(parts):
            names = ("args", "kwargs")
        shown = self._counting(args, kwargs) if self.plan.key is None else ("",)
        return {
            **stories.of_process(),
            "function": self.stored_name,
            "run": spans.run_in_progress(),
            "code": self.code_digest().hex(),
            "version": repr(self.plan.version),
            "ttl_s": None if self.plan.ttl_s == math.inf else self.plan.ttl_s,
            "arguments": {
                name: [part.hex(), stories.brief(name, value)]
                for name, part, value in zip(names, parts, shown, strict=True)
            },
        }

    def _keep(
        self,
        key: str,
        value: Any,
        elapsed_s: float,
        recorder: _inputs.Recorder,
        story: dict[str, Any],
    ) -> bool:
        """Keep a result; tell whether others will find it."""
        now = time.time()
        until_s = min(now + self.plan.ttl_s, recorder.expires_s)
        _inputs.expire(until_s)
        if _used_up(value):
            self._store_failed(
                "written",
                TypeError(
                    f"a {type(value).__name__} can be used once and is not kept: return a list, or what is read from it"
                ),
            )
            return False
        parts = [bytes.fromhex(part) for part, _ in story["arguments"].values()]
        if self.key_of(parts) != key:  # the code changed while it ran: nobody can tell which of the two gave this
            return False
        if self.plan.memory:  # before it is in the store, so that nobody finds it there and keeps another object
            self._remember(key, (value, now, elapsed_s, until_s, recorder.inputs), anew=True)
        return self._save(key, value, elapsed_s, recorder, story) or bool(self.plan.memory)

    def _save(self, key: str, value: Any, elapsed_s: float, recorder: _inputs.Recorder, story: dict[str, Any]) -> bool:
        name, format_ = self._prefix + key, self.plan.format
        try:
            store = self.store
            with _shown(f"store {self.stored_name}"):
                facts = None if format_ is None else open_formats.save(store, name, value, format_)
                store.save(
                    name,
                    lambda file: entries.write(
                        value,
                        file,
                        key=key,
                        elapsed_s=elapsed_s,
                        expires_s=recorder.expires_s,
                        inputs=recorder.inputs,
                        story=story,
                        later=self._answers == "later",
                        format_=facts,
                    ),
                )
            self._save_facts(store, story["code"])
        except Exception as error:
            self._store_failed("written", error)
            return False
        return True

    def _save_facts(self, store: Store, code: str) -> None:
        """Keep, once for each state of the code, what explanations will compare."""
        if self.code is None or (store.url, code) in self._told_facts:
            return
        name = entries.facts_name(self.folder, code)
        if store.open(name) is None:
            facts = self.code.facts()
            store.save(name, lambda file: entries.write_facts(facts, file))
        self._told_facts.add((store.url, code))

    def _remember(self, key: str, found: Found, anew: bool = False) -> Found:
        """Keep a result in the process and return the one that callers get: the first that was there."""
        self._turn += 1
        memory, kept = self._memory, Kept(found, self._open_store(), self._turn)
        present = kept if anew else memory.setdefault(key, kept)
        if present is kept or present.store is not kept.store or not present.still_valid():
            present = memory[key] = kept
        while len(memory) > self.plan.memory:
            oldest = min(list(memory.items()), key=lambda item: item[1].turn)[0]
            memory.pop(oldest, None)
        return present.found

    # -- one entry, all entries

    def contains(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Tell whether a call would be a hit now."""
        key = self.key(args, kwargs)
        return self.remembers(key) or self._valid(key) is not None

    def remembers(self, key: str) -> bool:
        """Tell whether a valid result is kept in the process."""
        kept = self._memory.get(key)
        return kept is not None and kept.store is self._open_store() and kept.still_valid()

    def _valid(self, key: str) -> Stored | None:
        """Return the entry of a key if it would be used, its value not loaded."""
        try:
            stored = entries.read(self.store, self._prefix + key)
            if stored is None or stored.why_invalid(self.plan.ttl_s):
                return None
            if self.plan.verify:
                stored.verify()
        except (IntegrityError, OSError):
            return None
        return stored

    def stored(self, key: str) -> Stored | None:
        """Return the entry of a key as it lies in the store."""
        return entries.read(self.store, self._prefix + key)

    def refresh(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute a call again, whatever is stored."""
        if self.kind == "foreign" and self._answers is None:
            self.forget(args, kwargs)
            return self.call_foreign(args, kwargs)
        parts = self.parts(args, kwargs)
        compute = self.compute_async if self.kind == "async" or self._answers == "later" else self.compute
        return compute(self.key_of(parts), args, kwargs, parts, "miss", perf_counter(), anew=True)

    def ref(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make sure that a call's result is stored, and return its reference."""
        if self.kind != "foreign":
            return self._ref_to(self.key(args, kwargs), self.call(args, kwargs))
        answer = self.call_foreign(args, kwargs)
        if self._answers == "later":
            answer.close()
            return self.ref_async(args, kwargs)
        return self._ref_to(self.key(args, kwargs), answer)

    async def ref_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        """Do what `ref` does for a coroutine function."""
        return self._ref_to(self.key(args, kwargs), await self.call_async(args, kwargs))

    def _ref_to(self, key: str, value: Any) -> Ref:
        store, name = self.store, self._prefix + key
        stored = entries.read(store, name)
        if stored is None:
            raise StoreError(f"The result of {self.name} is not in {store.url}, so nothing can refer to it.")
        try:
            digest = values.digest(value)
        except UnkeyableArgument:  # then no function takes the value itself as an argument, only this reference
            digest = xxh3_128_digest(bytes.fromhex(stored.checksum))
        return Ref.to(store, name, digest, stored.checksum)

    def forget(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Drop the entry of a call."""
        key = self.key(args, kwargs)
        kept = self._memory.pop(key, None) is not None
        name = self._prefix + key
        if self.plan.format is not None:
            self.store.delete(open_formats.file_name(name, self.plan.format))
        return self.store.delete(name) or kept

    def clear(self) -> int:
        """Drop all entries of the function, those of earlier states of its code too."""
        self.forget_memory()
        store = self.store
        removed = [item.name for item in list(store.scan(self.folder)) if store.delete(item.name)]
        return sum(map(entries.is_entry, removed))

    def forget_memory(self) -> None:
        """Drop what is kept in the process."""
        self._memory.clear()
        self._known.clear()
        self._told_facts.clear()


def _digest_of(code: Code | None, key_code: Code | None) -> Callable[[], bytes]:
    """Return what gives the digest of everything that a function runs; with `code=False` there is nothing to give."""
    if code is None:
        return bytes
    if key_code is None:
        return code.digest
    return lambda: code.digest() + key_code.digest()


def _used_up(value: object) -> bool:
    """Tell whether a value is gone once it was read: an iterator, an open file, something to await."""
    return isinstance(value, Iterator | AsyncIterator | Awaitable | IOBase) and not isinstance(
        value, BytesIO | StringIO
    )


class _NoClaim:
    """Stands in where a store cannot lend a claim: everybody computes."""

    def try_acquire(self) -> bool:
        return True

    def acquire(self) -> None:
        pass

    def release(self) -> None:
        pass


def _shown(title: str) -> contextlib.AbstractContextManager[Any]:
    """Show a long store in progress, where somebody sits in front; elsewhere it costs a look."""
    if not (sys.stderr and sys.stderr.isatty()) and "ipykernel" not in sys.modules:
        return contextlib.nullcontext()
    from lore._timing import progress

    return progress.shown(title)


def _unkeyable(function: str, name: str, what: str, error: UnkeyableArgument) -> UnkeyableArgument:
    way = f'ignore=("{name}",) if the result does not depend on it, or ' if name else ""
    return UnkeyableArgument(
        f"{function}: {what} has no key. {error} Ways out: {way}key=lambda ...: with what stands for the arguments.",
        type_name=getattr(error, "type_name", ""),
        path=getattr(error, "path", ""),
    )


def stored_name_of(function: Callable[..., Any]) -> str:
    """
    Return the name under which a function's results are stored.

    A script counts as the module it would be if it were imported, so that both find the same results.
    """
    module = function.__module__
    if module in ("__main__", "__mp_main__"):  # the second is the script inside the workers of multiprocessing
        main = sys.modules.get(module)
        spec = getattr(main, "__spec__", None)
        path = getattr(main, "__file__", None)
        if spec is not None:
            module = spec.name.removesuffix(".__main__")
        elif path:
            module = os.path.splitext(os.path.basename(path))[0]
        else:
            module = "__main__"
    return f"{module}.{function.__qualname__}"


def _folder_of(name: str) -> str:
    """Return a folder name for a function: its own where every file system can take it, else made unique."""
    if re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*", name) and len(name) <= 120:
        return name
    return f"{re.sub(r'[^A-Za-z0-9_.]+', '-', name)[:100].strip('.-')}-{xxh3_64_hexdigest(name.encode())[:8]}"
