"""What the tests with real servers serve."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pandas as pd

import lore
from lore.errors import RequestError

loaded: list[int] = []


def load() -> None:
    """Stand for loading a model: note the process, and take a moment."""
    time.sleep(float(os.environ.get("SHOP_WARM_S", "0")))
    loaded.append(os.getpid())


@lore.endpoint(warm=load)
def add(a: float, b: int = 2) -> float:
    """Add two numbers."""
    return a + b


@lore.endpoint(methods=("GET", "POST"))
def pid() -> dict[str, Any]:
    """Tell the process, and where the model was loaded."""
    return {"pid": os.getpid(), "loaded": loaded}


@lore.endpoint
def sleep(seconds: float) -> float:
    """Take a while."""
    time.sleep(seconds)
    return seconds


@lore.endpoint
def burn(seconds: float) -> float:
    """Compute for a while."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return seconds


@lore.endpoint(max_body_bytes=1_000)
def small(text: str) -> int:
    """Take a short text."""
    return len(text)


@lore.endpoint
def rows(rows: pd.DataFrame) -> int:
    """Count rows."""
    return len(rows)


@lore.endpoint(batch=16)
def batched(x: list[int]) -> list[list[int]]:
    """Tell the size of the batch beside each row."""
    time.sleep(0.05)
    return [[value, len(x)] for value in x]


@lore.endpoint(timeout_s=0.1)
def slow(seconds: float) -> float:
    """Take longer than it may."""
    time.sleep(seconds)
    return seconds


@lore.endpoint(auth="token")
def secret() -> str:
    """Need a token."""
    return "in"


@lore.endpoint
def count(n: int) -> Iterator[int]:
    """Stream numbers."""
    yield from range(n)


@lore.endpoint
def broken(n: int) -> Iterator[int]:
    """Stream numbers and fail."""
    yield from range(n)
    raise ValueError("hidden")


@lore.endpoint
def fail(kind: str = "value") -> None:
    """Fail in a way."""
    if kind == "request":
        raise RequestError("kind", "not this one")
    raise {"exit": SystemExit, "value": ValueError, "os": OSError, "memory": MemoryError}[kind]("hidden")


@lore.endpoint
def text(x: str) -> str:
    """Give a text back."""
    return x


app = lore.serve.app(add, pid, sleep, burn, small, rows, batched, slow, secret, count, broken, fail, text)
