"""
The digest of code: an edit that can change a result changes it, an edit that cannot does not.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from lore._caching.code import Code, Facts, explain

HELPERS = """
    LIMIT = 3
    _RATE = 0.5

    def clean(rows):
        return [row for row in rows if row < LIMIT]

    def scale(rows, by=2):
        return [row * by * _RATE for row in rows]
"""


class Edit(NamedTuple):
    """
    One edit of a program whose function is `f` in `main.py`.

    Args:
        files: the program before, by path.
        edits: `(old, new)` texts to replace, or `(path, old, new)` where the file is not `main.py`.
        named: what `explain` must name, where the edit must count.
    """

    files: dict[str, str]
    edits: list[tuple[str, ...]]
    named: str = ""


def main(text: str, **others: str) -> dict[str, str]:
    """Write a program's files: `pkg__rules` stands for `pkg/rules.py`."""
    paths = {name.replace("__init__", "\0").replace("__", "/").replace("\0", "__init__"): name for name in others}
    return {"main.py": text} | {f"{path}.py": others[name] for path, name in paths.items()}


PLAIN = main(
    """
    import helpers

    def f(x, factor=2, *, extra=None):
        total = 0
        for row in helpers.clean(x):
            total += row * factor
        return total
    """,
    helpers=HELPERS,
)

