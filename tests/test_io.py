"""The face: sql_source, query and write_sql as a user meets them, on the embedded database."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lore
from lore import _inputs
from lore.errors import (
    DecorationError,
    LoreError,
    MissingDependencyError,
    QueryError,
    SourceError,
    SourceTimeout,
    StatementError,
)
from lore.io import query, sql_source, write_sql


@sql_source
def numbers(n: int, ids: tuple[int, ...] = (1, 2)) -> str:
    """Count up."""
    return "SELECT range AS i, :n AS n FROM range(:n) WHERE range IN :ids"


@sql_source("duckdb://", timeout_s=5, dtypes="arrow")
async def later(n: int) -> str:
    return "SELECT range AS i FROM range(:n)"


class Shop:
    @sql_source
    def orders(self, n: int) -> str:
        return "SELECT :n AS n"

    @sql_source
    @classmethod
    def of_class(cls, n: int) -> str:
        return f"SELECT :n AS {cls.__name__}"

    @staticmethod
    @sql_source
    def static(n: int) -> str:
        return "SELECT :n AS n"


def only(frame: pd.DataFrame) -> Any:
    """Return the one value of a frame."""
    ((value,),) = frame.itertuples(index=False)
    return value


def test_arguments_are_bound_with_their_defaults() -> None:
    """Each `:name` takes the argument of that name, given or default."""
    assert [1, 2] == list(numbers(3)["i"])
    assert [0] == list(numbers(n=3, ids=[0])["i"])


def test_stays_a_function() -> None:
    """Name, docstring, signature and the wrapped function are all there."""
    assert ("numbers", "Count up.") == (numbers.__name__, numbers.__doc__)
    assert ["n", "ids"] == list(inspect.signature(numbers).parameters)
    assert "SELECT" in numbers.__wrapped__(1)
    assert inspect.isfunction(numbers)
    assert numbers is pickle.loads(pickle.dumps(numbers))


def test_methods() -> None:
    """Methods, class methods and static methods work, whichever decorator is above."""
    assert 3 == only(Shop().orders(3))
    assert ["Shop"] == list(Shop.of_class(3).columns)
    assert 3 == only(Shop.static(3))
    assert "SELECT :n" in Shop.orders.sql(Shop(), 3).statement


def test_layer_shows_options_and_no_password() -> None:
    """`lore.layers` shows how a source was decorated, with the password left out."""

    @sql_source("postgresql://me:geheim@host/db", retries=0)
    def f() -> str:
        return "SELECT 1"

    assert "[sql_source('postgresql://me:***@host/db', retries=0)]" == repr(lore.layers(f))


def test_sql_shows_without_running() -> None:
    """`f.sql` gives statement, parameters and values and asks no database."""

    @sql_source("postgresql://nobody@nowhere.invalid/x")
    def f(month: int, carriers: list[str]) -> str:
        return "SELECT * FROM flights WHERE month = :month AND carrier IN :carriers"

    shown = f.sql(1, carriers=["UA", "AA"])
    assert ("month", "carriers") == shown.parameters
    assert {"month": 1, "carriers": ["UA", "AA"]} == shown.values
    assert ":month = 1" in str(shown)
    assert "UA" not in repr(shown)


def test_stream_yields_frames_of_equal_types() -> None:
    """Every frame but the last has `rows` rows, and integers are nullable in all of them."""
    frames = list(query_stream(10).stream(10, rows=4))
    assert [4, 4, 2] == [len(frame) for frame in frames]
    assert {"Int64"} == {str(frame["i"].dtype) for frame in frames}
    assert list(range(10)) == [i for frame in frames for i in frame["i"]]


def query_stream(n: int) -> Any:
    @sql_source
    def f(n: int) -> str:
        return "SELECT range AS i FROM range(:n) ORDER BY i"

    return f


def test_empty_stream_is_one_empty_frame() -> None:
    """A stream without rows still tells the columns and their types."""
    (frame,) = query_stream(0).stream(0)
    assert (0, "Int64") == (len(frame), str(frame["i"].dtype))


def test_own_parameter_called_rows_wins() -> None:
    """A function that has a parameter `rows` of its own keeps it in stream()."""

    @sql_source
    def f(rows: int) -> str:
        return "SELECT range AS i FROM range(:rows)"

    assert [3] == [len(frame) for frame in f.stream(rows=3)]


@pytest.mark.parametrize("rows", [0, -1, 1.5, True, "x"])
def test_wrong_rows(rows: Any) -> None:
    """A number of rows that makes no sense is an error under LoreError."""
    with pytest.raises(StatementError, match="rows"):
        query_stream(1).stream(1, rows=rows)


def test_other_names_of_options_are_not_stolen() -> None:
    """Parameters called like lore's own words reach the function and the statement."""

    @sql_source
    def f(url: int, retries: int, self: int, function: int, layer: int, args: int, kwargs: int) -> str:
        return "SELECT :url + :retries + :self + :function + :layer + :args + :kwargs AS total"

    assert 7 == only(f(url=1, retries=1, self=1, function=1, layer=1, args=1, kwargs=1))


