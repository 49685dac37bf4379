"""
The digest of code: a function and everything it can reach in the user's own code.

`Code.of(function)` is asked before every call of a cached function, so the second time it only checks that nothing it
looked at has changed, which costs about a microsecond. `facts()` says what the digest was made of and `explain` what
differs between two of them.
"""

from __future__ import annotations

import collections
import sys
import types
from typing import Any, NamedTuple

import xxhash

from lore import _warning
from lore._caching import origins
from lore._caching.facts import Fact, Facts, explain
from lore._caching.following import Walk, content

__all__ = ["Code", "Fact", "Facts", "digest_of", "explain"]


class Code:
    """
    The code behind one function or class.

    Threads: any number may ask at once; two that find a change at the same moment both look again.
    """

    __slots__ = ("_before", "_function", "_seen")

    def __init__(self, function: Any) -> None:
        self._function = function
        self._before: tuple[bytes, Facts] | None = None
        self._seen: _Seen | None = None

    @classmethod
    def of(cls, function: Any) -> Code:
        """
        Return a tracker of a function's code; nothing is looked at before it is asked.

        Args:
            function: a function, class, method or other callable; lore's decorators around it are looked through.
        """
        return cls(function)

    def digest(self) -> bytes:
        """
        Return the digest of the code as it is now, 16 bytes: equal as long as the function cannot have become another.

        The version of Python counts with it, and the versions of the packages that are reached. Never raises: what
        cannot be looked at counts by its type or its name.
        """
        seen = self._seen
        if seen is not None and seen.walk.watch.holds(content):
            return seen.digest
        return self._look().digest

    def facts(self, digest: bytes | None = None) -> Facts:
        """
        Return what the digest is made of, JSON-able, for `explain`.

        Args:
            digest: the digest that is meant, where that may no longer be the present one because the function has
                run since and changed a global; the one before is still known, an older one is not.
        """
        before = self._before
        if digest is not None and before is not None and before[0] == digest:
            return dict(before[1])
        seen = self._seen
        if seen is None or (seen.digest != digest and not seen.walk.watch.holds(content)):
            seen = self._look()
        return seen.facts()

    def own_digest(self) -> bytes:
        """Return the digest without the version of Python, as for a function that is a value."""
        seen = self._seen
        if seen is not None and seen.walk.watch.holds(content):
            return seen.own_digest
        return self._look().own_digest

    def _look(self) -> _Seen:
        before, seen = self._seen, _Seen(_walk(self._function))
        if before is not None and before.digest != seen.digest:
            self._before = before.digest, before.facts()
        self._seen = seen
        return seen


class _Python(NamedTuple):
    """The version that a function depends on: of the language, and of the standard library if it reaches that."""

    minor: str
    full: str


class _Seen:
    """What one walk found, with the versions of what it met."""

    __slots__ = ("digest", "own_digest", "packages", "python", "walk")

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.packages = origins.with_requirements(walk.packages)
        full = origins.python_version()
        self.python = _Python(full.rpartition(".")[0], full if walk.library else "")
        self.own_digest = xxhash.xxh3_128_digest(walk.digest + repr(list(self.packages.items())).encode())
        optimized = sys.flags.optimize and f" -O{sys.flags.optimize}"
        self.digest = xxhash.xxh3_128_digest(
            self.own_digest + f"{self.python.minor} {self.python.full}{optimized or ''}".encode()
        )

    def facts(self) -> Facts:
        facts = dict(self.walk.facts)
        versions = {"Python": self.python.minor} | ({"standard library": self.python.full} if self.python.full else {})
        facts["python"] = Fact(kind="python", name="Python", versions=versions)
        if self.packages:
            facts["packages"] = Fact(kind="packages", name="packages", versions=dict(self.packages))
        return facts


_TRIES = 4


def _walk(function: Any) -> Walk:
    """Walk; again if another thread changed something on the way; and if it cannot be, over what stands in the way."""
    for _ in range(_TRIES):
        try:
            return Walk(function)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
    name = getattr(function, "__qualname__", type(function).__qualname__)
    _warning.warn(
        f"The code behind {name} could not be followed everywhere ({reason}). What could not be looked at counts by "
        f"its type; a function that could not be read is taken for a new one in each process.",
        once=f"code {name}",
    )
    return Walk(function, strict=False)


_known: collections.OrderedDict[int, tuple[Any, Code]] = collections.OrderedDict()
_MOST_KNOWN = 512


def digest_of(function: Any) -> bytes:
    """
    Return the digest of a function or class that is a value, 16 bytes: by its code, wherever it was defined.

    The version of Python does not count: it counts with whoever is called with the value.

    >>> digest_of(lambda x: x + 1) == digest_of(lambda x: x + 1)
    True
    >>> digest_of(lambda x: x + 1) == digest_of(lambda x: x + 2)
    False
    """
    known = _known.get(id(function))
    if known is not None and known[0] is function:
        return known[1].own_digest()
    code = Code(function)
    digest = code.own_digest()
    if _stays(function):
        _known[id(function)] = (function, code)
        while len(_known) > _MOST_KNOWN:
            _known.popitem(last=False)  # in one step: other threads may be doing the same
    return digest


def _stays(function: Any) -> bool:
    """Tell whether something lives as long as its module, so that to remember it keeps nothing else alive."""
    name = getattr(function, "__qualname__", "<")
    return isinstance(function, type | types.FunctionType) and "<" not in name and "." not in name
