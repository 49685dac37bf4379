"""From texts and arguments to statements: what is a parameter, what is left alone, what values become."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import ipaddress
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore._querying.statements import Statement, bind, plain, read_template, render
from lore.errors import LoreError, StatementError


def rendered(text: str, **arguments: Any) -> tuple[str, list[Any]]:
    """Render with `$n` places and untouched values."""
    return render(bind(text, arguments, "test"), placeholder="${}".format, adapt=lambda value: value)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '2020-01-01 10:30:00'::timestamp, x::int, y::numeric(10,2)[]",
        "SELECT ':name', 'it''s :name', E'it\\'s :name', '100%'",
        'SELECT "a:name" FROM "odd "" :name"',
        "SELECT `a:name`",
        "SELECT 1 -- not :name\n, 2",
        "SELECT 1 /* :name /* nested :name */ :name */, 2",
        "SELECT $$ :name $$, $tag$ :name $$ :name $tag$",
        "SELECT a[1:2], a[i:j], a[lower(x):upper(y)]",
        "SELECT payload ? 'key', payload ?| array['a'], payload @? '$.a'",
        "SELECT {'a':b}, payload:field, (f(x)):field",
        "CALL f(x := 3)",
        "SELECT 1 % 2, '%s', '%(name)s', 'a%'",
        "SELECT $1, 5$a",
    ],
)
def test_left_alone(text: str) -> None:
    """Casts, literals, quoted names, comments, slices, operators and percent signs are no parameters."""
    assert (text, []) == rendered(text, name=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT :a", "SELECT $1"),
        ("SELECT :a::int", "SELECT $1::int"),
        ("SELECT f(:a,:a)", "SELECT f($1,$2)"),
        ("SELECT x=:a", "SELECT x=$1"),
        ("SELECT x[:a]", "SELECT x[$1]"),
        ("SELECT - :a /* :b */ -- :c\n+ :a", "SELECT - $1 /* :b */ -- :c\n+ $2"),
        ("SELECT ':x' || :a || $$:y$$", "SELECT ':x' || $1 || $$:y$$"),
        ("SELECT :a ;  \n", "SELECT $1"),
        ("SELECT :größe", "SELECT $1"),
        ("SELECT interval '1 day'*:a", "SELECT interval '1 day'*$1"),
        ("SELECT :a--:b\n+ 1", "SELECT $1--:b\n+ 1"),
    ],
)
def test_parameters_found(text: str, expected: str) -> None:
    """A colon and a name behind anything that cannot own it is a parameter."""
    assert expected == rendered(text, a=1, größe=2)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WHERE x IN :ids", "WHERE x IN ($1, $2)"),
        ("WHERE x in (:ids)", "WHERE x IN ($1, $2)"),
        ("WHERE x NOT IN :ids", "WHERE x NOT IN ($1, $2)"),
        ("WHERE x not  in\n ( /* all */ :ids )", "WHERE x NOT IN ($1, $2)"),
        ("WHERE x IN (7, :ids)", "WHERE x IN (7, $1, $2)"),
        ("WHERE x IN (SELECT y FROM z WHERE y = :one)", "WHERE x IN (SELECT y FROM z WHERE y = $1)"),
        ("WHERE x IN :one", "WHERE x IN ($1)"),
        ("WHERE x = ANY(:ids)", "WHERE x = ANY($1)"),
        ("WHERE x IN :none", "WHERE x IN (SELECT NULL WHERE 1 = 0)"),
        ("WHERE x NOT IN (:none)", "WHERE x NOT IN (SELECT NULL WHERE 1 = 0)"),
        ("WHERE (a, b) IN :none", "WHERE (a, b) IN (SELECT NULL, NULL WHERE 1 = 0)"),
        ("WHERE f(a, b) IN :none", "WHERE f(a, b) IN (SELECT NULL WHERE 1 = 0)"),
        ("WHERE (a, b) IN :pairs", "WHERE (a, b) IN (($1, $2), ($3, $4))"),
        ("WHERE x IN (7, :none)", "WHERE x IN (7, NULL)"),
        ("WHERE main IN :ids", "WHERE main IN ($1, $2)"),
    ],
)
def test_lists_expand_after_in(text: str, expected: str) -> None:
    """A list after IN becomes one place per member, an empty one matches nothing."""
    arguments = {"ids": [1, 2], "one": 1, "none": [], "pairs": [(1, 2), (3, 4)]}
    assert expected == rendered(f"SELECT 1 {text}", **arguments)[0].removeprefix("SELECT 1 ")


def test_values_follow_their_places() -> None:
    """Values come in the order of the places, repeated where a name is."""
    _, values = rendered("SELECT :b, :a, x IN :ids, :b", a=1, b="two", ids=(3, 4))
    assert ["two", 1, 3, 4, "two"] == values


def test_empty_list_beside_others_in_not_in_is_refused() -> None:
    """NOT IN with an empty list among other members would answer wrongly, so it is an error that names the list."""
    with pytest.raises(StatementError, match=":none"):
        rendered("SELECT 1 WHERE x NOT IN (1, :none)", none=[])


def test_missing_argument_is_named() -> None:
    """A parameter that no argument answers is an error with its name, the function's and the arguments there are."""
    with pytest.raises(StatementError, match=r"shop\.orders: .*:month.*Arguments: year") as caught:
        bind("SELECT :month, :year", {"year": 2020}, "shop.orders")
    assert isinstance(caught.value, LoreError)
    assert isinstance(caught.value, ValueError)


