"""Values as keys: equal values have equal keys, different ones different keys, and what has no value is refused."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import ipaddress
import itertools
import math
import operator
import os
import pathlib
import pickle
import random
import re
import socket
import subprocess
import sys
import threading
import types
import typing
import uuid
import weakref
import zoneinfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore._caching.values import digest, fingerprint
from lore.errors import UnkeyableArgument

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")
sparse = pytest.importorskip("scipy.sparse")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2
    ALSO_RED = RED


class Size(enum.IntEnum):
    ONE = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(typing.NamedTuple):
    x: int
    y: int


class OtherPoint(typing.NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Plain:
    a: object
    b: object = None


@dataclasses.dataclass
class Twin:
    a: object
    b: object = None


@dataclasses.dataclass(slots=True)
class Slotted:
    a: object
    b: object = None


@attrs.define
class Defined:
    a: object
    b: object = None


@attrs.frozen(cache_hash=True, slots=False)
class Hashed:
    a: str


class Record(msgspec.Struct):
    a: object
    b: object = None


class Model(pydantic.BaseModel):
    a: int
    b: int = 0


class Bag(set):
    pass


class Text(str):
    pass


class Stateful:
    def __init__(self, kept: object) -> None:
        self.kept = kept
        self.handle = threading.Lock()

    def __getstate__(self) -> object:
        return {"kept": self.kept}


class Speaking:
    def __init__(self, says: object) -> None:
        self.says = says

    def __lore_fingerprint__(self) -> object:
        return self.says


def double(x: int) -> int:
    return 2 * x


def triple(x: int) -> int:
    return 3 * x


def factory(n: int) -> typing.Callable[[int], int]:
    return lambda x: n * x


def looped() -> list[object]:
    value: list[object] = [1]
    value.append(value)
    return value


def looped_deeper() -> list[object]:
    inner: list[object] = []
    value: list[object] = [1, inner]
    inner.append(value)
    return value


def stretched(*values: float) -> typing.Any:
    return pd.DataFrame({"x": values})


# What pandas 3 makes of texts by itself; pandas 2 has it on request only.
TEXT = pd.Series(["a"]).dtype if pd.Series(["a"]).dtype != object else pd.ArrowDtype(pa.large_string())

FRAME = pd.DataFrame(
    {
        "float": np.linspace(0, 1, 60),
        "int": np.arange(60),
        "text": [f"text {i}" for i in range(60)],
        "more": np.linspace(1, 2, 60),
        "when": pd.date_range("2020", periods=60, tz="Europe/Paris"),
        "class": pd.Categorical(["x", "y"] * 30),
        "any": [None, 1, "x", 2.5] * 15,
        "maybe": pd.array([1, None] * 30, dtype="Int64"),
        "flag": pd.array([True, None] * 30, dtype="boolean"),
        "month": pd.period_range("2020", periods=60, freq="M"),
        "span": pd.interval_range(0, 60),
        "took": pd.to_timedelta(np.arange(60), "s"),
        "arrow": pd.array([f"{i}" if i % 3 else None for i in range(60)], dtype=pd.ArrowDtype(pa.string())),
        "sparse": pd.arrays.SparseArray([0, 0, 1] * 20),
    }
)

TABLE = pa.table(
    {
        "int": [1, None, 3],
        "text": ["x", None, "zz"],
        "list": [[1], None, [2, 3]],
        "flag": [True, None, False],
        "struct": [{"u": 1}, None, {"u": 3}],
        "dictionary": pa.array(["q", None, "q"]).dictionary_encode(),
        "view": pa.array(["x", None, "y"], pa.string_view()),
        "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        "decimal": pa.array([decimal.Decimal("1.5"), None, decimal.Decimal("2.5")], pa.decimal128(5, 2)),
        "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
        "few": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)),
    }
)

POLARS = pl.DataFrame(
    {
        "int": [1, None, 3],
        "text": ["x", None, "zz"],
        "class": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
        "list": [[1], [2], None],
    }
)

MATRIX = sparse.random(30, 20, 0.2, format="csr", random_state=0)

DIFFERENT: dict[str, list[typing.Any]] = {
    "scalars": [
        1, True, 1.0, "1", b"1", 1 + 0j, None, ..., NotImplemented, 0, False, 0.0, -0.0, "", b"", float("nan"),
        float("inf"), 2**31, 2**31 - 1, 2**63, 2**64, -1, "None", "é", "e\u0301", "\ud800", "a\0", "a", 1e-320,
        complex(0, -0.0), 0j, bytearray(b"1"), memoryview(b"1"), Text("1"), Size.ONE,
    ],
    "containers": [
        [], (), {}, set(), frozenset(), [[]], [()], ([],), [1], (1,), {1}, frozenset({1}), {1: 1}, [1, [2]], [[1], 2],
        [[1, 2]], [1, 2], [2, 1], [True, 2], [1, 2.0], ["1", 2], [12], ["ab", "c"], ["a", "bc"], {"a": 1, "b": 2},
        {"b": 2, "a": 1}, {"a": 2, "b": 1}, [("a", 1), ("b", 2)], {1, 2}, {1, "2"}, {1.0, 2}, {(1, 2)}, [None], [[None]],
        collections.deque([1]), collections.deque([1], 5), collections.OrderedDict(a=1), {"a": 1}, Bag({1}),
        collections.defaultdict(int, a=1), collections.defaultdict(list, a=1), collections.Counter("a"),
        collections.ChainMap({"a": 1}), types.MappingProxyType({"a": 1}), types.SimpleNamespace(a=1),
        looped(), looped_deeper(), [looped()], array.array("i", [1]), array.array("b", [1]), array.array("f", [1]),
        range(3), range(4), range(1, 4), range(0, 3, 2), slice(3), slice(0, 3), slice(0, 3, 1),
        memoryview(b"abcd"), memoryview(b"abcd").cast("i"), io.BytesIO(b"abcd"), io.StringIO("abcd"),
    ],
    "standard": [
        decimal.Decimal("1"), decimal.Decimal("1.0"), decimal.Decimal("-0"), decimal.Decimal("0"), decimal.Decimal("nan"),
        decimal.Decimal("snan"), fractions.Fraction(1), fractions.Fraction(1, 2), uuid.UUID(int=1), 1,
        dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, fold=1), dt.datetime(2020, 1, 1, microsecond=1),
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
        dt.datetime(2020, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), dt.time(1), dt.time(1, tzinfo=dt.UTC),
        dt.timedelta(1), dt.timedelta(seconds=1), dt.UTC, dt.timezone(dt.timedelta(hours=1)), zoneinfo.ZoneInfo("UTC"),
        zoneinfo.ZoneInfo("Europe/Paris"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a"), pathlib.Path("a"),
        pathlib.Path("b"), "a", re.compile("a"), re.compile("a", re.I), re.compile(b"a"), ipaddress.ip_address("::1"),
        ipaddress.ip_address("127.0.0.1"), Colour.RED, Colour.BLUE, Access.READ, Access.READ | Access.WRITE, Access(0),
        ValueError("a"), TypeError("a"), ValueError("b"), list[int], list[str], int | None, typing.Literal[1],
        random.Random(1), random.Random(2), operator.itemgetter(1), operator.itemgetter(2), operator.attrgetter("a"),
    ],
    "functions": [
        double, triple, lambda x: x, lambda x: -x, factory(2), factory(3), functools.partial(double, 1),
        functools.partial(double, 2), functools.partial(triple, 1), print, len, str.upper, "a".upper, "b".upper,
        [1].append, dict.fromkeys, math, sys, os.path.join, functools.lru_cache(double), operator.add,
        staticmethod(double), classmethod(double), property(double), Plain(1).__init__, Plain(2).__init__,
    ],
    "classes": [int, str, Plain, Twin, Colour, object, type, dict, collections.OrderedDict, types.FunctionType, Point],
    "objects": [
        Plain(1), Plain(1.0), Plain(2), Plain(1, 2), Twin(1), Slotted(1), Slotted(2), Defined(1), Defined(2), Record(1),
        Record(2), Model(a=1), Model(a=2), Point(1, 2), Point(2, 1), OtherPoint(1, 2), (1, 2), Stateful(1), Stateful(2),
        Hashed("a"), Hashed("b"), Plain([Plain(1)]), Plain((Plain(1),)), Speaking(b"1"), Speaking("1"), Speaking(b"2"),
    ],
    "numpy": [
        np.int64(1), np.int32(1), np.uint64(1), np.float64(1), np.float32(1), np.bool_(True), np.str_("1"), np.bytes_(b"1"),
        np.longdouble(1), np.complex128(1), np.float64(0), np.float64(-0.0), np.array(1), np.array(1.0), np.array([1]),
        np.array([1.0]), np.array([[1]]), np.array([1], ">i8"), np.array([1], "i4"), np.array(["a"]), np.array([b"a"]),
        np.array(["a"], "U2"), np.array(["a"], object), np.array(["a"], np.dtypes.StringDType()), np.array([]),
        np.array([], int), np.zeros((0, 3)), np.zeros((3, 0)), np.array([-0.0]), np.array([0.0]), np.array([np.nan]),
        np.array([None]), np.array([np.nan], object), np.array([pd.NA]), np.array([pd.NaT], object),
        np.datetime64("2020-01-01"), np.datetime64("2020-01-01", "ns"), np.datetime64("NaT", "s"), np.timedelta64(1, "s"),
        np.timedelta64("NaT", "s"), np.array(["2020"], "M8[D]"), np.array(["2020"], "M8[s]"), np.array([[1]]).view(np.matrix),
        np.ma.array([1, 2]), np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0]), np.array([1, 2]),
        np.array([(1, 2.0)], "i4,f8"), np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), np.array([(1, 2.0)], [("a", "i4"), ("c", "f8")]),
        np.array([(1, 2.0)], np.dtype([("a", "i4"), ("b", "f8")], align=True)), np.dtype("i4"), np.dtype("f4"), np.float64,
        np.rec.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), np.sum, np.add, np.multiply, np.arange(6).reshape(2, 3),
        np.arange(6).reshape(3, 2), np.arange(6).reshape(2, 3).T, np.random.RandomState(0), np.random.RandomState(1),
        np.random.default_rng(0), np.random.default_rng(1), np.random.SeedSequence(1), np.longdouble(1) / 3, np.float64(1) / 3,
        np.float16([1]), np.array([(1, 2)], "2i4"), np.array([([1, 2],)], [("a", "2i4")]), np.array([1, 2], np.longdouble),
    ],
    "pandas": [
        FRAME, FRAME[list(FRAME.columns[::-1])], FRAME.rename(columns={"int": "z"}), FRAME.set_index("int"), FRAME.iloc[::-1],
        FRAME.astype({"float": "f4"}), FRAME.assign(when=FRAME["when"].dt.tz_convert("UTC")), FRAME.rename_axis("x"),
        FRAME.rename_axis(columns="x"), FRAME.iloc[:0], FRAME[[]], pd.DataFrame(),
        FRAME.set_flags(allows_duplicate_labels=False), FRAME.set_index(["int", "text"]), FRAME.set_index(["text", "int"]),
        pd.Series([1, 2]), pd.Series([1, 2], name="x"), pd.Series([1.0, 2]), pd.Series([1, 2], dtype="Int64"),
        pd.Series([1, 2], index=[0, 1]), pd.Series([1, 2], index=[1, 0]), pd.Index([1, 2]), pd.Index([1, 2], name="x"),
        pd.array([1, 2]), pd.Series(["a"], dtype=TEXT), pd.Series(["a"], dtype=object), pd.Series(["a"], dtype="string[pyarrow]"),
        pd.Series(["a"], dtype="string[python]"), pd.Series(["a"], dtype=pd.ArrowDtype(pa.string())), pd.DataFrame({"x": ["a"]}),
        pd.Categorical(["a"]), pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["a"], ["b", "a"]), pd.Categorical(["a"], ordered=True),
        pd.Timestamp("2020").as_unit("ns"), pd.Timestamp("2020", tz="UTC"), pd.Timestamp("2020").as_unit("s"), pd.Timedelta("1s").as_unit("ns"),
        pd.Timedelta("1s").as_unit("s"), pd.Period("2020", "Y"), pd.Period("2020-01", "M"), pd.Interval(0, 1),
        pd.Interval(0, 1, closed="both"), pd.NaT, pd.NA, None, float("nan"), pd.Series([None, "a"], dtype=TEXT),
        pd.Series([None, "a"], dtype=object), pd.Series([np.nan, "a"], dtype=object), pd.Series([pd.NA, "a"], dtype=object),
        pd.date_range("2020", periods=3), pd.date_range("2020", periods=3, tz="UTC"), pd.DatetimeIndex(list(pd.date_range("2020", periods=3))),
        pd.date_range("2020", periods=3).as_unit("s"), pd.MultiIndex.from_tuples([(1, 2)]), pd.MultiIndex.from_tuples([(1, 2)], names=["a", "b"]),
        pd.Index([(1, 2)], tupleize_cols=False), pd.CategoricalDtype(["a"]), pd.Int64Dtype(), pd.StringDtype(), pd.offsets.Day(1), pd.offsets.Day(2),
        pd.DataFrame([[1, 2]]), pd.DataFrame([[1, 2]], columns=["0", "1"]), pd.DataFrame([[1], [2]]), pd.DataFrame([[1, 2]], dtype=object),
        pd.DataFrame([[1, 2]], columns=[0, 0]), pd.Series([0.0]), pd.Series([-0.0]),
    ],
    "arrow": [
        TABLE, TABLE.slice(1), TABLE.select(["text", "int"]), TABLE.replace_schema_metadata({"a": "b"}), TABLE.to_batches()[0],
        TABLE.column("int"), TABLE.column("int").combine_chunks(), TABLE.column("int")[0], TABLE.column("int")[1], TABLE.schema,
        TABLE.schema.field(0), pa.int64(), pa.int32(), pa.array(["a"]), pa.array(["a"], pa.large_string()), pa.array([b"a"]),
        pa.array(["a"]).dictionary_encode(), pa.array([], pa.int8()), pa.nulls(3), pa.nulls(2), pa.array([None, "a"]), pa.array(["", "a"]),
        pa.array([[1], [2]]), pa.array([[1, 2], []]), pa.array([[1, 2], None]), pa.array([True, False]), pa.array([True, None]), pa.py_buffer(b"a"),
        pa.array(["ab", "c"]), pa.array(["a", "bc"]), pa.timestamp("s"), pa.timestamp("s", "UTC"),
    ],
    "polars": [
        POLARS, POLARS[1:], POLARS["int"], POLARS["int"].rename("other"), POLARS.select("text", "int", "class", "list"),
        POLARS["text"], POLARS["int"].cast(pl.Int32), POLARS.clear(), pl.DataFrame(), pl.Series([1.0]), pl.Series([1]),
    ],
    "sparse": [MATRIX, MATRIX.tocsc(), MATRIX.tocoo(), MATRIX.tolil(), MATRIX.todok(), MATRIX.toarray(), sparse.csr_array(MATRIX), MATRIX.astype("f4"), MATRIX.T, MATRIX[:10]],
}  # fmt: skip


@pytest.mark.parametrize("family", DIFFERENT)
def test_different_values_differ(family: str) -> None:
    """No two of these values have the same key."""
    seen: dict[str, object] = {}
    for value in DIFFERENT[family]:
        key = fingerprint(value)
        assert key not in seen, f"{value!r} has the key of {seen[key]!r}"
        seen[key] = value


@pytest.mark.parametrize("family", DIFFERENT)
def test_a_key_is_repeatable(family: str) -> None:
    """The same object gives the same key again, and looking at it does not change it."""
    assert list(map(fingerprint, DIFFERENT[family])) == list(map(fingerprint, DIFFERENT[family]))


@pytest.mark.parametrize("family", sorted(set(DIFFERENT) - {"functions"}))
def test_a_pickled_and_a_deep_copied_value_are_the_value(family: str) -> None:
    """A value that went through pickle (5: older protocols swap the bytes of arrays) or deepcopy has the key it had."""
    for value in DIFFERENT[family]:
        for copied in (copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v, 5))):
            try:
                twin = copied(value)
            except Exception:  # pickle refuses memoryviews, local classes and the like
                continue
            assert fingerprint(twin) == fingerprint(value), f"{value!r} changed its key through a copy"


GRID = np.arange(24.0).reshape(4, 6)
WIDE = np.random.default_rng(0).random((700, 900))

EQUAL: dict[str, list[typing.Any]] = {
    "sets": [{1, 2, 3}, {3, 2, 1}, set(itertools.permutations([1, 2, 3]).__next__())],
    "sets that grew and shrank": [{8, 0}, {0, 8}, {*range(100)} & {0, 8}],
    "mixed sets": [{1, "a", None, (1, 2)}, {(1, 2), None, "a", 1}],
    "frozensets in dicts": [{frozenset("abc"): 1}, {frozenset("cba"): 1}],
    "attributes in any order": [types.SimpleNamespace(a=1, b=2), types.SimpleNamespace(b=2, a=1)],
    "shared and copied parts": [[s := [object, 1], s], [[object, 1], [object, 1]]],
    "cycles": [looped(), looped()],
    "lambdas": [factory(2), factory(2)],
    "enum aliases": [Colour.RED, Colour.ALSO_RED, Colour(1)],
    "layouts": [GRID, GRID.copy(), np.asfortranarray(GRID), GRID.T.T, GRID[::-1][::-1], np.ascontiguousarray(GRID)],
    "transposed": [GRID.T, GRID.T.copy()],
    "strided": [GRID[::2, ::3], GRID[::2, ::3].copy(), np.asfortranarray(GRID[::2, ::3])],
    "large strided": [WIDE[::2, ::3], WIDE[::2, ::3].copy(), np.asfortranarray(WIDE[::2, ::3])],
    "large Fortran": [WIDE.T, WIDE.T.copy()],
    "few long rows": [w := np.tile(WIDE.reshape(2, -1), 2)[:, ::2], w.copy()],
    "broadcast": [np.broadcast_to(np.arange(3), (4, 3)), np.tile(np.arange(3), (4, 1))],
    "strided text": [np.array(["a", "b", "c"])[::2], np.array(["a", "c"])],
    "strided objects": [np.array([1, "b", None], object)[::2], np.array([1, None], object)],
    "string dtype": [np.array(["x", "a"], np.dtypes.StringDType())[1:], np.array(["a"], np.dtypes.StringDType())],
    "records": [np.zeros(4, "i4,f8")[::2], np.zeros(2, "i4,f8")],
    "masked": [np.ma.array([1, 2, 3], mask=[0, 1, 0])[::2], np.ma.array([1, 3], mask=[0, 0])],
    "long numbers": [np.longlong(1), np.int64(1), np.dtype("q").type(1)],
    "frames": [FRAME, FRAME.copy(), FRAME[list(FRAME.columns)], FRAME[list(FRAME.columns[::-1])][list(FRAME.columns)]],
    "frames of other blocks": [
        FRAME,
        pd.concat([FRAME[["float", "int"]], FRAME.drop(columns=["float", "int"])], axis=1),
        pd.DataFrame({name: FRAME[name].copy() for name in FRAME}),
    ],
    "frames from arrays": [
        pd.DataFrame(GRID),
        pd.DataFrame(np.asfortranarray(GRID)),
        pd.DataFrame(list(map(list, GRID))),
    ],
    "frames without copies": [pd.DataFrame(GRID, copy=False), pd.DataFrame(GRID.copy(order="F"), copy=False)],
    "sliced frames": [FRAME.iloc[7:20], FRAME.iloc[7:20].copy(), pickle.loads(pickle.dumps(FRAME.iloc[7:20]))],
    "thinned frames": [FRAME.iloc[::3], FRAME.iloc[::3].copy()],
    "filtered frames": [FRAME[FRAME["int"] % 2 == 0], FRAME[FRAME["int"] % 2 == 0].copy()],
    "sliced strings": [
        FRAME["text"].iloc[2:5],
        pd.Series(["text 2", "text 3", "text 4"], index=range(2, 5), name="text"),
    ],
    "concatenated strings": [pd.concat([pd.Series(["a"]), pd.Series(["b"])], ignore_index=True), pd.Series(["a", "b"])],
    "multi-indexes": [
        FRAME.set_index(["text", "int"]).iloc[3:6],
        FRAME.set_index(["text", "int"]).iloc[3:6].copy(),
        FRAME.iloc[3:6].set_index(["text", "int"]),
    ],
    "masked slots": [
        pd.array([1, 2, 3], dtype="Int64")[[True, False, True]],
        pd.array([1, 3], dtype="Int64"),
    ],
    "what null slots hide": [
        pd.Series([1, None], dtype="Int64"),
        pd.Series(pd.arrays.IntegerArray(np.array([1, 77]), np.array([False, True]))),
    ],
    "tables": [
        TABLE,
        pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1, 2)]),
        pa.concat_tables([TABLE.slice(0, 2), TABLE.slice(2, 1)]).combine_chunks(),
        pa.concat_tables([TABLE.slice(0, 0), TABLE]),
        pa.concat_tables([TABLE, TABLE]).slice(3),
        pickle.loads(pickle.dumps(TABLE)),
    ],
    "sliced tables": [TABLE.slice(1), pa.Table.from_pylist(TABLE.slice(1).to_pylist(), schema=TABLE.schema)],
    "hidden texts": [
        pa.array(["a", None, "c"]),
        pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(b"\x05"), *pa.array(["a", "hidden", "c"]).buffers()[1:]]),
    ],
    "hidden numbers": [
        pa.array([1, None, 3]),
        pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\x05"), *pa.array([1, 99, 3]).buffers()[1:]]),
    ],
    "polars frames": [POLARS, pl.concat([POLARS[:1], POLARS[1:]]), POLARS.clone(), pl.concat([POLARS, POLARS])[3:]],
    "sparse": [MATRIX, MATRIX.copy(), pickle.loads(pickle.dumps(MATRIX)), MATRIX[:], sparse.csr_matrix(MATRIX)],
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_values_have_equal_keys(name: str) -> None:
    """However a value came to be, it has the key of its equals."""
    assert len(set(map(fingerprint, EQUAL[name]))) == 1


def padded(gap: int) -> typing.Any:
    records = np.empty(3, np.dtype([("a", "i1"), ("b", "f8")], align=True))
    records.view("u1")[:] = gap
    records["a"] = records["b"] = 1
    return records


def test_gaps_between_fields_do_not_count() -> None:
    """What the memory between the fields of a record holds is accident."""
    assert fingerprint(padded(0)) == fingerprint(padded(7)) == fingerprint(padded(9)[::1])


def test_unused_bytes_of_long_doubles_do_not_count() -> None:
    """A long double of x86 uses ten of its sixteen bytes."""
    dirty = np.full(48, 7, "u1").view(np.longdouble)
    dirty[:] = 1
    assert fingerprint(dirty) == fingerprint(np.ones(3, np.longdouble))


def test_what_scipy_remembers_does_not_count() -> None:
    """Asking a sparse matrix whether it is sorted leaves a note on it, but not another key."""
    matrix = MATRIX.copy()
    before = fingerprint(matrix)
    assert matrix.has_sorted_indices
    assert matrix.has_canonical_format
    assert fingerprint(matrix) == before


def test_attributes_of_a_frame_count() -> None:
    """`attrs` is part of a frame."""
    noted = FRAME.copy()
    noted.attrs["source"] = "x"
    assert fingerprint(noted) != fingerprint(FRAME)


@pytest.mark.parametrize("size", [1, 100, 1000, 200_000])
@pytest.mark.parametrize("dtype", ["f8", "i2", "U3", "M8[s]", "O"])
def test_every_element_of_an_array_counts(size: int, dtype: str) -> None:
    """One changed element anywhere changes the key: nothing is sampled."""
    values = np.zeros(size, "i8").astype(dtype)
    keys = {fingerprint(values)}
    places = {0, size // 3, size // 2, size - 1}
    for place in places:
        changed = values.copy()
        changed[place] = np.ones(1, "i8").astype(dtype)[0]
        keys.add(fingerprint(changed))
    assert len(keys) == 1 + len(places)


@pytest.mark.parametrize("column", FRAME.columns)
@pytest.mark.parametrize("row", [0, 31, 59])
def test_every_cell_of_a_frame_counts(column: str, row: int) -> None:
    """One changed cell in a column of any dtype changes the key."""
    changed = FRAME.copy()
    values = list(changed[column])
    other = next(value for value in values if value is not values[row] and not _same(value, values[row]))
    values[row] = other
    changed[column] = pd.Series(values, dtype=FRAME[column].dtype)
    assert changed.dtypes.equals(FRAME.dtypes)
    assert fingerprint(changed) != fingerprint(FRAME)


def _same(a: object, b: object) -> bool:
    return (a is b) or bool(a is not pd.NA and b is not pd.NA and a is not None and b is not None and a == b)


@pytest.mark.parametrize("length", [10, 70_000, 200_000])
def test_every_item_of_a_long_list_counts(length: int) -> None:
    """Long plain lists are taken in batches, and each item counts in its place."""
    items = [str(i) for i in range(length)]
    swapped = items.copy()
    swapped[length // 2], swapped[-1] = swapped[-1], swapped[length // 2]
    keys = {
        fingerprint(value) for value in (items, swapped, items[:-1], [*items, ""], tuple(items), dict.fromkeys(items))
    }
    assert len(keys) == 6
    assert fingerprint(items) == fingerprint(list(map(str, range(length))))


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 1_000_000])
def test_long_texts_and_bytes_count_whole(size: int) -> None:
    """Long texts and bytes are read in place, to their last character, and are told apart."""
    text = "a" * size
    variants: list[object] = [
        text,
        text[:-1],
        text[:-1] + "b",
        text.encode(),
        bytearray(text.encode()),
        [text],
        (text,),
    ]
    assert len(set(map(fingerprint, variants))) == len(variants)
    assert fingerprint(text) == fingerprint("".join(["a"] * size))


def test_views_of_dicts() -> None:
    """Keys, values and items of a dict count by what they show."""
    d = {1: 2, 3: object}
    assert fingerprint(d.keys()) == fingerprint({1: 0, 3: 0}.keys())
    assert len({fingerprint(view) for view in (d.keys(), d.values(), d.items(), list(d), d)}) == 5


def test_floats_count_by_their_bits() -> None:
    """A NaN is itself, and the sign of zero counts, alone and in a container."""
    assert fingerprint(float("nan")) == fingerprint(float("nan"))
    assert fingerprint([0.0]) != fingerprint([-0.0])


@pytest.mark.parametrize("kind", [Plain, Slotted, Defined, Record])
def test_objects_count_by_class_and_state(kind: typing.Any) -> None:
    """Two objects of one class and one state are one value."""
    assert fingerprint(kind([1], {"a": 2})) == fingerprint(kind([1], {"a": 2}))


@pytest.mark.parametrize("name", [Text("a"), Size.ONE, 1, (1, "a"), None])
def test_attributes_of_any_name(name: object) -> None:
    """A `__dict__` may hold more than identifiers; its names count like its values."""
    one, other = types.SimpleNamespace(), types.SimpleNamespace()
    vars(one)[name], vars(other)[name] = 1, 1
    assert fingerprint(one) == fingerprint(other) != fingerprint(types.SimpleNamespace())
    vars(other)["a"] = Plain(1)
    assert fingerprint(one) != fingerprint(other)
    first, second = Plain(1), Plain(1)
    vars(first)[name] = vars(second)[name] = 2
    assert fingerprint(first) == fingerprint(second) != fingerprint(Plain(1))


def test_a_cached_hash_does_not_count() -> None:
    """attrs may keep an object's hash on it, which differs from process to process."""
    asked, fresh = Hashed("a"), Hashed("a")
    hash(asked)
    assert fingerprint(asked) == fingerprint(fresh)


