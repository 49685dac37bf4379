"""One contract over every database: what is written reads back equal, what is wrong is told, nothing is changed by reading."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import itertools
import math
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lore._querying import postgres
from lore.errors import LoreError, QueryError, StatementError
from lore.io import query, sql_source, write_sql

DATABASES = [
    "embedded",
    "sqlite",
    "postgres",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("memory", "sqlite-memory", "engine")),
]
_count = itertools.count()


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A database of each kind."""
    if request.param == "postgres":
        if not hasattr(postgres, "write"):
            pytest.skip("writing to PostgreSQL is not there")
        yield request.getfixturevalue("postgres_url")
    elif request.param == "engine":
        sqlalchemy = pytest.importorskip("sqlalchemy")
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/engine.db")
        yield engine
        engine.dispose()
    else:
        yield {
            "embedded": None,
            "memory": "duckdb://",
            "sqlite": f"sqlite:///{tmp_path}/a.db",
            "sqlite-memory": "sqlite://",
        }[request.param]


@pytest.fixture
def table() -> str:
    """A name that no other test uses."""
    return f"t{next(_count)}"


def is_duckdb(url: Any) -> bool:
    return url is None or url == "duckdb://"


def is_sqlite(url: Any) -> bool:
    return not is_duckdb(url) and "sqlite" in str(getattr(url, "url", url))


def same(one: Any, other: Any) -> bool:
    """Tell whether two cells hold the same, missing ones included."""
    if isinstance(one, list) or isinstance(other, list):
        return (
            isinstance(one, list) and isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
        )
    if isinstance(one, dict):
        return bool(one == other)
    if pd.isna(one) or pd.isna(other):
        return bool(pd.isna(one) and pd.isna(other))
    return type(one) is type(other) and bool(one == other)


def assert_same(expected: pd.DataFrame, frame: pd.DataFrame) -> None:
    """Compare columns, dtypes and every cell."""
    assert list(expected.columns) == list(frame.columns)
    assert {c: str(d) for c, d in expected.dtypes.items()} == {c: str(d) for c, d in frame.dtypes.items()}
    for name in expected.columns:
        assert len(expected) == len(frame)
        for one, other in zip(expected[name], frame[name]):
            assert same(one, other), (name, one, other)


ONE = uuid.UUID("12345678-1234-5678-1234-567812345678")

