"""Every PostgreSQL type comes out as the table of types says, whichever way it is fetched."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from lore._querying import postgres
from lore.errors import QueryError

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
psycopg2 = pytest.importorskip("psycopg2")

NAN = float("nan")
INF = float("inf")
DAY = dt.timedelta(days=1)
UTC = dt.UTC


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[Any]:
    """A connection with some types of its own."""
    connection = psycopg2.connect(postgres_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DROP SCHEMA IF EXISTS matrix CASCADE;
            CREATE SCHEMA matrix;
            SET search_path TO matrix, public;
            CREATE TYPE mood AS ENUM ('sad', 'so-so', 'happy');
            CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
            CREATE DOMAIN more_positive AS positive CHECK (VALUE > 1);
            CREATE TYPE pair AS (x integer, y text);
            """
        )
    yield connection
    connection.close()


@pytest.fixture
def connection(server: Any) -> Iterator[Any]:
    """The same connection, in a transaction that is undone."""
    server.autocommit = False
    yield server
    server.rollback()


def read(connection: Any, query: str, path: str, **options: Any) -> Any:
    """Read a query through COPY, or through a plain cursor by way of a prepared statement."""
    if path == "copy":
        assert postgres.plan(connection, query) == "copy binary"
        return postgres.read(connection, query, **options)
    with connection.cursor() as cursor:
        cursor.execute(f"PREPARE lore_test AS {query}")
    try:
        assert postgres.plan(connection, "EXECUTE lore_test") == "cursor"
        return postgres.read(connection, "EXECUTE lore_test", **options)
    finally:
        if connection.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_INERROR:
            with connection.cursor() as cursor:
                cursor.execute("DEALLOCATE lore_test")