def test_the_state_an_object_chooses_is_its_state() -> None:
    """`__getstate__` leaves out what is no part of the value, such as a lock."""
    assert fingerprint(Stateful(1)) == fingerprint(Stateful(1))


def test_objects_in_cycles() -> None:
    """Objects that hold each other are followed once, and still differ by what else they hold."""

    def ring(*names: str) -> list[types.SimpleNamespace]:
        members = [types.SimpleNamespace(name=name) for name in names]
        for member, following in zip(members, [*members[1:], members[0]], strict=True):
            member.next = following
        return members

    assert fingerprint(ring("a", "b")) == fingerprint(ring("a", "b"))
    assert fingerprint(ring("a", "b")) != fingerprint(ring("a", "c"))
    assert fingerprint(ring("a", "b")) != fingerprint(ring("a", "b", "a", "b")[:2])


def test_a_place_in_a_cycle_counts() -> None:
    """Two lists that differ only in which list a loop leads back to are two values."""
    outer: list[object] = []
    inner: list[object] = [outer]
    outer += [inner, [inner]]
    other: list[object] = []
    last: list[object] = []
    last.append(last)
    other += [[other], last]
    assert fingerprint(outer) != fingerprint(other)


def test_much_shared_parts_are_seen_once() -> None:
    """A value that refers to its parts many times over takes no longer than its parts."""
    value: object = Plain(0)
    for _ in range(100):
        value = Plain(value, value)
    key = fingerprint(value)
    assert len(key) == 32


