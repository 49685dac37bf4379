"""Files are read and written in the format that their suffix names, whole or not at all."""

from __future__ import annotations

import datetime as dt
import gzip
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lore import _inputs
from lore._formats import FormatError, MissingFile, read, write
from lore._formats.suffixes import COMPRESSIONS, FORMATS, suffixes_of
from lore.errors import LoreError, SourceError

TABLES = [".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".feather", ".pickle", ".joblib"]
EXACT = [".parquet", ".arrow", ".feather", ".pickle", ".joblib"]


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("LORE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LORE_SIGNING_KEY", raising=False)


@pytest.fixture
def mixed():
    """A frame of the types that every format, csv included, must bring back as they were."""
    return pd.DataFrame(
        {
            "whole": [1, 2, 3],
            "gaps": pd.array([9007199254740993, None, 3], dtype="Int64"),
            "real": [0.1 + 0.2, np.nan, -1e300],
            "even": [1.0, 2.0, 3.0],
            "flag": [True, False, True],
            "maybe": pd.array([True, None, False], dtype="boolean"),
            "text": pd.Series(["", None, 'a "b", \n c'], dtype="str"),
            "at": pd.to_datetime(["2013-01-01 05:00:00.5", None, "2013-12-31 23:59:59.123456"]).as_unit("us"),
            "utc": pd.to_datetime(["2013-01-01 05:00", "2013-06-01 00:00", None]).tz_localize("UTC").as_unit("us"),
        }
    )


@pytest.mark.parametrize("suffix", TABLES)
def test_a_mixed_frame_comes_back_as_it_was(suffix, mixed, tmp_path):
    """Integers with gaps, empty strings beside missing ones and UTC times survive every table format."""
    write(mixed, tmp_path / f"t{suffix}")
    pd.testing.assert_frame_equal(read(tmp_path / f"t{suffix}"), mixed)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("suffix", [*TABLES, ".npy"])
def test_each_format_can_be_compressed(suffix, compression, mixed, tmp_path):
    """A second suffix compresses any format, and the result is really compressed."""
    path = tmp_path / f"t{suffix}{compression}"
    value = np.arange(10) if suffix == ".npy" else mixed
    write(value, path)
    back = read(path)
    assert path.read_bytes()[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5", b"PK")
    np.testing.assert_array_equal(back, value) if suffix == ".npy" else pd.testing.assert_frame_equal(back, mixed)


@pytest.mark.parametrize("suffix", EXACT)
def test_exact_formats_keep_index_categories_zones_and_attrs(suffix, tmp_path):
    """What pandas knows about a frame beyond its values stays with it."""
    frame = pd.DataFrame(
        {
            "c": pd.Categorical(["b", "a", None], categories=["b", "a", "z"], ordered=True),
            "z": pd.to_datetime(["2013-01-01", "2013-07-01", None]).tz_localize("Europe/Berlin"),
            "d": pd.to_timedelta([1, 2, None], unit="s"),
            "p": pd.period_range("2013", periods=3, freq="D"),
            "f": np.array([1, 2, 3], dtype="float32"),
            "l": [[1], None, [2, 3]],
        },
        index=pd.MultiIndex.from_tuples([("x", 1), ("x", 2), ("y", 1)], names=["k", None]),
    )
    frame.attrs["source"] = {"made": "here"}
    write(frame, tmp_path / f"t{suffix}")
    back = read(tmp_path / f"t{suffix}")
    pd.testing.assert_frame_equal(back.drop(columns="l"), frame.drop(columns="l"))
    assert back.attrs == frame.attrs
    assert [None if item is None else list(item) for item in back["l"]] == [[1], None, [2, 3]]


def test_parquet_keeps_the_dtypes_of_an_empty_frame(mixed, tmp_path):
    """A table without rows still knows its columns' types."""
    for suffix in (".parquet", ".arrow", ".pickle"):
        write(mixed.iloc[:0], tmp_path / f"t{suffix}")
        pd.testing.assert_frame_equal(read(tmp_path / f"t{suffix}"), mixed.iloc[:0])


def test_foreign_parquet_integers_with_gaps_stay_integers(tmp_path):
    """A parquet file that pandas did not write does not decay to floats."""
    pyarrow.parquet.write_table(pa.table({"n": [2**53 + 1, None], "m": [1, 2]}), tmp_path / "t.parquet")
    frame = read(tmp_path / "t.parquet")
    assert frame["n"].tolist() == [2**53 + 1, pd.NA]
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "int64"]


def test_columns_and_arrow_dtypes_can_be_asked_for(mixed, tmp_path):
    """`columns` picks and orders, `dtypes="arrow"` gives Arrow-backed frames."""
    for suffix in (".csv", ".parquet", ".arrow"):
        write(mixed, tmp_path / f"t{suffix}")
        picked = read(tmp_path / f"t{suffix}", columns=["text", "whole"], dtypes="arrow")
        assert list(picked.columns) == ["text", "whole"]
        assert all(isinstance(kind, pd.ArrowDtype) for kind in picked.dtypes)


def test_csv_of_other_tools_is_understood(tmp_path):
    """NA unquoted is missing, quoted it is text; BOM, CRLF, dates and offsets are understood."""
    (tmp_path / "t.csv").write_bytes(
        b'\xef\xbb\xbfn,s,d,t\r\n1,"NA",2013-01-01,2013-01-01T05:00:00Z\r\nNA,NA,2013-01-02,2013-01-01T05:00:00+02:00\r\n'
    )
    frame = read(tmp_path / "t.csv")
    assert frame["n"].tolist() == [1, pd.NA]
    assert frame["s"].fillna("-").tolist() == ["NA", "-"]
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "str", "datetime64[us]", "datetime64[us, UTC]"]


