"""
Columns as a database gives them, made into a DataFrame that keeps their types.

The rules hold for every database and every path to it:

| kind | pandas | with NULLs |
| --- | --- | --- |
| integer | int64 | Int64 |
| boolean | bool | boolean |
| real, float | float32, float64 | NaN |
| decimal | float64, or objects of `decimal.Decimal` | NaN, None |
| text | str | missing |
| date | datetime64[s] | NaT |
| timestamp, timestamptz | datetime64[us], datetime64[us, UTC] | NaT |
| interval | timedelta64[us] | NaT |
| time, bytes, uuid, json, list | objects | None |

A stream cannot know whether a NULL is still to come, so its integers and booleans are always `Int64` and `boolean`.
"""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lore._extras import require
from lore.errors import QueryError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Collector", "Column", "Shape", "from_arrow", "kind_of_values"]


class Column(NamedTuple):
    """A result column: its name and its kind, as the table above has it; None where only the values can tell."""

    name: str
    kind: str | None


class Shape(NamedTuple):
    """
    How a frame is wanted.

    Attributes:
        dtypes: "pandas" or "arrow".
        decimal: "float" or "exact".
        stable: whether integers and booleans are nullable whatever the values are.
    """

    dtypes: str = "pandas"
    decimal: str = "float"
    stable: bool = False


def from_arrow(table: Any, columns: Sequence[Column], shape: Shape) -> pd.DataFrame:
    """
    Make a frame of an Arrow table, sharing memory where the types allow.

    Raises:
        QueryError: a value that its column's type cannot hold in pandas; the column is named.
    """
    make = _arrow_backed if shape.dtypes == "arrow" else _pandas_backed
    arrays = []
    for position, column in enumerate(columns):
        try:
            arrays.append(make(table.column(position), column.kind or "object", shape))
        except (ValueError, OverflowError, ArithmeticError) as error:
            problem = _why(error)
        else:
            continue
        raise QueryError(f"Column {column.name!r} ({column.kind}): {problem}")
    return _assemble(arrays, columns, table.num_rows)


