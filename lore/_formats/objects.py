"""
Pickle and joblib files, and which of them may be opened.

Opening a pickle can run any code. So what lore writes ends in a signature (readers of pickles ignore what follows the
end mark, so the file stays an ordinary pickle), and only what carries it, or holds nothing but plain data, is opened
without being asked to.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
from typing import Any, BinaryIO

from lore import _home
from lore._extras import require
from lore._formats.problems import FormatError

__all__ = ["dump", "load"]

_MARK = b"\x00lore-signed\x00"
_MAC_BYTES = 32
_TRAILER_BYTES = len(_MARK) + _MAC_BYTES


def load(file: BinaryIO, format_: str, *, trusted: bool = False) -> Any:
    """Return the value; refuse code from a stranger."""
    trusted = trusted or _is_signed(file)
    file.seek(0)
    if format_ == "pickle":
        return _unpickled(file) if trusted else _plain_data(file)
    if trusted:
        return _joblib().load(file)
    raise FormatError(f"This joblib file was not written by lore under this LORE_HOME. {_WAY_OUT}")


def dump(value: object, file: BinaryIO, format_: str) -> None:
    """Write the value and the signature."""
    key = _signing_key(make=True)
    if key is None:
        _pickle(value, file, format_)
        return
    signing = _Signing(file, key)
    _pickle(value, signing, format_)
    file.write(_MARK + signing.mac())


_WAY_OUT = (
    "Opening it can run any code that its author put in. If you know where it comes from, pass trusted=True; "
    "writing it again with lore signs it."
)


def _unpickled(file: BinaryIO) -> Any:
    try:
        return pickle.load(file)
    except (pickle.UnpicklingError, EOFError) as error:
        raise FormatError(f"This is not a sound pickle file: {error}") from error


def _plain_data(file: BinaryIO) -> Any:
    try:
        return _PlainData(file).load()
    except FormatError:
        raise
    except Exception as error:  # no code of the user's runs here: whatever fails, the bytes are at fault
        raise FormatError(f"This is not a sound pickle file: {error}") from error


def _pickle(value: object, file: Any, format_: str) -> None:
    try:
        if format_ == "pickle":
            pickle.dump(value, file, protocol=5)
        else:
            _joblib().dump(value, file, protocol=5)
    except pickle.PicklingError as error:
        raise FormatError(f"A {type(value).__name__} cannot be pickled: {error}") from error


def _joblib() -> Any:
    return require("joblib", extra="sklearn")


class _Signing:
    """A stream that computes a keyed digest of what is written through it."""

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        self._file = file
        self._digest = hashlib.blake2b(key=key, digest_size=_MAC_BYTES)
        self._written = 0

    def write(self, data: Any) -> int:
        """Write and digest one piece."""
        view = memoryview(data).cast("B") if not isinstance(data, bytes) else data
        self._digest.update(view)
        self._file.write(view)
        self._written += len(view)
        return len(view)

    def tell(self) -> int:
        """Return how much was written (joblib aligns arrays with it)."""
        return self._written

    def mac(self) -> bytes:
        """Return the digest of everything so far."""
        return self._digest.digest()


def _is_signed(file: BinaryIO) -> bool:
    """Say whether the stream ends in a signature that fits all that comes before it."""
    end = file.seek(0, os.SEEK_END)
    if end < _TRAILER_BYTES:
        return False
    file.seek(end - _TRAILER_BYTES)
    trailer = file.read(_TRAILER_BYTES)
    key = _signing_key(make=False)
    if key is None or not trailer.startswith(_MARK):
        return False
    digest = hashlib.blake2b(key=key, digest_size=_MAC_BYTES)
    file.seek(0)
    left = end - _TRAILER_BYTES
    while left:
        piece = file.read(min(left, 1 << 20))
        if not piece:
            return False
        digest.update(piece)
        left -= len(piece)
    return hmac.compare_digest(digest.digest(), trailer[len(_MARK) :])


def _signing_key(make: bool) -> bytes | None:
    """Return 32 bytes from `LORE_SIGNING_KEY`, else from a file under `LORE_HOME` that only its owner can read."""
    text = os.environ.get("LORE_SIGNING_KEY")
    secret = text.encode() if text else _home_key(make)
    return None if secret is None else hashlib.blake2b(secret, digest_size=32, person=b"lore.formats").digest()


def _home_key(make: bool) -> bytes | None:
    path = _home.home() / "signing.key"
    try:
        if make and not path.exists():
            _make_key(path)
        return path.read_bytes() or None
    except OSError:
        return None


def _make_key(path: Any) -> None:
    """Put a new key in its place; of two processes that do so at once, the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(os.urandom(32))
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)


