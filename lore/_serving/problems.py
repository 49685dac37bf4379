"""
Problem documents (RFC 9457): what a client gets when a request cannot be answered.

A `Problem` is raised anywhere below the application and becomes the response there. `Invalid` is its small sister: one
value inside a request that is not what it should be, found while values are being converted and not yet knowing where
in the body it stands.
"""

from __future__ import annotations

import http
import json
from collections.abc import Iterable, Sequence

__all__ = ["Fault", "Invalid", "Problem", "pointer", "status_line"]

MEDIA_TYPE = "application/problem+json"

_LINES = {status.value: f"{status.value} {status.phrase}" for status in http.HTTPStatus}
_LINES[413] = "413 Content Too Large"
_LINES[422] = "422 Unprocessable Content"

Fault = tuple[str, str]
"""A JSON pointer into the body and what is wrong there."""


class Problem(Exception):
    """
    A request that gets no answer but an explanation.

    Args:
        status: the HTTP status.
        detail: what went wrong, in words for the client; it must not quote anything the server knows.
        faults: the places in the body that are wrong, each a JSON pointer and a sentence.
        headers: further response headers, such as `Allow` and `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = tuple(headers)

    def document(self, request_id: str) -> bytes:
        """Write the problem as JSON."""
        fields: dict[str, object] = {
            "type": "about:blank",
            "title": status_line(self.status)[4:],
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:lore:request:{request_id}",
            "request_id": request_id,
        }
        if self.faults:
            fields["pointer"] = self.faults[0][0]
            fields["errors"] = [{"pointer": where, "detail": why} for where, why in self.faults]
        return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")

    @classmethod
    def unprocessable(cls, faults: Sequence[Fault]) -> Problem:
        """Make the 422 for wrong values; its detail names the first place and how many more there are."""
        where, why = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return cls(422, f"{where}: {why}{more}" if where else f"{why}{more}", faults=faults)


class Invalid(ValueError):
    """One value that is not what was expected; containers around it prepend where it stands."""

    def __init__(self, why: str, where: Iterable[str | int] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.where = tuple(where)

    def inside(self, *tokens: str | int) -> Invalid:
        """Return the same finding as seen from one level further out."""
        return Invalid(self.why, (*tokens, *self.where))


def pointer(tokens: Iterable[str | int]) -> str:
    """Write reference tokens as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def status_line(status: int) -> str:
    """Return the status with its phrase, such as `404 Not Found`."""
    return _LINES.get(status) or f"{status} Status"
