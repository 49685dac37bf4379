"""
PostgreSQL's types as columns: how each is fetched, decoded, read from text and turned into pandas or Arrow.

One class tells the whole story of one type. A *part* is what one piece of a result decodes to, in whatever shape suits
the type; `build` joins the parts of a column into what the frame holds. Both ways into a part, binary COPY (`decode`)
and the text of a plain cursor (`parse`), give the same part, so the result cannot depend on the way.

| PostgreSQL | pandas | Arrow |
| --- | --- | --- |
| smallint, integer, bigint, oid | int64, or Int64 where NULL occurs | int16, int32, int64, int64 |
| boolean | bool, or boolean where NULL occurs | bool |
| real, double precision | float32, float64 | float, double |
| numeric | float64, or Decimal objects | double, or decimal128/256 |
| text, varchar, char, name, enums | str | string |
| date, timestamp, timestamptz | datetime64[s], [us], [us, UTC] | date32, timestamp[us], timestamp[us, UTC] |
| time, interval | datetime.time objects, timedelta64[us] | time64[us], duration[us] |
| json, jsonb | parsed objects | string (the JSON text) |
| bytea, uuid | bytes, uuid.UUID objects | binary, string |
| arrays | lists, nested where they have dimensions | list (of one dimension) |
| all else (inet, money, ranges, xml, bit, points, composites ...) | str, as psql shows it | string |
"""

from __future__ import annotations

import datetime as dt
import json
from array import array
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from lore._querying.postgres import numerics
from lore._querying.postgres.cells import Cells
from lore._querying.postgres.literals import parse_array, parse_bytes, parse_interval, parse_moments
from lore.errors import QueryError

if TYPE_CHECKING:
    from lore._querying.postgres.cells import Array

__all__ = ["ArrayColumn", "Column", "Style", "column_for"]

_EPOCH_DAYS = 10_957
_DAY_US = 86_400_000_000


class Style:
    """
    How a caller wants columns.

    Args:
        arrow: Arrow-backed columns rather than numpy's and pandas' own.
        exact: numeric as exact decimals rather than floats.
        unchecked: the server lets any bytes be text (its encoding is SQL_ASCII), so that it is us who must look.
    """

    __slots__ = ("arrow", "exact", "unchecked")

    def __init__(self, *, arrow: bool = False, exact: bool = False, unchecked: bool = True) -> None:
        self.arrow = arrow
        self.exact = exact
        self.unchecked = unchecked


class Column:
    """
    One column of a result.

    Attributes:
        name: the column's name, for errors.
        cast: the SQL expression that COPY has to select, `{}` standing for the column; None for the column itself.
        width, head, may_be_null: see `cells.Field`.
    """

    width: int | None = None
    head: int = 0
    cast: str | None = None

    def __init__(self, name: str, style: Style) -> None:
        self.name = name
        self.style = style
        self.may_be_null = False

    def decode(self, cells: Cells) -> Any:
        """Turn binary cells into a part."""
        raise NotImplementedError

    def parse(self, texts: Sequence[str | None]) -> Any:
        """Turn a plain cursor's texts into a part."""
        raise NotImplementedError

    def arrow(self, part: Any) -> Any:
        """Turn a part into an Arrow array of `arrow_type`."""
        raise NotImplementedError

    @property
    def arrow_type(self) -> Any:
        """The Arrow type of the column."""
        raise NotImplementedError

    def objects(self, part: Any) -> list[Any]:
        """Turn a part into Python scalars, None for NULL: the elements of array columns."""
        raise NotImplementedError

    def join(self, parts: list[Any], nullable: bool) -> Any:
        """Join parts into the values of a pandas column; `nullable` asks for a type that can hold NULLs anyhow."""
        raise NotImplementedError

    def build(self, parts: list[Any], nullable: bool = False) -> Any:
        """
        Join parts into the values of a DataFrame's column, in the style asked for.

        Args:
            parts: the parts in order, emptied on the way so that memory is not held twice.
            nullable: use the type that can hold NULLs even where none occurs: what chunks of a stream need.
        """
        if not self.style.arrow:
            return self.join(parts, nullable)
        import pandas as pd
        import pyarrow as pa

        chunks = [self.arrow(part) for part in parts]
        parts.clear()
        return pd.arrays.ArrowExtensionArray(pa.chunked_array(chunks, type=self.arrow_type))

    def fail(self, why: str) -> QueryError:
        """Make the error that names this column."""
        return QueryError(f"Column {self.name!r}: {why}")


