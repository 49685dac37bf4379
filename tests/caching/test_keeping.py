"""What is kept of a call, and what is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import lore
from lore import cache, errors
from lore._caching.stores import FolderStore

RATE = 1


def test_a_result_during_which_the_code_changed_is_not_kept() -> None:
    """What ran while a global it reads was set to something else is stored under neither value."""
    during: list[Callable[[], None]] = []

    def set_rate(rate: int) -> None:
        globals()["RATE"] = rate

    class Between:
        def __lore_fingerprint__(self) -> str:
            return "between"

        def happens(self) -> None:
            for call in during:
                call()

    @lore.cached
    def scaled(x: int, between: Between) -> int:
        between.happens()
        return x * RATE

    set_rate(1)
    during.append(lambda: set_rate(2))
    try:
        assert scaled(1, Between()) == 2
        during.clear()
        set_rate(1)
        assert scaled(1, Between()) == 1
        assert scaled.cache_contains(1, Between())
    finally:
        set_rate(1)


@pytest.mark.parametrize("memory", [0, 2])
@pytest.mark.parametrize(
    "make", [iter, lambda items: map(str, items), lambda items: zip(items, items, strict=True), enumerate]
)
def test_what_is_used_up_by_its_first_reader_is_not_kept(memory: int, make: Any) -> None:
    """Every caller gets an iterator of its own."""

    @lore.cached(memory=memory, code=False)
    def items() -> Any:
        return make([1, 2])

    with warnings.catch_warnings(action="ignore"):  # one warning a function and process
        assert len(list(items())) == 2
    assert len(list(items())) == 2
    assert not items.cache_contains()


def test_an_open_file_is_not_kept(tmp_path: Path) -> None:
    """A function that returns an open file hands out an open file each time, and a warning says so."""
    path = tmp_path / "a.txt"
    path.write_text("a")

    @lore.cached(code=False)
    def opened(name: str) -> Any:
        return open(name)

    with pytest.warns(errors.LoreWarning, match="used once"), opened(str(path)) as file:
        assert file.name == str(path)
    with opened(str(path)) as file:
        assert file.name == str(path)


def test_limits_are_read_when_they_are_given(tmp_path: Path) -> None:
    """A folder's limits may be written as a text and a timedelta; what is neither is refused at once."""
    store = FolderStore(tmp_path, max_bytes="5MB", max_age_s=timedelta(hours=1))
    assert (store.max_bytes, store.max_age_s) == (5_000_000, 3600.0)
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"max_bytes": [1]}, TypeError),
        ({"max_bytes": -1}, ValueError),
        ({"max_bytes": "much"}, ValueError),
        ({"max_age_s": "1h"}, TypeError),
        ({"max_age_s": -1}, ValueError),
    ]
    for options, error in wrong:
        with pytest.raises(error, match="no "):
            FolderStore(tmp_path, **options)


def test_prune_refuses_what_is_no_limit() -> None:
    """An age that is a text or negative is refused in words, on an empty store too."""
    with pytest.raises(TypeError, match=r"timedelta\(hours=1\)"):
        cache.prune(older_than="1h")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="older_than=-5"):
        cache.prune(older_than=-5)
    with pytest.raises(TypeError, match="500MB"):
        cache.prune(max_bytes=[1])  # type: ignore[arg-type]


def test_options_that_mean_nothing_are_refused() -> None:
    """A ttl beyond every number and a store without a name are wrong options like any others."""
    with pytest.raises(errors.DecorationError, match="ttl"):
        cache.cached(ttl=10**400)
    with pytest.raises(errors.DecorationError, match="store"):
        cache.cached(store="")