class Collector:
    """
    Gathers rows of Python values, as a plain cursor gives them, portion by portion into a frame.

    A column without a kind takes the one its values have. Values that do not fit their column's kind, as SQLite
    allows, make a column of objects; in a stream they are an error, since chunks must agree.

    Args:
        columns: names and kinds.
        shape: how the frame is wanted.
        prepare: for a kind, what turns a driver's values into that kind's own (dates kept as text, for one).
    """

    def __init__(
        self, columns: Sequence[Column], shape: Shape, prepare: Mapping[str, Callable[[Any], Any]] | None = None
    ) -> None:
        self.columns = list(columns)
        self.rows = 0
        self._shape = shape
        self._prepare = prepare or {}
        self._portions: list[list[_Portion]] = [[] for _ in columns]

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows, as tuples of one value per column."""
        self.rows += len(rows)
        for column, portions, values in zip(self.columns, self._portions, zip(*rows, strict=True)):
            portions.append(self._portion(column, values))

    def frame(self) -> pd.DataFrame:
        """Make the frame of all rows so far, and start over."""
        arrays = [self._array(column, portions) for column, portions in zip(self.columns, self._portions)]
        frame = _assemble(arrays, self.columns, self.rows)
        self.rows, self._portions = 0, [[] for _ in self.columns]
        return frame

    def settle(self) -> None:
        """Fix the kinds of columns by the values so far, for the portions of a stream to agree."""
        for position, (column, portions) in enumerate(zip(self.columns, self._portions)):
            kinds = {portion.kind for portion in portions if portion.kind != "null"}
            kind = column.kind or (kinds.pop() if len(kinds) == 1 else None)
            self.columns[position] = Column(column.name, kind)

    def _portion(self, column: Column, values: Sequence[Any]) -> _Portion:
        kind = column.kind or kind_of_values(values) or "null"
        try:
            made = self._prepare[kind](values) if kind in self._prepare and column.kind else values
            return _Portion(kind, _as_arrow(made, kind) if kind in _WRITTEN else list(made))
        except _misfits():
            pass
        if self._shape.stable:
            raise QueryError(f"Column {column.name!r}: a value does not fit its type, {kind}; cast it in the query.")
        return _Portion("object", list(values))

    def _array(self, column: Column, portions: list[_Portion]) -> Any:
        kinds = {portion.kind for portion in portions} - {"null"}
        kind = column.kind or "object"
        if kinds:
            kind = kinds.pop() if len(kinds) == 1 else _common(kinds)
        if kind == "null":
            kind = "object"
        make = _arrow_backed if self._shape.dtypes == "arrow" else _pandas_backed
        if kind in _WRITTEN:
            of = _WRITTEN[kind](require("pyarrow", extra="sql"))
            return make(_chunked([_chunk(portion, of) for portion in portions], of), kind, self._shape)
        values = [value for portion in portions for value in _values(portion)]
        return _of_objects(values, kind, self._shape)


class _Portion(NamedTuple):
    """Some rows of one column: an Arrow array where the kind has one, else a list."""

    kind: str
    values: Any


def _misfits() -> tuple[type[Exception], ...]:
    pyarrow = require("pyarrow", extra="sql")
    return (pyarrow.ArrowException, TypeError, ValueError, ArithmeticError, AttributeError)


def _as_arrow(values: Any, kind: str) -> Any:
    import pyarrow

    of = _WRITTEN[kind](pyarrow)
    return values.cast(of) if isinstance(values, pyarrow.Array) else pyarrow.array(values, of)


def _common(kinds: set[str]) -> str:
    """Name the kind of a column whose portions differ: numbers are floats together, anything else objects."""
    return "float" if kinds == {"integer", "float"} else "object"


def _chunk(portion: _Portion, of: Any) -> Any:
    import pyarrow

    return pyarrow.nulls(len(portion.values), of) if portion.kind == "null" else portion.values.cast(of)


def _chunked(chunks: list[Any], of: Any) -> Any:
    import pyarrow

    return pyarrow.chunked_array(chunks, of)


def _values(portion: _Portion) -> Sequence[Any]:
    return portion.values if isinstance(portion.values, list) else portion.values.to_pylist()  # type: ignore[no-any-return]


def _of_objects(values: list[Any], kind: str, shape: Shape) -> Any:
    """Make a column of a kind that Arrow does not build from Python values: decimals, times, bytes, documents."""
    if kind == "decimal" and shape.decimal == "float":
        import pyarrow

        floats = pyarrow.array([None if value is None else float(value) for value in values], pyarrow.float64())
        make = _arrow_backed if shape.dtypes == "arrow" else _pandas_backed
        return make(pyarrow.chunked_array([floats]), "float", shape)
    if kind == "bytes":
        values = [None if value is None else bytes(value) for value in values]
    return _arrow_objects(values) if shape.dtypes == "arrow" else _object_array(values)


def _assemble(arrays: list[Any], columns: Sequence[Column], rows: int) -> pd.DataFrame:
    pandas = require("pandas", extra="sql")
    # Of more than a hundred blocks pandas warns when a column is added: join them by copying.
    frame = pandas.DataFrame(dict(enumerate(arrays)), index=pandas.RangeIndex(rows), copy=len(columns) > 100)
    frame.columns = pandas.Index([column.name for column in columns], dtype="str")
    return frame


def _why(error: Exception) -> str:
    """Say what went wrong without the value that it went wrong with."""
    if isinstance(error, _Unfit):
        return str(error)
    return f"holds a value that cannot be represented ({type(error).__name__})"


class _Unfit(ValueError):
    """A column holds something that its type in pandas cannot; the message shows no value."""


# ---------------------------------------------------------------------------------------------------------------------
# Arrow to pandas


def _pandas_backed(column: Any, kind: str, shape: Shape) -> Any:
    return _MAKERS.get(kind, _objects)(column, shape)


def _numpy(column: Any) -> Any:
    """Make a numpy array that may be written to: what shares Arrow's memory may not."""
    array = column.to_numpy()
    return array if array.flags.writeable else array.copy()


def _integers(column: Any, shape: Shape) -> Any:
    import pandas
    import pyarrow

    unsigned = column.type == pyarrow.uint64()
    if not unsigned and column.type != pyarrow.int64():
        column = column.cast(pyarrow.int64())
    if column.null_count == 0 and not shape.stable:
        return _numpy(column)
    return (pandas.UInt64Dtype() if unsigned else pandas.Int64Dtype()).__from_arrow__(column)