def test_keyword_arguments_of_any_name() -> None:
    """What comes through `**parameters` stands under its own name."""

    @sql_source
    def f(text: str, **parameters: Any) -> str:
        return text

    assert 3 == only(f("SELECT :a + :b AS c", a=1, b=2))


def test_async() -> None:
    """A coroutine function stays one; its query runs in a thread."""
    assert inspect.iscoroutinefunction(later)
    frame = asyncio.run(later(3))
    assert [0, 1, 2] == list(frame["i"])
    assert "int64[pyarrow]" == str(frame["i"].dtype)


def test_async_sql_and_stream() -> None:
    """The statement of an async function shows at once and may be awaited; its stream is asynchronous."""
    assert {"n": 3} == later.sql(3).values

    async def main() -> list[int]:
        assert {"n": 3} == (await later.sql(3)).values
        return [len(frame) async for frame in later.stream(5, rows=2)]

    assert [2, 2, 1] == asyncio.run(main())


def test_async_that_really_waits() -> None:
    """A coroutine that awaits something before it returns its statement works as well."""

    @sql_source
    async def f(n: int) -> str:
        await asyncio.sleep(0.01)
        return "SELECT :n AS n"

    async def main() -> tuple[Any, Any]:
        return (await f.sql(2)).values, only(await f(2))

    assert ({"n": 2}, 2) == asyncio.run(main())


def test_cancelled_task_stops_its_query() -> None:
    """Cancelling the task ends the query, and the database answers the next one."""

    @sql_source
    async def slow() -> str:
        return "SELECT count(*) FROM range(100000000) a, range(1000000) b WHERE a.range + b.range = 7"

    async def main() -> int:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow(), 0.3)
        return int(only(await asyncio.wait_for(later(1), 5)))

    assert 0 == asyncio.run(main())


def test_exceptions_of_the_function_pass_untouched() -> None:
    """What the user's function raises is what the caller gets."""
    mine = KeyError("mine")

    @sql_source
    def f() -> str:
        raise mine

    with pytest.raises(KeyError) as caught:
        f()
    assert mine is caught.value


@pytest.mark.parametrize("returned", [None, 3, b"SELECT 1", ("SELECT 1",), ("SELECT 1", [1]), ("SELECT 1", {}, 1)])
def test_function_that_returns_no_statement(returned: Any) -> None:
    """Something that is no statement is an error that says what a source returns."""

    @sql_source
    def f() -> Any:
        return returned

    with pytest.raises(StatementError, match="return"):
        f()


def test_statement_with_parameters() -> None:
    """A pair of text and mapping binds both the mapping and the arguments; the mapping wins."""

    @sql_source
    def f(a: int, b: int) -> tuple[str, dict[str, int]]:
        return "SELECT :a * 100 + :b * 10 + :c AS x", {"b": 5, "c": 6}

    assert 156 == only(f(1, 2))


def test_sql_file_beside_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is looked for beside the module, wherever the process runs."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.sql").write_text("SELECT :n AS n -- :nothing\n;\n")
    (tmp_path / "shop" / "shop_module.py").write_text(
        textwrap.dedent("""
            from pathlib import Path
            import lore
            @lore.sql_source
            def orders(n): return Path("orders.sql")
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path / "shop"))
    import shop_module  # type: ignore[import-not-found]

    assert 4 == only(shop_module.orders(4))


def test_missing_sql_file_is_named() -> None:
    """A file that is not there is an error with its path."""

    @sql_source
    def f() -> Path:
        return Path("nowhere.sql")

    with pytest.raises(StatementError, match=r"nowhere\.sql"):
        f()


def test_selectable() -> None:
    """An SQLAlchemy selectable runs on DuckDB too, with its own values and the function's arguments."""
    sa = pytest.importorskip("sqlalchemy")
    write_sql(pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]}), "things")
    things = sa.table("things", sa.column("a"), sa.column("b"))

    @sql_source
    def f(least: int, names: list[str]) -> Any:
        chosen = things.c.b.in_(sa.bindparam("names", expanding=True))
        return sa.select(things).where(things.c.a >= sa.bindparam("least"), chosen, things.c.a < 3)

    assert [("y",)] == list(f(2, ["y", "z"])[["b"]].itertuples(index=False, name=None))
    assert f(2, []).empty