def plain(value: Any) -> Any:
    """Make a value comparable: one word for every sort of missing, and NaN equal to itself."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    return value


def values_of(frame: Any, name: str = "v") -> list[Any]:
    return [plain(value) for value in frame[name].tolist()]


# type, literals, dtype without NULL, dtype with one, values
CASES: list[tuple[str, list[str], str, str, list[Any]]] = [
    ("smallint", ["-32768", "32767", "0"], "int64", "Int64", [-32768, 32767, 0]),
    ("integer", ["-2147483648", "2147483647"], "int64", "Int64", [-(2**31), 2**31 - 1]),
    ("bigint", ["-9223372036854775808", "9007199254740993"], "int64", "Int64", [-(2**63), 9007199254740993]),
    ("oid", ["0", "4294967295"], "int64", "Int64", [0, 4294967295]),
    ("positive", ["1", "2"], "int64", "Int64", [1, 2]),
    ("more_positive", ["2", "3"], "int64", "Int64", [2, 3]),
    ("boolean", ["t", "f"], "bool", "boolean", [True, False]),
    ("real", ["1.5", "0.1", "-Infinity"], "float32", "float32", [1.5, float(np.float32(0.1)), -INF]),
    (
        "double precision",
        ["0.1", "1e300", "-0", "NaN", "Infinity"],
        "float64",
        "float64",
        [0.1, 1e300, -0.0, None, INF],
    ),
    (
        "numeric",
        [
            "0",
            "0.1",
            "-12345.6789",
            "1e-7",
            "1e30",
            "123456789012345678901234567890.123456789",
            "NaN",
            "Infinity",
            "-Infinity",
        ],
        "float64",
        "float64",
        [0.0, 0.1, -12345.6789, 1e-7, 1e30, 123456789012345678901234567890.123456789, None, INF, -INF],
    ),
    ("numeric(12,2)", ["1.10", "-99999.99", "0"], "float64", "float64", [1.1, -99999.99, 0.0]),
    ("numeric(10,-2)", ["12345"], "float64", "float64", [12300.0]),
    ("text", ["", "a", "NULL", "\\N", "ä€😀", "x" * 5000], "str", "str", ["", "a", "NULL", "\\N", "ä€😀", "x" * 5000]),
    ("varchar(3)", ["abc", ""], "str", "str", ["abc", ""]),
    ("char(4)", ["ab", ""], "str", "str", ["ab  ", "    "]),
    ('"char"', ["a", ""], "str", "str", ["a", ""]),
    ("name", ["a name"], "str", "str", ["a name"]),
    ("mood", ["happy", "so-so"], "str", "str", ["happy", "so-so"]),
    ("money", ["-1234.5", "0.01"], "str", "str", ["-$1,234.50", "$0.01"]),
    ("inet", ["10.0.0.1", "10.0.0.1/24", "::1"], "str", "str", ["10.0.0.1", "10.0.0.1/24", "::1"]),
    ("cidr", ["10.0.0.0/8", "10.1.2.3"], "str", "str", ["10.0.0.0/8", "10.1.2.3/32"]),
    ("macaddr", ["08:00:2b:01:02:03"], "str", "str", ["08:00:2b:01:02:03"]),
    ("int4range", ["[1,5)", "empty"], "str", "str", ["[1,5)", "empty"]),
    ("bit(3)", ["101"], "str", "str", ["101"]),
    ("varbit", ["1", ""], "str", "str", ["1", ""]),
    ("point", ["(1,2)"], "str", "str", ["(1,2)"]),
    ("tsvector", ["a b"], "str", "str", ["'a' 'b'"]),
    ("pair", ["(1,b)", "(,)"], "str", "str", ["(1,b)", "(,)"]),
    ("int2vector", ["1 2"], "str", "str", ["1 2"]),
    ("regclass", ["pg_class"], "str", "str", ["pg_class"]),
    ("pg_lsn", ["16/B374D848"], "str", "str", ["16/B374D848"]),
    (
        "date",
        ["2024-02-29", "1969-12-31", "0001-01-01"],
        "datetime64[s]",
        "datetime64[s]",
        [pd.Timestamp("2024-02-29"), pd.Timestamp("1969-12-31"), pd.Timestamp("0001-01-01")],
    ),
    (
        "timestamp",
        ["2024-02-29 12:34:56.789012", "1969-12-31 23:59:59.999999"],
        "datetime64[us]",
        "datetime64[us]",
        [pd.Timestamp("2024-02-29 12:34:56.789012"), pd.Timestamp("1969-12-31 23:59:59.999999")],
    ),
    (
        "timestamptz",
        ["2024-07-01 00:00:00+02", "1900-01-01 00:00:00+00"],
        "datetime64[us, UTC]",
        "datetime64[us, UTC]",
        [pd.Timestamp("2024-06-30 22:00", tz="UTC"), pd.Timestamp("1900-01-01", tz="UTC")],
    ),
    ("time", ["00:00:00", "23:59:59.999999"], "object", "object", [dt.time(0), dt.time(23, 59, 59, 999999)]),
    ("timetz", ["12:00:00+02"], "str", "str", ["12:00:00+02"]),
    (
        "interval",
        ["1 day 02:03:04.5", "-00:00:00.000001", "40 days"],
        "timedelta64[us]",
        "timedelta64[us]",
        [
            pd.Timedelta(DAY + dt.timedelta(hours=2, minutes=3, seconds=4.5)),
            pd.Timedelta(dt.timedelta(microseconds=-1)),
            pd.Timedelta(40 * DAY),
        ],
    ),
    ("json", ['{"a": [1, 2.5, null]}', '"x"', "3"], "object", "object", [{"a": [1, 2.5, None]}, "x", 3]),
    (
        "jsonb",
        ['{"a": {"b": "ä"}}', "[]", "12345678901234567890123"],
        "object",
        "object",
        [{"a": {"b": "ä"}}, [], 12345678901234567890123],
    ),
    ("bytea", ["\\x00ff41", "\\x"], "object", "object", [b"\x00\xffA", b""]),
    (
        "uuid",
        ["00112233-4455-6677-8899-aabbccddeeff"],
        "object",
        "object",
        [UUID("00112233-4455-6677-8899-aabbccddeeff")],
    ),
    (
        "integer[]",
        ["{1,2,NULL}", "{}", "{{1,2},{3,4}}", "[0:1]={5,6}"],
        "object",
        "object",
        [[1, 2, None], [], [[1, 2], [3, 4]], [5, 6]],
    ),
    ("text[]", ['{a,"",NULL,"NULL","x,y","q\\"\\\\"}'], "object", "object", [["a", "", None, "NULL", "x,y", 'q"\\']]),
    ("numeric[]", ["{1.5,-2}"], "object", "object", [[1.5, -2.0]]),
    ("boolean[]", ["{t,f,NULL}"], "object", "object", [[True, False, None]]),
    ("date[]", ["{2024-02-29}"], "object", "object", [[dt.date(2024, 2, 29)]]),
    ("timestamp[]", ['{"2024-02-29 01:02:03.5"}'], "object", "object", [[dt.datetime(2024, 2, 29, 1, 2, 3, 500000)]]),
    ("timestamptz[]", ['{"2024-02-29 01:00:00+01"}'], "object", "object", [[dt.datetime(2024, 2, 29, tzinfo=UTC)]]),
    ("interval[]", ['{"1 day"}'], "object", "object", [[DAY]]),
    ("time[]", ["{01:02:03}"], "object", "object", [[dt.time(1, 2, 3)]]),
    (
        "uuid[]",
        ["{00112233-4455-6677-8899-aabbccddeeff}"],
        "object",
        "object",
        [[UUID("00112233-4455-6677-8899-aabbccddeeff")]],
    ),
    ("bytea[]", ['{"\\\\x00ff"}'], "object", "object", [[b"\x00\xff"]]),
    ("jsonb[]", ['{"{\\"a\\": 1}"}'], "object", "object", [[{"a": 1}]]),
    ("inet[]", ["{10.0.0.1,10.0.0.0/8,::1}"], "object", "object", [["10.0.0.1", "10.0.0.0/8", "::1"]]),
    ("mood[]", ["{happy,NULL}"], "object", "object", [["happy", None]]),
    ("pair[]", ['{"(1,b)"}'], "object", "object", [["(1,b)"]]),
    ("positive[]", ["{1,2}"], "object", "object", [[1, 2]]),
    ("box[]", ["{(1,1),(0,0)}"], "str", "str", ["{(1,1),(0,0)}"]),
]
IDS = [case[0] for case in CASES]
PATHS = ["copy", "cursor"]


def rows(kind: str, literals: list[str | None]) -> str:
    """Write a query whose rows are those literals in that order."""
    quoted = ["NULL" if literal is None else "'" + literal.replace("'", "''") + "'" for literal in literals]
    lines = ", ".join(f"({number}, {literal}::{kind})" for number, literal in enumerate(quoted))
    return f"SELECT v FROM (VALUES {lines}) AS t(n, v) ORDER BY n"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("kind", "literals", "dtype", "_", "expected"), CASES, ids=IDS)
def test_values(
    connection: Any, path: str, kind: str, literals: list[str], dtype: str, _: str, expected: list[Any]
) -> None:
    """A column without NULLs has its type and its values, exactly."""
    frame = read(connection, rows(kind, literals), path)

    assert dtype == str(frame["v"].dtype)
    assert expected == values_of(frame)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("kind", "literals", "_", "dtype", "expected"), CASES, ids=IDS)
def test_values_beside_null(
    connection: Any, path: str, kind: str, literals: list[str], _: str, dtype: str, expected: list[Any]
) -> None:
    """A column with NULLs has the type that holds them, and loses nothing."""
    frame = read(connection, rows(kind, [None, *literals, None]), path)

    assert dtype == str(frame["v"].dtype)
    assert [None, *expected, None] == values_of(frame)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("kind", "literals", "dtype", "nullable", "expected"), CASES, ids=IDS)
def test_empty_and_all_null(
    connection: Any, path: str, kind: str, literals: list[str], dtype: str, nullable: str, expected: list[Any]
) -> None:
    """Without any value the type is still the column's."""
    assert dtype == str(read(connection, f"SELECT NULL::{kind} AS v LIMIT 0", path)["v"].dtype)

    frame = read(connection, f"SELECT NULL::{kind} AS v FROM generate_series(1, 3)", path)

    assert nullable == str(frame["v"].dtype)
    assert [None] * 3 == values_of(frame)


