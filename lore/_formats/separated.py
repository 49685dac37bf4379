"""
Values separated by commas or tabs: text that keeps no types, written and read so that as little as possible is lost.

Every string is written in quotes and a missing value as nothing at all, so the two stay apart; a column of whole floats
keeps its decimal point.
"""

from __future__ import annotations

import csv as standard_csv
import io
from collections.abc import Callable
from typing import Any, BinaryIO

from lore._extras import require
from lore._formats import frames
from lore._formats.problems import FormatError

__all__ = ["MISSING", "parsed", "written"]

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "<NA>", "#N/A")

_MAX_BLOCK_BYTES = 2**31 - 2


def parsed(
    data: bytes,
    delimiter: str,
    columns: list[str] | None = None,
    dtype: dict[str, Any] | None = None,
    null_values: list[str] | None = None,
    encoding: str = "utf8",
) -> Any:
    """Return an Arrow table; every column's type is found from all of its text (of the first 2 GB)."""
    pyarrow = require("pyarrow", extra="sql")
    csv = require("pyarrow.csv", extra="sql")
    if len(data) < 1000 and not data.strip(b"\r\n"):
        return pyarrow.table({})
    # One block: pyarrow decides a type from the first one, and parses one with line breaks in quotes at full speed.
    block_bytes = min(len(data) + 1, _MAX_BLOCK_BYTES)
    reading = csv.ReadOptions(block_size=block_bytes, encoding=encoding)
    # A blank line is a row only where a row is one value: there it is a missing one.
    parsing = csv.ParseOptions(
        delimiter=delimiter,
        newlines_in_values=block_bytes <= len(data),
        ignore_empty_lines=_is_wide(data, delimiter, encoding),
    )

    def read(names: list[str] | None, types: dict[str, Any]) -> Any:
        converting = csv.ConvertOptions(
            null_values=list(MISSING if null_values is None else null_values),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            include_columns=names,
            column_types=types,
        )
        return csv.read_csv(io.BytesIO(data), read_options=reading, parse_options=parsing, convert_options=converting)

    table = read(columns, {name: _arrow_type(kind) for name, kind in (dtype or {}).items()})
    return _with_large_integers(table, lambda names: read(names, dict.fromkeys(names, pyarrow.string())))


def written(value: Any, file: BinaryIO, delimiter: str) -> None:
    """Write a table."""
    pyarrow = require("pyarrow", extra="sql")
    csv = require("pyarrow.csv", extra="sql")
    frame = frames.plain_columns(value)
    columns = [_writable(frame.iloc[:, i], name) for i, name in enumerate(frame.columns)]
    table = pyarrow.Table.from_arrays(columns, names=list(frame.columns))
    csv.write_csv(table, pyarrow.PythonFile(file, mode="w"), csv.WriteOptions(delimiter=delimiter))


def _is_wide(data: bytes, delimiter: str, encoding: str) -> bool:
    start = next((at for at, byte in enumerate(data[:1000]) if byte not in b"\r\n"), 0)
    header = data[start : data.find(b"\n", start) % (len(data) + 1)].decode(encoding, "replace")
    return len(next(standard_csv.reader([header], delimiter=delimiter), [])) > 1


def _arrow_type(kind: Any) -> Any:
    pyarrow = require("pyarrow", extra="sql")
    if isinstance(kind, pyarrow.DataType):
        return kind
    name = kind.__name__ if isinstance(kind, type) else str(kind)
    known = {"str": "string", "object": "string", "boolean": "bool", "int": "int64", "float": "float64"}
    if name.startswith("datetime64["):
        return pyarrow.timestamp(*name[11:-1].replace(" ", "").split(","))
    try:
        return pyarrow.type_for_alias(known.get(name, name.lower()))
    except ValueError:
        raise FormatError(f"dtype: {kind!r} is no type that a csv column can be read as.") from None


def _with_large_integers(table: Any, read_text: Callable[[list[str]], Any]) -> Any:
    """Read again, as text, what pyarrow took for floats only because it is too large for int64; keep it exact."""
    pyarrow = require("pyarrow", extra="sql")
    compute = require("pyarrow.compute", extra="sql")
    for position, field in enumerate(table.schema):
        if not pyarrow.types.is_float64(field.type) or table.schema.names.count(field.name) > 1:
            continue
        largest = compute.max(compute.abs(table.column(position))).as_py()
        if largest is None or not 2.0**63 <= largest < 1e38:
            continue
        text = read_text([field.name]).column(0)
        if not compute.all(compute.match_substring_regex(text, r"^[+-]?\d+$")).as_py():
            continue
        kind = pyarrow.uint64() if largest < 2.0**64 else pyarrow.decimal128(38, 0)
        try:
            exact = text.cast(kind)
        except pyarrow.ArrowInvalid:
            exact = text.cast(pyarrow.decimal128(38, 0))
        table = table.set_column(position, field.name, exact)
    return table


def _writable(series: Any, name: str) -> Any:
    """Return a column as an Arrow array of a type that text can hold."""
    pyarrow = require("pyarrow", extra="sql")
    types = pyarrow.types
    try:
        array = pyarrow.Array.from_pandas(series)
    except pyarrow.ArrowException as error:
        raise FormatError(f"csv cannot hold column {name!r}: {error}") from error
    if isinstance(array, pyarrow.ChunkedArray):
        array = array.combine_chunks()
    kind = array.type
    if types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if types.is_floating(kind):
        return _with_decimal_point(array)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_nested(kind):
        raise FormatError(f"csv cannot hold column {name!r} of {kind}. Use the suffix .parquet or .arrow.")
    if types.is_duration(kind) or isinstance(kind, pyarrow.BaseExtensionType):
        return pyarrow.Array.from_pandas(series.astype("str").where(series.notna(), None))
    return array


def _with_decimal_point(array: Any) -> Any:
    """Return whole floats as decimals with one digit: pyarrow writes 1.0 as 1, which would be read as an integer."""
    pyarrow = require("pyarrow", extra="sql")
    compute = require("pyarrow.compute", extra="sql")
    array = array.cast(pyarrow.float64()) if array.type == pyarrow.float16() else array
    whole = compute.and_(compute.is_finite(array), compute.equal(compute.floor(array), array))
    largest = compute.max(compute.abs(array)).as_py()
    if largest is None or largest >= 1e20 or not compute.all(whole).as_py():
        return array
    return array.cast(pyarrow.float64()).cast(pyarrow.decimal128(38, 1))
