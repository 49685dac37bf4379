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

from lore._caching.code import Code, digest_of

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
    "an import into a global name": (
        {"corner": "def f(x):\n    global helpers\n    import helpers\n    return helpers.rule(x)", "helpers": RULE},
        "x + 1", "x + 2",
    ),
    "an import into a global name by another function": (
        {
            "corner": """
                def load():
                    global rule
                    from helpers import rule
                def f(x):
                    load()
                    return rule(x)
                """,
            "helpers": RULE,
        },
        "x + 1", "x + 2",
    ),
    "an attribute of a function in a list": (
        {
            "corner": """
                def tag(k):
                    def decorate(function):
                        function.weight = k
                        return function
                    return decorate
                @tag(1)
                def one(x): return x
                RULES = [one]
                def f(x): return sum(rule.weight * rule(x) for rule in RULES)
                """
        },
        "@tag(1)", "@tag(5)",
    ),
    "what a module handed on has imported": (
        {"corner": "import rules\ndef f(x): return getattr(rules, 'a').rule(x)", "rules": "import a", "a": RULE},
        "x + 1", "x + 2",
    ),
    "what makes the names of a module": (
        {"corner": "import rules\ndef f(x): return rules.rate", "rules": "_R = 1\ndef __getattr__(name): return lambda: _R"},
        "_R = 1", "_R = 2",
    ),
    "a subclass that its base is asked for": (
        {
            "corner": """
                class Rule: pass
                class One(Rule):
                    def go(self): return 1
                def f(x): return [rule().go() for rule in Rule.__subclasses__()]
                """
        },
        "return 1", "return 2",
    ),
    "a docstring that is read": (
        {"corner": "def g(x):\n    'one'\n    return x\ndef f(x): return g.__doc__"}, "'one'", "'two'",
    ),
    "the repr of a dataclass": (
        {"corner": "from dataclasses import dataclass\n@dataclass(repr=True)\nclass P: a: int\ndef f(x): return repr(P(x))"},
        "repr=True", "repr=False",
    ),
    "the match_args of a dataclass": (
        {"corner": "from dataclasses import dataclass\n@dataclass(match_args=True)\nclass P: a: int\ndef f(x): return P(x)"},
        "match_args=True", "match_args=False",
    ),
    "the metadata of an attrs field": (
        {"corner": "import attrs\n@attrs.define\nclass P: a: int = attrs.field(metadata={'u': 'm'})\ndef f(x): return P(x)"},
        "'m'", "'km'",
    ),
    "an option of a msgspec struct": (
        {"corner": "import msgspec\nclass P(msgspec.Struct, rename='camel'):\n    a_b: int = 1\ndef f(x): return P(x)"},
        "'camel'", "'pascal'",
    ),
    "a default factory of a msgspec struct": (
        {
            "corner": """
                import msgspec
                class P(msgspec.Struct):
                    a: list = msgspec.field(default_factory=lambda: [1])
                def f(x): return P()
                """
        },
        "[1]", "[2]",
    ),
    "a registered subclass": (
        {"corner": "import abc\nclass B(abc.ABC): pass\nclass C: pass\nB.register(C)\ndef f(x): return isinstance(x, B)"},
        "B.register(C)", "",
    ),
    "the format of a struct": (
        {"corner": "import struct\nS = struct.Struct('<i')\ndef f(x): return S.pack(x)"}, "<i", ">i",
    ),
    "a comparison behind a key": (
        {
            "corner": """
                import functools
                def order(a, b): return a - b
                KEY = functools.cmp_to_key(order)
                def f(x): return sorted([x], key=KEY)
                """
        },
        "a - b", "b - a",
    ),
    "a function behind a ufunc": (
        {"corner": "import numpy as np\ndef one(x): return x + 1\nU = np.frompyfunc(one, 1, 1)\ndef f(x): return U(x)"},
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
    "an attribute of a function": (
        "def g(x): return x\ng.weight = 1\ndef f(x): return getattr(g, 'weight')",
        lambda m: setattr(m.g, "weight", 2),
    ),
    "a new attribute of a function": (
        "def g(x): return x\ndef f(x): return vars(g).get('weight')",
        lambda m: setattr(m.g, "weight", 2),
    ),
    "a method that dataclasses wrote": (
        "from dataclasses import dataclass\n@dataclass\nclass P: a: int\ndef f(x): return repr(P(x))",
        lambda m: setattr(m.P, "__repr__", lambda self: "new"),
    ),
    "the defaults of a named tuple": (
        "import typing\nclass P(typing.NamedTuple): a: int = 1\ndef f(x): return P()",
        lambda m: setattr(m.P.__new__, "__defaults__", (2,)),
    ),
    "an attribute of an enumeration's member": (
        "import enum\nclass P(enum.Enum):\n    E = 1\n    def __init__(self, v): self.w = v\ndef f(x): return P.E.w",
        lambda m: setattr(m.P.E, "w", 7),
    ),
    "an item of a dictionary that does not show it": (
        "class D(dict):\n    def items(self): return ()\n    def __iter__(self): return iter(())\n"
        "T = D(a=1)\ndef f(x): return T['a']",
        lambda m: m.T.__setitem__("a", 2),
    ),
    "the factory of a defaultdict": (
        "import collections\nD = collections.defaultdict(int)\ndef f(x): return D.default_factory()",
        lambda m: setattr(m.D, "default_factory", list),
    ),
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
    "a function that counts its calls": (
        """
        import functools
        def counted(function):
            @functools.wraps(function)
            def wrapper(*args):
                wrapper.calls += 1
                return function(*args)
            wrapper.calls = 0
            return wrapper
        @counted
        def g(x): return x
        def f(x): return g(x)
        """,
        lambda m: m.f(1),
    ),
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


def test_functions_that_are_values_are_told_apart_by_their_attributes() -> None:
    """Two functions of one text differ where somebody put different attributes on them."""

    def make(k: int) -> Any:
        def rule(x: int) -> int:
            return x

        rule.k = k  # type: ignore[attr-defined]
        return rule

    assert digest_of(make(1)) == digest_of(make(1)) != digest_of(make(2))