def test_a_deep_value_is_refused_in_words() -> None:
    """What is nested deeper than Python can follow is an UnkeyableArgument, not a RecursionError."""
    value: object = double
    for _ in range(100_000):
        value = [value]
    with pytest.raises(UnkeyableArgument, match="too deep"):
        digest(value)
    while isinstance(value, list):  # take it apart by hand: its deallocation would recurse as deep
        value = value[0]


def test_a_long_chain_of_plain_lists_is_keyed() -> None:
    """A few hundred levels of plain lists are no problem."""
    value: list[object] = []
    for _ in range(150):
        value = [value, 1]
    assert fingerprint(value) == fingerprint(copy.deepcopy(value))


def test_functions_count_by_their_code() -> None:
    """Two functions of one text are one value; a closure counts with what it closes over."""
    assert fingerprint(eval("lambda x: x + 1")) == fingerprint(eval("lambda x:  x+1"))
    assert fingerprint(eval("lambda x: x + 1")) != fingerprint(eval("lambda x: x + 2"))
    assert fingerprint(functools.partial(factory(2), 1)) == fingerprint(functools.partial(factory(2), 1))


def test_an_object_that_holds_a_function_that_holds_it() -> None:
    """A cycle through a closure ends."""

    def made(step: int) -> types.SimpleNamespace:
        holder = types.SimpleNamespace(step=step)
        holder.call = lambda: holder.step + 1
        return holder

    assert fingerprint(made(1)) == fingerprint(made(1))
    assert fingerprint(made(1)) != fingerprint(made(2))