@pytest.mark.parametrize(("kind", "literals", "dtype", "nullable", "expected"), CASES, ids=IDS)
def test_arrow_paths_agree(
    connection: Any, kind: str, literals: list[str], dtype: str, nullable: str, expected: list[Any]
) -> None:
    """Arrow-backed columns are the same by either path, with the same type when they are empty."""
    if kind == "integer[]":
        literals = [literal for literal in literals if "{{" not in literal]
    query = rows(kind, [*literals, None])

    one, two = (read(connection, query, path, dtypes="arrow") for path in PATHS)
    empty = read(connection, f"SELECT NULL::{kind} AS v LIMIT 0", "copy", dtypes="arrow")

    pd.testing.assert_frame_equal(one, two)
    assert one["v"].dtype == empty["v"].dtype
    assert isinstance(one["v"].dtype, pd.ArrowDtype)
    assert one["v"].isna().tolist()[-1]


@pytest.mark.parametrize("path", PATHS)
def test_exact_decimals(connection: Any, path: str) -> None:
    """Exact decimals keep every digit and the scale, NaN and infinities included."""
    literals = ["0", "0.10", "-12345.6789", "1e-20", "1e30", "1" * 60 + "." + "2" * 60, "10000", "NaN", "-Infinity"]

    frame = read(connection, rows("numeric", [*literals, None]), path, decimal="exact")

    with connection.cursor() as cursor:
        cursor.execute(rows("numeric", [*literals, None]))
        expected = [plain(row[0]) for row in cursor.fetchall()]
    assert expected == values_of(frame)


