"""What the tests with big packages share: running an example as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.giants)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give a process of its own home, and find the examples."""
    return {
        **os.environ,
        "LORE_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES / "flights"), str(EXAMPLES / "parallel")]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Callable[..., str]:
    """Run Python with arguments in a folder of its own and return what it prints."""

    def run(*arguments: str | Path, timeout: float = 300) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    return run