def _huge_integers(column: Any, shape: Shape) -> Any:
    """Make int64 of 128-bit integers where they fit, as sums usually do, else exact Python integers."""
    import pyarrow

    try:
        return _integers(column.cast(pyarrow.int64()), shape)
    except pyarrow.ArrowInvalid:
        if shape.stable:
            problem = "holds an integer beyond 64 bits; cast it in the query, to DOUBLE or VARCHAR"
            raise _Unfit(problem) from None
    return _digits(column, shape)


def _booleans(column: Any, shape: Shape) -> Any:
    import pandas

    if column.null_count == 0 and not shape.stable:
        return _numpy(column)
    return pandas.BooleanDtype().__from_arrow__(column)


def _floats(column: Any, shape: Shape) -> Any:
    import pyarrow

    if not pyarrow.types.is_floating(column.type):
        column = column.cast(pyarrow.float64(), safe=False)
    return _numpy(column)


def _decimals(column: Any, shape: Shape) -> Any:
    if shape.decimal == "exact":
        return _objects(column, shape)
    return _decimals_as_floats(column)


def _decimals_as_floats(column: Any) -> Any:
    """Round each decimal to the nearest float; Arrow's own cast can be one unit in the last place off."""
    import numpy
    import pyarrow

    if column.type.precision <= 15:
        scale = column.type.scale
        whole = pyarrow.decimal128(38, 0)
        unscaled = [_unscaled(chunk, whole) for chunk in column.chunks]
        numbers = numpy.concatenate(unscaled) if unscaled else numpy.empty(0)
        return numbers / 10.0**scale if scale >= 0 else numbers * 10.0**-scale
    return numpy.array([numpy.nan if v is None else float(v) for v in column.to_pylist()], dtype="float64")


def _unscaled(chunk: Any, whole: Any) -> Any:
    """Read the integers that stand for decimals of up to 15 digits: the lower half of each 128-bit number."""
    import numpy
    import pyarrow

    if pyarrow.types.is_decimal128(chunk.type):
        halves = numpy.frombuffer(chunk.buffers()[1], dtype="<i8")[
            2 * chunk.offset : 2 * (chunk.offset + len(chunk)) : 2
        ]
        numbers = halves.astype("float64")
        if chunk.null_count:
            numbers[chunk.is_null().to_numpy(zero_copy_only=False)] = numpy.nan
        return numbers
    values = chunk.cast(pyarrow.decimal128(38, chunk.type.scale))
    return _unscaled(values, whole)


def _texts(column: Any, shape: Shape) -> Any:
    import pyarrow

    if not (pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)):
        column = column.cast(pyarrow.string())
    return _text_dtype().__from_arrow__(column)


def _text_dtype() -> Any:
    import numpy
    import pandas

    return pandas.StringDtype("pyarrow", na_value=numpy.nan)


def _dates(column: Any, shape: Shape) -> Any:
    import pyarrow

    return _numpy(column.cast(pyarrow.date32()).cast(pyarrow.timestamp("s")))


def _timestamps(column: Any, shape: Shape) -> Any:
    import pyarrow

    return _numpy(column.cast(pyarrow.timestamp("us")))


def _fine_timestamps(column: Any, shape: Shape) -> Any:
    import pyarrow

    return _numpy(column.cast(pyarrow.timestamp("ns")))


def _moments(column: Any, shape: Shape) -> Any:
    import pandas
    import pyarrow

    return pandas.DatetimeIndex(_numpy(column.cast(pyarrow.timestamp("us")))).tz_localize("UTC").array


def _intervals(column: Any, shape: Shape) -> Any:
    import pyarrow

    if column.type == pyarrow.month_day_nano_interval():
        import numpy

        return numpy.array([_microseconds(value) for value in column.to_pylist()], dtype="timedelta64[us]")
    return _numpy(column.cast(pyarrow.duration("us")))