COUNTS = {
    "its own body": Edit(PLAIN, [("+= row", "-= row")], "function f()"),
    "a constant in its body": Edit(PLAIN, [("total = 0", "total = 1")], "function f()"),
    "True for 1": Edit(main("def f(x): return x + 1"), [("+ 1", "+ True")]),
    "1.0 for 1": Edit(main("def f(x): return x + 1"), [("+ 1", "+ 1.0")]),
    "-0.0 for 0.0": Edit(main("def f(x): return x * 0.0"), [("0.0", "-0.0")]),
    "bytes for text": Edit(main("def f(x): return 'a'"), [("'a'", "b'a'")]),
    "a default": Edit(PLAIN, [("factor=2", "factor=3")], "factor of f() in main.py changed from 2 to 3"),
    "a keyword default": Edit(PLAIN, [("extra=None", "extra=0")], "extra of f()"),
    "a default of another type": Edit(PLAIN, [("factor=2", "factor=2.0")]),
    "a default made optional": Edit(PLAIN, [("factor=2,", "factor,")]),
    "a helper in another file": Edit(PLAIN, [("helpers.py", "row < LIMIT", "row <= LIMIT")], "clean() in helpers.py"),
    "a helper's constant": Edit(PLAIN, [("helpers.py", "LIMIT = 3", "LIMIT = 4")], "LIMIT in helpers.py changed from 3 to 4"),
    "a helper's constant of another type": Edit(PLAIN, [("helpers.py", "LIMIT = 3", "LIMIT = 3.0")]),
    "an import from": Edit(
        main("from helpers import scale\ndef f(x): return scale(x)", helpers=HELPERS),
        [("helpers.py", "by=2", "by=3")],
        "by of scale()",
    ),
    "an import under another name": Edit(
        main("from helpers import scale as s\ndef f(x): return s(x)", helpers=HELPERS),
        [("helpers.py", "_RATE = 0.5", "_RATE = 0.25")],
        "_RATE in helpers.py changed from 0.5 to 0.25",
    ),
    "another import under the same name": Edit(
        main("from helpers import scale as s\ndef f(x): return s(x)", helpers=HELPERS),
        [("import scale as", "import clean as")],
        "clean()",
    ),
    "a module reached through a package": Edit(
        main(
            "import pkg.deep.rules as r\ndef f(x): return r.other.rule(x)",
            pkg____init__="",
            pkg__deep____init__="",
            pkg__deep__rules="from pkg.deep import other",
            pkg__deep__other="def rule(x): return x + 1",
        ),
        [("pkg/deep/other.py", "x + 1", "x + 2")],
        "rule() in pkg/deep/other.py",
    ),
    "a package's re-export": Edit(
        main("import pkg\ndef f(x): return pkg.rule(x)", pkg____init__="from .rules import rule", pkg__rules="def rule(x): return x"),
        [("pkg/rules.py", "return x", "return -x")],
        "rule()",
    ),
    "a star import": Edit(
        main("from helpers import *\ndef f(x): return scale(x)", helpers=HELPERS),
        [("helpers.py", "by * _RATE", "by / _RATE")],
    ),
    "an import inside the function": Edit(
        main("def f(x):\n    import helpers\n    return helpers.scale(x)", helpers=HELPERS),
        [("helpers.py", "by * _RATE", "by / _RATE")],
        "scale()",
    ),
    "an import from inside the function": Edit(
        main("def f(x):\n    from helpers import scale as s\n    return s(x)", helpers=HELPERS),
        [("helpers.py", "by * _RATE", "by / _RATE")],
        "scale()",
    ),
    "a relative import inside a function of a package": Edit(
        main(
            "from pkg.entry import g\ndef f(x): return g(x)",
            pkg____init__="",
            pkg__entry="def g(x):\n    from . import rules\n    from .rules import rule\n    return rule(x) + rules.other(x)",
            pkg__rules="def rule(x): return x\ndef other(x): return x",
        ),
        [("pkg/rules.py", "other(x): return x", "other(x): return -x")],
        "other()",
    ),
    "an import inside used in a nested function": Edit(
        main("def f(x):\n    import helpers\n    def g(): return helpers.scale(x)\n    return g()", helpers=HELPERS),
        [("helpers.py", "by * _RATE", "by / _RATE")],
    ),
    "two imports loaded at once": Edit(
        main(
            "def f(x):\n    from helpers import scale, LIMIT\n    return g(LIMIT, scale)\ndef g(a, b): return b([a])",
            helpers=HELPERS,
        ),
        [("helpers.py", "LIMIT = 3", "LIMIT = 4")],
        "LIMIT",
    ),
    "a dotted import inside": Edit(
        main("def f(x):\n    import pkg.rules\n    return pkg.rules.rule(x)", pkg____init__="", pkg__rules="def rule(x): return x"),
        [("pkg/rules.py", "return x", "return -x")],
    ),
    "a dotted import inside under another name": Edit(
        main("def f(x):\n    import pkg.rules as r\n    return r.rule(x)", pkg____init__="", pkg__rules="def rule(x): return x"),
        [("pkg/rules.py", "return x", "return -x")],
    ),
    "a helper of a helper": Edit(
        main("def a(x): return b(x)\ndef b(x): return c(x)\ndef c(x): return x + 1\ndef f(x): return a(x)"),
        [("x + 1", "x + 2")],
        "helper c() in main.py changed",
    ),
    "mutual recursion": Edit(
        main("def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)\ndef f(n): return even(n)"),
        [("n != 0", "n > 0")],
        "odd()",
    ),
    "its own recursion": Edit(main("def f(n): return 1 if n < 2 else n * f(n - 1)"), [("n < 2", "n < 3")]),
    "a list": Edit(main("STOP = ['a', 'b']\ndef f(x): return x in STOP"), [("'b'", "'c'")], "STOP"),
    "the order of a list": Edit(main("STOP = ['a', 'b']\ndef f(x): return STOP[x]"), [("'a', 'b'", "'b', 'a'")]),
    "a dict's value": Edit(main("T = {'a': [1, {2: 3}]}\ndef f(x): return T[x]"), [("2: 3", "2: 4")], "T in main.py changed from"),
    "a tuple for a list": Edit(main("T = [1, 2]\ndef f(x): return T"), [("[1, 2]", "(1, 2)")]),
    "a set": Edit(main("T = {'a', 'b'}\ndef f(x): return x in T"), [("'b'", "'c'")]),
    "a function in a table": Edit(
        main("def one(x): return 1\ndef two(x): return 2\nT = {'one': one, 'two': [two]}\ndef f(x): return T[x](x)"),
        [("return 2", "return 3")],
        "two()",
    ),
    "functions in a table swapped": Edit(
        main("def one(x): return 1\ndef two(x): return 2\nT = {'one': one, 'two': two}\ndef f(x): return T[x](x)"),
        [("'one': one, 'two': two", "'one': two, 'two': one")],
    ),
    "a lambda": Edit(main("g = lambda x: x + 1\ndef f(x): return g(x)"), [("x + 1", "x + 2")]),
    "one of two lambdas on a line": Edit(main("a, b = lambda x: x + 1, lambda x: x + 2\ndef f(x): return b(x)"), [("x + 2", "x + 3")]),
    "the use of two lambdas on a line": Edit(main("a, b = lambda x: x + 1, lambda x: x + 2\ndef f(x): return b(x)"), [("b(x)", "a(x)")]),
    "a default of a lambda": Edit(main("g = lambda x, k=1: x + k\ndef f(x): return g(x)"), [("k=1", "k=2")]),
    "a nested function": Edit(main("def f(x):\n    def g(y): return y + 1\n    return g(x)"), [("y + 1", "y + 2")]),
    "a default of a nested function": Edit(main("def f(x):\n    def g(y=1): return y\n    return g()"), [("y=1", "y=2")]),
    "a decorator of a nested function": Edit(
        main("def d(g): return g\ndef e(g): return g()\ndef f(x):\n    @d\n    def g(): return x\n    return g"), [("@d", "@e")]
    ),
    "what a comprehension reaches": Edit(main("K = 1\ndef f(x): return [y + K for y in x]"), [("K = 1", "K = 2")], "K"),
    "what a generator expression reaches": Edit(main("K = 1\ndef f(x): return sum(y + K for y in x)"), [("K = 1", "K = 2")]),
    "what a nested class reaches": Edit(main("K = 1\ndef f(x):\n    class A:\n        k = K\n    return A.k"), [("K = 1", "K = 2")]),
    "what an f-string reaches": Edit(main("K = 1\ndef f(x): return f'{x:>{K}}'"), [("K = 1", "K = 2")]),
    "the text of an f-string": Edit(main("def f(x): return f'a{x}b'"), [("b'", "c'")]),
    "the conversion of an f-string": Edit(main("def f(x): return f'{x!r}'"), [("!r", "!s")]),
    "a match statement": Edit(
        main("def f(x):\n    match x:\n        case {'a': [1, *rest]}: return rest\n        case _: return 0"), [("[1, *rest]", "[2, *rest]")]
    ),
    "a closure variable": Edit(
        main("def make(k):\n    def g(x): return x + k\n    return g\nf = make(1)"), [("make(1)", "make(2)")], "k of make.g() in main.py changed from 1 to 2"
    ),
    "a function in a closure": Edit(
        main("def make(k):\n    def g(x): return k(x)\n    return g\ndef h(x): return 1\nf = make(h)"), [("return 1", "return 2")], "h()"
    ),
    "a method": Edit(
        main("class A:\n    def go(self): return 1\ndef f(x): return A().go()"), [("return 1", "return 2")], "A.go() in main.py"
    ),
    "a method of a base class": Edit(
        main("from helpers import B\nclass A(B): pass\ndef f(x): return A().go()", helpers="class B:\n    def go(self): return 1"),
        [("helpers.py", "return 1", "return 2")],
        "B.go() in helpers.py",
    ),
    "another base class": Edit(
        main("class B:\n    k = 1\nclass C:\n    k = 1\nclass A(B): pass\ndef f(x): return A.k"), [("A(B)", "A(C)")]
    ),
    "a class attribute": Edit(main("class A:\n    k = 1\ndef f(x): return A.k"), [("k = 1", "k = 2")], "A.k in main.py changed from 1 to 2"),
    "a property": Edit(main("class A:\n    @property\n    def p(self): return 1\ndef f(x): return A().p"), [("return 1", "return 2")], "A.p()"),
    "a static method": Edit(
        main("class A:\n    @staticmethod\n    def p(x): return 1\ndef f(x): return A.p(x)"), [("return 1", "return 2")], "A.p()"
    ),
    "a class method": Edit(main("class A:\n    @classmethod\n    def p(cls): return 1\ndef f(x): return A.p()"), [("return 1", "return 2")]),
    "a cached property": Edit(
        main("import functools\nclass A:\n    @functools.cached_property\n    def p(self): return 1\ndef f(x): return A().p"),
        [("return 1", "return 2")],
    ),
    "a metaclass": Edit(
        main("class M(type):\n    def p(cls): return 1\nclass A(metaclass=M): pass\ndef f(x): return A.p()"), [("return 1", "return 2")]
    ),
    "a nested class": Edit(main("class A:\n    class B:\n        k = 1\ndef f(x): return A.B.k"), [("k = 1", "k = 2")]),
    "what a method asks of itself": Edit(
        main("class A:\n    def g(self): return 1\n    def m(self, x): return self.g()\nf = A.m"), [("return 1", "return 2")], "A.g()"
    ),
    "what a method asks of its base": Edit(
        main("class B:\n    def g(self): return 1\nclass A(B):\n    def m(self, x): return super().g()\nf = A.m"), [("return 1", "return 2")]
    ),
    "a dataclass's default": Edit(
        main("from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int = 1\ndef f(x): return P().a"), [("= 1", "= 2")]
    ),
    "a dataclass's field": Edit(
        main("from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\ndef f(x): return P(x)"), [("a: int", "b: int")]
    ),
    "the order of a dataclass's fields": Edit(
        main("from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\n    b: int\ndef f(x): return P(1, 2)"),
        [("a: int\n    b: int", "b: int\n    a: int")],
    ),
    "a dataclass's factory": Edit(
        main(
            "from dataclasses import dataclass, field\ndef new(): return 1\n@dataclass\nclass P:\n    a: int = field(default_factory=new)\n"
            "def f(x): return P().a"
        ),
        [("return 1", "return 2")],
        "new()",
    ),
    "a frozen dataclass": Edit(
        main("from dataclasses import dataclass\n@dataclass(eq=True)\nclass P:\n    a: int\ndef f(x): return P(x)"), [("eq=True", "eq=False")]
    ),
    "a member of an enumeration": Edit(
        main("import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\ndef f(x): return E.A.value"), [("A = 1", "A = 3")]
    ),
    "the method of an enumeration": Edit(
        main("import enum\nclass E(enum.Enum):\n    A = 1\n    def go(self): return 1\ndef f(x): return E.A.go()"), [("return 1", "return 2")]
    ),
    "the text of an enumeration's member": Edit(
        main("import enum\nclass E(enum.Enum):\n    A = 1\n    def __str__(self): return 'a'\ndef f(x): return str(E.A)"), [("'a'", "'b'")]
    ),
    "what an enumeration makes of unknown values": Edit(
        main("import enum\nclass E(enum.Enum):\n    A = 1\n    @classmethod\n    def _missing_(cls, v): return cls.A\ndef f(x): return E(x)"),
        [("return cls.A", "return None")],
    ),
    "how an enumeration's values are made": Edit(
        main("import enum\nclass E(enum.Enum):\n    def _generate_next_value_(n, *a): return n\n    A = enum.auto()\ndef f(x): return E.A"),
        [("return n\n", "return n * 2\n")],
    ),
    "a dataclass's own method": Edit(
        main("from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\n    def __post_init__(self): self.a += 1\ndef f(x): return P(x)"),
        [("+= 1", "+= 2")],
    ),
    "a dataclass's own comparison": Edit(
        main("from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\n    def __eq__(self, o): return True\ndef f(x): return P(x)"),
        [("return True", "return False")],
    ),
    "the default of a pydantic model": Edit(
        main("import pydantic\nclass P(pydantic.BaseModel):\n    a: int = 1\ndef f(x): return P().a"), [("= 1", "= 2")]
    ),
    "the type of a pydantic model's field": Edit(
        main("import pydantic\nclass P(pydantic.BaseModel):\n    a: int = 1\ndef f(x): return P().a"), [("a: int", "a: float")]
    ),
    "a limit of a pydantic model": Edit(
        main("import pydantic\nclass P(pydantic.BaseModel):\n    a: int = pydantic.Field(1, gt=0)\ndef f(x): return P().a"), [("gt=0", "gt=-1")]
    ),
    "a validator of a pydantic model": Edit(
        main(
            "import pydantic\nclass P(pydantic.BaseModel):\n    a: int = 1\n    @pydantic.field_validator('a')\n    @classmethod\n"
            "    def v(cls, a): return a + 1\ndef f(x): return P(a=x).a"
        ),
        [("a + 1", "a + 2")],
    ),
    "the default of a msgspec struct": Edit(
        main("import msgspec\nclass P(msgspec.Struct):\n    a: int = 1\ndef f(x): return P().a"), [("= 1", "= 2")]
    ),
    "the type of a msgspec struct's field": Edit(
        main("import msgspec\nclass P(msgspec.Struct):\n    a: int = 1\ndef f(x): return msgspec.convert(x, P)"), [("a: int", "a: float")]
    ),
    "an attrs class that compares": Edit(
        main("import attrs\n@attrs.define(eq=True)\nclass P:\n    a: int = 1\ndef f(x): return P()"), [("eq=True", "eq=False")]
    ),
    "a default of a scikit-learn estimator": Edit(
        main(
            "from sklearn.base import BaseEstimator\nclass P(BaseEstimator):\n    def __init__(self, a=1): self.a = a\n"
            "    def predict(self, X): return self.a\nP_ = P()\ndef f(x): return P_.predict(x)"
        ),
        [("a=1", "a=2")],
    ),
    "a method of a scikit-learn estimator": Edit(
        main(
            "from sklearn.base import BaseEstimator\nclass P(BaseEstimator):\n    def __init__(self, a=1): self.a = a\n"
            "    def predict(self, X): return self.a\nP_ = P()\ndef f(x): return P_.predict(x)"
        ),
        [("return self.a", "return -self.a")],
        "P.predict()",
    ),
    "behind numba": Edit(
        main("import numba\n@numba.njit\ndef g(x): return x + 1\ndef f(x): return g(x)"), [("x + 1", "x + 2")], "g()"
    ),
    "the options of numba": Edit(
        main("import numba\n@numba.njit\ndef g(x): return x + 1\ndef f(x): return g(x)"), [("numba.njit", "numba.njit(fastmath=True)")]
    ),
    "behind tenacity": Edit(
        main("import tenacity\n@tenacity.retry(stop=tenacity.stop_after_attempt(3))\ndef g(x): return x + 1\ndef f(x): return g(x)"),
        [("x + 1", "x + 2")],
        "g()",
    ),
    "behind wrapt": Edit(
        main("import wrapt\n@wrapt.decorator\ndef d(w, i, a, k): return w(*a)\n@d\ndef g(x): return x + 1\ndef f(x): return g(x)"),
        [("x + 1", "x + 2")],
        "g()",
    ),
    "a wrapper of wrapt": Edit(
        main("import wrapt\n@wrapt.decorator\ndef d(w, i, a, k): return w(*a)\n@d\ndef g(x): return x + 1\ndef f(x): return g(x)"),
        [("return w(*a)", "return -w(*a)")],
        "d()",
    ),
    "behind a dask delayed": Edit(
        main("import joblib\nd = joblib.delayed(len)\ndef g(x): return x + 1\nd = joblib.delayed(g)\ndef f(x): return d(x)"), [("x + 1", "x + 2")]
    ),
    "an annotation that a package's decorator reads": Edit(
        main("import pydantic\n@pydantic.validate_call\ndef g(x: int): return x\ndef f(x): return g(x)"), [("x: int", "x: float")]
    ),
    "a class made by make_dataclass": Edit(
        main("import dataclasses\nP = dataclasses.make_dataclass('P', [('a', int, 1)])\ndef f(x): return P()"), [("int, 1", "int, 2")]
    ),
    "a class made by type": Edit(main("P = type('P', (), {'a': 1})\ndef f(x): return P.a"), [("'a': 1", "'a': 2")]),
    "a class made by pydantic": Edit(
        main("import pydantic\nP = pydantic.create_model('P', a=(int, 1))\ndef f(x): return P().a"), [("int, 1", "int, 2")]
    ),
    "an enumeration made by a call": Edit(main("import enum\nP = enum.Enum('P', 'a b')\ndef f(x): return P.a"), [("'a b'", "'b a'")]),
    "how pydantic checks a call": Edit(
        main("import pydantic\n@pydantic.validate_call(config={'strict': True})\ndef g(x: int): return x\ndef f(x): return g(x)"), [("True", "False")]
    ),
    "the body of a function whose calls pydantic checks": Edit(
        main("import pydantic\n@pydantic.validate_call\ndef g(x: int): return x\ndef f(x): return g(x)"), [("return x\n", "return -x\n")], "g()"
    ),
    "a limit in an annotation": Edit(
        main("from typing import Annotated\nK = Annotated[int, 3]\ndef f(x): return K"), [("int, 3", "int, 4")]
    ),
    "which member of an enumeration": Edit(
        main("import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\nK = E.A\ndef f(x): return K"), [("K = E.A", "K = E.B")]
    ),
    "a named tuple": Edit(
        main("from typing import NamedTuple\nclass N(NamedTuple):\n    a: int = 1\ndef f(x): return N().a"), [("= 1", "= 2")]
    ),
    "a collections.namedtuple": Edit(
        main("import collections\nN = collections.namedtuple('N', 'a b')\ndef f(x): return N(1, 2)"), [("'a b'", "'b a'")]
    ),
    "an attrs class": Edit(main("import attrs\n@attrs.define\nclass P:\n    a: int = 1\ndef f(x): return P().a"), [("= 1", "= 2")]),
    "an attrs converter": Edit(
        main("import attrs\ndef to(x): return 1\n@attrs.define\nclass P:\n    a = attrs.field(converter=to)\ndef f(x): return P(0).a"),
        [("return 1", "return 2")],
        "to()",
    ),
    "an object's attribute": Edit(
        main("class C:\n    def __init__(self, k): self.k = k\nc = C(1)\ndef f(x): return c.k"), [("C(1)", "C(2)")], "c.k in main.py changed from 1 to 2"
    ),
    "an object's method": Edit(main("class C:\n    def go(self): return 1\nc = C()\ndef f(x): return c.go()"), [("return 1", "return 2")]),
    "an object with slots": Edit(
        main("class C:\n    __slots__ = ('k',)\n    def __init__(self, k): self.k = k\nc = C(1)\ndef f(x): return c.k"), [("C(1)", "C(2)")]
    ),
    "an object that cannot be keyed": Edit(
        main("import threading\nclass C:\n    def __init__(self, k): self.k, self.lock = k, threading.Lock()\nc = C(1)\ndef f(x): return c.k"),
        [("C(1)", "C(2)")],
    ),
    "a dict of the user's own kind": Edit(
        main("class D(dict):\n    pass\nd = D(a=1)\ndef f(x): return d['a']"), [("a=1", "a=2")]
    ),
    "a bound method": Edit(
        main("class C:\n    def __init__(self, k): self.k = k\n    def go(self): return self.k\ngo = C(1).go\ndef f(x): return go()"), [("C(1)", "C(2)")]
    ),
    "a bound method of C": Edit(main("get = {'a': 1}.get\ndef f(x): return get(x)"), [("'a': 1", "'a': 2")]),
    "a partial's function": Edit(
        main("import functools\ndef g(k, x): return k + x\np = functools.partial(g, 1)\ndef f(x): return p(x)"), [("k + x", "k - x")], "g()"
    ),
    "a partial's argument": Edit(
        main("import functools\ndef g(k, x): return k + x\np = functools.partial(g, 1)\ndef f(x): return p(x)"), [("(g, 1)", "(g, 2)")]
    ),
    "a partial's keyword": Edit(
        main("import functools\ndef g(x, k): return k + x\np = functools.partial(g, k=1)\ndef f(x): return p(x)"), [("k=1", "k=2")]
    ),
    "behind lru_cache": Edit(
        main("import functools\n@functools.lru_cache\ndef g(x): return 1\ndef f(x): return g(x)"), [("return 1", "return 2")], "g()"
    ),
    "behind singledispatch": Edit(
        main(
            "import functools\n@functools.singledispatch\ndef g(x): return 0\n@g.register\ndef _(x: int): return 1\ndef f(x): return g(x)"
        ),
        [("return 1", "return 2")],
    ),
    "behind a decorator": Edit(
        main(
            "import functools\ndef deco(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a) + 1\n    return w\n@deco\ndef g(x): return 0\n"
            "def f(x): return g(x)"
        ),
        [("return 0", "return 5")],
        "g()",
    ),
    "the decorator itself": Edit(
        main(
            "import functools\ndef deco(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a) + 1\n    return w\n@deco\ndef g(x): return 0\n"
            "def f(x): return g(x)"
        ),
        [("g(*a) + 1", "g(*a) + 2")],
    ),
    "a decorator's argument": Edit(
        main("def deco(k):\n    def d(g):\n        def w(x): return g(x) + k\n        return w\n    return d\n@deco(1)\ndef f(x): return 0"),
        [("deco(1)", "deco(2)")],
    ),
    "a class that decorates": Edit(
        main(
            "class Deco:\n    def __init__(self, g): self.g = g\n    def __call__(self, x): return self.g(x) + 1\n@Deco\ndef g(x): return 0\n"
            "def f(x): return g(x)"
        ),
        [("return 0", "return 5")],
        "g()",
    ),
    "a contextmanager": Edit(
        main("import contextlib\n@contextlib.contextmanager\ndef g():\n    yield 1\ndef f(x):\n    with g() as k: return k"), [("yield 1", "yield 2")], "g()"
    ),
    "numpy.vectorize": Edit(
        main("import numpy as np\ndef g(x): return 1\nv = np.vectorize(g)\ndef f(x): return v(x)"), [("return 1", "return 2")], "g()"
    ),
    "an array": Edit(main("import numpy as np\nA = np.array([1, 2])\ndef f(x): return A"), [("[1, 2]", "[1, 3]")], "A"),
    "a regular expression": Edit(main("import re\nR = re.compile('a')\ndef f(x): return R.match(x)"), [("'a'", "'b'")]),
    "the flags of a regular expression": Edit(
        main("import re\nR = re.compile('a')\ndef f(x): return R.match(x)"), [("'a'", "'a', re.I")]
    ),
    "a date": Edit(main("import datetime\nD = datetime.date(2013, 1, 1)\ndef f(x): return D"), [("1, 1)", "1, 2)")]),
    "an itemgetter": Edit(main("import operator\ng = operator.itemgetter(1)\ndef f(x): return g(x)"), [("(1)", "(2)")]),
    "a function attribute": Edit(main("def g(x): return g.k\ng.k = 1\ndef f(x): return g(x)"), [("g.k = 1", "g.k = 2")], "g.k"),
    "a name that is not there yet": Edit(main("def f(x): return later(x)"), [("later", "sooner")]),
    "a name that came to be": Edit(main("def f(x): return later(x)"), [("def f", "def later(x): return 1\ndef f")], "later"),
    "a shadowed builtin": Edit(main("def f(x): return len(x)"), [("def f", "def len(x): return 1\ndef f")], "len()"),
    "another standard function": Edit(main("from math import sin as g\ndef f(x): return g(x)"), [("sin", "cos")]),
    "another standard class": Edit(main("from collections import Counter as C\ndef f(x): return C(x)"), [("Counter", "deque")]),
    "another package": Edit(main("import numpy.linalg as m\ndef f(x): return m.norm(x)"), [("numpy.linalg as", "scipy.linalg as")]),
    "another attribute of a package": Edit(main("import numpy as np\ndef f(x): return np.sum(x)"), [("np.sum", "np.prod")]),
    "a module handed on": Edit(
        main("import helpers\ndef f(x): return getattr(helpers, x)(x)", helpers=HELPERS), [("helpers.py", "row * by", "row / by")], "scale()"
    ),
    "a module's __getattr__": Edit(
        main("import helpers\ndef f(x): return helpers.lazy", helpers="def __getattr__(name): return 1"), [("helpers.py", "return 1", "return 2")]
    ),
    "a type alias": Edit(main("K = list[int]\ndef f(x): return K(x)"), [("list[int]", "tuple[int]")]),
    "an async function": Edit(main("async def g(x): return 1\nasync def f(x): return await g(x)"), [("return 1", "return 2")]),
    "async for sync": Edit(main("async def f(x): return 1"), [("async def", "def")]),
    "a generator": Edit(main("def g():\n    yield 1\ndef f(x): return list(g())"), [("yield 1", "yield 2")]),
    "the kind of a parameter": Edit(main("def f(x, /, y): return x"), [("x, /, y", "x, y")]),
    "the order of parameters": Edit(main("def f(x, y): return x"), [("x, y", "y, x")]),
    "the name that a helper goes by": Edit(
        main("import helpers\ndef f(x): return x.agg(helpers.h)", helpers="def a(x): return 1\nh = a"),
        [("helpers.py", "def a(x): return 1\nh = a", "def b(x): return 1\nh = b")],
    ),
    "an annotation that a dataclass inside reads": Edit(
        main("from dataclasses import dataclass\ndef f(x):\n    @dataclass\n    class P:\n        a: int\n    return P(x)"), [("a: int", "b: int")]
    ),
    "a global that the function sets and reads": Edit(
        main("N = 0\ndef f(x):\n    global N\n    N += 1\n    return N"), [("N = 0", "N = 1")]
    ),
    "a walrus": Edit(main("def f(x): return (y := x + 1)"), [("+ 1", "+ 2")]),
    "an exception's type": Edit(main("def f(x):\n    try: return x()\n    except KeyError: return 0"), [("KeyError", "ValueError")]),
    "an assertion": Edit(main("def f(x):\n    assert x > 1\n    return x"), [("x > 1", "x > 2")]),
    "a deleted statement": Edit(main("def f(x):\n    x.sort()\n    return x"), [("    x.sort()\n", "")]),
    "a slice": Edit(main("def f(x): return x[1:2]"), [("1:2", "1:2:3")]),
    "a keyword for a position": Edit(main("def f(x): return dict(x)"), [("dict(x)", "dict(x=x)")]),
}  # fmt: skip

