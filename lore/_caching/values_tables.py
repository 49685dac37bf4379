"""
pandas' tables as keys: columns in their order, index, names, attributes and every cell.

Frames are read block by block where they lie, without consolidating or copying them; each column has a digest of its
own, so that how pandas groups columns into blocks does not count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from xxhash import xxh3_128, xxh3_128_digest

from lore._caching.values import Encoder, Unkeyable, Walk, guarded, leaf, node, package_of
from lore._caching.values_arrays import array_token, content_digest, dtype_token, is_opaque
from lore._caching.values_objects import instance

__all__ = ["find"]

_PIECE = 1 << 20


def find(cls: type) -> Encoder | None:
    """Return the encoder of a type of pandas', or None where it is an object like any other."""
    pandas = sys.modules["pandas"]
    if cls.__name__ in _SCALARS and package_of(cls) == "pandas":
        return _SCALARS[cls.__name__]
    for kind, encode in (
        (pandas.DataFrame, _frame),
        (pandas.Series, _series),
        (pandas.Index, _index),
        (pandas.api.extensions.ExtensionArray, values_token),
        (pandas.api.extensions.ExtensionDtype, lambda value, walk: node(b"pandas dtype", _dtype(value, walk))),
    ):
        if issubclass(cls, kind):
            return guarded(encode)
    return None


# --- frames, series, indexes ----------------------------------------------------------------------------------------


def _frame(value: Any, walk: Walk) -> bytes:
    return node(
        b"frame",
        _shell(value, walk),
        _index(value.columns, walk),
        _index(value.index, walk),
        *_columns(value, walk),
    )


def _series(value: Any, walk: Walk) -> bytes:
    return node(
        b"series",
        _shell(value, walk),
        walk.token(value.name),
        _index(value.index, walk),
        values_token(value._values, walk),
    )


def _shell(value: Any, walk: Walk) -> bytes:
    """Encode what a frame or series is besides its cells: class, attributes, flags, a subclass's own metadata."""
    own = {name: getattr(value, name, None) for name in value._metadata if name not in ("_name", "name")}
    return node(
        b"",
        walk.class_token(type(value)),
        walk.token(value.attrs),
        walk.token(value.flags.allows_duplicate_labels),
        walk.token(own),
    )


def _index(value: Any, walk: Walk) -> bytes:
    """Encode an index by its labels: a range by its bounds, a multi-index by what its rows say, not by its levels."""
    names = walk.token(list(value.names))
    kind = walk.class_token(type(value))
    if hasattr(value, "levels"):
        levels = (values_token(value.get_level_values(i)._values, walk) for i in range(value.nlevels))
        return node(b"multi-index", names, *levels)
    if type(value).__name__ == "RangeIndex":
        span = range(value.start, value.stop, value.step)
        bounds = (len(span), span.start if len(span) else 0, span.step if len(span) > 1 else 1)
        return node(b"range index", names, walk.token(bounds))
    freq = walk.token(getattr(value, "freqstr", None))
    return node(b"index", kind, names, freq, values_token(value._values, walk))


def _columns(value: Any, walk: Walk) -> list[bytes]:
    """Return a token per column, read block by block."""
    tokens = [b""] * value.shape[1]
    for block in value._mgr.blocks:
        found = _block(block.values, walk)
        for place in block.mgr_locs.as_array.tolist():
            try:
                tokens[place] = next(found)
            except Unkeyable as error:
                raise error.under(f"[{value.columns[place]!r}]") from error.__cause__
    return tokens


def _block(values: Any, walk: Walk) -> Iterator[bytes]:
    """Yield a token per row of a block (a column of the frame), equal to the token of that column alone."""
    if values.ndim == 1:
        yield values_token(values, walk)
        return
    raw = getattr(values, "_ndarray", values)
    if is_opaque(raw.dtype):
        for row in values:
            yield values_token(row, walk)
        return
    head = _column_head(_dtype(values.dtype, walk), raw.shape[1])
    for content in _row_digests(raw):
        yield head + content


def _column_head(dtype: bytes, length: int) -> bytes:
    """Return what the tokens of all columns of one dtype and length begin with; a digest of fixed length follows."""
    return b"c" + node(b"column", dtype, leaf(length))


