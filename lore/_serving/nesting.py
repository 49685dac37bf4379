"""
How deep a JSON body nests: told before it is decoded.

Decoders go down by recursion. How far they get before they refuse depends on the version of Python and on the stack of
the server's thread, and what they touch of it stays resident; so a body of brackets is refused by counting them.
"""

from __future__ import annotations

import re

__all__ = ["DEEPEST", "too_deep"]

DEEPEST = 500
_ROUNDS = 4

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRINGS_AND_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def too_deep(body: bytes) -> bool:
    """Tell whether a JSON text nests deeper than `DEEPEST`; the usual body is told by its few brackets."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    brackets = body.translate(None, _NO_BRACKETS)
    for _ in range(_ROUNDS):  # each takes the innermost level away: a table of many rows is done after two
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return bool(brackets) and _deepest(body) > DEEPEST


def _deepest(body: bytes) -> int:
    """Count levels one by one, strings left out; stops where it is deep enough."""
    depth = deepest = 0
    for match in _STRINGS_AND_BRACKETS.finditer(body):
        first = body[match.start()]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > DEEPEST:
                break
        elif first in b"]}":
            depth -= 1
    return deepest