class NumberColumn(Column):
    """Columns whose parts are (numpy values, mask of NULLs or None)."""

    wire: ClassVar[str]
    native: ClassVar[str]
    missing: ClassVar[Any] = 0

    def decode(self, cells: Cells) -> Any:
        values = cells.head(self.wire).astype(self.native)
        if cells.null is not None:
            values[cells.null] = self.missing
        return values, cells.null

    def parse(self, texts: Sequence[str | None]) -> Any:
        import numpy as np

        null = np.array([text is None for text in texts], bool)
        values = np.array([self.missing if text is None else self.scalar(text) for text in texts], self.native)
        return values, null if null.any() else None

    def scalar(self, text: str) -> Any:
        """Read one value's text."""
        raise NotImplementedError

    def arrow(self, part: Any) -> Any:
        import pyarrow as pa

        values, null = part
        return pa.array(values, mask=null).cast(self.arrow_type)

    def objects(self, part: Any) -> list[Any]:
        values, null = part
        found = values.tolist()
        if null is not None:
            for row in null.nonzero()[0].tolist():
                found[row] = None
        return found  # type: ignore[no-any-return]


class IntegerColumn(NumberColumn):
    """smallint, integer, bigint and oid."""

    native = "i8"

    def __init__(self, name: str, style: Style, wire: str = ">i8") -> None:
        super().__init__(name, style)
        self.wire = wire  # type: ignore[misc]
        self.width = int(wire[-1])
        self.head = self.width

    def scalar(self, text: str) -> int:
        return int(text)

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return {">i2": pa.int16(), ">i4": pa.int32()}.get(self.wire, pa.int64())

    def join(self, parts: list[Any], nullable: bool) -> Any:
        import pandas as pd

        values, null = _joined(parts, self.native)
        return pd.arrays.IntegerArray(values, _mask(values, null)) if nullable or null is not None else values


class BooleanColumn(NumberColumn):
    """boolean."""

    wire, native = "u1", "bool"
    missing = False
    width = head = 1

    def scalar(self, text: str) -> bool:
        return text == "t"

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return pa.bool_()

    def join(self, parts: list[Any], nullable: bool) -> Any:
        import pandas as pd

        values, null = _joined(parts, self.native)
        return pd.arrays.BooleanArray(values, _mask(values, null)) if nullable or null is not None else values


class FloatColumn(NumberColumn):
    """real and double precision; NULL and NaN are both NaN in pandas, and two things in Arrow."""

    native = "f8"
    missing = float("nan")

    def __init__(self, name: str, style: Style, wire: str = ">f8") -> None:
        super().__init__(name, style)
        self.wire = wire  # type: ignore[misc]
        self.native = wire[1:]  # type: ignore[misc]
        self.width = int(wire[-1])
        self.head = self.width

    def scalar(self, text: str) -> float:
        return float(text)

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return pa.float32() if self.wire == ">f4" else pa.float64()

    def join(self, parts: list[Any], nullable: bool) -> Any:
        return _joined(parts, self.native)[0]


class NumericColumn(FloatColumn):
    """numeric as floats, correctly rounded."""

    def __init__(self, name: str, style: Style) -> None:
        super().__init__(name, style)
        self.width, self.head = None, numerics.HEAD

    def decode(self, cells: Cells) -> Any:
        return numerics.floats(cells), cells.null


class ObjectColumn(Column):
    """Columns whose parts are numpy arrays of Python objects, None for NULL."""

    def decode(self, cells: Cells) -> Any:
        return _objects(self.values(cells))

    def values(self, cells: Cells) -> Sequence[Any]:
        """Make the Python objects of binary cells."""
        raise NotImplementedError

    def parse(self, texts: Sequence[str | None]) -> Any:
        return _objects([None if text is None else self.scalar(text) for text in texts])

    def scalar(self, text: str) -> Any:
        """Read one value's text."""
        raise NotImplementedError

    def arrow(self, part: Any) -> Any:
        import pyarrow as pa

        return pa.array(part, self.arrow_type, from_pandas=False)

    def objects(self, part: Any) -> list[Any]:
        return part.tolist()  # type: ignore[no-any-return]

    def join(self, parts: list[Any], nullable: bool) -> Any:
        import numpy as np

        joined = np.concatenate([np.empty(0, object), *parts])
        parts.clear()
        return joined