def test_unused_argument_is_fine() -> None:
    """An argument that the statement does not use is left aside."""
    assert {"a": 1} == bind("SELECT :a", {"a": 1, "model": object()}, "test").values


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE x; --", "SELECT 1;;SELECT 2"])
def test_two_statements_are_refused(text: str) -> None:
    """A second statement could leave the read-only transaction of the first."""
    with pytest.raises(StatementError, match="more than one"):
        rendered(text)


@pytest.mark.parametrize("text", ["", "  \n ", "-- nothing", "/* :a */ ;"])
def test_no_statement_is_refused(text: str) -> None:
    """A text without a statement is an error and not an empty result."""
    with pytest.raises(StatementError, match="no statement"):
        rendered(text)


@pytest.mark.parametrize("text", ["SELECT 'open", 'SELECT "open', "SELECT /* open", "SELECT $$ open", "SELECT E'open"])
def test_open_ends_are_left_to_the_database(text: str) -> None:
    """What is never closed is passed on: the database has the better message."""
    assert text == rendered(text)[0]


def test_backslashes_escape_where_the_dialect_says_so() -> None:
    """MySQL's strings may hold an escaped quote."""
    text = r"SELECT 'it\'s :a', :a"
    assert ("a",) == read_template(text, backslashes=True).names
    assert (
        r"SELECT 'it\'s :a', ?"
        == render(bind(text, {"a": 1}, "test", backslashes=True), placeholder=lambda _: "?", adapt=lambda value: value)[
            0
        ]
    )


def test_percent_and_colons_are_escaped_on_request() -> None:
    """Drivers that format get doubled percent signs, SQLAlchemy's text() gets escaped colons."""
    statement = bind("SELECT '5%' || ':x'::text || :a", {"a": 1}, "test")
    assert (
        "SELECT '5%%' || '\\:x'\\:\\:text || %s"
        == render(statement, placeholder=lambda _: "%s", adapt=lambda v: v, percent=True, escape_colons=True)[0]
    )


class Color(enum.Enum):
    RED = "red"


