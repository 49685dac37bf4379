"""Nesting is told from the bytes, before anything is decoded."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore._serving.nesting import DEEPEST, too_deep

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='[]{}"\\ab', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='[{"\\', max_size=3), inner, max_size=4)
    ),
    max_leaves=30,
)


@given(JSON)
def test_what_is_flat_is_never_refused(value: Any) -> None:
    """A shallow value is not deep, whatever brackets stand in its strings and however often it is repeated."""
    assert not too_deep(json.dumps([value] * 300).encode())


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
@pytest.mark.parametrize("closed", [True, False])
def test_the_limit_is_exact(opening: str, closing: str, closed: bool) -> None:
    """`DEEPEST` levels pass and one more does not, closed or not, also beside strings full of brackets."""
    levels = len(opening.replace('"a":', ""))
    for extra, expected in ((0, False), (1, True)):
        n = DEEPEST // levels + extra
        text = opening * n + '"]]]]}}[["' + closing * n * closed
        assert too_deep(text.encode()) is expected


@pytest.mark.parametrize("body", [b"[" * 5_000_000, b"[" * 2_500_000 + b"]" * 2_500_000, b'["",' * 1_000_000])
def test_a_hostile_body_is_told_quickly(body: bytes) -> None:
    """Millions of brackets are refused in the time of reading them a few times over."""
    begin = time.process_time()
    assert too_deep(body)
    assert time.process_time() - begin < 0.5
