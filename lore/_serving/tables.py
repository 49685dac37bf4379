"""
Frames and arrays: how they come out of a request's values and bytes, and how they go into an answer.

pandas, numpy and pyarrow are found in `sys.modules` where a value or a hint already brought them, and imported only
to read a body that needs them.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from lore._extras import require
from lore._serving.problems import Invalid
from lore.errors import EncodingError

__all__ = [
    "ARROW",
    "CSV",
    "PARQUET",
    "array_of",
    "columns_of",
    "frame_from_bytes",
    "frame_of",
    "frame_to_bytes",
    "is_array",
    "is_frame",
    "is_series",
    "records_of",
    "series_of",
]

CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"

Columns = dict[str, list[Any]]


def is_frame(kind: object) -> bool:
    """Tell whether a hint is pandas' DataFrame."""
    return kind is not None and kind is _known("pandas", "DataFrame")


def is_series(kind: object) -> bool:
    """Tell whether a hint is pandas' Series."""
    return kind is not None and kind is _known("pandas", "Series")


def is_array(kind: object) -> bool:
    """Tell whether a hint is numpy's ndarray."""
    return kind is not None and kind is _known("numpy", "ndarray")


def _known(module: str, name: str) -> object:
    """Look a class up without importing its package: a hint that names it has imported it already."""
    return getattr(sys.modules.get(module), name, None)


# -- frames in -------------------------------------------------------------------------------------


def frame_of(value: Any) -> Any:
    """
    Make a DataFrame of records (a list of objects) or columns (an object of lists).

    Raises:
        Invalid: the value is neither, or its columns differ in length.
    """
    return require("pandas", "sql").DataFrame(columns_of(value))


def columns_of(value: Any) -> Columns:
    """Turn records or columns into columns; a record that lacks a column has None there."""
    if isinstance(value, list):
        return _columns_of_records(value)
    if isinstance(value, dict):
        return _checked_columns(value)
    raise Invalid(f"expected records (a list of objects) or columns (an object of lists), got {_json_name(value)}")


def _columns_of_records(records: list[Any]) -> Columns:
    if not records:
        return {}
    first = records[0]
    try:
        columns = {name: [record[name] for record in records] for name in first}
        if sum(map(len, records)) == len(first) * len(records) and isinstance(first, dict):
            return columns
    except (KeyError, TypeError, IndexError, AttributeError):
        pass
    for at, record in enumerate(records):
        if not isinstance(record, dict):
            raise Invalid(f"expected object, got {_json_name(record)}", [at])
    names = dict.fromkeys(itertools.chain.from_iterable(records))
    return {name: [record.get(name) for record in records] for name in names}


def _checked_columns(columns: dict[str, Any]) -> Columns:
    height = None
    for name, values in columns.items():
        if not isinstance(values, list):
            raise Invalid(f"expected a column (array), got {_json_name(values)}", [name])
        if height is not None and len(values) != height:
            raise Invalid(f"expected {height} values as in the first column, got {len(values)}", [name])
        height = len(values)
    return columns


def frame_from_bytes(data: bytes, media_type: str) -> Any:
    """
    Read a body of CSV, Arrow (stream or file) or Parquet as a DataFrame.

    Raises:
        Invalid: the bytes are not what the media type says.
        UnicodeDecodeError: a CSV that is not UTF-8.
    """
    pandas = require("pandas", "sql")
    if media_type == CSV:
        return _frame_from_csv(pandas, data)
    arrow = require("pyarrow", "sql")
    try:
        if media_type == PARQUET:
            return require("pyarrow.parquet", "sql").read_table(arrow.BufferReader(data)).to_pandas()
        opener = arrow.ipc.open_file if data[:6] == b"ARROW1" else arrow.ipc.open_stream
        table = opener(data).read_all()
        table.validate(full=True)
        return table.to_pandas()
    except (arrow.ArrowException, OSError, ValueError) as error:
        form = "Parquet" if media_type == PARQUET else "Arrow"
        raise Invalid(f"the body is not readable as {form}: {_first_line(error)}") from None


def _frame_from_csv(pandas: Any, data: bytes) -> Any:
    text = data.decode("utf-8-sig")
    try:
        _refuse_ragged(text)
        return pandas.read_csv(io.StringIO(text), index_col=False)
    except Invalid:
        raise
    except (pandas.errors.ParserError, csv.Error, ValueError) as error:
        raise Invalid(f"the body is not readable as CSV: {_first_line(error)}") from None


_QUOTED = re.compile(r'"(?<![^,\r\n]")[^"]*(?:""[^"]*)*"')


def _refuse_ragged(text: str) -> None:
    """
    Refuse a CSV that is no rectangle, or has two columns of one name.

    pandas makes an index of what a row has too many, fills up what it lacks, and renames the second column.
    """
    bare = _QUOTED.sub("q", text) if '"' in text else text
    rows = [row for row in bare.replace("\r\n", "\n").replace("\r", "\n").split("\n") if row and not row.isspace()]
    if not rows:
        raise Invalid("the body holds no table: a CSV starts with a line of column names")
    width = rows[0].count(",")
    for at, row in enumerate(rows):
        if row.count(",") != width:
            raise Invalid(
                f"the body is not readable as CSV: row {at} has {row.count(',') + 1} values, "
                f"and there are {width + 1} column names"
            )
    start = next(line for line in text.splitlines(keepends=True) if line.strip())
    names = next(csv.reader(io.StringIO(text[text.index(start) :], newline="")))
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"the body is not readable as CSV: two columns are named {twice!r}")