def test_selectable_without_its_value() -> None:
    """A parameter of a selectable that no argument answers is named."""
    sa = pytest.importorskip("sqlalchemy")
    with pytest.raises(StatementError, match="least"):
        query(sa.select(sa.bindparam("least", type_=sa.Integer)))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"retries": -1}, "retries"),
        ({"retries": 1.5}, "retries"),
        ({"retries": True}, "retries"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"timeout_s": "1"}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"dtypes": "x"}, "dtypes"),
        ({"decimal": "x"}, "decimal"),
        ({"freshness": ""}, "freshness"),
        ({"freshness": 3}, "freshness"),
        ({"progress": "x"}, "progress"),
        ({"timeout": 3}, "timeout_s"),
        ({"url": 3}, "int"),
        ({"url": "flights"}, "URL"),
    ],
)
def test_wrong_options(options: dict[str, Any], named: str) -> None:
    """A wrong option is a DecorationError at decoration that names it and shows the right spelling."""
    with pytest.raises(DecorationError, match=named) as caught:
        sql_source(**options)
    assert "@lore.sql_source" in str(caught.value)


def test_wrong_targets() -> None:
    """Generators, classes, properties and values are refused at decoration."""

    def generator() -> Iterator[str]:
        yield "SELECT 1"

    for target in (generator, Shop, property(lambda self: "SELECT 1"), "SELECT 1", 3):
        with pytest.raises(DecorationError):
            sql_source()(target)
    with pytest.raises(DecorationError):
        sql_source("duckdb://", 3)  # type: ignore[call-overload]


def test_password_in_a_wrong_url_is_hidden() -> None:
    """Not even the error about a URL shows its password."""
    with pytest.raises(SourceError) as caught:
        query("SELECT 1", "nosuch://me:geheim@host/db")
    assert "geheim" not in str(caught.value)


def test_url_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`$NAME` is read when the function is called, and again when it changes."""

    @sql_source("$WAREHOUSE_URL")
    def f() -> str:
        return "SELECT current_database() AS name"

    with pytest.raises(SourceError, match="WAREHOUSE_URL"):
        f()
    monkeypatch.setenv("WAREHOUSE_URL", "duckdb://")
    assert "memory" == only(f())
    monkeypatch.setenv("WAREHOUSE_URL", "sqlite://")
    with pytest.raises(QueryError, match="current_database"):
        f()


def test_default_url_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """LORE_DATABASE_URL comes before DATABASE_URL, and both before the embedded file."""
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("a", "b")]
    for n, url in enumerate([*urls, None]):
        write_sql(pd.DataFrame({"n": [n]}), "t", url)
    assert 2 == only(query("SELECT n FROM t"))
    monkeypatch.setenv("DATABASE_URL", urls[1])
    assert 1 == only(query("SELECT n FROM t"))
    monkeypatch.setenv("LORE_DATABASE_URL", urls[0])
    assert 0 == only(query("SELECT n FROM t"))


def test_home_may_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The embedded file follows LORE_HOME from call to call."""
    for n in range(2):
        monkeypatch.setenv("LORE_HOME", str(tmp_path / f"home-{n}"))
        write_sql(pd.DataFrame({"n": [n]}), "t")
        assert n == only(query("SELECT n FROM t"))
        assert (tmp_path / f"home-{n}" / "lore.duckdb").exists()


def test_query_takes_parameters_of_any_name() -> None:
    """`sql` and `url` are free for the statement's own use."""
    assert 3 == only(query("SELECT :sql + :url AS total", sql=1, url=2))


def test_timeout() -> None:
    """A query over its time is cancelled, in time, with an error that is a TimeoutError too."""

    @sql_source("duckdb://", timeout_s=0.2)
    def f() -> str:
        return "SELECT count(*) FROM range(100000000) a, range(1000000) b WHERE a.range + b.range = 7"

    with pytest.raises(SourceTimeout, match=r"timeout_s=0\.2") as caught:
        f()
    assert isinstance(caught.value, TimeoutError)
    assert 1 == only(query("SELECT 1 AS one", "duckdb://"))


