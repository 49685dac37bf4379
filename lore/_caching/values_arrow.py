"""
Arrow's and polars' tables as keys: what the rows hold, however they are cut into chunks and whatever they are cut from.

Fixed-width columns are hashed in place, strings as their bytes and where each ends. A slot that is null holds nothing:
what its memory contains is accident and does not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xxhash import xxh3_128

from lore._caching.values import Encoder, Walk, node, package_of
from lore._extras import require

__all__ = ["column_token", "find"]


def find(cls: type) -> Encoder | None:
    """Return the encoder of a type of pyarrow's or polars', or None where it is an object like any other."""
    root = next((name for base in cls.__mro__ if (name := package_of(base)) in ("pyarrow", "polars")), "")
    if root == "polars":
        return _POLARS.get(cls.__name__) if package_of(cls) == "polars" else None
    arrow = require("pyarrow", "sql")
    for kind, encode in (
        (arrow.Table, _table),
        (arrow.RecordBatch, lambda value, walk: node(b"batch", _table(arrow.Table.from_batches([value]), walk))),
        (arrow.ChunkedArray, lambda value, walk: node(b"chunked", column_token(value, walk))),
        (arrow.Array, lambda value, walk: node(b"array", column_token(arrow.chunked_array([value]), walk))),
        (arrow.Scalar, _scalar),
        (arrow.Schema, _schema),
        (arrow.Field, _field),
        (arrow.DataType, _type),
        (arrow.Buffer, lambda value, walk: node(b"buffer", walk.token(value.to_pybytes()))),
    ):
        if issubclass(cls, kind):
            return encode
    return None


def _table(value: Any, walk: Walk) -> bytes:
    columns = (column_token(column, walk) for column in value.columns)
    return node(b"arrow table", _schema(value.schema, walk), walk.token(value.num_rows), *columns)


def _schema(value: Any, walk: Walk) -> bytes:
    return node(b"arrow schema", walk.token(dict(value.metadata or {})), *(_field(field, walk) for field in value))


def _field(value: Any, walk: Walk) -> bytes:
    about = walk.token((value.name, value.nullable, dict(value.metadata or {})))
    return node(b"arrow field", about, _type(value.type, walk))


def _type(value: Any, walk: Walk) -> bytes:
    """Encode a type by its text, which names every parameter, and the fields of nested ones in full."""
    fields = (_field(value.field(i), walk) for i in range(value.num_fields))
    return node(b"arrow type", str(value).encode(), type(value).__name__.encode(), *fields)


def _scalar(value: Any, walk: Walk) -> bytes:
    arrow = require("pyarrow", "sql")
    return node(b"arrow scalar", column_token(arrow.chunked_array([arrow.array([value.as_py()], value.type)]), walk))


# --- columns --------------------------------------------------------------------------------------------------------


def column_token(column: Any, walk: Walk) -> bytes:
    """Return the token of a chunked array: type, length, which slots are null, and the others' content."""
    content = _content(column, walk)
    return node(b"arrow column", _type(column.type, walk), walk.token((len(column), column.null_count)), *content)


def _content(column: Any, walk: Walk) -> Iterable[bytes]:
    arrow = require("pyarrow", "sql")
    is_ = arrow.types
    kind = column.type
    if is_.is_null(kind):
        return ()
    if isinstance(kind, arrow.BaseExtensionType):
        storage = [chunk.storage for chunk in column.chunks]
        return (column_token(arrow.chunked_array(storage, kind.storage_type), walk),)
    if is_.is_dictionary(kind):
        return _dictionary(column, walk)
    if is_.is_string_view(kind) or is_.is_binary_view(kind):
        return _content(
            _contiguous(column, arrow.large_string() if is_.is_string_view(kind) else arrow.large_binary()), walk
        )
    if is_.is_large_string(kind) or is_.is_large_binary(kind) or is_.is_string(kind) or is_.is_binary(kind):
        return (_nulls(column), *_texts(column))
    if is_.is_boolean(kind):
        return (_nulls(column), _buffers(_bits(chunk) for chunk in column.chunks))
    if is_.is_struct(kind):
        children = ([chunk.flatten()[i] for chunk in column.chunks] for i in range(kind.num_fields))
        named = (arrow.chunked_array(chunks, kind.field(i).type) for i, chunks in enumerate(children))
        return (_nulls(column), *(column_token(child, walk) for child in named))
    if is_.is_list(kind) or is_.is_large_list(kind):
        lengths = _buffers(_list_lengths(chunk) for chunk in column.chunks)
        items = arrow.chunked_array([chunk.flatten() for chunk in column.chunks], kind.value_type)
        return (_nulls(column), lengths, column_token(items, walk))
    if _width(kind):
        return (_nulls(column), _buffers(_fixed(chunk) for chunk in column.chunks))
    return (walk.token(column.to_pylist()),)


def _contiguous(column: Any, kind: Any) -> Any:
    """Lay the texts of views one after the other."""
    arrow = require("pyarrow", "sql")
    try:
        return column.cast(kind)
    except arrow.ArrowNotImplementedError:  # before pyarrow 18
        return arrow.chunked_array([arrow.array(column.to_pylist(), kind)])