def test_an_instance_counts_with_the_code_of_its_class() -> None:
    """An edited class of the user's makes its instances other values; a class of a package counts by name."""

    def made(text: str) -> object:
        names: dict[str, typing.Any] = {"__name__": "users_module"}
        exec(text, names)
        return names["Model"]()

    text = "class Model:\n    def predict(self, x):\n        return x + 1\n"
    assert fingerprint(made(text)) == fingerprint(made(text))
    assert fingerprint(made(text)) != fingerprint(made(text.replace("+ 1", "+ 2")))


def test_an_object_may_speak_for_itself() -> None:
    """What `__lore_fingerprint__` returns stands for the state, and a digest for the value it is the digest of."""
    assert fingerprint(Speaking(b"1")) == fingerprint(Speaking(b"1"))
    assert digest(Speaking(("digest", digest([1, 2])))) == digest([1, 2])
    with pytest.raises(UnkeyableArgument, match="__lore_fingerprint__ returned int"):
        digest(Speaking(3))
    with pytest.raises(UnkeyableArgument, match="not of 16 bytes"):
        digest(Speaking(("digest", b"short")))


def generator() -> typing.Iterator[int]:
    yield 1


UNKEYABLE: dict[str, typing.Callable[[], object]] = {
    "lock": threading.Lock,
    "condition": threading.Condition,
    "file": lambda: open(os.devnull),
    "binary file": lambda: open(os.devnull, "rb"),
    "socket": socket.socket,
    "generator": generator,
    "generator expression": lambda: (i for i in ()),
    "iterator": lambda: iter([1]),
    "map": lambda: map(str, [1]),
    "count": itertools.count,
    "reader": lambda: __import__("csv").reader([]),
    "weak reference": lambda: weakref.ref(Plain(1)),
    "bare object": object,
    "frame": sys._getframe,
    "code": lambda: double.__code__,
    "thread": threading.current_thread,
    "process": lambda: __import__("sqlite3").connect(":memory:"),
    "closed stream": lambda: (stream := io.BytesIO(), stream.close())[0],
    "context": lambda: __import__("contextvars").copy_context(),
}


