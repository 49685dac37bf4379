"""What is written to PostgreSQL reads back equal, all of it or nothing is there, and a replaced table keeps its own."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lore._querying import postgres
from lore.errors import LoreError, StatementError

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
psycopg2 = pytest.importorskip("psycopg2")

UTC = dt.UTC


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Any]:
    """A connection whose schema is the test's own."""
    connection = psycopg2.connect(postgres_url)
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS writing CASCADE; CREATE SCHEMA writing; SET search_path TO writing")
    connection.commit()
    yield connection
    connection.close()


def run(connection: Any, statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def back(connection: Any, columns: str = "*", **options: Any) -> Any:
    return postgres.read(connection, f"SELECT {columns} FROM t", **options)


def types_of(connection: Any, table: str = "t") -> list[str]:
    rows = run(
        connection,
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        f" WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum",
    )
    return [row[0] for row in rows]


ZONED = pd.to_datetime(["2024-03-31 01:30", None, "1900-01-01 00:00"]).tz_localize("UTC")

# name: the column as written, its type in the table, the column as read (None: the same)
COLUMNS: dict[str, tuple[Any, str, Any]] = {
    "int64": (pd.Series([1, -(2**63), 2**63 - 1]), "bigint", None),
    "int8": (pd.Series([1, -128, 127], dtype="int8"), "bigint", pd.Series([1, -128, 127])),
    "uint32": (pd.Series([0, 2**32 - 1, 7], dtype="uint32"), "bigint", pd.Series([0, 2**32 - 1, 7])),
    "uint64 small": (pd.Series([0, 1, 7], dtype="uint64"), "bigint", pd.Series([0, 1, 7])),
    "uint64": (pd.Series([0, 2**63 - 1, 7], dtype="uint64"), "bigint", pd.Series([0, 2**63 - 1, 7])),
    "Int64": (pd.Series([9007199254740993, None, -1], dtype="Int64"), "bigint", None),
    "bool": (pd.Series([True, False, True]), "boolean", None),
    "boolean": (pd.Series([True, None, False], dtype="boolean"), "boolean", None),
    "float64": (pd.Series([0.1, math.inf, -0.0]), "double precision", None),
    "float64 with NaN": (pd.Series([0.1, math.nan, -math.inf]), "double precision", None),
    "float32": (pd.Series([0.1, math.nan, 3e38], dtype="float32"), "real", None),
    "Float64": (pd.Series([0.5, None, 2.0], dtype="Float64"), "double precision", pd.Series([0.5, math.nan, 2.0])),
    "str": (pd.Series(["", None, "ä€😀\n\t\\N"], dtype="str"), "text", None),
    "str long": (pd.Series(["x" * 100_000, "y", "NULL"], dtype="str"), "text", None),
    "objects of str": (pd.Series(["a", None, ""], dtype=object), "text", pd.Series(["a", None, ""], dtype="str")),
    "category": (pd.Series(["b", "a", "b"], dtype="category"), "text", pd.Series(["b", "a", "b"], dtype="str")),
    "datetime64[us]": (pd.Series(pd.to_datetime(["2024-02-29 12:34:56.789012", None, "0001-01-01 00:00:00.000000"])).astype("M8[us]"), "timestamp without time zone", None),
    "datetime64[ns]": (
        pd.Series(pd.to_datetime(["2024-02-29 12:34:56.789012", None])).astype("M8[ns]"),
        "timestamp without time zone",
        pd.Series(pd.to_datetime(["2024-02-29 12:34:56.789012", None])).astype("M8[us]"),
    ),
    "days": (pd.Series(np.array(["2024-02-29", "NaT", "10000-01-01", "-0043-03-15"], "M8[s]")), "date", None),
    "UTC": (pd.Series(ZONED).astype("M8[us, UTC]"), "timestamp with time zone", None),
    "Berlin": (
        pd.Series(ZONED.tz_convert("Europe/Berlin")),
        "timestamp with time zone",
        pd.Series(ZONED).astype("M8[us, UTC]"),
    ),
    "timedelta": (pd.Series(pd.to_timedelta(["1 days 02:03:04.000005", None, "-40 days"])).astype("m8[us]"), "interval", None),
    "dates": (
        pd.Series([dt.date(2024, 2, 29), None, dt.date(1, 1, 1)], dtype=object),
        "date",
        pd.Series(np.array(["2024-02-29", "NaT", "0001-01-01"], "M8[s]")),
    ),
    "times": (pd.Series([dt.time(0), None, dt.time(23, 59, 59, 999999)], dtype=object), "time without time zone", None),
    "decimals": (pd.Series([Decimal("1.50"), None, Decimal("-12345678.12345678")], dtype=object), "numeric", None),
    "small decimals": (pd.Series([Decimal("0.00001"), Decimal(0), Decimal("1000000000000")], dtype=object), "numeric", None),
    "huge decimals": (pd.Series([Decimal(f"{'9' * 50}.{'1' * 50}"), Decimal("-1E-30"), Decimal("1E+40")], dtype=object), "numeric", None),
    "special decimals": (pd.Series([Decimal("Infinity"), Decimal("-Infinity"), Decimal("1.5")], dtype=object), "numeric", None),
    "huge integers": (pd.Series([2**80, None, -1], dtype=object), "numeric", pd.Series([Decimal(2**80), None, Decimal(-1)], dtype=object)),
    "bytes": (pd.Series([b"\0\xff", None, b""], dtype=object), "bytea", None),
    "uuids": (pd.Series([uuid.UUID(int=1), None, uuid.UUID(int=2**128 - 1)], dtype=object), "uuid", None),
    "dicts": (pd.Series([{"a": [1, None, "ä"]}, None, {}], dtype=object), "jsonb", None),
    "documents": (pd.Series([[{"a": 1}], None, {"b": 2.5}], dtype=object), "jsonb", None),
    "lists of int": (pd.Series([[1, 2, None], None, []], dtype=object), "bigint[]", None),
    "lists of str": (pd.Series([["a", "", None, 'q"\\,{}'], [], ["NULL"]], dtype=object), "text[]", None),
    "lists of float": (pd.Series([[0.5], [1.5, -2.0], None], dtype=object), "double precision[]", None),
    "lists of bool": (pd.Series([[True, None], [], [False]], dtype=object), "boolean[]", None),
    "lists of dates": (pd.Series([[dt.date(2024, 2, 29)], [], None], dtype=object), "date[]", None),
    "lists of decimals": (pd.Series([[Decimal("1.5"), None], [], None], dtype=object), "numeric[]", None),
    "lists of moments": (pd.Series([[dt.datetime(2024, 2, 29, 1)], [], None], dtype=object), "timestamp without time zone[]", None),
    "lists of bytes": (pd.Series([[b"\0", b""], [], None], dtype=object), "bytea[]", None),
    "arrays": (pd.Series([np.array([1, 2]), None, np.array([], "i8")], dtype=object), "bigint[]", pd.Series([[1, 2], None, []], dtype=object)),
    "nothing": (pd.Series([None, None, None], dtype=object), "text", pd.Series([None, None, None], dtype="str")),
    "arrow": (pd.Series([1, None, 3], dtype=pd.ArrowDtype(pa.int16())), "bigint", pd.Series([1, None, 3], dtype="Int64")),
    "arrow decimals": (
        pd.Series([Decimal("1.10"), None], dtype=pd.ArrowDtype(pa.decimal128(12, 2))),
        "numeric",
        pd.Series([Decimal("1.10"), None], dtype=object),
    ),
    "arrow days": (
        pd.Series([dt.date(2024, 2, 29), None], dtype=pd.ArrowDtype(pa.date32())),
        "date",
        pd.Series(np.array(["2024-02-29", "NaT"], "M8[s]")),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("written", "of", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_round_trip(connection: Any, written: Any, of: str, expected: Any) -> None:
    """A column is given the type that holds it, and reads back equal."""
    frame = pd.DataFrame({"v": written, "n": range(len(written))})

    assert len(written) == postgres.write(connection, frame, "t")

    assert [of, "bigint"] == types_of(connection)
    found = back(connection, decimal="float" if of == "numeric(20,0)" else "exact")
    expected = written if expected is None else expected
    assert str(expected.dtype) == str(found["v"].dtype)
    if expected.dtype == object:
        assert expected.tolist() == [None if value is pd.NA else value for value in found["v"].tolist()]
        assert [type(value) for value in expected] == [type(value) for value in found["v"]]
    else:
        pd.testing.assert_series_equal(expected, found["v"], check_names=False, check_exact=True)


@pytest.mark.parametrize(("written", "of", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_empty_round_trip(connection: Any, written: Any, of: str, expected: Any) -> None:
    """An empty column makes an empty table."""
    assert 0 == postgres.write(connection, pd.DataFrame({"v": written.iloc[:0]}), "t")
    assert 0 == len(back(connection))


VALUES: dict[str, Any] = {
    "Int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "str": st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
    "datetime64[us]": st.datetimes(),
    "timedelta64[us]": st.timedeltas(dt.timedelta(-(10**5)), dt.timedelta(10**5)),
    "object": st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**16), max_value=10**16),
}


@st.composite
def frames(draw: Any) -> Any:
    """A frame of any of those columns, with NULLs anywhere."""
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=6))
    count = draw(st.integers(0, 12))
    columns = [
        pd.Series(draw(st.lists(st.none() | VALUES[kind], min_size=count, max_size=count)), dtype=kind)
        for kind in kinds
    ]
    return pd.DataFrame({f"{number} {kind}": column for number, (kind, column) in enumerate(zip(kinds, columns))})


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=frames())
def test_any_frame_reads_back_equal(connection: Any, frame: Any) -> None:
    """Whatever stands beside whatever, every cell comes back."""
    connection.rollback()
    run(connection, "DROP TABLE IF EXISTS t")
    postgres.write(connection, frame, "t")

    found = back(connection, decimal="exact")

    for name in frame.columns:
        missing = frame[name].isna()
        assert missing.tolist() == found[name].isna().tolist()
        assert frame[name][~missing].tolist() == found[name][~missing].tolist()


def test_many_chunks(connection: Any) -> None:
    """A frame of several chunks is written whole and in order."""
    count = 200_000
    frame = pd.DataFrame({"i": np.arange(count), "t": [f"row {n}" * (n % 5) for n in range(count)]})
    frame["n"] = pd.Series(np.where(frame["i"] % 3 == 0, None, frame["i"]), dtype="Int64")

    assert count == postgres.write(connection, frame, "t")
    pd.testing.assert_frame_equal(frame, back(connection))


def test_a_named_index_is_written(connection: Any) -> None:
    """An index with a name is a column; one without is left out."""
    frame = pd.DataFrame({"v": [1, 2]}, index=pd.Index([5, 6], name="key"))

    postgres.write(connection, frame, "t")

    assert ["key", "v"] == list(back(connection).columns)


def test_odd_names(connection: Any) -> None:
    """Names may hold anything that PostgreSQL allows."""
    frame = pd.DataFrame({'a "b"': [1], "select": [2], "Ä;--": [3], "%s": [4]})

    postgres.write(connection, frame, 'odd "table"', "writing")

    assert list(frame.columns) == list(postgres.read(connection, 'SELECT * FROM "odd ""table"""').columns)


@pytest.mark.parametrize("name", ["x" * 64, "ä" * 32, "", "a\0b"])
def test_names_that_cannot_be(connection: Any, name: str) -> None:
    """A name that the server would cut is refused, not cut."""
    with pytest.raises(StatementError, match="cannot be a name"):
        postgres.write(connection, pd.DataFrame({name: [1]}), "t")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1, "a"], "'v' cannot be written: it mixes"),
        ([object(), None], "'v' cannot be written"),
        (pd.Series(pd.to_datetime(["2024-01-01 00:00:00.000000001"]).as_unit("ns")), "nanoseconds"),
        (pd.period_range("2024", periods=2, freq="M"), "'v' cannot be written"),
    ],
)
def test_what_cannot_be_written(connection: Any, values: Any, why: str) -> None:
    """A column without a counterpart is named, and nothing is made."""
    with pytest.raises(StatementError, match=why):
        postgres.write(connection, pd.DataFrame({"v": values}), "t")