UNIQUE = uuid.uuid4()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (np.bool_(True), True),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float32(0.5), 0.5),
        (np.str_("x"), "x"),
        (np.bytes_(b"x"), b"x"),
        (np.datetime64("2020-01-02T03:04:05"), dt.datetime(2020, 1, 2, 3, 4, 5)),
        (np.datetime64("2020-01-02"), dt.datetime(2020, 1, 2)),
        (np.datetime64("NaT", "us"), None),
        (np.timedelta64(90, "s"), dt.timedelta(seconds=90)),
        (np.array(7), 7),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2020-01-02", tz="UTC"), dt.datetime(2020, 1, 2, tzinfo=dt.UTC)),
        (pd.Timedelta("1h"), dt.timedelta(hours=1)),
        (dt.date(2020, 1, 2), dt.date(2020, 1, 2)),
        (dt.time(1, 2), dt.time(1, 2)),
        (decimal.Decimal("1.50"), decimal.Decimal("1.50")),
        (UNIQUE, UNIQUE),
        (b"x", b"x"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (Color.RED, "red"),
        (Path("a/b"), "a/b"),
        (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
        ({"a": [1, None]}, {"a": [1, None]}),
        ([1, np.int64(2), None], [1, 2, None]),
        ((1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        ({5}, [5]),
        ({"k": 1}.keys(), ["k"]),
        (np.array([1, 2]), [1, 2]),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), [dt.datetime(2020, 1, 1)]),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Index(["a"]), ["a"]),
        (pd.Categorical(["a", "b"]), ["a", "b"]),
        ([(1, np.int64(2))], [(1, 2)]),
        ([[1], [2]], [[1], [2]]),
    ],
)
def test_values_become_plain(value: Any, expected: Any) -> None:
    """Scalars of every library become Python's own, collections lists."""
    made = plain(value)
    assert expected == made
    assert type(expected) is type(made)


@pytest.mark.parametrize("value", [object(), 1j, lambda: 1, pd.Interval(0, 1), [object()], {"a": object()}])
def test_other_values_are_refused_without_being_shown(value: Any) -> None:
    """A value that no database takes is an error that names parameter and type and does not show the value."""
    with pytest.raises(StatementError, match=":secret") as caught:
        bind("SELECT :secret", {"secret": value}, "test")
    assert "0x" not in str(caught.value)


def test_statement_shows_itself() -> None:
    """`str` shows text and values, `repr` no value."""
    statement = bind("SELECT :a", {"a": "geheim"}, "shop.orders")
    assert "SELECT :a\n-- :a = 'geheim' (str)" == str(statement)
    assert "geheim" not in repr(statement)
    assert "shop.orders" in repr(statement)
    assert ("SELECT :a", ("a",), {"a": "geheim"}) == (statement.statement, statement.parameters, statement.values)


def test_statements_compare_by_text_and_values() -> None:
    """Two statements are equal when they would ask the same."""
    one, same, other = (bind("SELECT :a", {"a": n}, "test") for n in (1, 1, 2))
    assert one == same
    assert one != other
    assert one != "SELECT :a"


@given(st.text(alphabet="ab:'\"$-/*;()[] \n%?\\e1,=<>INin", max_size=40))
def test_any_text_is_read_without_loss(text: str) -> None:
    """Whatever the text, its parts put together give it back, but for a trailing semicolon."""
    try:
        template = read_template(text)
    except StatementError:
        return
    whole = "".join(part if isinstance(part, str) else part.written for part in template.parts)
    assert text.startswith(whole)
    assert text[len(whole) :].lstrip()[:1] in {"", ";"}


@given(st.text(max_size=60))
def test_quoted_text_holds_no_parameters(text: str) -> None:
    """Nothing inside a quoted string is ever a parameter."""
    quoted = "'" + text.replace("'", "''") + "'"
    assert () == read_template(f"SELECT {quoted}").names
    assert f"SELECT {quoted}" == rendered(f"SELECT {quoted}")[0]


def test_statement_type_is_public() -> None:
    """What `f.sql()` returns can be named in annotations."""
    import lore.io

    assert lore.io.Statement is Statement
