"""Who wants the same result at the same time waits, but never for itself."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lore


def finished(run: Any) -> None:
    """Run in a thread; fail where it does not end."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_recursion_through_a_pool_ends() -> None:
    """A function that calls itself with the same key in another thread and waits for that does not wait for itself."""

    @lore.cached(ignore=("depth",))
    def through(x: int, depth: int = 0) -> int:
        if depth >= 2:
            return x
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(through, x, depth + 1).result()

    answers: list[int] = []
    finished(lambda: answers.append(through(3)))
    assert answers == [3]


def test_two_threads_that_want_each_other_s_results_end() -> None:
    """Where each of two threads computes what the other waits for, they compute instead of waiting."""
    both = threading.Barrier(2, timeout=10)
    first: set[str] = set()

    def meet(name: str) -> bool:
        if name in first:
            return False
        first.add(name)
        both.wait()
        return True

    @lore.cached(code=False)
    def f(x: int) -> int:
        return g(x) + 1 if meet("f") else 0

    @lore.cached(code=False)
    def g(x: int) -> int:
        return f(x) + 1 if meet("g") else 0

    def run() -> None:
        with ThreadPoolExecutor(2) as pool:
            assert all(isinstance(n, int) for n in [pool.submit(f, 1).result, pool.submit(g, 1).result] for n in [n()])

    finished(run)


def test_a_signal_handler_may_call_what_it_interrupted() -> None:
    """A handler that makes the same call in the midst of its computation gets an answer."""
    answers: list[int] = []

    @lore.cached(code=False)
    def interrupted(x: int) -> int:
        if not answers:
            answers.append(0)
            os.kill(os.getpid(), signal.SIGUSR1)
        return x

    class Interrupting:
        def __lore_fingerprint__(self) -> str:
            return "interrupting"

        def __repr__(self) -> str:  # asked for when the story is written, after the flight was taken
            if len(answers) < 3:
                answers.append(1)
                os.kill(os.getpid(), signal.SIGUSR1)
            return "Interrupting()"

    before = signal.signal(signal.SIGUSR1, lambda *_: answers.append(interrupted(Interrupting()) and 2))
    try:
        interrupted(Interrupting())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert 2 in answers