_PLAIN = {
    "builtins": "bytearray complex dict frozenset int list range set slice str tuple float bool bytes",
    "__builtin__": "bytearray complex dict frozenset list set slice xrange",
    "_codecs": "encode",
    "collections": "Counter OrderedDict defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "uuid": "UUID SafeUUID",
    "zoneinfo": "ZoneInfo._unpickle",
    "numpy": "dtype ndarray",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
    "pandas": (
        "ArrowDtype BooleanDtype Categorical CategoricalDtype CategoricalIndex DataFrame DatetimeIndex DatetimeTZDtype "
        "Float32Dtype Float64Dtype Index Int8Dtype Int16Dtype Int32Dtype Int64Dtype Interval IntervalDtype "
        "IntervalIndex MultiIndex NA Period PeriodDtype PeriodIndex RangeIndex Series SparseDtype StringDtype "
        "TimedeltaIndex UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype"
    ),
    "pandas.arrays": (
        "ArrowExtensionArray ArrowStringArray BooleanArray DatetimeArray FloatingArray IntegerArray IntervalArray "
        "NumpyExtensionArray PeriodArray SparseArray StringArray TimedeltaArray"
    ),
    "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
    "pandas._libs.internals": "_unpickle_block",
    "pandas._libs.interval": "__pyx_unpickle_IntervalMixin",
    "pandas._libs.missing": "NAType",
    "pandas._libs.sparse": "IntIndex BlockIndex",
    "pandas._libs.tslibs.nattype": "_nat_unpickle",
    "pandas._libs.tslibs.offsets": "BusinessDay Day Hour Minute MonthBegin MonthEnd QuarterEnd Second Week YearEnd",
    "pandas._libs.tslibs.timedeltas": "_timedelta_unpickle",
    "pandas._libs.tslibs.timestamps": "_unpickle_timestamp",
    "pandas.core.frame": "DataFrame",
    "pandas.core.series": "Series",
    "pandas.core.arrays.arrow.array": "ArrowExtensionArray",
    "pandas.core.arrays.boolean": "BooleanArray BooleanDtype",
    "pandas.core.arrays.categorical": "Categorical",
    "pandas.core.arrays.datetimes": "DatetimeArray",
    "pandas.core.arrays.floating": "FloatingArray Float32Dtype Float64Dtype",
    "pandas.core.arrays.integer": "IntegerArray Int8Dtype Int16Dtype Int32Dtype Int64Dtype",
    "pandas.core.arrays.string_": "StringArray StringDtype",
    "pandas.core.arrays.string_arrow": "ArrowStringArray ArrowStringArrayNumpySemantics",
    "pandas.core.dtypes.dtypes": "ArrowDtype CategoricalDtype DatetimeTZDtype IntervalDtype PeriodDtype SparseDtype",
    "pandas.core.indexes.base": "Index _new_Index",
    "pandas.core.indexes.category": "CategoricalIndex",
    "pandas.core.indexes.datetimes": "DatetimeIndex _new_DatetimeIndex",
    "pandas.core.indexes.interval": "IntervalIndex _new_IntervalIndex",
    "pandas.core.indexes.multi": "MultiIndex",
    "pandas.core.indexes.range": "RangeIndex",
    "pandas.core.indexes.timedeltas": "TimedeltaIndex _new_TimedeltaIndex",
    "pandas.core.internals.managers": "BlockManager SingleBlockManager",
    "pyarrow.lib": "_restore_array py_buffer type_for_alias",
}


class _PlainData(pickle.Unpickler):
    """An unpickler that knows plain data and nothing that could act."""

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed global; refuse every other."""
        if name in _PLAIN.get(module, "").split():
            return super().find_class(module, name)
        raise FormatError(
            f"This pickle was not written by lore under this LORE_HOME, and it wants {module}.{name}. {_WAY_OUT}"
        )