class DecimalColumn(ObjectColumn):
    """numeric as exact decimals with the server's scale, NaN and infinities included."""

    head = numerics.HEAD

    def __init__(self, name: str, style: Style, precision: int | None = None, scale: int | None = None) -> None:
        super().__init__(name, style)
        self.precision, self.scale = precision, scale

    def values(self, cells: Cells) -> Sequence[Any]:
        return numerics.decimals(cells)

    def scalar(self, text: str) -> Decimal:
        return Decimal(text)

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        if self.precision is None or self.scale is None:
            return pa.decimal256(76, 38)
        precision = max(self.precision - min(self.scale, 0), self.scale)
        scale = max(self.scale, 0)
        return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(min(precision, 76), scale)

    def arrow(self, part: Any) -> Any:
        import pyarrow as pa

        try:
            return super().arrow(part)
        except (pa.ArrowInvalid, ValueError) as error:
            raise self.fail(
                f"a value does not fit Arrow's {self.arrow_type}; cast the column to numeric(precision, scale) or text,"
                " or read with dtypes='pandas'"
            ) from error


class TextColumn(Column):
    """Text of every sort, and every type that is fetched as its text; parts are Arrow arrays."""

    version = 0
    """Bytes in front of the text that tell the version of a format."""

    def __init__(self, name: str, style: Style, cast: str | None = None, *, host: bool = False) -> None:
        super().__init__(name, style)
        self.cast = cast
        self.host = host

    def decode(self, cells: Cells) -> Any:
        import pyarrow as pa

        try:
            text = cells.raw(self.version, text=not self.style.unchecked).cast(pa.large_string())
        except pa.ArrowInvalid as error:
            raise self.fail("a value is not valid UTF-8; select it as bytea with textsend(...)") from error
        return self._hosts(text) if self.host else text

    def _hosts(self, text: Any) -> Any:
        """Undo what a cast of inet to text adds, and inet's own output does not: the mask of a single host."""
        import pyarrow.compute as pc

        return pc.replace_substring_regex(text, r"^([0-9.]+)/32$|^([0-9a-f:.]+)/128$", r"\1\2")

    def parse(self, texts: Sequence[str | None]) -> Any:
        import pyarrow as pa

        return pa.array(texts, pa.large_string())

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return pa.string()

    def arrow(self, part: Any) -> Any:
        return part.cast(self.arrow_type)

    def objects(self, part: Any) -> list[Any]:
        return part.to_pylist()  # type: ignore[no-any-return]

    def join(self, parts: list[Any], nullable: bool) -> Any:
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        joined = pa.chunked_array(parts, type=pa.large_string()).combine_chunks()
        parts.clear()
        return pd.StringDtype("pyarrow", na_value=np.nan).__from_arrow__(joined)


class JsonColumn(TextColumn):
    """json and jsonb: parsed by the standard library's `json`, or in Arrow kept as text."""

    def __init__(self, name: str, style: Style, version: int = 0) -> None:
        super().__init__(name, style)
        self.version = version

    def objects(self, part: Any) -> list[Any]:
        try:
            return [None if text is None else json.loads(text) for text in part.to_pylist()]
        except ValueError as error:
            raise self.fail(f"a JSON value cannot be parsed ({error}); select it as text") from error

    def join(self, parts: list[Any], nullable: bool) -> Any:
        values = _objects([value for part in parts for value in self.objects(part)])
        parts.clear()
        return values


class BytesColumn(Column):
    """bytea as bytes; parts are Arrow arrays."""

    def decode(self, cells: Cells) -> Any:
        return cells.raw()

    def parse(self, texts: Sequence[str | None]) -> Any:
        import pyarrow as pa

        return pa.array([None if text is None else parse_bytes(text) for text in texts], pa.large_binary())

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return pa.binary()

    def arrow(self, part: Any) -> Any:
        return part.cast(self.arrow_type)

    def objects(self, part: Any) -> list[Any]:
        return part.to_pylist()  # type: ignore[no-any-return]

    def join(self, parts: list[Any], nullable: bool) -> Any:
        import pyarrow as pa

        joined = pa.chunked_array(parts, type=pa.large_binary())
        parts.clear()
        return joined.to_numpy() if len(joined) else _objects([])


class UuidColumn(ObjectColumn):
    """uuid as uuid.UUID, in Arrow as text."""

    width = head = 16

    def values(self, cells: Cells) -> Sequence[Any]:
        high, low = cells.head(">u8").tolist(), cells.head(">u8", 8).tolist()
        found: list[UUID | None] = [UUID(int=one << 64 | two) for one, two in zip(high, low)]
        if cells.null is not None:
            for row in cells.null.nonzero()[0].tolist():
                found[row] = None
        return found

    def scalar(self, text: str) -> UUID:
        return UUID(text)

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return pa.string()

    def arrow(self, part: Any) -> Any:
        import pyarrow as pa

        return pa.array([None if value is None else str(value) for value in part], pa.string())


class MomentColumn(NumberColumn):
    """Columns of points or lengths of time: int64 counts of `unit`, with a smallest integer for NULL."""

    unit: ClassVar[str]
    numpy: ClassVar[str]
    missing = -(2**63)

    def join(self, parts: list[Any], nullable: bool) -> Any:
        return _joined(parts, "i8")[0].view(self.numpy)

    def parse(self, texts: Sequence[str | None]) -> Any:
        import numpy as np

        null = np.array([text is None for text in texts], bool)
        counts = np.full(len(texts), self.missing, "i8")
        try:
            counts[~null] = self.counts([text for text in texts if text is not None])
        except (ValueError, OverflowError) as error:
            raise self.fail(f"{error}") from None
        return counts, null if null.any() else None

    def counts(self, texts: list[str]) -> Array:
        """Read values' texts as counts of the unit."""
        return parse_moments(texts, self.unit)

    def objects(self, part: Any) -> list[Any]:
        values, _ = part
        found = values.view(self.numpy).astype(self.numpy.replace("[s]", "[D]")).astype(object).tolist()
        if any(isinstance(value, int) for value in found):
            raise self.fail("an element is beyond what Python's datetime can hold; cast the array to text[]")
        return found  # type: ignore[no-any-return]

    def refuse_infinity(self, counts: Array, null: Array | None, low: int, high: int) -> None:
        """Raise where a value is one of the two infinities."""
        endless = (counts == low) | (counts == high)
        if null is not None:
            endless &= ~null
        if endless.any():
            sign = "-" if counts[endless][0] == low else ""
            raise self.fail(f"the value {sign}infinity has no counterpart; filter it out, or cast the column to text")