def test_timeout_of_a_stream() -> None:
    """A stream's first frame is under the same clock."""

    @sql_source("duckdb://", timeout_s=0.2)
    def f() -> str:
        return "SELECT count(*) FROM range(100000000) a, range(1000000) b WHERE a.range + b.range = 7"

    with pytest.raises(SourceTimeout):
        next(iter(f.stream()))


@pytest.mark.parametrize("if_exists", ["", "Replace", None])
def test_wrong_if_exists(if_exists: Any) -> None:
    """An unknown `if_exists` is an error that lists the three."""
    with pytest.raises(StatementError, match="'fail', 'append' or 'replace'"):
        write_sql(pd.DataFrame({"a": [1]}), "t", if_exists=if_exists)


def test_only_frames_are_written() -> None:
    """Something else than a frame is refused by its type."""
    with pytest.raises(StatementError, match="list"):
        write_sql([1], "t")  # type: ignore[arg-type]


def test_named_index_becomes_columns() -> None:
    """A nameless index is left out, a named one is data."""
    frame = pd.DataFrame({"v": [1, 2]}, index=pd.Index(["x", "y"], name="k"))
    write_sql(frame, "named")
    write_sql(frame.rename_axis(None), "nameless")
    assert ["k", "v"] == list(query("SELECT * FROM named").columns)
    assert ["v"] == list(query("SELECT * FROM nameless").columns)


def test_cached_above_sees_fresh_data() -> None:
    """With `freshness` a cached function notices that its table changed."""
    write_sql(pd.DataFrame({"n": [1]}), "t")

    @lore.sql_source(freshness="SELECT max(n) FROM t WHERE n >= :least")
    def rows(least: int) -> str:
        return "SELECT sum(n) AS total FROM t WHERE n >= :least"

    @lore.cached
    def total(least: int) -> int:
        return int(only(rows(least)))

    assert [1, 1] == [total(0), total(0)]
    assert 1 == total.cache_info().hits
    write_sql(pd.DataFrame({"n": [5]}), "t", if_exists="append")
    assert "answers 5 instead of 1" in str(total.cache_explain(0))
    assert [6, 6] == [total(0), total(0)]
    assert 2 == total.cache_info().hits


def test_another_database_is_another_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cached result of one database is not taken for that of another behind the same variable."""
    for n in range(2):
        write_sql(pd.DataFrame({"n": [n]}), "t", f"sqlite:///{tmp_path}/{n}.db")

    @lore.cached
    @lore.sql_source("$WAREHOUSE_URL")
    def rows() -> str:
        return "SELECT n FROM t"

    for n in (0, 1, 1, 0):
        monkeypatch.setenv("WAREHOUSE_URL", f"sqlite:///{tmp_path}/{n}.db")
        assert n == only(rows())


def test_inputs_hold_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written down beside a cached result finds the database again and holds no password."""
    url = f"sqlite:///{tmp_path}/a.db"
    write_sql(pd.DataFrame({"n": [1]}), "t", url)
    monkeypatch.setenv("WAREHOUSE_URL", url)

    @sql_source("$WAREHOUSE_URL", freshness="SELECT max(n) FROM t")
    def f() -> str:
        return "SELECT * FROM t"

    with _inputs.record() as recorder:
        f()
    (item,) = recorder.inputs
    assert "$WAREHOUSE_URL" == item.to_json()["address"]
    again = _inputs.decode(_inputs.encode(item))
    assert again.check() is None
    write_sql(pd.DataFrame({"n": [2]}), "t", url, if_exists="append")
    assert "answers 2 instead of 1" in str(again.check())


def test_password_is_remembered_and_not_written_down(postgres_url: str) -> None:
    """A source with a password in its URL can be asked again in a process that has decorated it, and in no other."""
    url = postgres_url.replace("postgres:@", "postgres:geheim@")

    @sql_source(url, freshness="SELECT 1")
    def f() -> str:
        return "SELECT 1 AS a"

    with _inputs.record() as recorder:
        f()
    facts = _inputs.encode(recorder.inputs[0])
    assert "geheim" not in str(facts)
    assert _inputs.decode(facts).check() is None
    facts = eval(repr(facts).replace("postgres:***@", "other:***@"))
    assert "not known in this process" in str(_inputs.decode(facts).check())