def test_csv_takes_types_delimiters_and_null_texts(tmp_path):
    """A zip code stays text where asked, and only the given texts are missing."""
    (tmp_path / "t.csv").write_text("zip;n\n007;-\n010;1\n")
    frame = read(tmp_path / "t.csv", dtype={"zip": "str"}, delimiter=";", null_values=["-"])
    assert frame["zip"].tolist() == ["007", "010"]
    assert frame["n"].tolist() == [pd.NA, 1]


def test_csv_types_come_from_the_last_row_too(tmp_path):
    """A float a megabyte into a column of integers is not an error."""
    (tmp_path / "t.csv").write_text("n\n" + "1\n" * 1_000_000 + "1.5\n")
    assert read(tmp_path / "t.csv")["n"].iloc[-1] == 1.5


def test_csv_keeps_integers_beyond_int64(tmp_path):
    """A number too large for int64 is uint64 or exact, never a rounded float."""
    write(pd.DataFrame({"u": np.array([2**64 - 1, 1], dtype="uint64")}), tmp_path / "u.csv")
    assert read(tmp_path / "u.csv")["u"].tolist() == [2**64 - 1, 1]
    (tmp_path / "d.csv").write_text("d\n123456789012345678901234567\n1\n")
    assert read(tmp_path / "d.csv")["d"].tolist() == [Decimal("123456789012345678901234567"), Decimal(1)]


def test_csv_single_column_keeps_its_missing_rows(tmp_path):
    """A blank line in a file of one column is a row."""
    frame = pd.DataFrame({"a": pd.array([1, None, 3, None], dtype="Int64")})
    write(frame, tmp_path / "t.csv")
    pd.testing.assert_frame_equal(read(tmp_path / "t.csv"), frame)


def test_csv_writes_a_meaningful_index_as_columns(tmp_path):
    """Row numbers are left out, labels are not."""
    write(pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="k")), tmp_path / "t.csv")
    assert list(read(tmp_path / "t.csv").columns) == ["k", "a"]
    write(pd.DataFrame({"a": [1, 2]}, index=[5, 7]), tmp_path / "t.csv")
    assert list(read(tmp_path / "t.csv").columns) == ["a"]


def test_csv_without_rows_or_content_is_an_empty_frame(tmp_path):
    """An empty file and one of only a header are frames."""
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("x,y\n")
    assert read(tmp_path / "a.csv").shape == (0, 0)
    assert list(read(tmp_path / "b.csv").columns) == ["x", "y"]


@pytest.mark.parametrize("value", [{"a": [1, None, "ü"]}, [], [1, 2], "text", 3, None, True, {"n": {"m": []}}])
def test_json_keeps_plain_values(value, tmp_path):
    """A json file holds any plain value."""
    write(value, tmp_path / "v.json")
    assert read(tmp_path / "v.json") == value


def test_json_knows_the_types_of_the_field(tmp_path):
    """Numpy values, dates and NaN are written as JSON can hold them."""
    value = {"a": np.float64(1.5), "b": np.arange(2), "c": dt.date(2013, 1, 1), "d": float("nan"), "e": Decimal("1.10")}
    write(value, tmp_path / "v.json")
    assert read(tmp_path / "v.json") == {"a": 1.5, "b": [0, 1], "c": "2013-01-01", "d": None, "e": "1.10"}