@pytest.mark.parametrize("name", UNKEYABLE)
def test_what_has_no_value_is_refused(name: str) -> None:
    """What is held or consumed instead of known is an error that names its type, never a guess."""
    value = UNKEYABLE[name]()
    with pytest.raises(UnkeyableArgument) as caught:
        digest(value)
    assert caught.value.type_name.rpartition(".")[2] in type(value).__qualname__ or caught.value.path
    assert caught.value.type_name in str(caught.value)
    if hasattr(value, "close"):
        value.close()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([threading.Lock()], "[0]"),
        ((1, [2, threading.Lock()]), "[1][1]"),
        ({"a": {"b": threading.Lock()}}, "['a']['b']"),
        ({3: [threading.Lock()]}, "[3][0]"),
        (Plain(1, threading.Lock()), ".b"),
        (Slotted([threading.Lock()]), ".a[0]"),
        (Point(1, typing.cast("int", threading.Lock())), ".y"),
        (types.SimpleNamespace(deep=Plain({"k": threading.Lock()})), ".deep.a['k']"),
        (np.array([1, threading.Lock()], object), "[1]"),
        (pd.DataFrame({"a": [1, threading.Lock()]}), "['a'][1]"),
        (pd.Series([1, threading.Lock()]), "[1]"),
        (collections.deque([threading.Lock()]), "[0]"),
    ],
)  # fmt: skip
def test_the_error_says_where(value: object, path: str) -> None:
    """The error gives the place inside the value, as one would write it."""
    with pytest.raises(UnkeyableArgument) as caught:
        digest(value)
    assert caught.value.path == path
    assert caught.value.type_name == "_thread.lock"
    assert path in str(caught.value)


