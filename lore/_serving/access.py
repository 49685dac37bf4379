"""
Who may call: bearer tokens, compared in constant time, or a callable that looks at the headers.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lore._serving.problems import Problem
from lore.errors import DecorationError

__all__ = ["Auth", "Guard", "Headers", "guard_of"]

Auth = str | Iterable[str] | Callable[[Mapping[str, str]], object] | None
Guard = Callable[[dict[str, Any]], None]


def guard_of(auth: Any, where: str, *, pages: bool = False) -> Guard | None:
    """
    Make what lets a request pass or raises.

    Args:
        auth: a token, several, a callable on the headers, or None for everybody. `"$NAME"` reads a token from the
            environment.
        where: what is guarded, for errors.
        pages: a browser will come: it may send the token as the password of HTTP's basic scheme, which is refused for
            endpoints because browsers send it along with other sites' requests.

    Raises:
        DecorationError: `auth` is none of these.
    """
    if auth is None:
        return None
    if callable(auth):
        return lambda environ: _ask(auth, environ)
    tokens = _tokens(auth, where)
    challenge = 'Bearer realm="lore", Basic realm="lore"' if pages else 'Bearer realm="lore"'
    return lambda environ: _compare(tokens, environ, pages, challenge)


def _tokens(auth: Any, where: str) -> tuple[bytes, ...]:
    given = [auth] if isinstance(auth, str) else list(auth) if isinstance(auth, Iterable) else [auth]
    if not given or not all(isinstance(token, str) and token for token in given):
        raise DecorationError(
            f"{where}: auth is a token, several tokens, or a callable on the request's headers; "
            f"write auth='secret', auth=('one', 'two') or auth=allowed."
        )
    return tuple(_from_environment(token, where).encode() for token in given)


def _from_environment(token: str, where: str) -> str:
    if not token.startswith("$"):
        return token
    value = os.environ.get(token[1:])
    if not value:
        raise DecorationError(f"{where}: auth={token!r} names an environment variable that is not set.")
    return value


def _ask(allowed: Callable[[Mapping[str, str]], object], environ: dict[str, Any]) -> None:
    if not allowed(Headers(environ)):
        raise _refusal('Bearer realm="lore"')


def _compare(tokens: tuple[bytes, ...], environ: dict[str, Any], pages: bool, challenge: str) -> None:
    """Compare with every token, so that the time it takes does not tell which one was close."""
    given = _given(environ.get("HTTP_AUTHORIZATION", ""), pages)
    fits = False
    for token in tokens:
        fits |= hmac.compare_digest(token, given)
    if not fits:
        raise _refusal(challenge)


def _given(header: str, pages: bool) -> bytes:
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value.encode("latin-1", "replace")
    if pages and scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _refusal(challenge: str) -> Problem:
    return Problem(401, "this needs a token that the server knows", headers=[("WWW-Authenticate", challenge)])


class Headers(Mapping[str, str]):
    """A request's headers by name, in any case."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        return str(self._environ[key])

    def __iter__(self) -> Iterator[str]:
        for key in self._environ:
            if key.startswith("HTTP_"):
                yield key[5:].replace("_", "-").title()
            elif key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                yield key.replace("_", "-").title()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<{len(self)} headers>"