def test_json_records_are_a_frame_unless_told_otherwise(tmp_path):
    """An array of objects is a table; `frame=False` gives the list."""
    (tmp_path / "r.json").write_text('[{"a": 1, "b": "x"}, {"a": 2}]')
    assert read(tmp_path / "r.json")["b"].fillna("-").tolist() == ["x", "-"]
    assert read(tmp_path / "r.json", frame=False) == [{"a": 1, "b": "x"}, {"a": 2}]


def test_json_frames_are_plain_records_for_others(mixed, tmp_path):
    """What lore writes, any JSON reader understands."""
    write(mixed[["whole", "text"]], tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())[0] == {"whole": 1, "text": ""}


def test_jsonl_of_other_values_is_a_list(tmp_path):
    """Lines that are no objects come back as a list."""
    write([1, [2], "x"], tmp_path / "v.jsonl")
    assert read(tmp_path / "v.jsonl") == [1, [2], "x"]


@pytest.mark.parametrize("dtype", ["int8", "float32", "complex128", "bool", "U5", "datetime64[ns]", "S3"])
def test_npy_keeps_an_array(dtype, tmp_path):
    """Type and shape come back."""
    array = np.arange(6).reshape(2, 3).astype(dtype)
    write(array, tmp_path / "a.npy")
    back = read(tmp_path / "a.npy")
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_npz_keeps_arrays_by_name(tmp_path):
    """Any name goes, also one that numpy's own function trips over; numpy reads the file."""
    write({"file": np.eye(2), "x": np.arange(3)}, tmp_path / "a.npz")
    back = read(tmp_path / "a.npz")
    assert list(back) == ["file", "x"]
    np.testing.assert_array_equal(back["file"], np.eye(2))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["x"], np.arange(3))


class Sentinel:
    """Something that only a full pickle can hold."""

    opened = False

    def __setstate__(self, state):
        Sentinel.opened = True

    def __getstate__(self):
        return {"a": 1}


@pytest.mark.parametrize("suffix", [".pickle", ".pkl", ".joblib", ".pkl.gz"])
def test_a_pickle_of_our_own_opens(suffix, tmp_path):
    """What lore wrote, lore reads without being asked twice."""
    write(Sentinel(), tmp_path / f"p{suffix}")
    assert isinstance(read(tmp_path / f"p{suffix}"), Sentinel)


@pytest.mark.parametrize("suffix", [".pickle", ".joblib"])
def test_a_strangers_pickle_is_not_opened_by_accident(suffix, tmp_path):
    """Code from a stranger runs only with `trusted=True`."""
    import joblib

    path = tmp_path / f"p{suffix}"
    path.write_bytes(pickle.dumps(Sentinel())) if suffix == ".pickle" else joblib.dump(Sentinel(), path)
    Sentinel.opened = False
    with pytest.raises(FormatError, match="trusted=True"):
        read(path)
    assert not Sentinel.opened
    read(path, trusted=True)
    assert Sentinel.opened


def test_a_changed_pickle_of_our_own_is_a_strangers(tmp_path):
    """The signature covers every byte, and another home's key does not fit."""
    path = tmp_path / "p.pickle"
    write(Sentinel(), path)
    good = path.read_bytes()
    os.environ["LORE_SIGNING_KEY"] = "another"  # the fixture restores the environment
    with pytest.raises(FormatError, match="trusted=True"):
        read(path)
    del os.environ["LORE_SIGNING_KEY"]
    path.write_bytes(good.replace(b"Sentinel", b"Sentinem"))
    with pytest.raises(FormatError, match="Sentinem"):
        read(path)