def _microseconds(interval: Any) -> Any:
    import numpy

    if interval is None:
        return numpy.timedelta64("NaT", "us")
    if interval.months:
        raise _Unfit("holds an interval with months, which have no fixed length; cast it to text in the query")
    return numpy.timedelta64(interval.days * 86_400_000_000 + interval.nanoseconds // 1000, "us")


def _uuids(column: Any, shape: Shape) -> Any:
    return _object_array([None if value is None else uuid.UUID(value) for value in column.to_pylist()])


def _digits(column: Any, shape: Shape) -> Any:
    return _object_array([None if value is None else int(value) for value in column.to_pylist()])


def _documents(column: Any, shape: Shape) -> Any:
    return _object_array([None if value is None else json.loads(value) for value in column.to_pylist()])


def _objects(column: Any, shape: Shape) -> Any:
    return _object_array(column.to_pylist(maps_as_pydicts="strict"))


def _object_array(values: Sequence[Any]) -> Any:
    """Make a column of objects that stays one: pandas would take a bare array of texts for a column of text."""
    import numpy
    import pandas

    # one by one: numpy would take lists of equal length for a second dimension
    return pandas.Series(numpy.fromiter(values, dtype=object, count=len(values)), dtype=object)


_MAKERS: dict[str, Callable[[Any, Shape], Any]] = {
    "integer": _integers,
    "huge": _huge_integers,
    "boolean": _booleans,
    "real": _floats,
    "float": _floats,
    "decimal": _decimals,
    "text": _texts,
    "date": _dates,
    "timestamp": _timestamps,
    "timestamp_ns": _fine_timestamps,
    "timestamptz": _moments,
    "interval": _intervals,
    "uuid": _uuids,
    "digits": _digits,
    "json": _documents,
}


# ---------------------------------------------------------------------------------------------------------------------
# Arrow to Arrow-backed pandas


def _arrow_backed(column: Any, kind: str, shape: Shape) -> Any:
    import pandas
    import pyarrow

    if kind == "interval":
        column = pyarrow.chunked_array([pyarrow.array(_intervals(column, shape))], pyarrow.duration("us"))
    elif kind == "decimal" and shape.decimal == "float":
        column = pyarrow.chunked_array([pyarrow.array(_decimals_as_floats(column), from_pandas=True)])
    elif kind in _ARROW_TYPES:
        column = column.cast(_ARROW_TYPES[kind](pyarrow))
    elif kind == "integer" and column.type != pyarrow.uint64():
        column = column.cast(pyarrow.int64())
    return pandas.arrays.ArrowExtensionArray(column)


_ARROW_TYPES: dict[str, Callable[[Any], Any]] = {
    "boolean": lambda pa: pa.bool_(),
    "float": lambda pa: pa.float64(),
    "text": lambda pa: pa.string(),
    "uuid": lambda pa: pa.string(),
    "json": lambda pa: pa.string(),
    "date": lambda pa: pa.date32(),
    "timestamp": lambda pa: pa.timestamp("us"),
    "timestamptz": lambda pa: pa.timestamp("us", tz="UTC"),
    "bytes": lambda pa: pa.binary(),
    "time": lambda pa: pa.time64("us"),
}


# ---------------------------------------------------------------------------------------------------------------------
# Python values


_KINDS: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "float",
    str: "text",
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
    decimal.Decimal: "decimal",
    datetime.date: "date",
    datetime.datetime: "timestamp",
    datetime.time: "time",
    datetime.timedelta: "interval",
    uuid.UUID: "uuid",
    dict: "object",
    list: "object",
    tuple: "object",
}


def kind_of_values(values: Sequence[Any]) -> str | None:
    """Tell the kind that all values share; None where all are missing, "object" where they share none."""
    types = set(map(type, values))
    types.discard(type(None))
    kinds = {_KINDS.get(kind, "object") for kind in types}
    if kinds == {"integer", "float"} or (kinds and kinds <= {"integer", "float", "decimal"} and "decimal" in kinds):
        return "decimal" if "decimal" in kinds and "float" not in kinds else "float"
    if len(kinds) != 1:
        return "object" if kinds else None
    if kinds == {"timestamp"} and any(v is not None and v.tzinfo is not None for v in values):
        return "timestamptz"
    return kinds.pop()


_WRITTEN: dict[str, Callable[[Any], Any]] = {
    "boolean": lambda pa: pa.bool_(),
    "integer": lambda pa: pa.int64(),
    "real": lambda pa: pa.float32(),
    "float": lambda pa: pa.float64(),
    "text": lambda pa: pa.string(),
    "date": lambda pa: pa.date32(),
    "timestamp": lambda pa: pa.timestamp("us"),
    "timestamptz": lambda pa: pa.timestamp("us", tz="UTC"),
    "interval": lambda pa: pa.duration("us"),
}


def _arrow_objects(values: Sequence[Any]) -> Any:
    import pandas
    import pyarrow

    try:
        return pandas.arrays.ArrowExtensionArray(pyarrow.array(values))
    except (pyarrow.ArrowException, TypeError, ValueError):
        return pandas.arrays.ArrowExtensionArray(pyarrow.array([None if v is None else str(v) for v in values]))