@pytest.mark.parametrize("path", PATHS)
def test_exact_decimals_in_arrow(connection: Any, path: str) -> None:
    """A declared precision becomes Arrow's decimal128."""
    frame = read(connection, rows("numeric(12,2)", ["1.10", "-99.99", None]), path, decimal="exact", dtypes="arrow")

    # A prepared statement, unlike a query, does not say a VALUES list's precision.
    assert pd.ArrowDtype(pa.decimal128(12, 2)) == frame["v"].dtype
    assert [Decimal("1.10"), Decimal("-99.99")] == frame["v"].tolist()[:2]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("kind", "literal"),
    [
        ("date", "infinity"),
        ("date", "-infinity"),
        ("timestamp", "infinity"),
        ("timestamptz", "-infinity"),
        ("interval", "1 mon"),
        ("interval", "-1 year 3 days"),
        ("interval", "infinity"),
        ("interval", "200000000 days"),
        ("time", "24:00:00"),
        ("date[]", "{infinity}"),
        ("timestamp[]", '{"10000-01-01"}'),
        ("interval[]", '{"1 mon"}'),
        ("date[]", "{10000-01-01}"),
    ],
)
def test_what_has_no_counterpart_is_an_error(connection: Any, path: str, kind: str, literal: str) -> None:
    """A value that pandas cannot hold is an error that names the column and says what to do, never another value."""
    with pytest.raises(QueryError, match=r"Column 'v': .*(cast|filter)"):
        read(connection, rows(kind, [None, literal]), path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_years_beyond_four_digits_and_before_christ(connection: Any, path: str, kind: str) -> None:
    """The year 10000 and 44 BC are exact."""
    frame = read(connection, rows(kind, ["10000-01-01", "0044-03-15 BC", "2024-01-01"]), path)

    expected = np.array(["10000-01-01", "-0043-03-15", "2024-01-01"], "M8[s]")
    values = frame["v"].dt.tz_localize(None) if kind == "timestamptz" else frame["v"]
    assert expected.tolist() == values.to_numpy().astype("M8[s]").tolist()


@pytest.mark.parametrize("path", PATHS)
def test_utc_whatever_the_session_zone(connection: Any, path: str) -> None:
    """timestamptz is UTC even where the session lives in a zone with odd offsets."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL timezone TO 'Africa/Monrovia'")

    frame = read(connection, rows("timestamptz", ["1960-01-01 00:00:00+00", "2024-01-01 00:00:00+00"]), path)

    assert [pd.Timestamp("1960-01-01", tz="UTC"), pd.Timestamp("2024-01-01", tz="UTC")] == frame["v"].tolist()


def test_float_reading_is_correctly_rounded(connection: Any) -> None:
    """numeric becomes the float that reading its text gives, for all sizes and scales."""
    random = np.random.default_rng(7)
    texts = [
        f"{'-' if random.random() < 0.5 else ''}{random.integers(1, 10**9)}{'0' * int(random.integers(0, 25))}"
        f"{random.integers(0, 10**18)}e{random.integers(-60, 60)}"
        for _ in range(3000)
    ] + [f"{random.integers(0, 10**12)}.{random.integers(0, 10**6):06d}" for _ in range(3000)]

    frame = read(connection, rows("numeric", list(texts)), "copy")

    assert [float(text) for text in texts] == frame["v"].tolist()


def test_text_that_is_not_utf8_is_an_error(connection: Any) -> None:
    """JSON that Python cannot take names its column."""
    with pytest.raises(QueryError, match="Column 'v': a JSON value cannot be parsed"):
        read(connection, f"SELECT '{'9' * 5000}'::json AS v", "copy")