def test_the_error_survives_pickling() -> None:
    """A worker can send the error to its parent with all it says."""
    with pytest.raises(UnkeyableArgument) as caught:
        digest([threading.Lock()])
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.path, error.type_name, str(error)) == ("[0]", "_thread.lock", str(caught.value))


# --- the same everywhere --------------------------------------------------------------------------------------------

GOLDEN = {
    "1": "2b4b8750ad2d753129f13291dc0f5958",
    "[1, 2.5, 'three', b'4', None, True, 1j, ...]": "47bf96dfc577c8d671c6a476254b1176",
    "{'a': (1, [2]), 'b': {'c': -0.0}}": "b4190b198f2610782f13f68aa3c9ff76",
    "{'x', 'y', 'z'}": "e152d7a93a6651d917926d71f3c19500",
    "{1, 'a', None, (2, 3)}": "be5dabf1c6350a0afc56d6644150f46f",
    "frozenset({frozenset({'a', 'b'}), frozenset()})": "c8df921d79a2244507053af3664aa5c8",
    "collections.OrderedDict(a=1)": "1cd9fe3b3e52f5c594936f9e9a519602",
    "collections.Counter('abca')": "6751592ee79ce63e764966fdd607ccb3",
    "decimal.Decimal('1.50')": "43d1d4ddca0be883c451bf20d39f213e",
    "fractions.Fraction(1, 3)": "016e13330de01c8be9d9677b774c54a6",
    "datetime.datetime(2020, 2, 3, 4, 5, 6, 7, datetime.timezone.utc)": "31f343a59d9c3018d11e07f87943537a",
    "datetime.date(2020, 2, 3)": "8cf1ff2ec0bc55b64c7d9ad9537c0247",
    "zoneinfo.ZoneInfo('Europe/Paris')": "bffbf7e0fbf8acdb58c109529ef1c570",
    "pathlib.PurePosixPath('a/b')": "36730a820537d179b60da8e3357cfc5e",
    "uuid.UUID(int=7)": "2900f7e7011fbe3afa48cbda13161d01",
    "re.compile('a+', re.I)": "92c8e3ffbb00f1b395854ff55add8833",
    "range(3)": "dd7fa806c1d3de5d30f113390709a7e9",
    "slice(1, 2)": "f187e6049e14505c4516707ddf41c1b7",
    "array.array('d', [1, 2])": "6c00ed65a8c13000cc88e1487934ff94",
    "bytearray(b'abc')": "3ea0f9fff62e014c328ae1eec6003288",
    "types.SimpleNamespace(a=1, b=[2, {3}])": "7f935c9b7ce113c3fc17289ad230a0b2",
    "ValueError('x')": "9d1a72d2a5c50dbe9c2d46d6d3eaefee",
    "functools.partial(print, 1, sep='')": "cce46891efaa21beeb1c3b4a91d837f6",
    "int": "9eaa6376ac111a4efbd7511f99e924cd",
    "len": "a976fba93de1dc9713f82a3cc7a3fe4f",
}


