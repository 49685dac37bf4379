"""The fixtures of `lore.testing`, used as a user uses them: as a plugin of a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PLUGIN = 'pytest_plugins = ["lore.testing"]\n'
TESTS = '''
import os
import time
import lore
import pytest

@lore.timed
def wait(clock, seconds):
    """Pretend to take so long."""
    clock.advance(seconds)
    if seconds > 5:
        raise ValueError
    return seconds

@lore.cached(ttl=60)
def square(x):
    return x * x

@lore.cached
@lore.timed
def cube(x):
    return x ** 3

def test_home(lore_home):
    assert os.environ["LORE_HOME"] == str(lore_home)
    assert "LORE_DATABASE_URL" not in os.environ

def test_clock(lore_home, lore_clock, lore_timing):
    assert wait(lore_clock, 2.5) == 2.5
    with pytest.raises(ValueError):
        wait(lore_clock, 10)
    info = wait.timing_info()
    assert (info.min_s, info.max_s, info.total_s) == (2.5, 10, 12.5)
    lore_timing.assert_called(wait, times=2, errors=1)
    assert [fields["elapsed_s"] for event, fields in lore_timing.events if event == "timed"] == [2.5, 10.0]

def test_counts_since_the_test_began(lore_home, lore_clock, lore_timing):
    assert lore_timing.calls(wait) == 0
    wait(lore_clock, 1)
    lore_timing.assert_called(wait)
    lore_timing.assert_within(wait, 10)
    with pytest.raises(AssertionError, match="was called 1 times"):
        lore_timing.assert_called(wait, times=2)
    with pytest.raises(AssertionError, match="took 10 s"):
        lore_timing.assert_within(wait, 9.9)

@pytest.mark.parametrize("round_", [1, 2])
def test_store_is_empty_each_time(lore_cache, round_):
    assert lore_cache.assert_computed(square, 3) == 9
    assert lore_cache.assert_hit(square, x=3) == 9
    assert lore_cache.outcomes(square) == ["miss", "hit"]
    with pytest.raises(AssertionError, match="expected to be hit and was computed"):
        lore_cache.assert_hit(square, 4)

def test_age(lore_cache, lore_clock):
    lore_cache.assert_computed(square, 3)
    lore_clock.advance(59)
    lore_cache.assert_hit(square, 3)
    lore_clock.advance(2)
    lore_cache.assert_computed(square, 3)

def test_both(lore_cache, lore_timing):
    lore_cache.assert_computed(cube, 2)
    lore_cache.assert_hit(cube, 2)
    lore_timing.assert_called(cube)

def test_not_decorated(lore_timing, lore_cache):
    with pytest.raises(AssertionError, match="not under lore.timed"):
        lore_timing.calls(print)
    with pytest.raises(AssertionError, match="not under lore.cached"):
        lore_cache.assert_hit(print)
'''


def test_fixtures_do_what_they_say(tmp_path: Path) -> None:
    """A suite of its own that uses every fixture passes."""
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "test_user.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "LORE_DATABASE_URL": "sqlite://"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout
