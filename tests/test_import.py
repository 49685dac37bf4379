"""What `import lore` costs: nothing that the user did not ask for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WATCHED = """
import os, sys, threading
before = set(sys.modules)
touched = []
sys.addaudithook(lambda event, args: touched.append((event, args)) if event == "open" and isinstance(args[2], int)
                 and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else None)
touched.clear()
import lore
{more}
third_party = sorted({{name.partition(".")[0] for name in set(sys.modules) - before
    if "site-packages" in (getattr(sys.modules[name], "__file__", None) or "")}} - {{"lore"}})
writes = [args[0] for event, args in touched if not str(args[0]).endswith(".pyc") and "__pycache__" not in str(args[0])]
print(third_party, threading.active_count(), writes, file=sys.stderr)
"""


def run(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)


def test_importing_lore_is_free(tmp_path: Path) -> None:
    """`import lore` loads no third-party package, starts no thread, prints nothing and writes nothing."""
    done = run(WATCHED.format(more=""), tmp_path)
    assert (done.stdout, done.stderr) == ("", "[] 1 []\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("face", ["cached", "timed", "sql_source", "endpoint"])
def test_decorating_loads_no_heavy_package(face: str, tmp_path: Path) -> None:
    """Decorating a function loads none of the packages that only some functions need, and writes nothing."""
    decorated = f"@lore.{face}\ndef f(x: int) -> str:\n    return 'SELECT 1'\n"
    done = run(WATCHED.format(more=decorated), tmp_path)
    loaded = done.stderr.partition("]")[0].strip("[").replace("'", "").split(", ")
    assert done.stdout == ""
    assert set(loaded) <= {"", "attr", "attrs", "xxhash", "_xxhash"}
    assert done.stderr.endswith("] 1 []\n")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_name_is_an_attribute_error() -> None:
    """A name that lore does not have is an AttributeError that names it."""
    import lore

    with pytest.raises(AttributeError, match="no attribute 'cache_me'"):
        lore.cache_me  # type: ignore[attr-defined]