# ---------------------------------------------------------------------------------------------------------------------
# if_exists


OLD = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
NEW = pd.DataFrame({"a": [3], "b": ["y"]})


def test_fail(connection: Any) -> None:
    """An existing table is refused and keeps what it has."""
    postgres.write(connection, OLD, "t")

    with pytest.raises(StatementError, match='"t" exists'):
        postgres.write(connection, NEW, "t")

    pd.testing.assert_frame_equal(OLD, back(connection))


def test_append(connection: Any) -> None:
    """Append makes a missing table, then adds to it; columns go by name."""
    postgres.write(connection, OLD, "t", None, "append")
    postgres.write(connection, NEW[["b", "a"]], "t", None, "append")

    pd.testing.assert_frame_equal(pd.concat([OLD, NEW], ignore_index=True), back(connection))


def test_append_into_the_types_that_are_there(connection: Any) -> None:
    """Appended values take the table's types: narrow, exact, enumerated, and those only text leads into."""
    run(
        connection,
        """
        CREATE TYPE mood AS ENUM ('sad', 'happy');
        CREATE DOMAIN small AS smallint CHECK (VALUE < 100);
        CREATE TABLE t (
            i2 smallint, i4 integer, d small, q numeric(10, 3), f double precision, m mood, ip inet, r int4range,
            v varchar(5), u uuid, j json, js jsonb, ts timestamp, day date, l jsonb, w integer, k serial, dflt text DEFAULT 'd'
        )
        """,
    )
    identity = "00112233-4455-6677-8899-aabbccddeeff"
    row = {
        "i2": 7, "i4": -8, "d": 9, "q": 1.5, "f": 3, "m": "happy", "ip": "10.0.0.1", "r": "[1,5)", "v": "abc", "u": identity,
        "j": {"a": 1}, "js": {"b": [None]}, "ts": dt.date(2024, 2, 29), "day": dt.date(2024, 2, 29), "l": [1, 2], "w": 4.0,
    }  # fmt: skip

    postgres.write(connection, pd.DataFrame([row]), "t", None, "append")

    found = back(connection).iloc[0].to_dict()
    assert {
        **row, "u": uuid.UUID(identity), "ts": pd.Timestamp("2024-02-29"), "day": pd.Timestamp("2024-02-29"), "k": 1, "dflt": "d",
    } == found  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (pd.DataFrame({"a": [1], "c": [2]}), "'c' is not in the table"),
        (pd.DataFrame({"a": ["text"]}), "'a' holds text"),
        (pd.DataFrame({"b": [1]}), "'b' holds integer"),
        (pd.DataFrame({"n": [40_000]}), "'n' cannot be written: it holds numbers that do not fit"),
    ],
)
def test_append_refuses_what_does_not_fit(connection: Any, frame: Any, why: str) -> None:
    """A column that the table lacks or has with another type is named, and nothing is written."""
    run(connection, "CREATE TABLE t (a bigint, b text, n smallint)")
    connection.commit()

    with pytest.raises(StatementError, match=why):
        postgres.write(connection, frame, "t", None, "append")

    connection.rollback()
    assert 0 == len(back(connection))