def printed(expressions: typing.Iterable[str], **environment: str) -> list[str]:
    """Return the fingerprints that a fresh interpreter finds."""
    modules = "array, collections, datetime, decimal, fractions, functools, pathlib, re, types, uuid, zoneinfo"
    lines = "\n".join(f"print(fingerprint({expression}))" for expression in expressions)
    program = f"import {modules}\nfrom lore._caching.values import fingerprint\n{lines}"
    ran = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.split()


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_keys_are_the_same_in_every_process(seed: str) -> None:
    """Another process, hash seed and version of Python finds the keys that are written down here."""
    assert dict(zip(GOLDEN, printed(GOLDEN, PYTHONHASHSEED=seed), strict=True)) == GOLDEN


def test_frames_and_arrays_are_the_same_in_every_process() -> None:
    """Arrays, frames and estimators have one key in all processes."""
    program = [
        "__import__('numpy').arange(12.0).reshape(3, 4)",
        "__import__('numpy').random.default_rng(3)",
        "__import__('pandas').DataFrame({'a': [1, 2], 'b': ['x', None], 'c': [{'k': {1, 'q'}}, 2]})",
        "__import__('pyarrow').table({'a': ['x', None, 'y']})",
    ]
    assert printed(program, PYTHONHASHSEED="1") == printed(program, PYTHONHASHSEED="2")


def test_a_plain_value_loads_no_other_package() -> None:
    """numpy, pandas and the like are imported only by those who have a value of theirs."""
    program = (
        "import sys, datetime; from lore._caching.values import fingerprint; fingerprint([1, {'a': datetime.date(2020, 1, 1)}]);"
        "print(*{'numpy', 'pandas', 'pyarrow', 'attrs', 'cloudpickle', 'sklearn', 'decimal', 'zoneinfo'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


def test_threads_agree() -> None:
    """Threads that key the same values at the same moment find the same keys."""
    from concurrent.futures import ThreadPoolExecutor

    values = [value for family in ("containers", "objects", "pandas", "arrow") for value in DIFFERENT[family]]
    expected = list(map(fingerprint, values))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: list(map(fingerprint, values)), range(16)):
            assert found == expected


# --- properties -----------------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.dates()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.timedeltas()
)
hashable = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.builds(Plain, inner, inner)
        | st.sets(hashable, max_size=4)
    ),
    max_leaves=12,
)


def exactly(value: object) -> object:
    """Describe a value so that two descriptions are equal just where the values should have one key."""
    if isinstance(value, float):
        return "float", pickle.dumps(value)
    if isinstance(value, complex):
        return "complex", pickle.dumps(value)
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, frozenset(collections.Counter(map(exactly, value)).items())
    if isinstance(value, (list, tuple)):
        return type(value).__name__, tuple(map(exactly, value))
    if isinstance(value, dict):
        return "dict", tuple((exactly(k), exactly(v)) for k, v in value.items())
    if isinstance(value, Plain):
        return "Plain", exactly(value.a), exactly(value.b)
    return type(value).__name__, str(value) if isinstance(value, decimal.Decimal) else value


@given(values, values)
def test_keys_are_equal_exactly_where_values_are(one: object, other: object) -> None:
    """Two values have one key if and only if they are the same in type and content, all the way down."""
    assert (fingerprint(one) == fingerprint(other)) == (exactly(one) == exactly(other))


@given(values)
def test_a_copy_has_the_key_of_the_original(value: object) -> None:
    """Pickle round trips and deep copies keep the key."""
    assert fingerprint(value) == fingerprint(copy.deepcopy(value)) == fingerprint(pickle.loads(pickle.dumps(value)))


@given(st.lists(hashable, max_size=8), st.randoms())
def test_sets_have_no_order(items: list[typing.Any], chance: random.Random) -> None:
    """A set built in any order is one value."""
    shuffled = chance.sample(items, len(items))
    grown = set(range(1000))
    grown.update(shuffled)
    one, other = set(items), (grown - set(range(1000))) | set(shuffled)
    assert exactly(one) == exactly(other)
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(frozenset(one)) == fingerprint(frozenset(other))


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.sampled_from(["f8", "i4", "u1", "c16", "M8[D]", "U2", "O", "?", "f2"]),
    st.data(),
)
def test_views_are_their_copies(shape: list[int], dtype: str, data: st.DataObject) -> None:
    """Any slicing and transposing of an array has the key of its copy in any layout, and of no other array."""
    base = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    steps = tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1]))) for _ in shape)
    axes = data.draw(st.permutations(range(len(shape))))
    view = base[steps].transpose(axes)
    assert (
        fingerprint(view) == fingerprint(view.copy("C")) == fingerprint(view.copy("F")) == fingerprint(view.copy("K"))
    )
    assert (fingerprint(view) == fingerprint(base)) == (view.shape == base.shape and bool((view == base).all()))


