"""In an environment with no extras lore works as far as it can and names what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Install lore without extras into a fresh virtual environment, as a user would."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = str(folder / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "-q", str(ROOT)], check=True, capture_output=True, cwd=folder, timeout=300
    )
    return python


def run(python: str, code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)


MISSING = [
    ("lore.io.query('SELECT 1')", "sql"),
    ("lore.io.query('SELECT 1', 'sqlite://')", "sql"),
    ("lore.io.read('x.parquet')", "sql"),
    ("lore.io.write([1], 'x.joblib')", "sklearn"),
    ("lore.io.read('s3://bucket/x.json')", "remote"),
    ("lore.serve.app(lore.endpoint(lambda: 1))", "serve"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "extra"), MISSING)
def test_what_is_missing_is_named(bare_python: str, call: str, extra: str, tmp_path: Path) -> None:
    """What needs an extra that is not installed raises MissingDependencyError with the command that installs it."""
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    code = (
        "import lore, lore.errors\n"
        f"try:\n    {call}\n"
        "except lore.errors.MissingDependencyError as error:\n"
        "    print(error.extra, isinstance(error, ImportError), str(error))\n"
    )
    done = run(bare_python, code, tmp_path)
    assert done.stdout.startswith(f"{extra} True "), done.stdout + done.stderr
    assert f"pip install 'lore[{extra}]'" in done.stdout


@pytest.mark.slow
def test_what_needs_no_extra_works(bare_python: str, tmp_path: Path) -> None:
    """`cached`, `timed` and json, csv-free reading and writing work with nothing but lore's own requirements."""
    code = """
import lore

@lore.timed
@lore.cached
def double(x):
    return {"twice": 2 * x}

assert double(4) == double(4) == {"twice": 8}
assert double.cache_info().hits == 1 and double.timing_info().count == 2
lore.io.write({"a": [1, 2]}, "x.json")
assert lore.io.read("x.json") == {"a": [1, 2]}
lore.timing.report()
"""
    done = run(bare_python, code, tmp_path)
    assert done.returncode == 0, done.stderr