def test_append_to_a_view(connection: Any) -> None:
    """A view is no table."""
    run(connection, "CREATE VIEW t AS SELECT 1 AS a")

    with pytest.raises(StatementError, match="is a view"):
        postgres.write(connection, NEW, "t", None, "append")


def test_replace(connection: Any) -> None:
    """Replace puts the new rows in the place of the old; also with other columns."""
    postgres.write(connection, OLD, "t", None, "replace")
    postgres.write(connection, NEW, "t", None, "replace")
    pd.testing.assert_frame_equal(NEW, back(connection))

    other = pd.DataFrame({"b": [1.5], "c": [True]})
    postgres.write(connection, other, "t", None, "replace")
    pd.testing.assert_frame_equal(other, back(connection))


def test_replace_keeps_what_the_table_has(connection: Any) -> None:
    """Grants, indexes and views outlive a replaced table whose columns stay."""
    postgres.write(connection, OLD, "t")
    run(
        connection,
        "CREATE UNIQUE INDEX t_a ON t (a); GRANT SELECT ON t TO PUBLIC; CREATE VIEW seen AS SELECT sum(a) AS total FROM t",
    )
    before = run(connection, "SELECT oid, relacl::text FROM pg_class WHERE relname = 't'")

    postgres.write(connection, NEW, "t", None, "replace")

    assert before == run(connection, "SELECT oid, relacl::text FROM pg_class WHERE relname = 't'")
    assert [(3,)] == run(connection, "SELECT total FROM seen")
    assert [("t_a",)] == run(connection, "SELECT indexname FROM pg_indexes WHERE tablename = 't'")


