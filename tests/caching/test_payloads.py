"""Payloads: what was stored comes back, private to its reader, and what is not what was stored never does."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lore._caching import payloads
from lore._caching.values import fingerprint
from lore.errors import IntegrityError, StoreError

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")

KEY = b"a signing key"


@dataclasses.dataclass
class Plain:
    a: object
    b: object = None


def written(path: Path, value: object, key: bytes | None = None, **meta: Any) -> Path:
    """Write a payload as a store does: to another name, then renamed."""
    draft = path.with_suffix(".draft")
    with draft.open("wb", buffering=0) as file:
        size = payloads.dump(value, meta, file, key=key)
    assert draft.stat().st_size == size
    os.replace(draft, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "entry"


GRID = np.random.default_rng(0).random((300, 200))
FRAME = pd.DataFrame(
    {
        "float": np.linspace(0, 1, 5000),
        "int": np.arange(5000),
        "text": [f"text {i}" if i % 7 else None for i in range(5000)],
        "when": pd.date_range("2020", periods=5000, freq="h", tz="Europe/Paris"),
        "class": pd.Categorical(["x", "y"] * 2500),
        "any": [None, 1, "x", 2.5] * 1250,
        "maybe": pd.array([1, None] * 2500, dtype="Int64"),
    }
)

VALUES: dict[str, Any] = {
    "none": None,
    "scalars": [1, True, 1.5, "é", b"\x00", 1j, ..., 2**80, float("inf")],
    "containers": {"a": (1, [2, {3}]), (1, 2): frozenset("ab")},
    "large bytes": b"x" * 300_000,
    "large bytearray": bytearray(b"y" * 300_000),
    "large text": "z" * 300_000,
    "stream": io.BytesIO(b"w" * 100_000),
    "objects": [Plain(i, str(i)) for i in range(1000)],
    "dates": [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)],
    "array": GRID,
    "small array": np.arange(3),
    "empty array": np.zeros((0, 3)),
    "no dimensions": np.array(1.5),
    "Fortran order": np.asfortranarray(GRID),
    "strided": GRID[::2, ::3],
    "transposed": GRID.T,
    "records": np.zeros(4000, "i4,f8"),
    "objects in an array": np.array([None, "a", 1] * 5000, object),
    "dates in an array": np.arange(5000).astype("M8[s]"),
    "texts in an array": np.array(["a", "bcd"] * 5000),
    "frame": FRAME,
    "sliced frame": FRAME.iloc[10:4000:3],
    "series": FRAME["text"],
    "index": pd.MultiIndex.from_frame(FRAME[["int", "text"]]),
    "arrow": pa.table({"a": list(range(9000)), "b": ["x", None, "yz"] * 3000}),
    "polars": pl.DataFrame({"a": list(range(9000)), "b": ["x", None, "yz"] * 3000}),
    "many": [np.full(2500, i) for i in range(20)],
    "shared": (lambda a: [a, a])(np.arange(9000)),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("verify", [True, False])
def test_what_was_stored_comes_back(path: Path, name: str, key: bytes | None, verify: bool) -> None:
    """Every kind of value comes back as it was, from a file and from bytes."""
    expected = fingerprint(VALUES[name])
    payload = payloads.open(written(path, VALUES[name], key, of=name), key=key)
    assert payload.meta == {"of": name}
    assert fingerprint(payload.load(verify=verify)) == expected
    data = path.read_bytes()
    assert payloads.dumps(VALUES[name], {"of": name}, key=key) == data
    for source in (data, bytearray(data), memoryview(data)):
        assert fingerprint(payloads.open(source, key=key).load(verify=verify)) == expected


def test_layout_survives() -> None:
    """Fortran order stays, and what is shared stays shared."""
    assert payloads.open(payloads.dumps(np.asfortranarray(GRID), {})).load().flags.f_contiguous
    one, other = payloads.open(payloads.dumps(VALUES["shared"], {})).load()
    assert one is other


def test_functions_and_local_classes_are_stored(path: Path) -> None:
    """What pickle finds no name for is stored by cloudpickle."""
    offset = 3

    class Local:
        def add(self, x: int) -> int:
            return x + offset

    written(path, [lambda x: x * offset, Local(), GRID])
    multiply, local, grid = payloads.open(path).load()
    assert (multiply(2), local.add(1)) == (6, 4)
    assert np.array_equal(grid, GRID)


@pytest.mark.parametrize("value", [threading.Lock(), (i for i in ()), {"deep": [threading.Lock()]}])
def test_what_cannot_be_stored(path: Path, value: object) -> None:
    """A value that neither pickle nor cloudpickle takes is a StoreError that names it, and nothing is written."""
    file = io.BytesIO()
    with pytest.raises(StoreError, match=type(value).__name__):
        payloads.dump(value, {}, file)
    assert file.getvalue() == b""


class Unloadable:
    def __reduce__(self) -> Any:
        return int, ("no number",)


def test_what_cannot_be_rebuilt_is_an_integrity_error() -> None:
    """A value whose class has gone, or that fails while it is rebuilt, is damage like any other to the reader."""
    with pytest.raises(IntegrityError, match="ValueError"):
        payloads.open(payloads.dumps(Unloadable(), {})).load()


# --- private, zero-copy, aligned ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["array", "many", "frame", "small array", "large bytearray"])
@pytest.mark.parametrize("source", [str, Path.read_bytes])
def test_a_caller_may_change_what_it_got(path: Path, name: str, source: Callable[[Path], Any]) -> None:
    """A loaded value is writable, and neither the file nor another reader sees what is written into it."""
    before = written(path, VALUES[name]).read_bytes()
    mine = payloads.open(source(path)).load()
    if name == "frame":
        mine.loc[:, "float"] = 7.0
        mine["float"].array[0] = 8.0
    elif name == "many":
        mine[3][:] = 7
    else:
        mine[0] = 7
    assert fingerprint(mine) != fingerprint(VALUES[name])
    assert path.read_bytes() == before
    assert fingerprint(payloads.open(source(path)).load()) == fingerprint(VALUES[name])


def test_a_second_load_of_one_payload_gives_what_was_stored_or_nothing(path: Path) -> None:
    """Two loads of one opened payload do not share memory that either could change under the other."""
    written(path, VALUES["many"])
    payload = payloads.open(path)
    first = payload.load(verify=False)
    second = payload.load(verify=False)
    second[0][:] = 9
    assert first[0][0] == 0
    first[0][:] = 7
    with pytest.raises(IntegrityError):
        payload.load(verify=False)


def test_readers_do_not_see_each_other(path: Path) -> None:
    """Threads that load one file and write into what they got each have their own."""
    from concurrent.futures import ThreadPoolExecutor

    written(path, VALUES["many"])

    def spoil(number: int) -> set[int]:
        mine = payloads.open(path).load()
        for array in mine:
            array += number
        return {int(array[0]) - i for i, array in enumerate(mine)}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(spoil, range(40))) == [{number} for number in range(40)]


def test_a_value_outlives_its_file(path: Path) -> None:
    """A loaded value stays good when the file is replaced or removed."""
    value = payloads.open(written(path, GRID)).load()
    written(path, GRID * 2)
    assert np.array_equal(value, GRID)
    path.unlink()
    assert np.array_equal(value, GRID)


def test_a_read_only_array_stays_so(path: Path) -> None:
    """An array that could not be written to cannot be after a load."""
    frozen = GRID.copy()
    frozen.flags.writeable = False
    assert not payloads.open(written(path, frozen)).load().flags.writeable


def test_large_buffers_are_aligned_and_not_copied(path: Path) -> None:
    """Arrays lie at multiples of 64 bytes in the file, and loading them allocates next to nothing."""
    big = np.arange(4_000_000.0)
    written(path, [np.arange(5000, dtype="i1").repeat(7), big])
    payload = payloads.open(path)
    tracemalloc.start()
    try:
        _, loaded = payload.load()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert loaded.ctypes.data % 64 == 0
    assert peak < big.nbytes / 100


@pytest.mark.parametrize("name", ["array", "frame", "strided"])
def test_storing_needs_little_memory(tmp_path: Path, name: str) -> None:
    """A large result is written from where it is; one with gaps costs one copy of itself."""
    value = {
        "array": np.random.default_rng(0).random(4_000_000),
        "frame": pd.DataFrame(np.random.default_rng(0).random((400_000, 10))),
        "strided": np.random.default_rng(0).random((2000, 4000))[:, ::2],
    }[name]
    size = 32_000_000
    tracemalloc.start()
    try:
        written(tmp_path / "entry", value)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (1.1 * size if name == "strided" else 0.15 * size)
    assert fingerprint(payloads.open(tmp_path / "entry").load()) == fingerprint(value)


def test_a_slice_is_stored_without_what_it_was_cut_from(path: Path) -> None:
    """Ten rows of a large frame take the room of ten rows."""
    long = pd.DataFrame({"a": np.arange(200_000), "s": [f"text {i}" for i in range(200_000)]})
    assert written(path, long.iloc[10:20]).stat().st_size < 10_000
    assert fingerprint(payloads.open(path).load()) == fingerprint(long.iloc[10:20])


class Stingy(io.RawIOBase):
    """A file on a disk that fills up: it takes a part of what it is given."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: Any, /) -> int:
        taken = bytes(data)[:1000]
        self.data += taken
        return len(taken)


