"""Whatever happens to what a result came from, a call answers what computing now would answer."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import lore
from lore import cache

TTL_S = 60.0


class Service:
    """What a function asks and lore does not see; only a ttl bounds how old its answers may be."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __lore_fingerprint__(self) -> str:
        return "service"


class World(RuleBasedStateMachine):
    """
    Three functions on top of each other, in three states of memory, over one store.

    `bottom` reads a file, `middle` asks a service and is valid for a minute, `top` builds on both and on a constant.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "in.txt")
        self.service = Service()
        self.clock = time.time
        time.time = lambda: self.service.now  # type: ignore[assignment]
        self.scope: dict[str, Any] = {}

    @initialize(memory=st.tuples(*[st.sampled_from([0, 1, 3])] * 3))
    def define(self, memory: tuple[int, int, int]) -> None:
        self.path.write_text("0")
        store = Path(self.folder.name, "store")
        service, path = self.service, str(self.path)
        self.scope.update(FACTOR=1, cache=cache, service=service, PATH=path)
        exec(
            "def bottom(x):\n"
            "    cache.depends_on(PATH)\n"
            "    with open(PATH) as file:\n"
            "        return int(file.read()) + x\n"
            "def middle(x):\n"
            "    return service.now\n"
            "def top(x):\n"
            "    return bottom(x) * FACTOR, middle(x)\n",
            self.scope,
        )
        for name, size in zip(("bottom", "middle", "top"), memory, strict=True):
            ttl = TTL_S if name == "middle" else None
            self.scope[name] = lore.cached(store=store, memory=size, ttl=ttl)(self.scope[name])

    @rule(content=st.integers(0, 3))
    def write(self, content: int) -> None:
        self.path.write_text(str(content))

    @rule(content=st.integers(0, 3))
    def write_behind_its_back(self, content: int) -> None:
        status = self.path.stat()
        self.path.write_text(str(content))
        os.utime(self.path, ns=(status.st_atime_ns, status.st_mtime_ns))

    @rule(factor=st.sampled_from([1, 2, True, 1.0]))
    def edit(self, factor: Any) -> None:
        self.scope["FACTOR"] = factor

    @rule(seconds=st.sampled_from([1, 30, 59, 61, 1000, -5, -100]))
    def wait(self, seconds: int) -> None:
        self.service.now += seconds

    @rule(
        name=st.sampled_from(["bottom", "middle", "top"]),
        x=st.integers(0, 2),
        how=st.sampled_from(["cache_refresh", "cache_forget"]),
    )
    def one(self, name: str, x: int, how: str) -> None:
        getattr(self.scope[name], how)(x)

    @rule(name=st.sampled_from(["bottom", "middle", "top"]))
    def clear(self, name: str) -> None:
        self.scope[name].cache_clear()

    @rule(number=st.integers(0, 20), place=st.floats(0, 1), how=st.sampled_from(["flip", "cut", "empty", "swap"]))
    def damage(self, number: int, place: float, how: str) -> None:
        entries = sorted(Path(self.folder.name, "store").rglob("*/*.lore"))
        if not entries:
            return
        path = entries[number % len(entries)]
        data = path.read_bytes()
        at = int(place * (len(data) - 1))
        damaged = {
            "flip": data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :] if data else b"",
            "cut": data[:at],
            "empty": b"",
            "swap": entries[0].read_bytes(),
        }[how]
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(damaged)
        temporary.rename(path)

    @rule(name=st.sampled_from(["bottom", "top"]), x=st.integers(0, 2))
    def what_is_said_is_done(self, name: str, x: int) -> None:
        """`cache_contains` and `cache_explain` say of a call what it then does."""
        function = self.scope[name]
        contained, explained = function.cache_contains(x), function.cache_explain(x).hit
        before = function.cache_info().hits
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(x)
        assert contained == explained == (function.cache_info().hits > before)

    @invariant()
    def answers_are_those_of_now(self) -> None:
        if "top" not in self.scope:
            return
        content, factor, now = int(self.path.read_text()), self.scope["FACTOR"], self.service.now
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for x in range(3):
                number, asked = self.scope["top"](x)
                assert (number, type(number)) == ((content + x) * factor, type((content + x) * factor))
                assert asked <= now + 2.0, "an answer from the future"
                assert now - asked < TTL_S, "an answer that outlived its ttl"

    def teardown(self) -> None:
        time.time = self.clock
        self.folder.cleanup()


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestWorld = pytest.mark.stress(TestWorld)