@pytest.mark.parametrize(
    ("statement", "loss"),
    [
        ("GRANT SELECT ON t TO PUBLIC", "grants"),
        ("CREATE INDEX t_a ON t (a)", "index t_a"),
        ("CREATE VIEW seen AS SELECT a FROM t", "view seen"),
        ("ALTER TABLE t ADD CHECK (a > 0)", "constraint t_a_check"),
        ("ALTER TABLE t ALTER b SET DEFAULT 'x'", "default of b"),
        ("COMMENT ON TABLE t IS 'dear'", "comments"),
    ],
)
def test_replace_says_what_it_would_lose(connection: Any, statement: str, loss: str) -> None:
    """Where other columns would need a new table, and the old one has something to lose, it is refused by name."""
    postgres.write(connection, OLD, "t")
    run(connection, statement)
    connection.commit()

    with pytest.raises(StatementError, match=f"would lose.*{loss}"):
        postgres.write(connection, pd.DataFrame({"z": [1]}), "t", None, "replace")

    connection.rollback()
    pd.testing.assert_frame_equal(OLD, back(connection))


def test_replace_of_a_table_that_others_refer_to(connection: Any) -> None:
    """Rows of other tables are neither orphaned nor deleted."""
    run(
        connection,
        "CREATE TABLE t (a bigint PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'x');"
        "CREATE TABLE child (a bigint REFERENCES t ON DELETE CASCADE); INSERT INTO child VALUES (1)",
    )

    with pytest.raises(StatementError, match="rows of child refer"):
        postgres.write(connection, NEW, "t", None, "replace")

    assert [(1,)] == run(connection, "SELECT a FROM child")