def test_partial_writes_are_completed() -> None:
    """A raw file may take less than it is given; the rest is offered again."""
    file = Stingy()
    size = payloads.dump(GRID, {}, file)
    assert len(file.data) == size
    assert np.array_equal(payloads.open(file.data).load(), GRID)


def test_small_payloads_are_one_write() -> None:
    """A small payload reaches the file in one piece."""
    pieces: list[bytes] = []
    file = io.BytesIO()
    file.write = lambda piece: pieces.append(piece) or len(piece)  # type: ignore[method-assign]
    payloads.dump({"a": 1}, {"key": "k"}, file)
    assert len(pieces) == 1


# --- damage ---------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"plain": {"answer": [42, "x"]}, "buffers": [np.arange(2100), np.arange(2200.0)]}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("key", [None, KEY])
def test_a_file_cut_short_anywhere(path: Path, name: str, key: bytes | None) -> None:
    """A payload that ends early, at whatever byte, is an IntegrityError, also without verification."""
    data = written(path, SMALL[name], key, a=1).read_bytes()
    step = 1 if len(data) < 2000 else 97
    for size in [*range(0, len(data), step), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(IntegrityError):
            payloads.open(path, key=key).load(verify=False)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_bit_flipped_anywhere(key: bytes | None) -> None:
    """Every single flipped bit of a payload is an IntegrityError: head, meta, pickle and footer."""
    data = payloads.dumps(SMALL["plain"], {"a": 1}, key=key)
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(IntegrityError):
            payloads.open(bytes(flipped), key=key).load()


def test_a_bit_flipped_between_and_in_buffers(path: Path) -> None:
    """Buffers and the padding between them are under the checksum too."""
    data = written(path, SMALL["buffers"]).read_bytes()
    for place in range(0, len(data), 41):
        flipped = bytearray(data)
        flipped[place] ^= 16
        path.write_bytes(flipped)
        with pytest.raises(IntegrityError):
            payloads.open(path).load()


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x00" * 10_000,
        b"hello world, this is no payload at all" * 10,
        pickle.dumps([1] * 100),
        b"\x93LORE\r\n\x01" + b"\xff" * 200,
        b"\x93LORE\r\n\x01" + b"\x00" * 200,
    ],
)
def test_a_foreign_file(path: Path, data: bytes, key: bytes | None) -> None:
    """An empty file or one of another program is an IntegrityError."""
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        payloads.open(path, key=key)