COUNTS_NOT = {
    "nothing": Edit(PLAIN, []),
    "comments and blank lines": Edit(PLAIN, [("total = 0", "# from nothing\n\n        total = 0  # nothing")]),
    "comments in a helper": Edit(PLAIN, [("helpers.py", "return [row for", "# keep\n        return [row for")]),
    "a docstring": Edit(PLAIN, [("total = 0", '"""Add up."""\n        total = 0')]),
    "a helper's docstring": Edit(PLAIN, [("helpers.py", "return [row for", '"""Clean."""\n        return [row for')]),
    "a module's docstring": Edit(PLAIN, [("helpers.py", "    LIMIT = 3", '    """Helpers."""\n    LIMIT = 3')]),
    "a class's docstring": Edit(main("class A:\n    k = 1\ndef f(x): return A.k"), [("    k = 1", '    """A."""\n    k = 1')]),
    "a nested docstring": Edit(main("def f(x):\n    def g():\n        return x\n    return g()"), [("        return x", '        "g"\n        return x')]),
    "annotations": Edit(PLAIN, [("f(x, factor=2, *, extra=None)", "f(x: list[int], factor: int = 2, *, extra: str | None = None) -> int")]),
    "annotations of variables": Edit(PLAIN, [("total = 0", "total: int = 0")]),
    "a declared variable": Edit(PLAIN, [("total = 0", "row: int\n        total = 0")]),
    "annotations of a nested function": Edit(
        main("def f(x):\n    def g(y): return y\n    return g(x)"), [("g(y)", "g(y: int) -> int")]
    ),
    "annotations of a method": Edit(
        main("class A:\n    def go(self, x): return x\ndef f(x): return A().go(x)"), [("go(self, x)", "go(self, x: int) -> int")]
    ),
    "annotations in a plain class": Edit(main("class A:\n    k = 1\ndef f(x): return A.k"), [("k = 1", "k: int = 1")]),
    "annotations with names that are not there": Edit(
        main("from __future__ import annotations\ndef f(x): return x"), [("f(x)", "f(x: Nowhere)")]
    ),
    "the type parameters of a generic": Edit(PLAIN, []) if sys.version_info < (3, 12) else Edit(main("def f(x): return x"), [("f(x)", "f[T](x: T) -> T")]),
    "parentheses": Edit(main("def f(x): return x + 1"), [("x + 1", "(x + 1)")]),
    "quotes": Edit(main("def f(x): return 'a' + \"b\""), [("'a' + \"b\"", "\"a\" + 'b'")]),
    "layout": Edit(main("def f(x): return dict(a=1, b=[x, 2])"), [("return dict(a=1, b=[x, 2])", "\n        return dict(\n            a=1,\n            b=[x, 2,],\n        )")]),
    "a string cut in two": Edit(main("def f(x): return 'ab'"), [("'ab'", "'a' 'b'")]),
    "how a number is spelled": Edit(main("def f(x): return 1000 + 255"), [("1000 + 255", "1_000 + 0xFF")]),
    "pass": Edit(main("def f(x):\n    for y in x:\n        print(y)"), [("print(y)", "print(y)\n        pass")]),
    "moving the function down": Edit(PLAIN, [("    def f", "\n\n\n    def f")]),
    "another function in the file": Edit(PLAIN, [("    def f", "    def unrelated(): return 1\n\n    def f")]),
    "another constant in the file": Edit(PLAIN, [("helpers.py", "LIMIT = 3", "LIMIT = 3\n    OTHER = 5")]),
    "a helper that is not used": Edit(PLAIN, [("helpers.py", "row * by", "row / by")]),
    "a constant that is not used": Edit(PLAIN, [("helpers.py", "_RATE = 0.5", "_RATE = 0.25")]),
    "a constant spelled in another way": Edit(PLAIN, [("helpers.py", "LIMIT = 3", "LIMIT = 1 + 2")]),
    "a default spelled in another way": Edit(PLAIN, [("factor=2", "factor=1 + 1")]),
    "an import that is not used": Edit(PLAIN, [("import helpers", "import os\n    import helpers")]),
    "an import under another module": Edit(
        main("import helpers\ndef f(x): return helpers.clean(x)", helpers=HELPERS), [("import helpers", "import json, helpers")]
    ),
    "the order of a class's methods": Edit(
        main("class A:\n    def a(self): return 1\n    def b(self): return 2\ndef f(x): return A().a()"),
        [("    def a(self): return 1\n    def b(self): return 2", "    def b(self): return 2\n    def a(self): return 1")],
    ),
    "the order of a set": Edit(main("T = {'a', 'b', 'c'}\ndef f(x): return x in T"), [("'a', 'b', 'c'", "'c', 'b', 'a'")]),
    "a lambda on a line of its own": Edit(
        main("a, b = lambda x: x + 1, lambda x: x + 2\ndef f(x): return b(x)"),
        [("a, b = lambda x: x + 1, lambda x: x + 2", "a = lambda x: x + 1\nb = lambda x: x + 2")],
    ),
    "del in parentheses": Edit(main("def f(x):\n    a = b = x\n    del a, b"), [("del a, b", "del (a, b)")]),
    "a decorator of lore's option": Edit(PLAIN, []),
    "the future of annotations": Edit(PLAIN, [("    import helpers", "    from __future__ import annotations\n    import helpers")]),
    "annotations of a dataclass's method": Edit(
        main("from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\n    def go(self, x): return x\ndef f(x): return P(x).go(x)"),
        [("go(self, x)", "go(self, x: int) -> int")],
    ),
    "a docstring of a pydantic model": Edit(
        main("import pydantic\nclass P(pydantic.BaseModel):\n    a: int = 1\ndef f(x): return P().a"), [("    a: int", '    """P."""\n    a: int')]
    ),
    "comments in a msgspec struct": Edit(
        main("import msgspec\nclass P(msgspec.Struct):\n    a: int = 1\ndef f(x): return P().a"), [("    a: int", "    # a\n    a: int")]
    ),
    "a comment behind numba": Edit(
        main("import numba\n@numba.njit\ndef g(x): return x + 1\ndef f(x): return g(x)"), [("x + 1", "x + 1  # more")]
    ),
    "a comment behind tenacity": Edit(
        main("import tenacity\n@tenacity.retry(stop=tenacity.stop_after_attempt(3))\ndef g(x): return x + 1\ndef f(x): return g(x)"), [("x + 1", "x + 1  # more")]
    ),
    "a comment behind wrapt": Edit(
        main("import wrapt\n@wrapt.decorator\ndef d(w, i, a, k): return w(*a)\n@d\ndef g(x): return x + 1\ndef f(x): return g(x)"), [("x + 1", "x + 1  # more")]
    ),
    "a comment in a scikit-learn estimator": Edit(
        main("from sklearn.base import BaseEstimator\nclass P(BaseEstimator):\n    def predict(self, X): return 1\nP_ = P()\ndef f(x): return P_.predict(x)"),
        [("return 1", "return 1  # one")],
    ),
    "a comment in a typed dict": Edit(
        main("from typing import TypedDict\nclass P(TypedDict):\n    a: int\ndef f(x): return P(a=x)"), [("a: int", "a: int  # a")]
    ),
    "a comment in a protocol and an abstract class": Edit(
        main(
            "import abc\nfrom typing import Generic, Protocol, TypeVar, runtime_checkable\nT = TypeVar('T')\n@runtime_checkable\nclass P(Protocol):\n"
            "    def go(self): ...\nclass A(abc.ABC, Generic[T]):\n    @abc.abstractmethod\n    def go(self): return 1\n"
            "class B(A[int]):\n    def go(self): return 2\ndef f(x): return isinstance(B(), P)"
        ),
        [("return 2", "return 2  # two")],
    ),
    "annotations behind a standard decorator": Edit(
        main("import contextlib\n@contextlib.contextmanager\ndef g(x):\n    yield 1\ndef f(x):\n    with g(x) as k: return k"), [("g(x):", "g(x: int) -> object:")]
    ),
    "moving a helper to another file": Edit(
        main("from helpers import clean\ndef f(x): return clean(x)", helpers=HELPERS, others=HELPERS), [("helpers", "others")]
    ),
    "moving a class to another file": Edit(
        main("from one import A\ndef f(x): return A().a", one="class A:\n    a = 1", two="class A:\n    a = 1"), [("one", "two")]
    ),
    "a function of a package and where it is taken from": Edit(
        main("from pandas import read_csv\ndef f(x): return read_csv(x)"), [("from pandas import", "from pandas.io.api import")]
    ),
    "a logger's level": Edit(
        main("import logging\nlog = logging.getLogger('a')\ndef f(x): log.info(x)"), [("('a')", "('a'); log.setLevel('ERROR')")]
    ),
    "annotations of a method of an attrs class": Edit(
        main("import attrs\n@attrs.define\nclass P:\n    a: int = 1\n    def go(self): return 1\ndef f(x): return P().go()"), [("go(self)", "go(self) -> int")]
    ),
}  # fmt: skip