def test_files_read_in_place_are_inputs(tmp_path: Path) -> None:
    """A parquet or csv file that a statement reads is noted, so that a cached function sees it change."""
    path = tmp_path / "it's.csv"
    path.write_text("a,b\n1,x\n2,\n")
    with _inputs.record() as recorder:
        frame = query(f"SELECT * FROM '{str(path).replace(chr(39), chr(39) * 2)}'")
    assert [(1, "x"), (2, None)] == [(a, None if pd.isna(b) else b) for a, b in frame.itertuples(index=False)]
    assert {"file", "source"} == {item.kind for item in recorder.inputs}


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("SELECT sum(a) AS a FROM '{folder}/**/*.parquet'", {}),
        ("SELECT sum(a) AS a FROM read_parquet(:paths)", {"paths": ["{folder}/one.parquet", "{folder}/b/two.parquet"]}),
        ("SELECT sum(a) AS a FROM read_parquet(:path)", {"path": "{folder}/*/two.parquet"}),
        ("SELECT sum(a) AS a FROM read_parquet(:path)", {"path": "{folder}/b/tw*"}),
    ],
)
def test_all_files_read_in_place_are_inputs(tmp_path: Path, sql: str, values: dict[str, Any]) -> None:
    """Files that a statement reads by a pattern, at any depth, or by a list are noted, however they are named."""
    (tmp_path / "b").mkdir()
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "one.parquet")
    pd.DataFrame({"a": [2]}).to_parquet(tmp_path / "b" / "two.parquet")
    paths = json.loads(json.dumps(values).replace("{folder}", str(tmp_path)))
    with _inputs.record() as recorder:
        query(sql.replace("{folder}", str(tmp_path)), **paths)
    assert [None] * len(recorder.inputs) == [item.check() for item in recorder.inputs]
    pd.DataFrame({"a": [2, 3]}).to_parquet(tmp_path / "b" / "two.parquet")
    assert any(item.check() for item in recorder.inputs)


def test_a_file_that_comes_to_match_a_pattern_is_a_change(tmp_path: Path) -> None:
    """A cached function is computed again when there is another file for the pattern that it reads."""
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "one.parquet")

    @lore.cached
    def total() -> int:
        return int(query(f"SELECT sum(a) AS a FROM '{tmp_path}/*.parquet'")["a"][0])

    assert total() == 1
    pd.DataFrame({"a": [10]}).to_parquet(tmp_path / "two.parquet")
    assert total() == 11


def test_parquet_in_place(tmp_path: Path) -> None:
    """A parquet file is a table."""
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}).to_parquet(tmp_path / "t.parquet")
    frame = query(f"SELECT a FROM '{tmp_path}/*.parquet' WHERE a > :least", least=1)
    assert [2] == list(frame["a"])


def test_import_is_light() -> None:
    """Importing the face loads no third-party package."""
    code = (
        "import sys; import lore.io; print(sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'pandas', 'numpy', 'pyarrow', 'duckdb', 'sqlalchemy', 'psycopg2', 'fsspec'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()


@pytest.mark.parametrize(
    ("url", "missing"),
    [
        (None, "duckdb"),
        ("duckdb://", "pandas"),
        ("sqlite://", "pyarrow"),
        ("postgresql://me@host/db", "sqlalchemy"),
        ("postgresql://me@host/db", "psycopg2"),
    ],
)
def test_missing_packages_are_named(url: str | None, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not installed is an error that names it and the extra that brings it."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingDependencyError, match=rf"{missing}.*lore\[sql\]"):
        query("SELECT 1 AS missing", url)


def test_errors_are_lores() -> None:
    """Every error of a query is under LoreError."""
    for wrong in ("SELECT * FROM nowhere", "SELEC 1", "SELECT :a"):
        with pytest.raises(LoreError):
            query(wrong)


def test_missing_table_is_named() -> None:
    """The error of a missing table names it, the function and the database."""

    @sql_source
    def f() -> str:
        return "SELECT * FROM nowhere"

    with pytest.raises(QueryError, match=r"test_missing_table_is_named.*nowhere.*lore\.duckdb"):
        f()


def test_timing_tree_shows_rows() -> None:
    """A timed source tells how many rows it read."""

    @lore.timed
    @lore.sql_source
    def f() -> str:
        return "SELECT range AS i FROM range(2000)"

    f()
    assert "2,000" in str(lore.timing.report()) or "2000" in str(lore.timing.report())