def test_bytes_after_the_end(path: Path) -> None:
    """A payload with something behind it is not what was written."""
    written(path, SMALL["plain"])
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(IntegrityError):
        payloads.open(path)


def test_no_file_is_no_integrity_error(path: Path) -> None:
    """A file that is not there is FileNotFoundError, which a store reads as a miss without a word."""
    with pytest.raises(FileNotFoundError):
        payloads.open(path)


@given(data=st.binary(max_size=300), cut=st.integers(0, 300), seed=st.integers(0, 2**32))
@settings(max_examples=200)
def test_random_damage_never_gives_a_value(data: bytes, cut: int, seed: int) -> None:
    """Any other bytes over any part of a payload give an IntegrityError or, where they are the same, the value."""
    whole = payloads.dumps(SMALL["plain"], {"a": seed})
    at = cut % len(whole)
    damaged = whole[:at] + data + whole[at + len(data) :]
    if damaged == whole:
        assert payloads.open(damaged).load() == SMALL["plain"]
    else:
        with pytest.raises(IntegrityError):
            payloads.open(damaged).load()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    ),
    st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.floats(allow_nan=False)),
)
def test_plain_values_come_back(value: object, meta: dict[str, Any]) -> None:
    """Whatever plain data is stored with whatever meta comes back, both of them."""
    payload = payloads.open(payloads.dumps(value, meta))
    assert payload.meta == meta
    assert fingerprint(payload.load()) == fingerprint(value)