def _row_digests(raw: Any) -> Iterator[bytes]:
    """Yield a digest per row, in place where rows are contiguous, else in tiles that stay in the processor's cache."""
    if raw.size and raw.strides[1] == raw.itemsize:
        memory = raw.view("u1")
        for row in memory:
            yield xxh3_128_digest(row)
        return
    hashers = [xxh3_128() for _ in range(raw.shape[0])]
    width = max(64, _PIECE // max(1, raw.itemsize * raw.shape[0]))
    for start in range(0, raw.shape[1], width):
        tile = raw[:, start : start + width].copy(order="C").view("u1")
        for hasher, row in zip(hashers, tile):
            hasher.update(row)
    for hasher in hashers:
        yield hasher.digest()


# --- one column -----------------------------------------------------------------------------------------------------


def values_token(values: Any, walk: Walk) -> bytes:
    """Return the token of a one-dimensional array of any dtype that pandas knows."""
    dtype = _dtype(values.dtype, walk)
    length = walk.token(len(values))
    raw = getattr(values, "_ndarray", values)
    if type(raw).__name__ == "ndarray":
        if is_opaque(raw.dtype):
            return node(b"objects", dtype, length, walk.token(raw.tolist()))
        return _column_head(dtype, len(values)) + content_digest(raw)
    encode = next((_ARRAYS[base.__name__] for base in type(values).__mro__ if base.__name__ in _ARRAYS), None)
    if encode is None:
        return node(b"other", dtype, length, instance(values, walk))
    return node(b"extension", dtype, length, encode(values, walk))


def _dtype(dtype: Any, walk: Walk) -> bytes:
    """Encode a dtype; those of pandas by class, text and what the text leaves out (missing values, categories)."""
    if package_of(type(dtype)) == "numpy":
        return dtype_token(dtype, walk)
    name = type(dtype).__name__
    if name == "CategoricalDtype":
        categories = b"" if dtype.categories is None else _index(dtype.categories, walk)
        return node(b"categorical", categories, walk.token(dtype.ordered))
    if name == "DatetimeTZDtype":  # two zones may have one name
        return node(b"dtype with zone", walk.token((str(dtype), dtype.unit)), walk.token(dtype.tz))
    about = (name, str(dtype), getattr(dtype, "storage", None))
    return node(b"dtype", walk.token(about), walk.token(getattr(dtype, "na_value", None)))


def _arrow(values: Any, walk: Walk) -> bytes:
    from lore._caching.values_arrow import column_token

    return column_token(values._pa_array, walk)


def _masked(values: Any, walk: Walk) -> bytes:
    data, mask = values._data, values._mask
    if mask.any():
        data = data.copy()
        data[mask] = 0
    return node(b"", content_digest(data), content_digest(mask))


def _categorical(values: Any, walk: Walk) -> bytes:
    return content_digest(values.codes)


def _interval(values: Any, walk: Walk) -> bytes:
    return node(b"", values_token(values.left._values, walk), values_token(values.right._values, walk))


def _sparse(values: Any, walk: Walk) -> bytes:
    places = values.sp_index.to_int_index().indices
    return node(b"", walk.token(values.fill_value), array_token(values.sp_values, walk), array_token(places, walk))


_ARRAYS: dict[str, Encoder] = {
    "ArrowExtensionArray": _arrow,
    "BaseMaskedArray": _masked,
    "Categorical": _categorical,
    "IntervalArray": _interval,
    "SparseArray": _sparse,
}


# --- scalars --------------------------------------------------------------------------------------------------------


def _timestamp(value: Any, walk: Walk) -> bytes:
    return node(b"timestamp", walk.token((value._value, value.unit, value.fold)), walk.token(value.tzinfo))


def _timedelta(value: Any, walk: Walk) -> bytes:
    return node(b"timedelta", walk.token((value._value, value.unit)))


def _period(value: Any, walk: Walk) -> bytes:
    return node(b"period", walk.token((value.ordinal, value.freqstr)))


def _interval_scalar(value: Any, walk: Walk) -> bytes:
    return node(b"interval", walk.token(value.left), walk.token(value.right), walk.token(value.closed))


_SCALARS: dict[str, Encoder] = {
    "Timestamp": _timestamp,
    "Timedelta": _timedelta,
    "Period": _period,
    "Interval": _interval_scalar,
    "NaTType": lambda value, walk: leaf("pandas NaT"),
    "NAType": lambda value, walk: leaf("pandas NA"),
}
