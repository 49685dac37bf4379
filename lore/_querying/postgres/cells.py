"""
The cells of one column in a piece of binary COPY data, addressed where they lie.

A row of binary COPY is `int16 fields`, then for every field `int32 length` (-1 is NULL) and that many bytes. Rows have
no common stride as soon as a NULL or a text occurs, but all rows of a piece can be walked *together*, one column after
the other: `walk` keeps an array with the position of the current field of every row, gathers lengths and the first
bytes of the values with one indexed read, and moves all positions on. Whole runs of fixed-width columns without NULLs
cost a single indexed read, and none at all where the rows turn out to have a constant stride.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

__all__ = ["Cells", "Field", "Piece", "padding", "walk"]


class Field(Protocol):
    """What `walk` has to know of a column."""

    width: int | None
    """The bytes of every value, None where they vary."""

    head: int
    """The bytes of every value to read together with its length (a varying value may be shorter)."""

    may_be_null: bool
    """Whether a NULL was seen so far; set by `walk`."""


class Piece:
    """
    Some whole rows of binary COPY data.

    Args:
        data: the bytes, with at least `padding(fields)` more behind the last row.
        starts: where the first field of each row begins (its length word), ascending.
        nbytes: how many bytes the rows have.
    """

    __slots__ = ("data", "nbytes", "starts")

    def __init__(self, data: Array, starts: Array, nbytes: int = 0) -> None:
        self.data = data
        self.starts = starts
        self.nbytes = nbytes

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, first: int, last: int | None = None) -> Piece:
        """Take some of the rows; nothing is copied."""
        return Piece(self.data, self.starts[first:last])


class Window:
    """The same stretch of bytes in every row, wherever each row begins: a rectangle, gathered or only viewed."""

    __slots__ = ("buffer", "count", "origin", "stride")

    def __init__(self, data: Array, positions: Array, width: int) -> None:
        import numpy as np

        self.count = len(positions)
        self.stride = _stride(positions)
        if self.stride:
            self.buffer, self.origin = data, int(positions[0])
        else:
            windows = np.ndarray((max(len(data) - width + 1, 0),), f"V{width}", data, 0, (1,))
            self.buffer, self.origin, self.stride = windows[positions], 0, width

    def view(self, dtype: str, at: int) -> Array:
        """View the bytes from `at` on as one number of every row."""
        import numpy as np

        if not self.count:
            return np.empty(0, dtype)
        return np.ndarray((self.count,), dtype, self.buffer, self.origin + at, (self.stride,))


class Cells:
    """
    The values of one column in one piece.

    Attributes:
        data: all bytes of the piece.
        null: which values are NULL, or None where none is.
    """

    __slots__ = ("_at", "_base", "_offset", "_sizes", "_window", "data", "null")

    def __init__(
        self, data: Array, window: Window, at: int, base: Array, offset: int, sizes: Array | int, null: Array | None
    ) -> None:
        self.data = data
        self.null = null
        self._window = window
        self._at = at
        self._base = base
        self._offset = offset
        self._sizes = sizes

    @staticmethod
    def at(data: Array, positions: Array, sizes: Array, null: Array | None, head: int) -> Cells:
        """Address values by their positions, as inside arrays."""
        return Cells(data, Window(data, positions, max(head, 1)), 0, positions, 0, sizes, null)

    def __len__(self) -> int:
        return len(self._base)

    def head(self, dtype: str, at: int = 0) -> Array:
        """View bytes `at`... of every value as `dtype`; what stands where a value is NULL or shorter is arbitrary."""
        return self._window.view(dtype, self._at + at)

    @property
    def positions(self) -> Array:
        """Where every value's bytes begin in `data`."""
        return self._base + self._offset

    @property
    def sizes(self) -> Array:
        """How many bytes every value has; 0 where it is NULL."""
        import numpy as np

        return np.full(len(self), self._sizes) if isinstance(self._sizes, int) else self._sizes

    def raw(self, skip: int = 0, *, text: bool = False) -> Any:
        """
        Copy the values, less their first `skip` bytes, into an Arrow array of large_binary; NULLs are kept.

        With `text` the array is one of large_string; nobody looks whether the bytes are UTF-8.

        What makes it fast: an Arrow binary array over the *whole* piece, in which values and the gaps between them
        take turns, so that one `take` of every second element, in C++, does all the copying.
        """
        import numpy as np
        import pyarrow as pa

        count = len(self)
        bounds = np.empty(2 * count + 1, np.int64)
        starts, ends = bounds[:-1:2], bounds[1::2]
        np.add(self._base, self._offset, out=starts)
        np.add(starts, self._sizes, out=ends)
        if skip:
            starts += skip
            np.maximum(starts, ends, out=ends)
        bounds[-1] = len(self.data)
        buffers = [None, pa.py_buffer(bounds), pa.py_buffer(self.data)]
        mixed = pa.Array.from_buffers(pa.large_string() if text else pa.large_binary(), 2 * count, buffers)
        return mixed.take(pa.array(np.arange(0, 2 * count, 2), mask=self.null))


def padding(fields: Sequence[Field]) -> int:
    """How many bytes a piece needs behind its last row, so that reading a window there stays inside."""
    return 64 + sum(4 + max(field.width or 0, field.head) for field in fields)


def walk(piece: Piece, fields: Sequence[Field]) -> Iterator[Cells]:
    """Yield the cells of each column in turn."""
    position = piece.starts
    first = 0
    while first < len(fields):
        last, width = _run(fields, first)
        stop = fields[last] if last < len(fields) else None
        window = Window(piece.data, position, width + (0 if stop is None else 4 + stop.head))
        at = 0
        for field in fields[first:last]:
            size = field.width or 0
            if not bool((window.view(">i4", at) == size).all()):
                stop = field
                break
            yield Cells(piece.data, window, at + 4, position, at + 4, size, None)
            at += 4 + size
            first += 1
        if stop is None:
            return
        sizes = window.view(">i4", at).astype("i8")
        null = sizes < 0
        if found := bool(null.any()):
            sizes[null] = 0
            stop.may_be_null = True
        yield Cells(piece.data, window, at + 4, position, at + 4, sizes, null if found else None)
        first += 1
        position = sizes + position
        position += at + 4


def _run(fields: Sequence[Field], first: int) -> tuple[int, int]:
    """Find the end and the bytes of the fixed-width columns from `first` on that had no NULL so far."""
    last, width = first, 0
    while last < len(fields) and fields[last].width is not None and not fields[last].may_be_null:
        width += 4 + (fields[last].width or 0)
        last += 1
    return last, width


def _stride(positions: Array) -> int:
    """Find the constant distance of the positions; 0 where there is none."""
    count = len(positions)
    if count < 2:
        return count
    step = int(positions[1] - positions[0])
    if int(positions[-1] - positions[0]) != step * (count - 1):
        return 0
    return step if bool((positions[1:] - positions[:-1] == step).all()) else 0