def _buffers(pieces: Iterable[Any]) -> bytes:
    hasher = xxh3_128()
    for piece in pieces:
        hasher.update(piece)
    return bytes(hasher.digest())


def _width(kind: Any) -> int:
    """Return the bytes of one element, or 0 for a type of no fixed width of whole bytes or of nested content."""
    if kind.num_fields:
        return 0
    try:
        return 0 if kind.bit_width % 8 else kind.bit_width // 8
    except ValueError:
        return 0


def _nulls(column: Any) -> bytes:
    """Return the digest of which slots are null, or nothing where none is."""
    if not column.null_count:
        return b""
    return _buffers(_as_bytes(chunk.is_valid()) for chunk in column.chunks)


def _as_bytes(booleans: Any) -> Any:
    arrow = require("pyarrow", "sql")
    flat = booleans.cast(arrow.uint8())
    return flat.buffers()[1].slice(flat.offset, len(flat)) if len(flat) else b""


def _bits(chunk: Any) -> Any:
    return _as_bytes(chunk.fill_null(False) if chunk.null_count else chunk)


def _fixed(chunk: Any) -> Any:
    """Return the memory of a chunk of fixed width, zero where a slot is null."""
    if not len(chunk):
        return b""
    width = _width(chunk.type)
    memory = chunk.buffers()[1].slice(chunk.offset * width, len(chunk) * width)
    if not chunk.null_count:
        return memory
    import numpy as np

    rows = np.frombuffer(memory, "u1").reshape(len(chunk), width).copy()
    rows[np.frombuffer(_as_bytes(chunk.is_null()), bool)] = 0
    return rows.reshape(-1)


def _texts(column: Any) -> tuple[bytes, bytes]:
    """Return the digests of where each text ends and of all texts, one after the other."""
    chunks = [_without_hidden_texts(chunk) for chunk in column.chunks if len(chunk)]
    ends = xxh3_128()
    texts = xxh3_128()
    base = 0
    for chunk in chunks:
        offsets = _offsets(chunk)
        first, last = int(offsets[0]), int(offsets[-1])
        relative = offsets[1:]
        if relative.dtype.itemsize != 8 or base != first:
            relative = relative.astype("<i8") + (base - first)
        ends.update(relative.data)
        data = chunk.buffers()[2]
        if data is not None and last > first:
            texts.update(data.slice(first, last - first))
        base += last - first
    return ends.digest(), texts.digest()


def _offsets(chunk: Any) -> Any:
    """Return where the elements of a chunk begin and end, as its own memory."""
    import numpy as np

    kind = str(chunk.type)
    offsets = np.frombuffer(chunk.buffers()[1], "<i8" if kind.startswith("large") else "<i4")
    return offsets[chunk.offset : chunk.offset + len(chunk) + 1]


def _without_hidden_texts(chunk: Any) -> Any:
    """Rebuild a chunk whose null slots hide text (masks over strings leave such)."""
    if not chunk.null_count:
        return chunk
    import numpy as np

    lengths = np.diff(_offsets(chunk))
    hidden = lengths[np.frombuffer(_as_bytes(chunk.is_null()), bool)].any()
    return chunk.fill_null("" if "string" in str(chunk.type) else b"") if hidden else chunk


def _list_lengths(chunk: Any) -> Any:
    import numpy as np

    if not len(chunk):
        return b""
    lengths = np.diff(_offsets(chunk)).astype("<i8")
    if chunk.null_count:
        lengths[np.frombuffer(_as_bytes(chunk.is_null()), bool)] = 0
    return lengths


def _dictionary(column: Any, walk: Walk) -> Iterable[bytes]:
    """Encode by one dictionary for all chunks, and the places in it."""
    arrow = require("pyarrow", "sql")
    if not column.num_chunks:
        return ()
    chunks = column.unify_dictionaries().chunks
    dictionary = arrow.chunked_array([chunks[0].dictionary])
    places = arrow.chunked_array([chunk.indices for chunk in chunks])
    return column_token(dictionary, walk), column_token(places, walk)


# --- polars ---------------------------------------------------------------------------------------------------------


def _polars_frame(value: Any, walk: Walk) -> bytes:
    names = walk.token(value.columns)
    return node(b"polars frame", names, *(_polars_column(series, walk) for series in value.get_columns()))


def _polars_series(value: Any, walk: Walk) -> bytes:
    return node(b"polars series", walk.token(value.name), _polars_column(value, walk))


def _polars_column(value: Any, walk: Walk) -> bytes:
    arrow = require("pyarrow", "sql")
    if str(value.dtype).startswith("Object"):
        return node(b"polars objects", walk.token(value.to_list()))
    column = arrow.chunked_array([_plain_strings(value.to_arrow())])
    return node(b"polars column", str(value.dtype).encode(), column_token(column, walk))


def _plain_strings(array: Any) -> Any:
    return array.dictionary_decode() if hasattr(array, "dictionary_decode") else array


_POLARS: dict[str, Encoder] = {"DataFrame": _polars_frame, "Series": _polars_series}