class DateColumn(MomentColumn):
    """date, in seconds as pandas wants it."""

    unit, numpy = "s", "M8[s]"
    width = head = 4

    def decode(self, cells: Cells) -> Any:
        days = cells.head(">i4").astype("i8")
        self.refuse_infinity(days, cells.null, -(2**31), 2**31 - 1)
        days += _EPOCH_DAYS
        days *= 86_400
        if cells.null is not None:
            days[cells.null] = self.missing
        return days, cells.null

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return pa.date32()

    def arrow(self, part: Any) -> Any:
        import pyarrow as pa

        seconds, null = part
        return pa.array((seconds // 86_400).astype("i4"), mask=null).cast(pa.date32())


class TimestampColumn(MomentColumn):
    """timestamp."""

    unit, numpy = "us", "M8[us]"
    width = head = 8
    zone: ClassVar[str | None] = None

    def decode(self, cells: Cells) -> Any:
        counts = cells.head(">i8").astype("i8")
        self.refuse_infinity(counts, cells.null, -(2**63), 2**63 - 1)
        if len(counts) and int(counts.max()) > 2**63 - 1 - _EPOCH_DAYS * _DAY_US:
            self._refuse_far(counts, cells.null)
        counts += _EPOCH_DAYS * _DAY_US
        if cells.null is not None:
            counts[cells.null] = self.missing
        return counts, cells.null

    def _refuse_far(self, counts: Array, null: Array | None) -> None:
        far = counts > 2**63 - 1 - _EPOCH_DAYS * _DAY_US
        if null is not None:
            far &= ~null
        if far.any():
            raise self.fail("a timestamp is beyond what datetime64[us] can hold; cast the column to text")

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return pa.timestamp("us", tz=self.zone)


class ZonedColumn(TimestampColumn):
    """timestamptz, in UTC whatever the session's zone."""

    zone = "UTC"

    def join(self, parts: list[Any], nullable: bool) -> Any:
        import pandas as pd

        return pd.array(super().join(parts, nullable), dtype=pd.DatetimeTZDtype("us", "UTC"))

    def objects(self, part: Any) -> list[Any]:
        return [None if value is None else value.replace(tzinfo=dt.UTC) for value in super().objects(part)]


class TimeColumn(MomentColumn):
    """time as datetime.time objects."""

    wire, native = ">i8", "i8"
    unit, numpy = "time", "m8[us]"
    width = head = 8

    def decode(self, cells: Cells) -> Any:
        counts, null = super().decode(cells)
        self._refuse_midnight(counts, null)
        return counts, null

    def parse(self, texts: Sequence[str | None]) -> Any:
        counts, null = super().parse(texts)
        self._refuse_midnight(counts, null)
        return counts, null

    def _refuse_midnight(self, counts: Array, null: Array | None) -> None:
        if len(counts) and int(counts.max()) >= _DAY_US:
            raise self.fail("the time 24:00:00 has no counterpart; filter it out, or cast the column to text")

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return pa.time64("us")

    def objects(self, part: Any) -> list[Any]:
        return self.arrow(part).to_pylist()  # type: ignore[no-any-return]

    def join(self, parts: list[Any], nullable: bool) -> Any:
        values = _objects([value for part in parts for value in self.objects(part)])
        parts.clear()
        return values


class IntervalColumn(MomentColumn):
    """interval as a length of time; one with months or years has none, and is refused."""

    unit, numpy = "us", "m8[us]"
    width = head = 16

    def decode(self, cells: Cells) -> Any:
        counts = cells.head(">i8").astype("i8")
        days = cells.head(">i4", 8).astype("i8")
        months = cells.head(">i4", 12).astype("i8")
        if cells.null is not None:
            counts[cells.null] = days[cells.null] = months[cells.null] = 0
        self.check(counts, days, months)
        counts += days * _DAY_US
        if cells.null is not None:
            counts[cells.null] = self.missing
        return counts, cells.null

    def check(self, counts: Array, days: Array, months: Array) -> None:
        """Raise where an interval is no length of time."""
        import numpy as np

        endless = np.abs(months.astype("f8")) >= 2**31 - 1
        if (endless & (np.abs(days.astype("f8")) >= 2**31 - 1)).any():
            raise self.fail("an infinite interval has no counterpart; filter it out, or cast the column to text")
        if months.any():
            raise self.fail(
                "an interval with months or years has no fixed length; cast the column to text, or take"
                " extract(epoch from ...) if 30-day months are what you mean"
            )
        if (np.abs(counts + days.astype("f8") * _DAY_US) >= 2**63 - 2**11).any():
            raise self.fail("an interval is beyond what timedelta64[us] can hold; cast the column to text")

    def counts(self, texts: list[str]) -> Array:
        import numpy as np

        counts, days, months = np.array([parse_interval(text) for text in texts], "i8").reshape(-1, 3).T
        self.check(counts, days, months)
        return counts + days * _DAY_US  # type: ignore[no-any-return]

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return pa.duration("us")


class ArrayColumn(Column):
    """
    Arrays of every type above; parts are (the elements' part, a shape for every array, None for a NULL).

    A shape is a tuple of dimensions, () for an empty array. Bounds that do not start at 1 are dropped.
    """

    head = 20

    def __init__(self, name: str, style: Style, element: Column, cast: str | None = None) -> None:
        super().__init__(name, style)
        self.element = element
        self.cast = cast

    def decode(self, cells: Cells) -> Any:
        dimensions = cells.head(">i4").tolist()
        counts = cells.head(">i4", 12).tolist()
        for row in [] if cells.null is None else cells.null.nonzero()[0].tolist():
            dimensions[row] = -1
        shapes: list[tuple[int, ...] | None] = [
            (counts[row],) if rank == 1 else () if rank == 0 else None for row, rank in enumerate(dimensions)
        ]
        positions = cells.positions
        for row, rank in enumerate(dimensions):
            if rank > 1:
                shapes[row] = tuple(_int(cells.data, int(positions[row]) + 12 + 8 * axis) for axis in range(rank))
        return self.element.decode(self._elements(cells, positions, dimensions, shapes)), shapes

    def _elements(
        self, cells: Cells, positions: Array, dimensions: list[int], shapes: list[tuple[int, ...] | None]
    ) -> Cells:
        """Find every element of every array, one after the other."""
        import numpy as np

        counts = np.array([_count(shape) for shape in shapes], "i8")
        starts = positions + 12 + 8 * np.array(dimensions, "i8")
        total, longest = int(counts.sum()), int(counts.max()) if len(counts) else 0
        # A step for all arrays at once costs as much as some forty single ones.
        find = _all_steps if 40 * longest < total else _single_steps
        at, sizes = find(cells.data, starts, counts)
        null = sizes < 0
        sizes[null] = 0
        head = max(self.element.head, self.element.width or 0)
        return Cells.at(cells.data, at, sizes, null if null.any() else None, head)

    def parse(self, texts: Sequence[str | None]) -> Any:
        elements: list[str | None] = []
        shapes: list[tuple[int, ...] | None] = []
        for text in texts:
            shapes.append(None if text is None else parse_array(text, elements))
        return self.element.parse(elements), shapes

    @property
    def arrow_type(self) -> Any:
        import pyarrow as pa

        return pa.list_(self.element.arrow_type)

    def arrow(self, part: Any) -> Any:
        import numpy as np
        import pyarrow as pa

        elements, shapes = part
        if any(shape is not None and len(shape) > 1 for shape in shapes):
            raise self.fail("an array of several dimensions has no Arrow type here; read with dtypes='pandas'")
        bounds = np.zeros(len(shapes) + 1, "i4")
        np.cumsum([_count(shape) for shape in shapes], out=bounds[1:])
        null = pa.array([shape is None for shape in shapes], pa.bool_())
        return pa.ListArray.from_arrays(pa.array(bounds), self.element.arrow(elements), self.arrow_type, mask=null)

    def objects(self, part: Any) -> list[Any]:
        elements, shapes = part
        values = self.element.objects(elements)
        found: list[Any] = []
        first = 0
        for shape in shapes:
            last = first + _count(shape)
            found.append(None if shape is None else _shaped(values[first:last], shape))
            first = last
        return found

    def join(self, parts: list[Any], nullable: bool) -> Any:
        values = _objects([value for part in parts for value in self.objects(part)])
        parts.clear()
        return values


def column_for(
    name: str, oid: int, style: Style, precision: int | None = None, scale: int | None = None
) -> Column | None:
    """
    Make the column for a type that every server has under the same oid.

    Returns:
        The column, or None for a type that only the server's catalog can tell (an enum, a domain, an extension's).
    """
    if oid == 1700:
        return DecimalColumn(name, style, *_typmod(precision, scale)) if style.exact else NumericColumn(name, style)
    if oid in _ELEMENT_OF:
        element = column_for(name, _ELEMENT_OF[oid], style)
        assert element is not None
        return ArrayColumn(name, style, element, "{}::text[]" if element.cast else None)
    make = _SCALARS.get(oid)
    return None if make is None else make(name, style)


def _typmod(precision: int | None, scale: int | None) -> tuple[int | None, int | None]:
    """Read psycopg2's precision and scale: 65535 says that none was declared, and a negative scale wraps at 2048."""
    if precision is None or scale is None or precision > 1000:
        return None, None
    return precision, scale - 2048 if scale > 1000 else scale


#: inet's own output; its cast to text differs from that for single hosts. Never empty, so '' can only be a NULL's.
_AS_SHOWN = "nullif(format('%s', {}), '')"
_AS_TEXT = "{}::text"

_SCALARS: dict[int, Callable[[str, Style], Column]] = {
    16: BooleanColumn,
    17: BytesColumn,
    18: lambda name, style: TextColumn(name, style, _AS_TEXT),
    19: TextColumn,
    20: IntegerColumn,
    21: lambda name, style: IntegerColumn(name, style, ">i2"),
    23: lambda name, style: IntegerColumn(name, style, ">i4"),
    25: TextColumn,
    26: lambda name, style: IntegerColumn(name, style, ">u4"),
    114: JsonColumn,
    142: lambda name, style: TextColumn(name, style, _AS_TEXT),
    650: lambda name, style: TextColumn(name, style, _AS_TEXT),
    700: lambda name, style: FloatColumn(name, style, ">f4"),
    701: FloatColumn,
    790: lambda name, style: TextColumn(name, style, _AS_TEXT),
    829: lambda name, style: TextColumn(name, style, _AS_TEXT),
    869: lambda name, style: TextColumn(name, style, _AS_SHOWN, host=True),
    1042: TextColumn,
    1043: TextColumn,
    1082: DateColumn,
    1083: TimeColumn,
    1114: TimestampColumn,
    1184: ZonedColumn,
    1186: IntervalColumn,
    1266: lambda name, style: TextColumn(name, style, _AS_TEXT),
    1560: lambda name, style: TextColumn(name, style, _AS_TEXT),
    1562: lambda name, style: TextColumn(name, style, _AS_TEXT),
    2950: UuidColumn,
    3802: lambda name, style: JsonColumn(name, style, 1),
}

#: The array types of those and their elements' types.
_ELEMENT_OF = {
    143: 142, 199: 114, 651: 650, 775: 829, 791: 790, 1000: 16, 1001: 17, 1002: 18, 1003: 19, 1005: 21, 1007: 23,
    1009: 25, 1014: 1042, 1015: 1043, 1016: 20, 1021: 700, 1022: 701, 1028: 26, 1041: 869, 1115: 1114, 1182: 1082,
    1183: 1083, 1185: 1184, 1187: 1186, 1231: 1700, 1270: 1266, 1561: 1560, 1563: 1562, 2951: 2950, 3807: 3802,
}  # fmt: skip


def _joined(parts: list[Any], dtype: str) -> tuple[Array, Array | None]:
    """Join (values, mask) parts and forget them."""
    import numpy as np

    values = np.concatenate([np.empty(0, dtype), *(values for values, _ in parts)])
    null = None
    if any(mask is not None for _, mask in parts):
        null = np.concatenate([np.zeros(len(values), bool) if mask is None else mask for values, mask in parts])
    parts.clear()
    return values, null


def _mask(values: Array, null: Array | None) -> Array:
    import numpy as np

    return np.zeros(len(values), bool) if null is None else null


def _objects(values: Sequence[Any]) -> Array:
    """Make a numpy array of objects, one for each value, whatever the values are."""
    import numpy as np

    return np.fromiter(values, object, len(values))


def _all_steps(data: Array, starts: Array, counts: Array) -> tuple[Array, Array]:
    """Find the elements of all arrays together: all first ones, all second ones, and so on."""
    import numpy as np

    lengths = np.ndarray((len(data) - 3,), ">i4", data, 0, (1,))
    first = np.cumsum(counts) - counts
    at, sizes = np.empty((2, int(counts.sum())), "i8")
    arrays = np.flatnonzero(counts)
    place = starts[arrays]
    step = 0
    while len(arrays):
        size = lengths[place].astype("i8")
        target = first[arrays] + step
        place += 4
        at[target], sizes[target] = place, size
        place += np.maximum(size, 0)
        step += 1
        longer = counts[arrays] > step
        arrays, place = arrays[longer], place[longer]
    return at, sizes


def _single_steps(data: Array, starts: Array, counts: Array) -> tuple[Array, Array]:
    """Find the elements of one array after the other."""
    import numpy as np

    at, sizes = array("q"), array("q")
    view = data.data
    for place, count in zip(starts.tolist(), counts.tolist()):
        for _ in range(count):
            size = int.from_bytes(view[place : place + 4], "big", signed=True)
            at.append(place + 4)
            sizes.append(size)
            place += 4 + max(size, 0)
    return np.array(at, "i8"), np.array(sizes, "i8")


def _int(data: Array, at: int) -> int:
    return int.from_bytes(data[at : at + 4].tobytes(), "big", signed=True)


def _count(shape: tuple[int, ...] | None) -> int:
    """Count the elements of an array of that shape."""
    if not shape:
        return 0
    count = 1
    for size in shape:
        count *= size
    return count


def _shaped(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Nest a flat list into dimensions."""
    for size in reversed(shape[1:]):
        values = [values[first : first + size] for first in range(0, len(values), size)]
    return values
