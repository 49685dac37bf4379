"""
What counts as a table, and the way from Arrow to pandas on which no type decays.
"""

from __future__ import annotations

from typing import Any

from lore._extras import require

__all__ = ["frame_of", "is_table", "moments", "plain_columns", "with_pandas_times"]


def is_table(value: object) -> bool:
    """Say whether a value is a DataFrame, or a table of pyarrow or polars; loads none of them."""
    return any(
        cls.__name__ in ("DataFrame", "Table") and cls.__module__.partition(".")[0] in ("pandas", "polars", "pyarrow")
        for cls in type(value).__mro__
    )


def frame_of(table: Any, dtypes: str) -> Any:
    """
    Return an Arrow table as a DataFrame, Arrow-backed if `dtypes` is "arrow".

    Integers and booleans with gaps become `Int64` and `boolean`.
    """
    pandas = require("pandas", extra="sql")
    if dtypes == "arrow":
        return table.to_pandas(types_mapper=pandas.ArrowDtype)
    nullable = _nullable_types()
    gapped = [i for i, column in enumerate(table.columns) if column.null_count and column.type in nullable]
    whole = [i for i in range(table.num_columns) if i not in set(gapped)]
    if not gapped:
        return table.to_pandas()
    parts = [table.select(whole).to_pandas(), table.select(gapped).to_pandas(types_mapper=nullable.get)]
    order = {position: at for at, position in enumerate([*whole, *gapped])}
    return pandas.concat(parts, axis=1).iloc[:, [order[i] for i in range(table.num_columns)]]


def with_pandas_times(table: Any) -> Any:
    """
    Return a table parsed from text with its dates and times in microseconds, as pandas makes them from text.

    Nanoseconds stay where they count. A column of nothing but missing values becomes one of floats.
    """
    pyarrow = require("pyarrow", extra="sql")
    types = pyarrow.types
    for position, field in enumerate(table.schema):
        kind = field.type
        if types.is_date(kind) or types.is_timestamp(kind):
            target = pyarrow.timestamp("us", tz=getattr(kind, "tz", None))
        elif types.is_null(kind) and table.num_rows:
            target = pyarrow.float64()
        else:
            continue
        try:
            column = table.column(position).cast(target)
        except pyarrow.ArrowInvalid:  # nanoseconds that count
            continue
        table = table.set_column(position, field.with_type(target), column)
    return table


def plain_columns(value: Any) -> Any:
    """
    Return a table as a DataFrame of columns with text for names, for formats that know no index.

    An index without a name that holds integers counts rows and is left out; any other becomes leading columns.
    """
    pandas = require("pandas", extra="sql")
    if not isinstance(value, pandas.DataFrame):
        value = (value.to_arrow() if hasattr(value, "to_arrow") else value).to_pandas()
    index = value.index
    if index.nlevels > 1 or index.name is not None or not pandas.api.types.is_integer_dtype(index.dtype):
        value = value.reset_index()
    return value.set_axis([str(name) for name in value.columns], axis=1)


def moments(texts: list[str | None]) -> Any:
    """Return ISO dates and times as timestamps; UTC where any of them names an offset."""
    pandas = require("pandas", extra="sql")
    utc = any(text is not None and "T" in text.replace(" ", "T") and _has_offset(text) for text in texts)
    fine = any(text is not None and len(text.partition(".")[2].rstrip("Z").partition("+")[0]) > 6 for text in texts)
    try:
        found = pandas.to_datetime(pandas.Series(texts, dtype="str"), format="ISO8601", utc=utc)
    except (ValueError, OverflowError):
        return pandas.Series(texts, dtype="str")
    return found.dt.as_unit("ns" if fine else "us")


def _has_offset(text: str) -> bool:
    return text.endswith("Z") or "+" in text or "-" in text[10:]


def _nullable_types() -> dict[Any, Any]:
    pandas = require("pandas", extra="sql")
    pyarrow = require("pyarrow", extra="sql")
    nullable = {pyarrow.bool_(): pandas.BooleanDtype()}
    for bits in (8, 16, 32, 64):
        nullable[getattr(pyarrow, f"int{bits}")()] = getattr(pandas, f"Int{bits}Dtype")()
        nullable[getattr(pyarrow, f"uint{bits}")()] = getattr(pandas, f"UInt{bits}Dtype")()
    return nullable
