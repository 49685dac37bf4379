"""Everything at once: threads, tasks, forks, reports and scrapes lose no call."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

import lore
from lore.timing import timed

pytestmark = pytest.mark.stress
CALLS = 20_000


def test_nothing_is_lost_while_everybody_looks() -> None:
    """Six threads call, three look: every call is counted once, in the function and in Prometheus' text."""

    @timed("stressed inner")
    def inner(value: int) -> int:
        if value % 1_000 == 0:
            raise KeyError(value)
        return value

    @timed("stressed outer")
    def outer(value: int) -> int:
        try:
            return inner(value)
        except KeyError:
            return -1

    stopping = threading.Event()
    problems: list[BaseException] = []

    def guarded(work: Any) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                problems.append(error)

        return threading.Thread(target=run)

    def look(what: Any) -> Any:
        def work() -> None:
            while not stopping.wait(0.005):
                what()

        return work

    callers = [guarded(lambda: [outer(value) for value in range(CALLS)]) for _ in range(6)]
    lookers = [
        guarded(look(lambda: str(lore.timing.report()))),
        guarded(look(lore.timing.prometheus)),
        guarded(look(inner.timing_info)),
    ]
    for thread in (*callers, *lookers):
        thread.start()
    for thread in callers:
        thread.join()
    stopping.set()
    for thread in lookers:
        thread.join()
    assert problems == []
    info = inner.timing_info()
    assert (info.count, info.errors, outer.timing_info().count) == (6 * CALLS, 6 * CALLS // 1_000, 6 * CALLS)
    assert f'lore_timed_seconds_count{{function="stressed inner"}} {6 * CALLS}\n' in lore.timing.prometheus()


def test_many_tasks_keep_their_places() -> None:
    """A thousand tasks that wait in between stand below their own caller, each of two callers with its own."""

    @timed("stress leaf")
    async def leaf() -> None:
        await asyncio.sleep(0)

    async def many() -> None:
        await asyncio.gather(*(leaf() for _ in range(500)))

    one, other = timed("stress one")(many), timed("stress other")(many)

    async def main() -> None:
        await asyncio.gather(one(), other())

    asyncio.run(main())
    rows = lore.timing.report().to_frame().set_index("path")["calls"]
    assert (rows["stress one/stress leaf"], rows["stress other/stress leaf"]) == (500, 500)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forking_amid_threads() -> None:
    """A process that forks while its threads call goes on counting exactly, and its children start from zero."""

    @timed("forked amid threads")
    def work() -> None: ...

    stopping = threading.Event()
    counts = [0] * 4

    def call(place: int) -> None:
        while not stopping.is_set():
            work()
            counts[place] += 1

    threads = [threading.Thread(target=call, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(10):
        child = os.fork()
        if child == 0:
            work()
            os._exit(0 if work.timing_info().count == 1 and lore.timing.prometheus() else 1)
        codes.append(os.waitpid(child, 0)[1])
    stopping.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 10
    assert work.timing_info().count == sum(counts)