def test_replace_is_atomic(connection: Any, postgres_url: str) -> None:
    """Another reader sees the old rows until the commit and never waits; a failure leaves them."""
    postgres.write(connection, OLD, "t")
    run(connection, "ALTER TABLE t ADD CHECK (a < 100)")
    connection.commit()
    reader = psycopg2.connect(postgres_url, options="-c search_path=writing -c lock_timeout=2000")
    try:
        assert 2 == len(back(reader))
        postgres.write(connection, NEW, "t", None, "replace")
        assert 2 == len(back(reader))
        connection.commit()
        assert 1 == len(back(reader))
        reader.rollback()

        with pytest.raises(psycopg2.errors.CheckViolation):
            postgres.write(connection, pd.DataFrame({"a": [1, 1000], "b": ["", ""]}), "t", None, "replace")
        connection.rollback()
        pd.testing.assert_frame_equal(NEW, back(reader))
    finally:
        reader.close()


def test_a_failure_writes_nothing(connection: Any) -> None:
    """A value that the server refuses in the last row leaves no row and no table."""
    frame = pd.DataFrame({"t": ["fine"] * 100_000 + ["not \0 fine"]})

    with pytest.raises((psycopg2.Error, LoreError)):
        postgres.write(connection, frame, "t")

    connection.rollback()
    assert [(None,)] == run(connection, "SELECT to_regclass('t')")
