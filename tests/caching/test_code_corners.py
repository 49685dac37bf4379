"""
The digest of code where what counts lies in an unusual place: two imports under one name, attributes of functions, names
made on demand, what a class was told by its decorator.
"""

from __future__ import annotations

import copy
import importlib
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lore._caching.code import Code

Load = Callable[..., types.ModuleType]


@pytest.fixture(name="load")
def _load(tmp_path: Path) -> Iterator[Load]:
    """Write a program into a folder of its own and import it; one that was loaded before is forgotten."""
    before, folders = set(sys.modules), list(sys.path)

    def forget() -> None:
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]
        sys.path[:] = folders

    def load(text: str, **others: str) -> types.ModuleType:
        forget()
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, content in {"corner": text, **others}.items():
            path = folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content))
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        return importlib.import_module("corner")

    yield load
    forget()


RULE = "def rule(x): return x + 1\n"

# A program by its files, and the text to exchange in one of them.
EDITS: dict[str, tuple[dict[str, str], str, str]] = {
    "the first of two imports under one name": (
        {
            "corner": """
                def f(x):
                    if x > 0:
                        from above import rule
                    else:
                        from below import rule
                    return rule(x)
                """,
            "above": RULE,
            "below": "def rule(x): return -x",
        },
        "x + 1", "x + 2",
    ),
    "an import with another to fall back on": (
        {
            "corner": """
                def f(x):
                    try:
                        import fast as impl
                    except ImportError:
                        import slow as impl
                    return [impl.rule(y) for y in x]
                """,
            "fast": RULE,
            "slow": "def rule(x): return -x",
        },
        "x + 1", "x + 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_in_a_corner_counts(name: str, load: Load) -> None:
    """An edit that a result depends on changes the digest; the same program again has the same digest."""
    files, old, new = EDITS[name]
    edited = {path: text.replace(old, new) for path, text in files.items()}
    assert edited != files

    def digest(files: dict[str, str]) -> bytes:
        others = {path: text for path, text in files.items() if path != "corner"}
        return Code.of(load(files["corner"], **others).f).digest()

    assert digest(files) == digest(files) != digest(edited)


# A module, and what happens to it while it runs.
CHANGES: dict[str, tuple[str, Callable[[Any], object]]] = {
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_a_corner_is_seen(name: str, load: Load) -> None:
    """What is changed in the running program changes the digest, also for who looks for the first time."""
    text, change = CHANGES[name]
    module: Any = load(text)
    code = Code.of(module.f)
    before = code.digest()
    module.f(1)
    assert code.digest() == before
    change(module)
    assert before != code.digest() == Code.of(module.f).digest()


# A module whose function leaves something behind that is no part of what it does.
UNCHANGED: dict[str, tuple[str, Callable[[Any], object]]] = {
    "a class whose instances are copied": (
        """
        from dataclasses import dataclass
        @dataclass
        class P: a: int
        class Q: b = 1
        def f(x): return P(x), Q()
        """,
        lambda m: copy.deepcopy(m.f(1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_python_leaves_behind_does_not_count(name: str, load: Load) -> None:
    """What a call or a copy leaves behind on classes and functions is no reason to compute again."""
    text, happen = UNCHANGED[name]
    module: Any = load(text)
    code = Code.of(module.f)
    before = code.digest()
    happen(module)
    assert before == code.digest() == Code.of(module.f).digest()