class Program:
    """Writes programs to disk and asks for the digest of their function `f`, each time in new modules."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.turn = 0

    def look(self, files: dict[str, str]) -> tuple[bytes, Facts]:
        """Write the files to a new folder, import them and return the digest of `f` and its facts."""
        self.turn += 1
        root = self.folder / str(self.turn)
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        modules = set(sys.modules)
        with self.monkeypatch.context() as patch:
            patch.syspath_prepend(str(root))
            patch.chdir(root)
            try:
                code = Code.of(importlib.import_module("main").f)
                result = code.digest(), code.facts()
                assert code.digest() == result[0]
            finally:
                for name in set(sys.modules) - modules:
                    if str(getattr(sys.modules[name], "__file__", "")).startswith(str(root)):
                        del sys.modules[name]
        return result


@pytest.fixture(name="program")
def _program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(tmp_path, monkeypatch)


OTHERS = ("joblib", "msgspec", "numba", "numpy", "pandas", "pydantic", "scipy", "sklearn", "tenacity", "wrapt")


def need(edit: Edit) -> None:
    """Skip the test where a package that the program imports is missing."""
    for package in packages(edit):
        pytest.importorskip(package)


def packages(edit: Edit) -> list[str]:
    """Name the packages that the program imports."""
    return [package for package in OTHERS if re.search(rf"(import|from) {package}\b", edit.files["main.py"])]


def can_run(edit: Edit) -> bool:
    """Say whether all of them are installed."""
    return all(importlib.util.find_spec(package) for package in packages(edit))


def edited(edit: Edit) -> dict[str, str]:
    files = {name: textwrap.dedent(text) for name, text in edit.files.items()}
    for change in edit.edits:
        name, old, new = change if len(change) == 3 else ("main.py", *change)
        old, new = textwrap.dedent(old), new
        original = edit.files[name]
        assert change[-2] in original, f"{change[-2]!r} is not in {name}"
        files[name] = original.replace(change[-2], new, 1)
        edit = edit._replace(files={**edit.files, name: files[name]})
    return {name: textwrap.dedent(text) for name, text in edit.files.items()}


@pytest.mark.parametrize("name", COUNTS)
def test_an_edit_that_can_change_a_result_changes_the_digest(name: str, program: Program) -> None:
    """Whatever a function reaches in the user's own code counts, and the explanation names it."""
    edit = COUNTS[name]
    need(edit)
    before, old = program.look(edit.files)
    after, new = program.look(edited(edit))
    assert before != after
    told = explain(old, new)
    assert told, (old, new)
    assert edit.named in "; ".join(told)


