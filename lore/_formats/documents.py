"""
JSON: any plain value in a json file, one value a line in a jsonl file, tables as records.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast

from lore._extras import require
from lore._formats.frames import is_table, moments, plain_columns
from lore._formats.problems import FormatError

__all__ = ["dump", "load"]


def load(
    file: BinaryIO,
    format_: str,
    *,
    frame: bool | None = None,
    columns: list[str] | None = None,
    trusted: bool = False,
) -> Any:
    """Return a DataFrame where the content is records (or `frame` says so), else the plain value."""
    value = _values(file) if format_ == "jsonl" else _parsed(file.read(), "the file")
    if frame is None:
        frame = _is_records(value) or (format_ == "jsonl" and value == [])
    if not frame:
        return value
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise FormatError("frame=True wants an array of objects, and this file holds something else.")
    return _frame(value, columns)


def dump(value: object, file: BinaryIO, format_: str) -> None:
    """Write a frame as records, a list for jsonl as one value a line, anything else as it is."""
    if is_table(value):
        lines = (_encoded(row, _DENSE) for row in _records(value))
        if format_ == "jsonl":
            _write_lines(lines, file)
        else:
            file.write(b"[\n" + ",\n".join(lines).encode() + b"\n]\n")
    elif format_ == "jsonl":
        if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
            raise FormatError(f"jsonl holds a DataFrame or a list of values, not a {type(value).__name__}.")
        _write_lines((_encoded(item, _DENSE) for item in value), file)
    else:
        file.write(_encoded(value, _INDENTED).encode() + b"\n")


def _values(file: BinaryIO) -> list[Any]:
    lines = file.read().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    values = [line for line in lines if line.strip()]
    with contextlib.suppress(FormatError):  # all at once is twice as fast as one by one
        parsed = _parsed(b"[" + b",\n".join(values) + b"]", "the file")
        if len(parsed) == len(values):
            return cast("list[Any]", parsed)
    return [_parsed(line, f"line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _parsed(text: bytes, where: str) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"This is not sound JSON: {where}: {error}") from error


def _is_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _frame(rows: list[dict[str, Any]], columns: list[str] | None) -> Any:
    pandas = require("pandas", extra="sql")
    names = list(columns) if columns is not None else _names(rows)
    return pandas.DataFrame(
        {name: _column([row.get(name) for row in rows]) for name in names}, index=range(len(rows)), columns=names
    )


def _names(rows: list[dict[str, Any]]) -> list[str]:
    """Return every row's names, in the order in which they first come."""
    names: dict[str, None] = {}
    known: set[str] = set()
    for row in rows:
        if row.keys() != known:
            names.update(dict.fromkeys(row))
            known = set(names)
    return list(names)


_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?")


def _column(values: list[Any]) -> Any:
    """Build a column of the narrowest type that holds all the values exactly."""
    pandas = require("pandas", extra="sql")
    types = {type(value) for value in values if value is not None}
    gaps = None in values if len(types) == 1 and types <= {int, bool} else True
    if types == {bool}:
        return pandas.array(values, dtype="boolean") if gaps else pandas.Series(values, dtype=bool)
    if types == {int} and all(-(2**63) <= value < 2**63 for value in values if value is not None):
        return pandas.array(values, dtype="Int64") if gaps else pandas.Series(values, dtype="int64")
    if types == {float} or (types == {int, float} and _all_exact(values)) or not types:
        return pandas.Series([math.nan if value is None else value for value in values], dtype="float64")
    if types == {str}:
        if _all_moments(values):
            return moments(values)
        return pandas.Series(values, dtype="str")
    return pandas.Series(values, dtype=object)


def _all_moments(values: list[str | None]) -> bool:
    return all(value is None or (value[:2].isdigit() and _MOMENT.fullmatch(value)) for value in values)


def _all_exact(values: list[Any]) -> bool:
    return all(value is None or float(value) == value for value in values)


def _records(table: object) -> Iterator[dict[str, Any]]:
    """Yield a frame's rows as dicts of plain Python values."""
    frame = plain_columns(table)
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        raise FormatError("JSON records cannot hold two columns of the same name.")
    lists = [_plain(frame.iloc[:, position]) for position in range(len(names))]
    for row in zip(*lists):
        yield dict(zip(names, row))


def _plain(series: Any) -> list[Any]:
    """Return a column as values that JSON has a word for, where that is quick; None for what is missing."""
    if series.dtype.kind in "iub" and not hasattr(series.dtype, "na_value"):
        return series.tolist()  # type: ignore[no-any-return]
    if series.dtype.kind == "M" and hasattr(series, "dt"):
        return _iso(series)
    missing = series.isna().tolist()
    return [None if gone else value for value, gone in zip(series.tolist(), missing)]


def _iso(series: Any) -> list[str | None]:
    """Return a column of timestamps as ISO texts, those with a zone in UTC."""
    numpy = require("numpy", extra="sql")
    zone = "" if series.dt.tz is None else "+00:00"
    times = (series.dt.tz_convert("UTC").dt.tz_localize(None) if zone else series).to_numpy()
    unit = numpy.datetime_data(times.dtype)[0]
    if (times.astype("datetime64[s]") == times)[~series.isna().to_numpy()].all():
        unit = "s"
    texts = numpy.datetime_as_string(times, unit=unit).tolist()
    return [None if text == "NaT" else text + zone for text in texts]


def _write_lines(lines: Iterable[str], file: BinaryIO) -> None:
    for line in lines:
        file.write(line.encode() + b"\n")


def _encoded(value: object, encoder: json.JSONEncoder) -> str:
    try:
        try:
            return encoder.encode(value)
        except ValueError:
            return encoder.encode(_without_nan(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"JSON cannot hold this value: {error}") from error


def _without_nan(value: Any) -> Any:
    """Return the value with null for NaN; refuse infinity, which JSON has no word for."""
    if isinstance(value, float):
        if math.isinf(value):
            raise ValueError("it has no word for infinity")
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, (str, int, type(None))):
        return value
    return _without_nan(_default(value))


def _default(value: Any) -> Any:
    """Say how JSON holds what it has no word for."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if is_table(value):
        return list(_records(value))
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in value.__attrs_attrs__}
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if type(value).__module__ in {"uuid", "decimal", "pathlib", "fractions"}:
        return str(value)
    raise FormatError(f"JSON has no word for a {type(value).__name__}.")


_DENSE = json.JSONEncoder(default=_default, allow_nan=False, ensure_ascii=False)
_INDENTED = json.JSONEncoder(default=_default, allow_nan=False, ensure_ascii=False, indent=2)
