"""
PostgreSQL's text for values, read: what a plain cursor brings where COPY refuses.

Dates and times are read in DateStyle ISO, which psycopg2 sets on every connection, intervals in IntervalStyle postgres,
the default.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lore._querying.postgres.cells import Array

__all__ = ["parse_array", "parse_bytes", "parse_interval", "parse_moments"]

_MOMENT = re.compile(
    r"(\d+)-(\d\d)-(\d\d)"
    r"(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?"
    r"(?:([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?)?"
    r"( BC)?",
    re.ASCII,
)
_CLOCK = re.compile(r"([+-]?)(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?", re.ASCII)
_AMOUNT = re.compile(r"([+-]?\d+) (year|mon|day)s?", re.ASCII)
_ESCAPED = re.compile(rb"\\(\\|[0-7]{3})")
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}"]+)|([{},])', re.DOTALL)


def parse_moments(texts: list[str], unit: str) -> Array:
    """
    Read dates and timestamps as counts since 1970, times as counts since midnight.

    Args:
        texts: dates, timestamps with or without an offset, or times.
        unit: "s" for seconds, "us" for microseconds, "time" for microseconds of a time of day.

    Raises:
        ValueError: an infinity, something out of range, or something in another DateStyle.
    """
    import numpy as np

    read = _clock if unit == "time" else _moment
    counts = [read(text) for text in texts]
    if any(abs(count) >= 2**63 - 1 for count in counts):
        raise ValueError("a value is beyond what datetime64[us] can hold; cast the column to text")
    return np.array(counts, "i8") // (1_000_000 if unit == "s" else 1)


def parse_interval(text: str) -> tuple[int, int, int]:
    """Read an interval as (microseconds, days, months)."""
    if text in ("infinity", "-infinity"):
        raise ValueError("an infinite interval has no counterpart; filter it out, or cast the column to text")
    amounts = {unit: int(number) for number, unit in _AMOUNT.findall(text)}
    rest = _AMOUNT.sub("", text).strip()
    if rest and not _CLOCK.fullmatch(rest):
        raise ValueError(f"the interval {text!r} is not in IntervalStyle postgres; cast the column to text")
    return _clock(rest) if rest else 0, amounts.get("day", 0), 12 * amounts.get("year", 0) + amounts.get("mon", 0)


def parse_bytes(text: str) -> bytes:
    r"""Read bytea in either of its outputs: `\x00ff`, or `escape`."""
    if text.startswith("\\x"):
        return bytes.fromhex(text[2:])
    return _ESCAPED.sub(
        lambda match: b"\\" if match[1] == b"\\" else bytes([int(match[1], 8)]), text.encode("utf-8", "surrogateescape")
    )


def parse_array(text: str, elements: list[str | None]) -> tuple[int, ...]:
    """
    Read an array, append its elements' texts to `elements`, and give its dimensions.

    >>> elements = []
    >>> parse_array('[0:1]={{1,NULL},{"a b","NULL"}}'.replace("[0:1]=", ""), elements), elements
    ((2, 2), ['1', None, 'a b', 'NULL'])
    """
    start = text.index("{")
    before = len(elements)
    depth = 0
    opened: list[int] = []
    for quoted, bare, mark in _ITEM.findall(text[start:]):
        if mark == "{":
            depth += 1
            while len(opened) < depth:
                opened.append(0)
            opened[depth - 1] += 1
        elif mark == "}":
            depth -= 1
        elif not mark:
            elements.append(_element(quoted, bare))
    return _dimensions(opened, len(elements) - before)


def _element(quoted: str, bare: str) -> str | None:
    if not bare:
        return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
    return None if bare == "NULL" else bare


def _dimensions(opened: list[int], count: int) -> tuple[int, ...]:
    """Tell dimensions from how many braces opened at each depth: they are rectangular."""
    if not count:
        return ()
    totals = [*opened, count]
    return tuple(inner // outer for outer, inner in pairwise(totals))


def _moment(text: str) -> int:
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"the value {text} has no counterpart; filter it out, or cast the column to text")
    year, month, day, hours, minutes, seconds, fraction, sign, east_h, east_m, east_s, before = found.groups()
    days = _days(1 - int(year) if before else int(year), int(month), int(day))
    offset = _seconds(east_h, east_m, east_s) * (-1 if sign == "-" else 1)
    return ((days * 86_400) + _seconds(hours, minutes, seconds) - offset) * 1_000_000 + _micros(fraction)


def _clock(text: str) -> int:
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise ValueError(f"the time {text!r} cannot be read; cast the column to text")
    sign, hours, minutes, seconds, fraction = found.groups()
    count = _seconds(hours, minutes, seconds) * 1_000_000 + _micros(fraction)
    return -count if sign == "-" else count


def _seconds(hours: str | None, minutes: str | None, seconds: str | None) -> int:
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)


def _micros(fraction: str | None) -> int:
    return int((fraction or "0").ljust(6, "0"))


def _days(year: int, month: int, day: int) -> int:
    """
    Count the days since 1970 in the proleptic Gregorian calendar, whatever the year.

    Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    """
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