def series_of(value: Any) -> Any:
    """Make a Series of a list of numbers or truth values; null is NaN, and inner lists stay lists."""
    pandas = require("pandas", "sql")
    array = array_of(None)(value)
    return pandas.Series(array if array.ndim == 1 else value)


# -- arrays in -------------------------------------------------------------------------------------

_TAKES = {"f": "fiu", "i": "iu", "u": "iu", "b": "b", "c": "cfiu", "U": "U", "S": "U", "M": "U", "m": "U"}


def array_of(dtype: Any) -> Callable[[Any], Any]:
    """
    Return what makes arrays of one dtype (None: what the numbers say) out of nested lists.

    A null counts as NaN where the dtype is a float or not given. Text makes an array only where the dtype says so, and
    truth values where it says so or is not given.
    """
    numpy = require("numpy", "sql")
    wanted = None if dtype is None else numpy.dtype(dtype)

    def make(value: Any) -> Any:
        if not isinstance(value, list):
            raise Invalid(f"expected array, got {_json_name(value)}")
        try:
            array = numpy.array(value)
            if array.dtype.kind == "O" and (wanted is None or wanted.kind == "f"):
                array = _with_nulls(numpy, array)
            elif array.size == 0 and wanted is not None:
                array = array.astype(wanted)
            takes = "fiub" if wanted is None else _TAKES.get(wanted.kind, "")
            if array.dtype.kind not in takes:
                raise Invalid(f"expected an array of {wanted or 'numbers'}, got {_element_name(array)}")
            return array if wanted is None or array.dtype == wanted else _cast(numpy, array, wanted)
        except (ValueError, TypeError, OverflowError) as error:
            if isinstance(error, Invalid):
                raise
            raise Invalid("expected an array whose rows have one length and one type") from None

    return make


def _with_nulls(numpy: Any, array: Any) -> Any:
    """Read None as NaN, as answers write NaN as null; anything else that is no number stays an object."""
    numbers = all(item is None or type(item) in (int, float) for item in array.ravel())
    return array.astype(float) if numbers else array


def _cast(numpy: Any, array: Any, wanted: Any) -> Any:
    if array.dtype.kind in "iu" and wanted.kind in "iu" and array.size:
        limits = numpy.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            raise Invalid(f"expected numbers of {wanted}, from {limits.min} to {limits.max}")
    return array.astype(wanted)


def _element_name(array: Any) -> str:
    names = {"b": "booleans", "U": "strings", "f": "floats", "i": "integers", "u": "integers"}
    return names.get(array.dtype.kind, "values of several types or lengths")


# -- frames out ------------------------------------------------------------------------------------


def records_of(frame: Any) -> list[dict[str, Any]]:
    """
    List a frame's rows as dictionaries of plain values; the index is left out, missing values are None or NaN.

    Raises:
        EncodingError: two columns share a name, so that a record cannot hold both.
    """
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise EncodingError(f"The frame has two columns named {twice!r}: a record can hold only one of them.")
    columns = [plain_values(frame.iloc[:, at]) for at in range(len(names))]
    if not columns:
        return [{} for _ in range(len(frame))]
    return [dict(zip(names, row)) for row in zip(*columns)]


def plain_values(series: Any) -> list[Any]:
    """List a Series' values as Python objects that JSON has or the encoder knows."""
    dtype = series.dtype
    if getattr(dtype, "kind", "") == "M" and getattr(dtype, "tz", None) is None:
        return series.to_numpy().astype("datetime64[us]").tolist()  # type: ignore[no-any-return]
    return series.tolist()  # type: ignore[no-any-return]


def frame_to_bytes(frame: Any, media_type: str) -> bytes:
    """Write a DataFrame as CSV, Arrow stream or Parquet; a meaningless index is left out."""
    if media_type == CSV:
        return frame.to_csv(index=False).encode()  # type: ignore[no-any-return]
    arrow = require("pyarrow", "sql")
    try:
        table = arrow.Table.from_pandas(frame, preserve_index=False)
    except (arrow.ArrowException, ValueError) as error:
        raise EncodingError(f"The frame cannot be written as {media_type}: {_first_line(error)}") from error
    sink = arrow.BufferOutputStream()
    if media_type == PARQUET:
        require("pyarrow.parquet", "sql").write_table(table, sink)
    else:
        opener = arrow.ipc.new_file if media_type == ARROW_FILE else arrow.ipc.new_stream
        with opener(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


# -- words -----------------------------------------------------------------------------------------

_JSON_NAMES: Sequence[tuple[Any, str]] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (dict, "object"),
    (list, "array"),
)


def _json_name(value: object) -> str:
    return next((name for kind, name in _JSON_NAMES if isinstance(value, kind)), "null")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
