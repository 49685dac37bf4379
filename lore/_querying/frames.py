"""
What a frame's columns are to a database: each a kind (the words of `lore._querying.tables`) and an Arrow array.
"""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lore._querying import tables
from lore._querying.statements import plain, to_json
from lore.errors import StatementError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Outgoing", "check_fit", "kind_of_arrow", "kind_of_type", "outgoing", "signed"]


class Outgoing(NamedTuple):
    """
    One column on its way to a database.

    Attributes:
        name: the column's name.
        kind: its kind; "null" where it holds nothing but missing values; "list" for arrays.
        array: its values as an Arrow array; JSON and UUIDs as text.
    """

    name: str
    kind: str
    array: Any


def outgoing(frame: pd.DataFrame) -> list[Outgoing]:
    """
    Take a frame apart into columns for a database. NaN counts as missing, as everywhere in pandas.

    The index is left out, unless its levels have names: then they are columns in front.

    Raises:
        StatementError: no columns, two columns of one name, or a column of values that no database has a type for.
    """
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    if not names:
        raise StatementError("A frame without columns makes no table.")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise StatementError(f"The frame has more than one column named {', '.join(map(repr, twice))}.")
    return [_column(name, frame.iloc[:, position]) for position, name in enumerate(names)]


def _column(name: str, series: pd.Series[Any]) -> Outgoing:
    import pandas
    import pyarrow

    if isinstance(series.dtype, pandas.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    problem = None
    try:
        kind, array = _of_dtype(series)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        problem = str(error) if isinstance(error, _Mixed) else f"dtype {series.dtype} has no counterpart"
    if problem:
        raise StatementError(f"Column {name!r} cannot be written: {problem}.")
    if isinstance(array, pyarrow.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    return Outgoing(name, kind, array)


class _Mixed(TypeError):
    """A column of objects of several types, or of values that would be rounded."""


def _of_dtype(series: pd.Series[Any]) -> tuple[str, Any]:
    import pandas
    import pyarrow

    dtype = series.dtype
    if isinstance(dtype, pandas.ArrowDtype):
        return kind_of_arrow(pyarrow.array(series))
    if dtype.kind in "biuf" or isinstance(dtype, pandas.StringDtype):
        return kind_of_arrow(pyarrow.array(series, from_pandas=True))
    if dtype.kind == "M":
        return _of_datetimes(series)
    if dtype.kind == "m":
        spans = series.astype("timedelta64[us]")
        if (spans != series)[~series.isna()].any():
            raise _Mixed("it holds nanoseconds, which databases' intervals do not; round it to microseconds")
        return "interval", pyarrow.array(spans, pyarrow.duration("us"), from_pandas=True)
    if dtype.kind == "O":
        return _of_objects(series)
    raise _Mixed(f"dtype {dtype} has no counterpart")


def _of_datetimes(series: pd.Series[Any]) -> tuple[str, Any]:
    import pandas
    import pyarrow

    if isinstance(series.dtype, pandas.DatetimeTZDtype):
        moments = series.dt.tz_convert("UTC").astype("datetime64[us, UTC]")
        if (moments != series)[~series.isna()].any():
            raise _Mixed("it holds nanoseconds, which databases' times with a zone do not; round it to microseconds")
        return "timestamptz", pyarrow.array(moments, pyarrow.timestamp("us", tz="UTC"), from_pandas=True)
    values = series.to_numpy()
    unit = values.dtype.str[4:-1]
    if unit == "s" and (values == values.astype("datetime64[D]"))[~series.isna()].all():
        return "date", pyarrow.array(values, from_pandas=True).cast(pyarrow.date32())
    if unit == "ns" and (values != values.astype("datetime64[us]"))[~series.isna()].any():
        return "timestamp_ns", pyarrow.array(values, pyarrow.timestamp("ns"), from_pandas=True)
    return "timestamp", pyarrow.array(values.astype("datetime64[us]"), pyarrow.timestamp("us"), from_pandas=True)


def kind_of_arrow(array: Any) -> tuple[str, Any]:
    """Name the kind of an Arrow array; return it with the array in the type that stands for the kind."""
    import pyarrow

    if pyarrow.types.is_dictionary(array.type):
        return kind_of_arrow(array.cast(array.type.value_type))
    kind, wanted = kind_of_type(array.type)
    return kind, array if array.type == wanted else array.cast(wanted)


def kind_of_type(of: Any) -> tuple[str, Any]:
    """Name the kind of an Arrow type; return it with the type that stands for the kind."""
    import pyarrow

    types = pyarrow.types
    if types.is_timestamp(of):
        if of.tz is not None:
            return "timestamptz", pyarrow.timestamp("us", tz="UTC")
        return ("timestamp_ns", of) if of.unit == "ns" else ("timestamp", pyarrow.timestamp("us"))
    for kind, belongs, wanted in (
        ("boolean", types.is_boolean, of),
        ("unsigned", lambda one: one == pyarrow.uint64(), of),
        ("integer", types.is_integer, pyarrow.int64()),
        ("real", lambda one: types.is_float32(one) or types.is_float16(one), pyarrow.float32()),
        ("float", types.is_float64, of),
        ("decimal", types.is_decimal, of),
        ("text", lambda one: types.is_string(one) or types.is_large_string(one), of),
        ("bytes", lambda one: types.is_binary(one) or types.is_large_binary(one), of),
        ("date", types.is_date, pyarrow.date32()),
        ("time", types.is_time, pyarrow.time64("us")),
        ("interval", types.is_duration, pyarrow.duration("us")),
        ("list", lambda one: types.is_list(one) or types.is_large_list(one), of),
        ("null", types.is_null, of),
    ):
        if belongs(of):
            return kind, wanted
    raise _Mixed(f"Arrow type {of} has no counterpart")


def _of_objects(series: pd.Series[Any]) -> tuple[str, Any]:
    """Find the kind that all objects share and write them as Arrow."""
    import pyarrow

    values = [_present(value) for value in series]
    kind = tables.kind_of_values(values)
    if kind is None:
        return "null", pyarrow.nulls(len(values))
    if kind == "object":
        return _of_containers(values)
    if kind == "uuid":
        return "uuid", pyarrow.array([None if v is None else str(v) for v in values], pyarrow.string())
    if kind == "decimal":
        return _of_decimals(values)
    if kind == "integer" and any(v is not None and not -(2**63) <= v < 2**63 for v in values):
        return _of_decimals([None if v is None else decimal.Decimal(v) for v in values])
    if kind == "time":
        return "time", pyarrow.array(values, pyarrow.time64("us"))
    if kind == "timestamptz":
        return kind, pyarrow.array(values, pyarrow.timestamp("us", tz="UTC"))
    return kind, pyarrow.array(values, {"interval": pyarrow.duration("us")}.get(kind))


def _present(value: Any) -> Any:
    """Return the plain value; None for what pandas counts as missing."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, list | tuple) or hasattr(value, "tolist"):
        made = plain(value)
        return list(made) if isinstance(made, list) else made
    return plain(value)


def _of_decimals(values: Sequence[Any]) -> tuple[str, Any]:
    """Write decimals with the least precision and scale that hold them all; text where 38 digits do not."""
    import pyarrow

    numbers = [None if v is None else v if isinstance(v, decimal.Decimal) else decimal.Decimal(v) for v in values]
    finite = [v for v in numbers if v is not None and v.is_finite()]
    if len(finite) < sum(v is not None for v in numbers):
        return "decimal", pyarrow.array([None if v is None else str(v) for v in numbers], pyarrow.string())
    scale = max((max(0, -v.as_tuple().exponent) for v in finite), default=0)  # type: ignore[operator]
    whole = max((v.adjusted() + 1 for v in finite), default=1)
    precision = max(1, scale + max(0, whole))
    if precision > 38:
        return "decimal", pyarrow.array([None if v is None else str(v) for v in numbers], pyarrow.string())
    return "decimal", pyarrow.array(numbers, pyarrow.decimal128(precision, scale))


def _of_containers(values: Sequence[Any]) -> tuple[str, Any]:
    """Tell lists of one plain type from documents; mixtures of anything else are refused."""
    import pyarrow

    types = sorted({type(value).__name__ for value in values if value is not None})
    if types == ["list"]:
        inner = {type(item) for value in values if value is not None for item in value if item is not None}
        if len(inner) <= 1 and not inner & {dict, list, tuple}:
            if not inner:
                return "list", pyarrow.array(values, pyarrow.list_(pyarrow.string()))
            return "list", pyarrow.array(values)
    if set(types) <= {"list", "dict"}:
        return "json", pyarrow.array([None if v is None else to_json(v) for v in values], pyarrow.string())
    raise _Mixed(f"it mixes {' and '.join(types)}")


def signed(column: Outgoing, database: str) -> Outgoing:
    """
    Return a column for a table made in a database without unsigned integers.

    Raises:
        StatementError: it holds integers beyond 2**63 - 1.
    """
    import pyarrow

    inner = column.array.type.value_type if column.kind == "list" else column.array.type
    if inner != pyarrow.uint64():
        return column
    try:
        if column.kind == "list":
            return column._replace(array=column.array.cast(pyarrow.list_(pyarrow.int64())))
        return column._replace(kind="integer", array=column.array.cast(pyarrow.int64()))
    except pyarrow.ArrowInvalid:
        pass
    raise StatementError(
        f"Column {column.name!r} holds unsigned integers beyond 2**63 - 1, which {database} has no integer type for: "
        f"write it as text, as decimals or as floats."
    )


# ---------------------------------------------------------------------------------------------------------------------
# appending


_FITS: dict[str, frozenset[str]] = {
    "boolean": frozenset({"boolean"}),
    "integer": frozenset({"integer", "huge", "decimal", "float", "real"}),
    "unsigned": frozenset({"integer", "huge", "decimal", "float"}),
    "real": frozenset({"real", "float", "decimal"}),
    "float": frozenset({"float", "decimal"}),
    "decimal": frozenset({"decimal", "float"}),
    "text": frozenset({"text", "uuid", "json", "enum"}),
    "bytes": frozenset({"bytes"}),
    "date": frozenset({"date", "timestamp", "timestamp_ns"}),
    "timestamp": frozenset({"timestamp", "timestamp_ns"}),
    "timestamp_ns": frozenset({"timestamp_ns"}),
    "timestamptz": frozenset({"timestamptz"}),
    "time": frozenset({"time"}),
    "interval": frozenset({"interval"}),
    "uuid": frozenset({"uuid", "text"}),
    "json": frozenset({"json", "text"}),
    "list": frozenset({"list", "json", "object"}),
}


def check_fit(columns: Sequence[Outgoing], present: dict[str, str | None], table: str) -> list[Outgoing]:
    """
    Check that a frame's columns fit a table that is there; return them as the table wants them.

    A float column that holds whole numbers only (integers beside missing values, as pandas makes them) fits an
    integer column.

    Args:
        columns: the frame's.
        present: the table's columns and their kinds; None fits everything.
        table: its name, for the error.

    Raises:
        StatementError: names each column that the table lacks or has with another type.
    """
    problems = [f"{column.name!r} is not in the table" for column in columns if column.name not in present]
    fitted = []
    for column in columns:
        wanted = present.get(column.name)
        if wanted is None or column.kind in {"null", wanted} or wanted in _FITS.get(column.kind, frozenset()):
            fitted.append(column)
        elif wanted in {"integer", "huge"} and column.kind in {"float", "real"} and _is_whole(column.array):
            import pyarrow

            fitted.append(Outgoing(column.name, "integer", column.array.cast(pyarrow.int64())))
        else:
            problems.append(f"{column.name!r} holds {column.kind} and the table's column is {wanted}")
    if problems:
        raise StatementError(
            f"The frame does not fit table {table}: {'; '.join(problems)}. The table has {', '.join(present)}."
        )
    return fitted


def _is_whole(array: Any) -> bool:
    import pyarrow

    try:
        array.cast(pyarrow.int64())
    except pyarrow.ArrowInvalid:
        return False
    return True
