"""The tree of errors: lore's own root, the builtin a caller would catch, and pickling."""

from __future__ import annotations

import pickle

import pytest

from lore import errors

TREE = [
    (errors.LoreError, Exception, Exception),
    (errors.DecorationError, errors.LoreError, TypeError),
    (errors.MissingDependencyError, errors.LoreError, ImportError),
    (errors.CacheError, errors.LoreError, Exception),
    (errors.UnkeyableArgument, errors.CacheError, TypeError),
    (errors.StoreError, errors.CacheError, OSError),
    (errors.IntegrityError, errors.CacheError, ValueError),
    (errors.SourceError, errors.LoreError, Exception),
    (errors.StatementError, errors.SourceError, ValueError),
    (errors.QueryError, errors.SourceError, Exception),
    (errors.SourceTimeout, errors.SourceError, TimeoutError),
    (errors.ServeError, errors.LoreError, Exception),
    (errors.RequestError, errors.ServeError, ValueError),
    (errors.EncodingError, errors.ServeError, TypeError),
]


@pytest.mark.parametrize(("error", "parent", "builtin"), TREE)
def test_stands_under_lore_and_under_a_builtin(error: type, parent: type, builtin: type) -> None:
    """Each error can be caught as lore's and as the builtin that a caller would already catch."""
    assert issubclass(error, parent)
    assert issubclass(error, builtin)


@pytest.mark.parametrize("error", [error for error, _, _ in TREE])
def test_travels_between_processes(error: type[Exception]) -> None:
    """An error that crosses a process boundary keeps its class and message."""
    back = pickle.loads(pickle.dumps(error("what happened")))
    assert type(back) is error
    assert str(back) == "what happened"


def test_request_error_keeps_where_and_why() -> None:
    """A RequestError carries the place and the reason as attributes, also after pickling."""
    back = pickle.loads(pickle.dumps(errors.RequestError("/distance", "must be positive")))
    assert (back.where, back.why, str(back)) == (
        "/distance",
        "must be positive",
        "/distance: must be positive",
    )


def test_missing_dependency_keeps_its_facts() -> None:
    """A MissingDependencyError carries the package and the extra, also after pickling."""
    error = errors.MissingDependencyError("no duckdb", name="duckdb", extra="sql")
    back = pickle.loads(pickle.dumps(error))
    assert (back.name, back.extra, str(back)) == ("duckdb", "sql", "no duckdb")