@given(st.lists(st.none() | st.text(max_size=5), max_size=12), st.data())
def test_slices_of_strings_are_their_copies(texts: list[str | None], data: st.DataObject) -> None:
    """A slice of an Arrow column has the key of the column built from its rows, whatever the chunks."""
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        whole = pa.array(texts, kind)
        pieces = pa.chunked_array([whole[start:stop][:2], whole[start:stop][2:]])
        assert fingerprint(pieces) == fingerprint(pa.chunked_array([pa.array(texts[start:stop], kind)]))
    series = pd.Series(texts, dtype="str")
    assert fingerprint(series[start:stop].reset_index(drop=True)) == fingerprint(
        pd.Series(texts[start:stop], dtype="str")
    )


# --- what joblib's own tests ask ------------------------------------------------------------------------------------


def test_joblib_trival_hash() -> None:
    """Values of joblib's `test_trivial_hash` and `test_trival_hash` are equal or different exactly as there."""
    items = [1, 2, 1.0, 2.0, 1 + 1j, 2 + 1j, "a", "b", (1,), (1, 1), [1], [1, 1], {1: 1}, {1: 2}, {2: 1}, None, gc_collect(), [1].append, {"a", 1}, {"a", 1, ("a", 1)}, {"a": 1, 1: ("a", 1)}]  # fmt: skip
    for one, other in itertools.product(items, items):
        assert (fingerprint(one) == fingerprint(other)) == (one is other)


def gc_collect() -> typing.Any:
    return __import__("gc").collect


def test_joblib_methods_of_two_objects() -> None:
    """Bound methods of objects of equal state are equal, and of one object always (`test_hash_methods`)."""
    one, other = io.StringIO("a"), io.StringIO("a")
    assert fingerprint(one.flush) == fingerprint(other.flush)
    first, second = collections.deque(range(10)), collections.deque(range(10))
    assert fingerprint(first.append) == fingerprint(second.append)


def test_joblib_numpy_noncontiguous_and_object_arrays() -> None:
    """Non-contiguous, object, 0-d and read-only arrays (`test_numpy_datetime_array`, `test_hash_numpy_noncontiguous`...)."""
    cube = np.asarray(np.arange(6000).reshape((1000, 2, 3)), order="F")[:, :1, :]
    flat = np.ascontiguousarray(cube)
    assert fingerprint(cube) == fingerprint(flat)  # joblib tells these apart
    assert fingerprint(np.asfortranarray(flat)) == fingerprint(flat)
    assert fingerprint(np.array(1)) != fingerprint(np.array(2))
    frozen = flat.copy()
    frozen.flags.writeable = False
    assert fingerprint(frozen) == fingerprint(flat)
    assert fingerprint([np.dtype("f4"), np.dtype("f4")]) == fingerprint([a := np.dtype("f4"), a])
    assert fingerprint(np.random.default_rng(0).random((9, 9)).astype("M8[us]")) is not None


def test_joblib_memmap_is_its_array(tmp_path: pathlib.Path) -> None:
    """An array on disk has the key of the array in memory (`test_hash_memmap`, with coercion)."""
    mapped = np.memmap(tmp_path / "array", dtype="f8", mode="w+", shape=(10, 10))
    mapped[:] = 1
    assert fingerprint(mapped) == fingerprint(np.ones((10, 10)))
    assert fingerprint(mapped[::2]) == fingerprint(np.ones((5, 10)))


def test_joblib_dict_and_set_hash() -> None:
    """A dict that went through a cache, and sets of long strings, keep their keys (`test_dict_hash`, `test_set_hash`)."""
    d = {f"#s{i:05}__c_maps.nii.gz": [i] for i in range(50)}
    assert fingerprint(d) == fingerprint(pickle.loads(pickle.dumps(d)))
    s = set(d)
    assert fingerprint(s) == fingerprint(pickle.loads(pickle.dumps(s)))


def test_joblib_string_interning() -> None:
    """Interned and other strings of one text are one value (`test_string`, `test_hashes_are_different_between_c_and_...`)."""
    assert fingerprint(["foo", "foo"]) == fingerprint(["foo", "".join(["f", "oo"])])
    assert fingerprint({"a": "long " * 9}) == fingerprint({"".join("a"): ("long " * 10)[:45]})


def test_zones_of_one_name_are_two() -> None:
    """A column of times counts with its zone, not only with the name of that."""
    times = pd.Series(pd.to_datetime(["2020-01-01"]).tz_localize("UTC"))
    one, two = (times.dt.tz_convert(dt.timezone(dt.timedelta(hours=hours), "X")) for hours in (1, 2))
    assert fingerprint(one) != fingerprint(two)
    assert fingerprint(pd.DataFrame({"t": one})) != fingerprint(pd.DataFrame({"t": two}))
    assert fingerprint(pd.Index(one)) != fingerprint(pd.Index(two))
    assert fingerprint(one) == fingerprint(pickle.loads(pickle.dumps(one)))


def test_ranges_count_by_their_bounds() -> None:
    """Ranges over the same numbers that end elsewhere are two values: a function can see the end."""
    assert fingerprint(range(0, 3, 2)) != fingerprint(range(0, 4, 2))


def test_a_number_too_long_to_be_printed_does_not_hide_the_error() -> None:
    """Where something unkeyable lies under a key that Python does not print, the error is still the right one."""
    with pytest.raises(UnkeyableArgument):
        fingerprint({1 << 50_000: threading.Lock()})


def test_a_function_that_wraps_one_of_a_library_is_itself() -> None:
    """What functools.wraps writes on a function does not make it the function that it wraps."""

    import statistics

    @functools.wraps(statistics.mean)
    def one(x: float) -> float:
        return x + 1

    @functools.wraps(statistics.mean)
    def two(x: float) -> float:
        return x + 2

    assert len({fingerprint(f) for f in (statistics.mean, one, two, statistics.median)}) == 4


def test_a_class_that_does_not_answer_is_refused() -> None:
    """A metaclass that raises what it likes where an attribute is missing leads to UnkeyableArgument, not to that."""

    class Silent(type):
        def __getattr__(cls, name: str) -> object:
            raise RuntimeError("no")

    class Odd(metaclass=Silent):
        pass

    with pytest.raises(UnkeyableArgument, match="cannot be asked"):
        fingerprint([Odd()])
