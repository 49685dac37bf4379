"""
PostgreSQL's `numeric` in binary: groups of four decimal digits, decoded column-wise.

A value is `int16 groups, int16 weight, uint16 sign, uint16 scale` and then the groups, each 0..9999, worth 10000 to the
power of weight, weight-1, and so on. As floats the result is the one that reading the decimal text would give,
correctly rounded: where the digits fit 2**53 and the power of ten is exact (both are for nearly all money), a single
division rounds once; for the rest the digits are laid out as text, by column too, and Arrow's parser rounds.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lore._querying.postgres.cells import Array, Cells

__all__ = ["HEAD", "decimals", "floats"]

#: Header and the first four groups.
HEAD = 16

_NEGATIVE = 0x4000
_SPECIAL = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}
_EXACT_INTEGER = 2**53
_EXACT_SHIFT = 5


class _Digits:
    """The header fields of every value, and the value of its first (at most four) groups taken as one integer."""

    __slots__ = ("groups", "leading", "shift", "sign")

    def __init__(self, cells: Cells) -> None:
        import numpy as np

        self.groups = cells.head(">i2").astype("i2")
        self.sign = cells.head(">u2", 4).astype("u2")
        self.shift = cells.head(">i2", 2).astype("i2")
        self.shift -= self.groups
        self.shift += 1
        if cells.null is not None:
            for field in (self.groups, self.sign, self.shift):
                field[cells.null] = 0
        words = cells.head(">u8", 8).astype("u8")
        words >>= np.array([63, 48, 32, 16, 0], "u8").take(self.groups, mode="clip")
        if len(words) and not self.groups.all():
            words[self.groups == 0] = 0
        pairs = words >> np.uint64(16)
        pairs &= np.uint64(0xFFFF_0000_FFFF)
        pairs *= np.uint64(10_000)
        words &= np.uint64(0xFFFF_0000_FFFF)
        pairs += words
        whole = pairs >> np.uint64(32)
        whole *= np.uint64(10**8)
        pairs &= np.uint64(0xFFFF_FFFF)
        whole += pairs
        self.leading = whole.view("i8")


def floats(cells: Cells) -> Array:
    """Decode to float64, NaN where a value is NULL."""
    import numpy as np

    digits = _Digits(cells)
    values = digits.leading.astype("f8")
    if not len(values):
        return values
    low, high = int(digits.shift.min()), int(digits.shift.max())
    powers = 10.0 ** np.arange(0, 4 * _EXACT_SHIFT + 1, 4)
    if low < 0:
        values /= powers.take(-digits.shift, mode="clip")
    if high > 0:
        values *= powers.take(digits.shift, mode="clip")
    if max(-low, high) > _EXACT_SHIFT or int(digits.groups.max()) > 4 or int(digits.leading.max()) > _EXACT_INTEGER:
        _round_hard(cells, digits, values)
    if int(digits.sign.max()):
        np.negative(values, out=values, where=digits.sign == _NEGATIVE)
        for sign, text in _SPECIAL.items():
            values[digits.sign == sign] = float(text)
    if cells.null is not None:
        values[cells.null] = np.nan
    return values


def _round_hard(cells: Cells, digits: _Digits, values: Array) -> None:
    """Replace the values whose digits or power of ten a float cannot hold exactly."""
    import numpy as np

    hard = digits.groups > 4
    hard |= digits.leading > _EXACT_INTEGER
    hard |= np.abs(digits.shift) > _EXACT_SHIFT
    for groups in np.unique(digits.groups[hard]):
        rows = np.flatnonzero(hard & (digits.groups == groups))
        exponents = 4 * digits.shift[rows].astype("i8")
        values[rows] = _parsed(_groups(cells, rows, int(groups)), exponents)


def decimals(cells: Cells) -> list[Decimal | None]:
    """Decode to Decimal with the scale that the server gives, None where a value is NULL."""
    digits = _Digits(cells)
    scales = cells.head(">u2", 6).astype("i8")
    if cells.null is not None:
        scales[cells.null] = 0
    shifts = (4 * digits.shift.astype("i8") + scales).tolist()
    easy = ((digits.groups <= 4) & (digits.sign <= _NEGATIVE)).tolist()
    facts = zip(digits.leading.tolist(), shifts, scales.tolist(), digits.sign.tolist(), easy)
    found: list[Decimal | None] = [
        _decimal(leading, shift, scale, sign) if simple else None for leading, shift, scale, sign, simple in facts
    ]
    for row in [row for row, simple in enumerate(easy) if not simple]:
        found[row] = _long_decimal(cells, digits, row, shifts[row], int(scales[row]))
    if cells.null is not None:
        for row in cells.null.nonzero()[0].tolist():
            found[row] = None
    return found


def _decimal(coefficient: int, shift: int, scale: int, sign: int) -> Decimal:
    coefficient = coefficient * 10**shift if shift >= 0 else coefficient // 10**-shift
    return Decimal(f"{'-' if sign else ''}{coefficient}E-{scale}")


def _long_decimal(cells: Cells, digits: _Digits, row: int, shift: int, scale: int) -> Decimal:
    import numpy as np

    sign = int(digits.sign[row])
    if sign in _SPECIAL:
        return Decimal(_SPECIAL[sign])
    groups = _groups(cells, np.array([row]), int(digits.groups[row]))[0]
    text = "".join(f"{group:04d}" for group in groups.tolist())
    text = text + "0" * shift if shift >= 0 else text[:shift]
    return Decimal(f"{'-' if sign else ''}{text}E-{scale}")


def _groups(cells: Cells, rows: Array, count: int) -> Array:
    """Gather all groups of the values in `rows`, which have `count` each."""
    import numpy as np

    at = cells.positions[rows, None] + 8 + 2 * np.arange(count)
    return cells.data[at].astype("i8") * 256 + cells.data[at + 1]


def _parsed(groups: Array, exponents: Array) -> Array:
    """Lay digits out as the text `000100024500e-0000008` and let Arrow's correctly rounding parser read it."""
    import numpy as np
    import pyarrow as pa

    count, width = len(groups), 4 * groups.shape[1]
    text = np.empty((count, width + 9), np.uint8)
    for place, power in enumerate((1000, 100, 10, 1)):
        text[:, place:width:4] = groups // power % 10 + ord("0")
    text[:, width] = ord("e")
    text[:, width + 1] = np.where(exponents < 0, ord("-"), ord("+"))
    for place in range(7):
        text[:, width + 2 + place] = np.abs(exponents) // 10 ** (6 - place) % 10 + ord("0")
    bounds = np.arange(count + 1, dtype="i8") * (width + 9)
    array: Any = pa.Array.from_buffers(pa.large_string(), count, [None, pa.py_buffer(bounds), pa.py_buffer(text)])
    return array.cast(pa.float64()).to_numpy()  # type: ignore[no-any-return]