# --- signatures -----------------------------------------------------------------------------------------------------

UNPICKLED: list[str] = []


class Trap:
    def __reduce__(self) -> Any:
        return UNPICKLED.append, ("sprung",)


@pytest.mark.parametrize("signed_with", [None, b"another key", b""])
@pytest.mark.parametrize("verify", [True, False])
def test_nothing_unsigned_is_unpickled(path: Path, signed_with: bytes | None, verify: bool) -> None:
    """With a key, what is not signed with it is refused before its pickle is touched."""
    UNPICKLED.clear()
    written(path, Trap(), signed_with)
    with pytest.raises(IntegrityError, match="sign"):
        payloads.open(path, key=KEY).load(verify=verify)
    assert UNPICKLED == []


def test_a_signature_covers_the_whole_file() -> None:
    """An attacker who mends the checksums after a change still lacks the key: pickle, meta and buffers are covered."""
    honest = payloads.dumps({"role": "guest"}, {"key": "k1"}, key=KEY)
    for forged in (
        payloads.dumps({"role": "admin"}, {"key": "k1"}, key=b"x"),
        payloads.dumps({"role": "guest"}, {"key": "k2"}, key=b"x"),
        payloads.dumps({"role": "admin"}, {"key": "k1"}),
    ):
        with pytest.raises(IntegrityError):
            payloads.open(forged[:-32] + honest[-32:], key=KEY)


def test_a_signed_payload_opens_without_a_key(path: Path) -> None:
    """Who has no key may read what others signed, as it reads what nobody signed."""
    assert payloads.open(written(path, {"a": 1}, KEY)).load() == {"a": 1}


# --- without the value ----------------------------------------------------------------------------------------------


def test_meta_is_read_without_the_value(path: Path) -> None:
    """Reading the meta of a payload unpickles nothing."""
    UNPICKLED.clear()
    written(path, Trap(), function="m.f", inputs=[{"path": "é"}], age=1.5)
    assert payloads.open(path).meta == {"function": "m.f", "inputs": [{"path": "é"}], "age": 1.5}
    assert UNPICKLED == []


def test_a_plain_payload_needs_no_other_package(path: Path) -> None:
    """Storing and loading plain data imports neither numpy nor cloudpickle."""
    program = (
        "import sys; from lore._caching import payloads;"
        "assert payloads.open(payloads.dumps({'a': [1]}, {})).load() == {'a': [1]};"
        "print(*{'numpy', 'pandas', 'cloudpickle', 'attrs'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_keras_model_predicts_the_same(path: Path) -> None:
    """A Keras model is stored by its own format and predicts after a load what it predicted before."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = pytest.importorskip("keras")
    rows = np.random.default_rng(0).random((20, 3)).astype("f4")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(rows, rows[:, 0], verbose=0)
    loaded = payloads.open(written(path, model)).load()
    assert np.array_equal(loaded.predict(rows, verbose=0), model.predict(rows, verbose=0))
    assert fingerprint(loaded) == fingerprint(model)


@pytest.mark.slow
def test_a_forest_predicts_the_same(path: Path) -> None:
    """A scikit-learn forest is mapped, and predicts what it predicted before."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    rows = np.random.default_rng(0).random((2000, 5))
    forest = ensemble.RandomForestClassifier(20, random_state=0).fit(rows, rows.sum(axis=1) > 2.5)
    loaded = payloads.open(written(path, forest)).load()
    assert np.array_equal(loaded.predict_proba(rows), forest.predict_proba(rows))
    assert fingerprint(loaded) == fingerprint(forest)