@pytest.mark.parametrize("name", COUNTS_NOT)
def test_an_edit_that_cannot_change_a_result_does_not_change_the_digest(name: str, program: Program) -> None:
    """Layout, comments, docstrings, annotations and what is not reached do not count."""
    edit = COUNTS_NOT[name]
    need(edit)
    before, old = program.look(edit.files)
    after, new = program.look(edited(edit))
    assert explain(old, new) == []
    assert before == after


ALL = """
import json, sys, pathlib, tempfile
sys.path[:0] = sys.argv[1:]
import pytest, test_code
patch = pytest.MonkeyPatch()
program = test_code.Program(pathlib.Path(tempfile.mkdtemp()), patch)
cases = test_code.COUNTS | test_code.COUNTS_NOT
print(json.dumps({name: [part.hex() if i == 0 else part for i, part in enumerate(program.look(edit.files))] for name, edit in cases.items() if test_code.can_run(edit)}))
"""


@pytest.mark.slow
def test_every_process_finds_the_same_digest() -> None:
    """No digest depends on addresses, on the hash seed or on what else a process has loaded."""
    here = Path(__file__)
    paths = [str(here.parents[2]), str(here.parent)]
    found = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", ALL, *paths],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    one, two = found
    assert [name for name in one if one[name] != two[name]] == []