COLUMNS: dict[str, pd.Series] = {
    "integer": pd.Series([1, -(2**63), 2**63 - 1]),
    "integer_null": pd.Series([9007199254740993, None, 0], dtype="Int64"),
    "boolean": pd.Series([True, False, True]),
    "boolean_null": pd.Series([True, None, False], dtype="boolean"),
    "float": pd.Series([0.1, -0.0, 1e300]),
    "float_missing": pd.Series([0.30000000000000004, np.nan, 5e-324]),
    "text": pd.Series(["", 'it\'s "ünï" 🙂', "a\tb\nc\\"], dtype="str"),
    "text_missing": pd.Series(["", None, "x"], dtype="str"),
    "date": pd.Series(np.array(["2020-02-29", "0001-01-01", "NaT"], dtype="datetime64[s]")),
    "timestamp": pd.Series(np.array(["2020-02-29T01:02:03.000004", "1900-01-01", "NaT"], dtype="datetime64[us]")),
    "timestamptz": pd.Series(
        np.array(["2020-02-29T01:02:03.000004", "1900-01-01", "NaT"], dtype="datetime64[us]")
    ).dt.tz_localize("UTC"),
    "interval": pd.Series(np.array([90_000_000_001, -1, "NaT"], dtype="timedelta64[us]")),
    "time": pd.Series([dt.time(1, 2, 3, 4), None, dt.time(0)], dtype=object),
    "bytes": pd.Series([b"", b"\x00\xff'\\", None], dtype=object),
    "uuid": pd.Series([ONE, None, ONE], dtype=object),
    "json": pd.Series([{"a": [1, None, {"b": "ü"}]}, None, {}], dtype=object),
    "list": pd.Series([[1, 2], None, []], dtype=object),
    "texts": pd.Series([["a", ""], None, ["it's"]], dtype=object),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_written_reads_back_equal(url: Any, table: str, kind: str) -> None:
    """Every type goes to the database and comes back: same dtype, same values, missing ones too."""
    frame = pd.DataFrame({"n": range(3), "column": COLUMNS[kind]})
    assert 3 == write_sql(frame, table, url)
    assert_same(frame, query(f'SELECT * FROM "{table}" ORDER BY n', url))


@pytest.mark.parametrize("kind", COLUMNS)
def test_empty_and_missing_keep_their_types(url: Any, table: str, kind: str) -> None:
    """A table without rows, and a column of NULLs only, have the types that they were written with."""
    frame = pd.DataFrame({"column": COLUMNS[kind]})
    write_sql(frame, table, url)
    empty = query(f'SELECT * FROM "{table}" WHERE 1 = 0', url)
    expected = {"Int64": "int64", "boolean": "bool"}.get(str(frame["column"].dtype), str(frame["column"].dtype))
    assert (0, expected) == (len(empty), str(empty["column"].dtype))
    if frame["column"].isna().any():
        missing = query(f'SELECT * FROM "{table}" WHERE "column" IS NULL', url)
        assert (1, str(frame["column"].dtype)) == (len(missing), str(missing["column"].dtype))


@pytest.mark.parametrize("kind", COLUMNS)
def test_arrow_dtypes(url: Any, table: str, kind: str) -> None:
    """With dtypes="arrow" every column is Arrow-backed and holds as many values."""
    frame = pd.DataFrame({"column": COLUMNS[kind]})
    write_sql(frame, table, url)

    @sql_source(url, dtypes="arrow")
    def f() -> str:
        return f'SELECT * FROM "{table}"'

    for read in (f(), next(iter(f.stream()))):
        assert isinstance(read["column"].dtype, pd.ArrowDtype)
        assert int(frame["column"].notna().sum()) == int(read["column"].notna().sum())


def test_decimals(url: Any, table: str) -> None:
    """Decimals are exact on request and correctly rounded floats otherwise."""
    values = [decimal.Decimal("0.3"), decimal.Decimal("-12345678901234567890.123456789"), None]
    write_sql(pd.DataFrame({"n": range(3), "d": values}), table, url)

    @sql_source(url, decimal="exact")
    def exact() -> str:
        return f"SELECT d FROM {table} ORDER BY n"

    assert values == [None if v is None else v for v in exact()["d"]]
    floats = query(f"SELECT d FROM {table} ORDER BY n", url)["d"]
    assert "float64" == str(floats.dtype)
    assert [0.3, -12345678901234567890.123456789] == list(floats.dropna())


@pytest.mark.parametrize(
    ("series", "back"),
    [
        (pd.Series([1, 2], dtype="int8"), "int64"),
        (pd.Series([1, 2], dtype="uint32"), "int64"),
        (pd.Series([1, None], dtype="Int16"), "Int64"),
        (pd.Series([1.5, None], dtype="Float64"), "float64"),
        (pd.Series(["a", "b"], dtype="category"), "str"),
        (pd.Series(["a", None], dtype="string"), "str"),
        (pd.Series(["a", None], dtype=object), "str"),
        (pd.Series([1, None], dtype=object), "Int64"),
        (pd.Series([True, None], dtype=object), "boolean"),
        (pd.Series([1, 2.5], dtype=object), "float64"),
        (pd.Series([dt.date(2020, 1, 1), None], dtype=object), "datetime64[s]"),
        (pd.Series([dt.datetime(2020, 1, 1), None], dtype=object), "datetime64[us]"),
        (pd.Series([pd.Timestamp("2020-01-01", tz="Europe/Berlin")]), "datetime64[us, UTC]"),
        (pd.Series([pd.Timestamp("2020-01-01 12:00")]).astype("datetime64[ms]"), "datetime64[us]"),
        (pd.Series([1, None], dtype="int64[pyarrow]"), "Int64"),
        (pd.Series(["a", None], dtype="string[pyarrow]"), "str"),
        (pd.Series([None, None], dtype=object), "str"),
    ],
)
def test_neighbouring_types(url: Any, table: str, series: pd.Series, back: str) -> None:
    """Types that databases do not have come back as the nearest that they do."""
    write_sql(pd.DataFrame({"c": series}), table, url)
    read = query(f"SELECT c FROM {table}", url)["c"]
    assert back == str(read.dtype)
    assert list(series.isna()) == list(read.isna())


@pytest.mark.parametrize(
    "values", [[1j], [object()], [pd.Interval(0, 1)], ["a", 1], [b"a", "a"], [pd.Period("2020-01")], [{"a"}, "x"]]
)
def test_columns_that_do_not_fit_a_database(url: Any, table: str, values: list[Any]) -> None:
    """A column of values that no database has a type for is named, and nothing is written."""
    with pytest.raises(StatementError, match="'odd'"):
        write_sql(pd.DataFrame({"odd": pd.Series(values)}), table, url)
    with pytest.raises(QueryError, match=table):
        query(f"SELECT * FROM {table}", url)


@pytest.mark.parametrize("dtype", ["uint64", "UInt64", "uint64[pyarrow]"])
def test_unsigned_integers_keep_their_values_or_are_refused(url: Any, table: str, dtype: str) -> None:
    """Unsigned integers are integers where 63 bits hold them; beyond, a database that lacks them refuses."""
    write_sql(pd.DataFrame({"n": pd.Series([0, 2**63 - 1], dtype=dtype)}), table, url)
    assert [0, 2**63 - 1] == query(f"SELECT n FROM {table}", url)["n"].tolist()
    large = pd.DataFrame({"n": pd.Series([1, 2**64 - 1], dtype=dtype)})
    if is_duckdb(url):
        write_sql(large, f"{table}_large", url)
        assert large["n"].tolist() == query(f"SELECT n FROM {table}_large", url)["n"].tolist()
        return
    with pytest.raises(StatementError, match=r"'n'.*2\*\*63"):
        write_sql(large, f"{table}_large", url)
    with pytest.raises(QueryError, match=f"{table}_large"):
        query(f"SELECT * FROM {table}_large", url)


@pytest.mark.parametrize(
    "series",
    [
        pd.Series(pd.to_datetime(["2020-01-01 00:00:00.000000001", None]).as_unit("ns").tz_localize("Europe/Berlin")),
        pd.Series(pd.to_datetime(["2020-01-01 00:00:00.000000001", None]).as_unit("ns").tz_localize("UTC")).astype(
            "timestamp[ns, UTC][pyarrow]"
        ),
        pd.Series(pd.to_timedelta([1, None], unit="ns")),
    ],
)
def test_nanoseconds_are_not_dropped(url: Any, table: str, series: pd.Series) -> None:
    """Times with a zone and intervals are kept in microseconds; what is finer is refused, not rounded."""
    with pytest.raises(StatementError, match="'v'"):
        write_sql(pd.DataFrame({"v": series}), table, url)
    write_sql(pd.DataFrame({"v": series.iloc[1:]}), table, url)
    assert query(f"SELECT v FROM {table}", url)["v"].isna().all()


@pytest.mark.parametrize("if_exists", ["fail", "append", "replace"])
def test_a_frame_without_columns_is_refused(url: Any, table: str, if_exists: Any) -> None:
    """A frame without columns is a table in no database, whether there is one already or not."""
    for frame in (pd.DataFrame(), pd.DataFrame(index=range(3))):
        with pytest.raises(StatementError, match="without columns"):
            write_sql(frame, table, url, if_exists)
    write_sql(pd.DataFrame({"n": [1]}), table, url)
    with pytest.raises(StatementError):
        write_sql(pd.DataFrame(), table, url, if_exists)
    assert [1] == query(f"SELECT n FROM {table}", url)["n"].tolist()


def test_columns_of_one_name_are_refused(url: Any, table: str) -> None:
    """A table cannot have two columns of one name."""
    with pytest.raises(LoreError):
        write_sql(pd.DataFrame([[1, 2]], columns=["a", "a"]), table, url)


def test_odd_names(url: Any) -> None:
    """Names with spaces, quotes, dots, percent signs and reserved words survive."""
    frame = pd.DataFrame([[1, 2, 3, 4, 5, 6]], columns=["select", 'a "b"', "c.d", "100%", "x:y", "größe"])
    write_sql(frame, '"odd "" table.name"', url)
    assert_same(frame, query('SELECT * FROM "odd "" table.name"', url))
    write_sql(frame, '"odd "" table.name"', url, if_exists="replace")


def test_result_columns_of_one_name(url: Any) -> None:
    """A result may have several columns of one name."""
    frame = query("SELECT 1 AS a, 'x' AS a, 2 AS b", url)
    assert ["a", "a", "b"] == list(frame.columns)
    assert [1, "x", 2] == list(frame.iloc[0])


def test_many_columns(url: Any, table: str) -> None:
    """A thousand columns go there and back."""
    frame = pd.DataFrame(np.arange(2000).reshape(2, 1000)).rename(columns=lambda n: f"c{n}")
    write_sql(frame, table, url)
    read = query(f"SELECT * FROM {table} ORDER BY c0", url)
    assert_same(frame, read)
    read["another"] = 1


def test_json_that_is_text(url: Any, table: str) -> None:
    """A column of JSON documents that happen to be texts stays a column of objects."""
    write_sql(pd.DataFrame({"j": pd.Series([{"a": 1}, None], dtype=object)}), table, url)
    if is_sqlite(url):
        pytest.skip("SQLite's json is text")
    frame = query("SELECT CAST('\"a\"' AS JSON) AS j", url)
    assert ("object", "a") == (str(frame["j"].dtype), frame["j"][0])


def test_if_exists(url: Any, table: str) -> None:
    """fail refuses, append adds and makes what is missing, replace puts another in the place."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert 2 == write_sql(frame, table, url, if_exists="append")
    with pytest.raises(StatementError, match="append"):
        write_sql(frame, table, url)
    assert 2 == write_sql(frame, table, url, if_exists="append")
    assert 4 == len(query(f"SELECT * FROM {table}", url))
    assert 1 == write_sql(frame.head(1), table, url, if_exists="replace")
    assert_same(frame.head(1), query(f"SELECT * FROM {table}", url))
    other = pd.DataFrame({"c": [1.5]})
    write_sql(other, table, url, if_exists="replace")
    assert_same(other, query(f"SELECT * FROM {table}", url))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"a": [1], "zz": [1]}, "zz"),
        ({"a": ["x"], "b": ["x"]}, "a"),
        ({"a": [1.5], "b": ["x"]}, "a"),
        ({"a": [1], "b": [1.5]}, "b"),
        ({"a": [b"x"]}, "a"),
    ],
)
def test_append_refuses_what_does_not_fit(url: Any, table: str, wrong: dict[str, Any], named: str) -> None:
    """A column that the table lacks or has with another type is named, and nothing is added."""
    write_sql(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), table, url)
    with pytest.raises(LoreError, match=named):
        write_sql(pd.DataFrame(wrong), table, url, if_exists="append")
    assert 2 == len(query(f"SELECT * FROM {table}", url))


def test_append_takes_integers_that_pandas_made_floats(url: Any, table: str) -> None:
    """Whole numbers beside missing values are floats in pandas; they fit an integer column exactly."""
    write_sql(pd.DataFrame({"a": [1]}), table, url)
    write_sql(pd.DataFrame({"a": [2.0, np.nan]}), table, url, if_exists="append")
    assert [1, 2] == list(query(f"SELECT a FROM {table} ORDER BY a", url)["a"].dropna())


def test_append_of_some_columns(url: Any, table: str) -> None:
    """Columns that the frame lacks become NULL; order does not matter."""
    write_sql(pd.DataFrame({"a": [1], "b": ["x"], "c": [1.5]}), table, url)
    write_sql(pd.DataFrame({"c": [2.5], "a": [2]}), table, url, if_exists="append")
    assert [(1, "x", 1.5), (2, None, 2.5)] == [
        (a, None if pd.isna(b) else b, c)
        for a, b, c in query(f"SELECT a, b, c FROM {table} ORDER BY a", url).itertuples(index=False)
    ]


def test_empty_frame_makes_a_table(url: Any, table: str) -> None:
    """A frame without rows makes a table with its columns."""
    assert 0 == write_sql(pd.DataFrame({"a": pd.Series([], dtype="int64")}), table, url)
    assert_same(pd.DataFrame({"a": pd.Series([], dtype="int64")}), query(f"SELECT * FROM {table}", url))


def test_failed_write_leaves_the_table(url: Any, table: str) -> None:
    """A replace that cannot be written leaves what was there."""
    write_sql(pd.DataFrame({"a": [1]}), table, url)
    with pytest.raises(LoreError):
        write_sql(pd.DataFrame({"a": [object()]}), table, url, if_exists="replace")
    assert [1] == list(query(f"SELECT a FROM {table}", url)["a"])


@pytest.mark.parametrize(
    "wrong",
    [
        "INSERT INTO {table} VALUES (2)",
        "INSERT INTO {table} VALUES (2) RETURNING a",
        "UPDATE {table} SET a = 2",
        "DELETE FROM {table}",
        "DROP TABLE {table}",
        "CREATE TABLE {table}_new (a INT)",
        "SELECT 1; DROP TABLE {table}",
        "/* x */ VACUUM INTO 'x.db'",
        "COPY {table} TO '/tmp/x.csv'",
        "ATTACH '/tmp/x.db' AS x",
        "PRAGMA user_version = 5",
        "COMMIT",
    ],
)
def test_reading_changes_nothing(url: Any, table: str, wrong: str) -> None:
    """A source cannot write, whatever its statement is."""
    write_sql(pd.DataFrame({"a": [1]}), table, url)
    with pytest.raises(LoreError):
        query(wrong.format(table=table), url)
    assert [1] == list(query(f"SELECT a FROM {table}", url)["a"])
    with pytest.raises(LoreError):
        query(f"SELECT * FROM {table}_new", url)


PARAMETERS: list[Any] = [
    None,
    True,
    7,
    -(2**62),
    0.1,
    "it's :a 100% \\ ü",
    b"\x00'\xff",
    decimal.Decimal("1.25"),
    dt.date(2020, 2, 29),
    dt.datetime(2020, 2, 29, 1, 2, 3, 4),
    dt.time(1, 2, 3),
    ONE,
    np.int32(5),
    np.float64(2.5),
    np.datetime64("2020-01-01T00:00:01"),
    pd.Timestamp("2020-01-01 00:00:01", tz="Europe/Berlin"),
    pd.NA,
    pd.NaT,
]


@pytest.mark.parametrize("value", PARAMETERS, ids=repr)
def test_parameters_match_what_was_written(url: Any, table: str, value: Any) -> None:
    """A value given as a parameter equals the same value written from a frame."""
    write_sql(pd.DataFrame({"c": pd.Series([value, value], dtype=object)}), table, url)
    count = query(f"SELECT count(*) AS n FROM {table} WHERE c = :value", url, value=value)["n"][0]
    assert (0 if pd.isna(value) else 2) == count


@pytest.mark.parametrize("values", [[1, 3], [], [1, None], np.array([1, 2]), range(2), pd.Series([3])], ids=repr)
def test_lists(url: Any, table: str, values: Any) -> None:
    """IN and NOT IN with a list choose as they do with literals; an empty list chooses none, or all."""
    write_sql(pd.DataFrame({"a": [1, 2, 3]}), table, url)
    wanted = [a for a in (1, 2, 3) if a in list(values)]
    rest = [] if None in list(values) else [a for a in (1, 2, 3) if a not in list(values)]
    for spelling in (":values", "(:values)"):
        assert wanted == list(query(f"SELECT a FROM {table} WHERE a IN {spelling} ORDER BY a", url, values=values)["a"])
        assert rest == list(
            query(f"SELECT a FROM {table} WHERE a NOT IN {spelling} ORDER BY a", url, values=values)["a"]
        )


def test_lists_of_texts_and_rows(url: Any, table: str) -> None:
    """Lists of texts and of pairs expand too, empty ones included."""
    write_sql(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), table, url)
    assert [2] == list(query(f"SELECT a FROM {table} WHERE b IN :names", url, names={"y", "'"})["a"])
    assert [] == list(query(f"SELECT a FROM {table} WHERE b IN :names", url, names=())["a"])
    pairs = [(1, "x"), (2, "x")]
    assert [1] == list(query(f"SELECT a FROM {table} WHERE (a, b) IN :pairs", url, pairs=pairs)["a"])
    assert [] == list(query(f"SELECT a FROM {table} WHERE (a, b) IN :pairs", url, pairs=[])["a"])


def test_long_list(url: Any, table: str) -> None:
    """A list of forty thousand members expands."""
    write_sql(pd.DataFrame({"a": [1, 39_999, 50_000]}), table, url)
    found = query(f"SELECT a FROM {table} WHERE a IN :ids ORDER BY a", url, ids=range(40_000))
    assert [1, 39_999] == list(found["a"])


def test_text_that_only_looks_like_parameters(url: Any) -> None:
    """Colons and percent signs in literals and comments reach the database as they are."""
    frame = query("SELECT ':a 100% %s' AS a, 5 % 3 AS b, :c AS c -- :d %s\n /* :e */", url, c="%(x)s :y")
    assert (":a 100% %s", 2, "%(x)s :y") == tuple(frame.iloc[0])


SECRETS = {"text": "geheim-4711", "number": 471147114711, "bytes": b"geheim-4711", "list": ["geheim-4711", "x"]}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "wrong",
    [
        "SELECT * FROM nowhere WHERE a = :secret",
        "SELECT * FROM nowhere WHERE a IN (:secret)",
        "SELECT nothing_like_it(:secret)",
        "SELECT CAST(:secret AS INTEGER) + CAST('a' AS INTEGER) FROM (SELECT 1 AS a) AS b WHERE",
        "SELEC :secret",
        "SELECT CAST(:secret AS DATE), CAST(:secret AS INTEGER), nothing",
        "SELECT CAST(CAST(:secret AS VARCHAR(40)) AS INTEGER)",
        "INSERT INTO nowhere VALUES (:secret)",
    ],
)
def test_no_bound_value_in_an_error(url: Any, wrong: str, secret: str) -> None:
    """Whatever goes wrong, no bound value stands in the error, its causes, or the printed traceback."""
    try:
        query(wrong, url, secret=SECRETS[secret])
    except LoreError as error:
        told = (
            "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__) + repr(error.__context__)
        )
        assert "4711" not in told.replace(f"query({wrong!r}", "")


def test_error_names_function_and_table(url: Any) -> None:
    """The error of a missing table has its name and the function's."""

    @sql_source(url)
    def orders() -> str:
        return "SELECT * FROM nowhere_to_be_found"

    with pytest.raises(QueryError, match=r"orders: .*nowhere_to_be_found"):
        orders()


def test_stream(url: Any, table: str) -> None:
    """A stream gives all rows in order, in frames of the length asked for and of one set of types."""
    frame = pd.DataFrame({"a": range(1000), "b": [None if n % 7 else n for n in range(1000)], "c": ["x"] * 1000})
    frame["b"] = frame["b"].astype("Int64")
    write_sql(frame, table, url)

    @sql_source(url)
    def f() -> str:
        return f"SELECT a, b, c FROM {table} ORDER BY a"

    frames = list(f.stream(rows=300))
    assert [300, 300, 300, 100] == [len(part) for part in frames]
    assert {("Int64", "Int64", "str")} == {tuple(map(str, part.dtypes)) for part in frames}
    assert_same(frame.assign(a=frame["a"].astype("Int64")), pd.concat(frames, ignore_index=True))


def test_abandoned_stream_frees_the_database(url: Any, table: str) -> None:
    """A stream that is dropped half-way holds up nobody."""
    write_sql(pd.DataFrame({"a": range(1000)}), table, url)

    @sql_source(url)
    def f() -> str:
        return f"SELECT a FROM {table}"

    stream = f.stream(rows=10)
    next(iter(stream))
    del stream
    write_sql(pd.DataFrame({"a": [1]}), table, url, if_exists="replace")
    assert 1 == len(f())


def test_writing_while_streaming(table: str) -> None:
    """What is read from the embedded database in a stream may be written back to it while the stream goes on."""
    write_sql(pd.DataFrame({"a": range(100_000)}), table)

    @sql_source
    def f() -> str:
        return f"SELECT a FROM {table} ORDER BY a"

    for part in f.stream(rows=30_000):
        write_sql(part, f"{table}_copy", if_exists="append")
    copied = query(f"SELECT count(*) AS n, sum(a) AS total FROM {table}_copy")
    assert (100_000, 4999950000) == tuple(copied.iloc[0])


def column_values() -> st.SearchStrategy[tuple[str, Callable[[list[Any]], pd.Series]]]:
    """Kinds of columns: how their values are drawn and made a series."""
    naive = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))
    return st.sampled_from(
        [
            (st.integers(-(2**63), 2**63 - 1), "Int64"),
            (st.booleans(), "boolean"),
            (st.floats(allow_nan=False, allow_infinity=False), "float64"),
            (st.text(st.characters(codec="utf-8", exclude_characters="\x00")), "str"),
            (st.binary(), object),
            (naive, "datetime64[us]"),
            (st.timedeltas(dt.timedelta(days=-100_000), dt.timedelta(days=100_000)), "timedelta64[us]"),
            (st.times(), object),
            (st.uuids(), object),
            (st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), object),
            (
                st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), st.integers(-9, 9)),
                object,
            ),
        ]
    )


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Frames of up to four columns of up to eight rows, some cells missing."""
    rows = draw(st.integers(0, 8))
    columns: dict[str, pd.Series] = {"n": pd.Series(range(rows), dtype="int64")}
    for position in range(draw(st.integers(1, 4))):
        values, dtype = draw(column_values())
        cells = draw(st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows))
        columns[f"c{position}"] = pd.Series(cells, dtype=dtype)
    return pd.DataFrame(columns)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=frames())
def test_any_frame_reads_back_equal(url: Any, frame: pd.DataFrame) -> None:
    """Frames drawn at random come back with every cell."""
    write_sql(frame, "random_frame", url, if_exists="replace")
    back = query("SELECT * FROM random_frame ORDER BY n", url)
    assert list(frame.columns) == list(back.columns)
    for name in frame.columns:
        for one, other in zip(frame[name], back[name], strict=True):
            assert same(one, other) or (one == other and not isinstance(one, bool)), (name, one, other)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 AS a",
        "SELECT 1 AS a;",
        "SELECT 1 AS a -- end",
        "(SELECT 1 AS a)",
        "WITH x AS (SELECT 1 AS a) SELECT * FROM x",
        "VALUES (1)",
    ],
)
def test_spellings_of_a_query(url: Any, text: str) -> None:
    """Semicolons, comments, brackets, WITH and VALUES are all fine."""
    if is_sqlite(url) and text.startswith("("):
        pytest.skip("SQLite knows no query in brackets")
    assert 1 == query(text, url).iloc[0, 0]


def test_frames_may_be_changed(url: Any) -> None:
    """What a query returned belongs to the caller: every column can be assigned into."""
    frame = query("SELECT 1 AS a, 1.5 AS b, 'x' AS c, NULL AS d", url)
    frame.loc[0, "a"], frame.loc[0, "b"], frame.loc[0, "c"] = 7, 7.5, "y"
    frame["a"] += 1
    assert [8, 7.5, "y"] == list(frame.iloc[0])[:3]


def test_sql_says_how_rows_travel(url: Any) -> None:
    """The way from the database to the frame shows before anything runs."""

    @sql_source(url)
    def f() -> str:
        return "SELECT 1 AS a"

    assert f.sql().path in {"duckdb arrow", "sqlite cursor", "copy binary"}
    assert f"-- by {f.sql().path}" in str(f.sql())


@pytest.mark.parametrize("text", ["\ud800", "a\x00b"])
def test_odd_texts_as_parameters(url: Any, text: str) -> None:
    """Half a surrogate pair is refused everywhere, a NUL where the database has none; neither is another error."""
    with contextlib.suppress(LoreError):
        assert text == query("SELECT :text AS a", url, text=text)["a"][0]


def test_explain(url: Any) -> None:
    """EXPLAIN answers with its plan."""
    assert len(query("EXPLAIN SELECT 1", url)) >= 1


def test_infinite_floats(url: Any, table: str) -> None:
    """Infinity is a float like any other."""
    write_sql(pd.DataFrame({"a": [math.inf, -math.inf]}), table, url)
    assert [math.inf, -math.inf] == list(query(f"SELECT a FROM {table} ORDER BY a DESC", url)["a"])