@pytest.mark.parametrize(
    "module_and_name", [("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("pandas", "read_pickle")]
)
def test_functions_are_not_plain_data(module_and_name, tmp_path):
    """A pickle that names a function which acts is refused before it is called."""
    module, name = module_and_name
    (tmp_path / "p.pickle").write_bytes(f"c{module}\n{name}\n(S'1'\ntR.".encode())
    with pytest.raises(FormatError, match=f"{module}.{name}"):
        read(tmp_path / "p.pickle")


def test_plain_data_in_a_strangers_pickle_opens(mixed, tmp_path):
    """Builtins, dates, arrays and frames cannot act, so they open."""
    value = {"t": (1, 2.5, "x", None), "s": {1}, "d": dt.datetime(2013, 1, 1, tzinfo=dt.UTC), "n": Decimal(1)}
    for protocol in (2, 4, 5):
        (tmp_path / "p.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
        assert read(tmp_path / "p.pkl") == value
        (tmp_path / "f.pkl").write_bytes(pickle.dumps({"f": mixed, "a": np.eye(2)}, protocol=protocol))
        pd.testing.assert_frame_equal(read(tmp_path / "f.pkl")["f"], mixed)


def test_others_read_our_pickles(mixed, tmp_path):
    """The signature does not disturb pickle, pandas or joblib."""
    import joblib

    write(mixed, tmp_path / "p.pkl")
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / "p.pkl"), mixed)
    write({"a": np.arange(1000)}, tmp_path / "p.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "p.joblib")["a"], np.arange(1000))


def test_objects_in_arrays_are_refused_both_ways(tmp_path):
    """npy never pickles: not when it writes, not when it reads."""
    with pytest.raises(FormatError, match=r"\.pickle"):
        write(np.array([object()]), tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(FormatError):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["x", "x.txt", "x.gz", "x.csv.rar", "x.xlsx"])
def test_an_unknown_suffix_names_the_known_ones(name, tmp_path):
    """The error lists every format."""
    with pytest.raises(FormatError) as caught:
        write({}, tmp_path / name)
    assert all(suffix in str(caught.value) for suffix in FORMATS)
    assert not list(tmp_path.glob("x*"))


def test_errors_are_under_lore_and_under_the_builtin(tmp_path):
    """A caller catches what it always caught."""
    with pytest.raises(MissingFile, match=r"nope\.csv") as missing:
        read(tmp_path / "nope.csv")
    assert isinstance(missing.value, LoreError)
    assert isinstance(missing.value, FileNotFoundError)
    assert issubclass(FormatError, (SourceError, ValueError))


def test_a_folder_is_no_file(tmp_path):
    """A folder with a known suffix is refused in words."""
    (tmp_path / "many.parquet").mkdir()
    with pytest.raises(FormatError, match="folder"):
        read(tmp_path / "many.parquet")


@pytest.mark.slow
def test_keras_models_keep_what_they_predict(tmp_path):
    """A model written to a .keras file, compressed or not, predicts the same; what is no model is refused."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("needs keras and tensorflow")
    code = """
        import keras, numpy, sys
        from lore._formats import FormatError, read, write
        model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
        rows = numpy.ones((4, 3), dtype="float32")
        for name in ("m.keras", "m.keras.gz"):
            write(model, name)
            numpy.testing.assert_array_equal(read(name).predict_on_batch(rows), model.predict_on_batch(rows))
        try:
            write({}, "m.keras")
        except FormatError:
            print("refused")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "refused", done.stderr


@pytest.mark.parametrize("suffix", sorted(set(FORMATS) - {".keras", ".csv", ".tsv"}))
def test_a_file_that_is_not_what_it_says_is_a_format_error(suffix, tmp_path):
    """Garbage raises one kind of error, with the path."""
    (tmp_path / f"g{suffix}").write_bytes(b"\x80garbage\xff\x00" * 9)
    with pytest.raises(FormatError):
        read(tmp_path / f"g{suffix}")


@pytest.mark.parametrize("suffix", sorted(COMPRESSIONS))
def test_a_damaged_archive_is_a_format_error(suffix, tmp_path):
    """A compressed file that is none raises the same kind of error."""
    (tmp_path / f"g.csv{suffix}").write_bytes(b"not compressed at all")
    with pytest.raises(FormatError):
        read(tmp_path / f"g.csv{suffix}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.csv", {"a": 1}),
        ("a.parquet", [1]),
        ("a.npz", np.eye(2)),
        ("a.npy", pd.DataFrame({"a": [1]})),
        ("a.json", {"a": object()}),
        ("a.jsonl", {"a": 1}),
        ("a.csv", pd.DataFrame({"a": [[1]]})),
        ("a.parquet", pd.DataFrame({"a": [1, "x"]})),
        ("a.pickle", lambda: 1),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_the_old_file_stays(name, value, tmp_path):
    """A refused write leaves the old file and nothing else in the folder."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_text("old")
    with pytest.raises(FormatError):
        write(value, tmp_path / "d" / name)
    assert [path.name for path in (tmp_path / "d").iterdir()] == [name]
    assert (tmp_path / "d" / name).read_text() == "old"


def test_an_unknown_option_is_named(tmp_path):
    """A misspelt option is an error, never ignored."""
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(FormatError, match="colums"):
        read(tmp_path / "t.csv", colums=["a"])


def test_folders_are_made_links_followed_and_permissions_kept(tmp_path):
    """A write behaves like one to a file that is there."""
    write([1], tmp_path / "new" / "folder" / "v.json")
    target = tmp_path / "v.json"
    target.write_text("0")
    target.chmod(0o640)
    (tmp_path / "link.json").symlink_to(target)
    write([2], tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert read(target) == [2]
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    """kill -9 in the middle of a write changes nothing that a reader sees."""
    path = tmp_path / "v.jsonl"
    write(["old"], path)
    code = f"""
        import os, signal
        from lore._formats import write
        def items():
            for number in range(100_000):
                yield "new" * 10
            os.kill(os.getpid(), signal.SIGKILL)
        write(items(), {str(path)!r})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read(path) == ["old"]


def test_urls_go_through_fsspec(mixed, tmp_path):
    """Any fsspec URL works, compressed or not, and a missing one is a missing file."""
    for url in ("memory://lore-test/t.csv.gz", "memory://lore-test/p.pickle", f"file://{tmp_path}/t.parquet"):
        write(mixed, url)
        pd.testing.assert_frame_equal(read(url), mixed)
    assert (tmp_path / "t.parquet").exists()
    with pytest.raises(MissingFile):
        read("memory://lore-test/nope.csv")


def test_a_failed_upload_leaves_the_old_object():
    """A value that cannot be written never reaches the store."""
    write({"a": 1}, "memory://lore-test/v.json")
    with pytest.raises(FormatError):
        write({"a": object()}, "memory://lore-test/v.json")
    assert read("memory://lore-test/v.json") == {"a": 1}


def test_zip_with_one_file_is_read(tmp_path):
    """A zip archive stands for the one file in it; of several none is picked."""
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("inner.csv", "a\n1\n")
    assert read(tmp_path / "t.csv.zip")["a"].tolist() == [1]
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "a") as archive:
        archive.writestr("second.csv", "a\n1\n")
    with pytest.raises(FormatError, match="exactly one"):
        read(tmp_path / "t.csv.zip")


def test_equal_values_give_equal_gzip_files(tmp_path):
    """No time and no name in the header."""
    write({"a": 1}, tmp_path / "a.json.gz")
    write({"a": 1}, tmp_path / "b.json.gz")
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert json.loads(gzip.decompress((tmp_path / "a.json.gz").read_bytes())) == {"a": 1}


def test_reading_notes_the_file_as_an_input(tmp_path):
    """A cached function that reads a file depends on it."""
    path = tmp_path / "v.json"
    write([1], path)
    with _inputs.record() as recorder:
        read(path)
    (noted,) = recorder.inputs
    assert noted.check() is None
    write([2, 3], path)
    assert "v.json" in noted.check()


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"x": [1.0, np.inf]}),
        pd.DataFrame({"x": pd.array([-np.inf, None], dtype="Float64")}),
        pd.DataFrame({"x": [{"deep": [np.inf]}]}),
        [1.0, {"x": (np.nan, -np.inf)}],
        [np.array([np.inf])],
    ],
)
def test_infinity_is_no_json(tmp_path, suffix, value):
    """NaN is null in JSON, infinity is refused and leaves the old file."""
    path = tmp_path / f"v{suffix}"
    write([np.nan, 1], path)
    with pytest.raises(FormatError, match="infinity"):
        write(value, path)
    assert read(path) == [None, 1]


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_missing_file_is_noted_as_an_input_too(tmp_path, place):
    """What was read as missing is an input: that the file is there later is a change."""
    path = f"{tmp_path}/later.json" if place == "folder" else f"memory://{tmp_path}/later.json"
    with _inputs.record() as recorder, pytest.raises(MissingFile):
        read(path)
    (noted,) = recorder.inputs
    assert noted.check() is None
    write([1], path)
    assert noted.check()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/x.CSV.GZ", ("csv", "gzip")),
        ("https://host/x.parquet?sig=a.b#c", ("parquet", None)),
        ("simplecache::s3://bucket/x.npy", ("npy", None)),
        ("zip://inner.csv::file://outer.zip", ("csv", None)),
        (Path("a.b.c.json"), ("json", None)),
    ],
)
def test_suffixes_are_found_in_paths_and_urls(path, expected):
    """Case, query strings and chained URLs do not hide a suffix."""
    assert suffixes_of(path) == expected


_columns = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=5, max_size=5),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=5, max_size=5).map(
        lambda values: [value + 0.0 for value in values]
    ),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8), min_size=5, max_size=5
    ).map(lambda values: ["-", *values[1:]]),
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text("abcdefg", min_size=1, max_size=3), _columns, min_size=1, max_size=4))
def test_frames_survive_csv_and_json(columns):
    """Every frame of plain types reads back equal from text."""
    frame = pd.DataFrame(columns)
    for suffix in ("csv", "json", "jsonl"):
        write(frame, f"memory://lore-test/h.{suffix}")
        back = read(f"memory://lore-test/h.{suffix}")
        pd.testing.assert_frame_equal(back, frame, check_exact=True)
