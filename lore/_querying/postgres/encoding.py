"""
Arrow columns as the rows of binary COPY.

Each column becomes one or two *strips*: rectangles of bytes where all rows have equally many, arrays of bytes where
they do not. Neighbouring rectangles are joined, and Arrow's `binary_join_element_wise`, in C++, weaves the strips into
rows, whose bytes then lie one behind the other as COPY wants them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from lore.errors import StatementError

if TYPE_CHECKING:
    from lore._querying.postgres.cells import Array

__all__ = ["HEADER", "TRAILER", "Target", "encode_rows"]

#: What a COPY stream begins and ends with.
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

Target: TypeAlias = int
"""The oid of the type that a column of the table has (of a domain, its base type; of an enum, text's)."""

_EPOCH_DAYS = 10_957
_DAY_US = 86_400_000_000
_ELEMENTS = {
    1000: 16, 1001: 17, 1005: 21, 1007: 23, 1009: 25, 1014: 1042, 1015: 1043, 1016: 20, 1021: 700, 1022: 701,
    1115: 1114, 1182: 1082, 1183: 1083, 1185: 1184, 1187: 1186, 1231: 1700, 2951: 2950, 3807: 3802, 199: 114,
}  # fmt: skip


def encode_rows(columns: Iterable[tuple[str, Any, Target]], count: int) -> memoryview:
    """
    Encode rows.

    Args:
        columns: name, Arrow array and target type of every column, in the order that COPY names them.
        count: the number of rows.

    Raises:
        StatementError: a value does not fit its target; names the column, never shows the value.
    """
    import numpy as np

    strips: list[Any] = [np.full((count, 1), 0, np.uint8), np.full((count, 1), 0, np.uint8)]
    number = 0
    for name, array, target in columns:
        number += 1
        try:
            strips += _strips(array, target)
        except _Misfit as error:
            raise StatementError(f"Column {name!r} cannot be written: {error}.") from None
    strips[0][:], strips[1][:] = divmod(number, 256)
    return _woven(strips, count)


class _Misfit(ValueError):
    """A value does not fit the type of its column in the table."""


def _woven(strips: list[Any], count: int) -> memoryview:
    """Weave strips into rows and give all their bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [_as_binary(strip) for strip in _merged(strips)]
    joined = pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary())) if len(parts) > 1 else parts[0]
    bounds = _bounds(joined)
    return memoryview(joined.buffers()[2])[int(bounds[0]) : int(bounds[-1])] if count else memoryview(b"")


def _merged(strips: list[Any]) -> list[Any]:
    """Join rectangles that stand next to each other."""
    import numpy as np

    merged: list[Any] = []
    run: list[Any] = []
    for strip in [*strips, None]:
        if isinstance(strip, np.ndarray):
            run.append(strip)
            continue
        if run:
            merged.append(np.concatenate(run, axis=1) if len(run) > 1 else run[0])
            run = []
        if strip is not None:
            merged.append(strip)
    return merged


def _as_binary(strip: Any) -> Any:
    import numpy as np

    if not isinstance(strip, np.ndarray):
        return strip
    count, width = strip.shape
    return _binary(np.arange(count + 1, dtype="i8") * width, np.ascontiguousarray(strip))


def _binary(bounds: Array, data: Any) -> Any:
    """Make an array of bytes from where each begins and the last ends."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.large_binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), pa.py_buffer(data)])


def _bounds(array: Any) -> Array:
    import numpy as np

    return np.frombuffer(array.buffers()[1], "i8")[array.offset : array.offset + len(array) + 1]


def _strips(array: Any, target: Target) -> list[Any]:
    """Encode one column: the length of every value, and the value."""
    import pyarrow as pa

    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
        target = 25
    if target in _FIXED:
        wire, make = _FIXED[target]
        return _fixed(array, make(array), wire)
    if target == 1700:
        return _numeric(array)
    if target in _ELEMENTS:
        return _varying(_lists(array, target))
    return _varying(_VARYING.get(target, _text)(array))


# ---------------------------------------------------------------------------------------------------------------------
# fixed width


def _fixed(array: Any, values: Array, wire: str) -> list[Any]:
    """Put the length before every value; where some are NULL, only a length of -1 stays of them."""
    import numpy as np

    rows = np.empty(len(values), np.dtype([("length", ">i4"), ("value", wire)]))
    rows["length"] = rows.dtype["value"].itemsize
    rows["value"] = values
    return [_rows(array, rows)]


def _rows(array: Any, rows: Array) -> Any:
    import numpy as np
    import pyarrow as pa

    count, width = len(rows), rows.dtype.itemsize
    if not array.null_count:
        return rows.view(np.uint8).reshape(count, width)
    null = _null(array)
    rows["length"][null] = -1
    bounds = np.empty(2 * count + 1, "i8")
    bounds[::2] = np.arange(count + 1) * width
    bounds[1::2] = bounds[:-1:2] + np.where(null, 4, width)
    return _binary(bounds, rows.view(np.uint8)).take(pa.array(np.arange(0, 2 * count, 2)))


def _null(array: Any) -> Array:
    found: Array = array.is_null().to_numpy(zero_copy_only=False)
    return found


def _numbers(array: Any, of: str) -> Array:
    """Take an Arrow array's numbers, 0 for NULL."""
    import pyarrow as pa

    wanted = {"i8": pa.int64(), "f8": pa.float64(), "f4": pa.float32(), "bool": pa.bool_()}[of]
    if pa.types.is_decimal(array.type) or pa.types.is_string(array.type):
        array = array.cast(pa.string()).cast(wanted)
    else:
        array = array.cast(wanted, safe=False) if of == "f4" else array.cast(wanted)
    found: Array = array.fill_null(False if of == "bool" else 0).to_numpy(zero_copy_only=False)
    return found


def _integers(bits: int) -> Callable[[Any], Array]:
    def make(array: Any) -> Array:
        values = _numbers(array, "i8")
        if len(values) and (int(values.min()) < -(2 ** (bits - 1)) or int(values.max()) >= 2 ** (bits - 1)):
            raise _Misfit(f"it holds numbers that do not fit the table's {bits}-bit integers")
        return values

    return make


def _oids(array: Any) -> Array:
    values = _numbers(array, "i8")
    if len(values) and (int(values.min()) < 0 or int(values.max()) >= 2**32):
        raise _Misfit("it holds numbers that do not fit the table's oid")
    return values


def _counts(array: Any, of: Any, to: str) -> Array:
    """Take the counts that an Arrow date, time or duration is made of, 0 for NULL."""
    found: Array = array.cast(of).view(to).fill_null(0).to_numpy(zero_copy_only=False)
    return found


def _dates(array: Any) -> Array:
    import pyarrow as pa

    return _counts(array, pa.date32(), "int32").astype("i8") - _EPOCH_DAYS


def _moments(array: Any) -> Array:
    import pyarrow as pa

    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
        raise _Misfit("it holds nanoseconds and PostgreSQL keeps microseconds; round it first with .dt.round('us')")
    zone = array.type.tz if pa.types.is_timestamp(array.type) else None
    counts = _counts(array, pa.timestamp("us", tz=zone), "int64")
    low = -(2**63) + _EPOCH_DAYS * _DAY_US
    if len(counts) and int(counts.min()) < low:
        raise _Misfit("it holds a time before 4713 BC")
    return counts - _EPOCH_DAYS * _DAY_US


def _times(array: Any) -> Array:
    import pyarrow as pa

    return _counts(array, pa.time64("us"), "int64")


def _intervals(array: Any) -> Array:
    import numpy as np
    import pyarrow as pa

    made = np.zeros(len(array), np.dtype([("us", ">i8"), ("days", ">i4"), ("months", ">i4")]))
    made["us"] = _counts(array, pa.duration("us"), "int64")
    return made.view("V16")


def _uuids(array: Any) -> Array:
    import numpy as np

    try:
        made = b"".join(bytes(16) if text is None else uuid.UUID(text).bytes for text in array.to_pylist())
    except ValueError:
        raise _Misfit("it holds text that is no UUID") from None
    return np.frombuffer(made, "V16")


_FIXED: dict[Target, tuple[str, Callable[[Any], Array]]] = {
    16: ("u1", lambda array: _numbers(array, "bool")),
    20: (">i8", _integers(64)),
    21: (">i2", _integers(16)),
    23: (">i4", _integers(32)),
    26: (">u4", _oids),
    700: (">f4", lambda array: _numbers(array, "f4")),
    701: (">f8", lambda array: _numbers(array, "f8")),
    1082: (">i4", _dates),
    1083: (">i8", _times),
    1114: (">i8", _moments),
    1184: (">i8", _moments),
    1186: ("V16", _intervals),
    2950: ("V16", _uuids),
}


# ---------------------------------------------------------------------------------------------------------------------
# numeric


def _numeric(array: Any) -> list[Any]:
    """Encode exact numbers: those of up to 18 digits all at once, others one by one."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_decimal128(kind) and kind.precision <= 18 and 0 <= kind.scale <= 16:
        return [_rows(array, _grouped(_unscaled(array), kind.scale))]
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return [_rows(array, _grouped(_numbers(array, "i8"), 0))]
    values = array.to_pylist()
    encoded = [None if value is None else _one_numeric(_decimal(value)) for value in values]
    return _varying(pa.array(encoded, pa.large_binary()))


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _unscaled(array: Any) -> Array:
    """Take the low halves of Arrow's 128-bit decimals; up to 18 digits there is nothing in the high ones."""
    import numpy as np

    words = np.frombuffer(array.buffers()[1], "<i8")[2 * array.offset : 2 * (array.offset + len(array)) : 2].copy()
    if array.null_count:
        words[_null(array)] = 0
    return words


def _grouped(unscaled: Array, scale: int) -> Array:
    """Lay integers out as groups of four digits; the server strips leading and trailing zeros."""
    import numpy as np

    after = -(-scale // 4)
    size = np.abs(unscaled).astype("u8")
    whole, fraction = size // np.uint64(10**scale), size % np.uint64(10**scale) * np.uint64(10 ** (4 * after - scale))
    before = max(1, -(-len(str(int(whole.max()) if len(whole) else 0)) // 4))
    groups = before + after
    fields = [("length", ">i4"), ("groups", ">i2"), ("weight", ">i2"), ("sign", ">u2"), ("scale", ">u2")]
    rows = np.empty(len(size), np.dtype([*fields, ("digits", ">i2", (groups,))]))
    rows["length"], rows["groups"], rows["weight"], rows["scale"] = 8 + 2 * groups, groups, before - 1, scale
    rows["sign"] = np.where(unscaled < 0, 0x4000, 0)
    for place in range(groups):
        part, power = (whole, before - 1 - place) if place < before else (fraction, groups - 1 - place)
        rows["digits"][:, place] = part // np.uint64(10_000**power) % np.uint64(10_000)
    return rows


def _one_numeric(value: Decimal) -> bytes:
    import struct

    if not value.is_finite():
        sign = 0xC000 if value.is_nan() else 0xF000 if value < 0 else 0xD000
        return struct.pack(">hhHH", 0, 0, sign, 0)
    negative, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)) + "0" * max(exponent, 0)
    scale = max(-exponent, 0)
    text = text.rjust(scale, "0")
    whole, fraction = text[: len(text) - scale], text[len(text) - scale :]
    whole = whole.rjust(-(-len(whole) // 4) * 4, "0")
    fraction = fraction.ljust(-(-len(fraction) // 4) * 4, "0")
    groups = [int((whole + fraction)[at : at + 4]) for at in range(0, len(whole) + len(fraction), 4)]
    header = struct.pack(">hhHH", len(groups), len(whole) // 4 - 1, 0x4000 if negative else 0, scale)
    return header + struct.pack(f">{len(groups)}h", *groups)


# ---------------------------------------------------------------------------------------------------------------------
# varying width


def _varying(array: Any) -> list[Any]:
    """Put lengths before values of varying length."""
    import numpy as np
    import pyarrow as pa

    if array.null_count:
        null = _null(array)
        array = array.fill_null(b"")
        sizes = np.where(null, -1, np.diff(_bounds(array)))
    else:
        sizes = np.diff(_bounds(array))
    if len(sizes) and int(sizes.max()) >= 2**30:
        raise _Misfit("it holds a value of a gigabyte or more")
    assert array.type == pa.large_binary()
    return [sizes.astype(">i4").view(np.uint8).reshape(-1, 4), array]


def _text(array: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_decimal(array.type):
        array = array.cast(pa.string())
    return array.cast(pa.large_string()).cast(pa.large_binary())


def _bytes(array: Any) -> Any:
    import pyarrow as pa

    return array.cast(pa.large_binary())


def _jsonb(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    version, nothing = pa.scalar(b"\1", pa.large_binary()), pa.scalar(b"", pa.large_binary())
    return pc.binary_join_element_wise(version, _text(array), nothing)


_VARYING: dict[Target, Callable[[Any], Any]] = {17: _bytes, 3802: _jsonb}


def _lists(array: Any, target: Target) -> Any:
    """Encode lists as arrays of one dimension, an empty list as one of none."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    element = _ELEMENTS[target]
    flat = array.flatten()
    counts = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype("i8")
    parts = [_as_binary(strip) for strip in _merged(_strips(flat, element))]
    nothing = pa.scalar(b"", pa.large_binary())
    items = pc.binary_join_element_wise(*parts, nothing) if len(parts) > 1 else parts[0]
    ends = np.concatenate([np.zeros(1, "i8"), np.cumsum(counts)])
    bodies = _binary(np.ascontiguousarray(_bounds(items)[ends]), items.buffers()[2] or b"")
    headers = np.empty((len(array), 5), ">i4")
    headers[:] = (1, int(flat.null_count > 0), element, 0, 1)
    headers[:, 3] = counts
    headers[counts == 0, 0] = 0
    bounds = np.empty(2 * len(array) + 1, "i8")
    bounds[::2] = np.arange(len(array) + 1) * 20
    bounds[1::2] = bounds[:-1:2] + np.where(counts == 0, 12, 20)
    heads = _binary(bounds, headers).take(pa.array(np.arange(0, 2 * len(array), 2)))
    joined = pc.binary_join_element_wise(heads, bodies, nothing)
    return pc.if_else(array.is_null(), pa.scalar(None, pa.large_binary()), joined) if array.null_count else joined
