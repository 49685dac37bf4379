"""Airflow runs the flights pipeline: decorated functions as tasks, `Ref`s through XCom, retries that find what is done."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

# Airflow is run, never imported here: its modules of deprecated names warn whoever looks at every module, as skops does.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("airflow") is None, reason="needs apache-airflow")


@pytest.fixture
def airflow_home(environment: dict[str, str], tmp_path: Path) -> Path:
    """Give Airflow a database of its own and the example's folder."""
    environment.update(
        AIRFLOW_HOME=str(tmp_path / "airflow"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_FOLDER=str(EXAMPLES / "airflow"),
    )
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return tmp_path / "airflow"


def test_the_flights_dag(run: Callable[..., str], airflow_home: Path, tmp_path: Path) -> None:
    """The DAG succeeds, a task that fails after its work is done finds it when tried again, and a second run is short."""
    first = run(EXAMPLES / "airflow" / "flights_dag.py", tmp_path, timeout=600)
    assert "state: success" in first
    assert (tmp_path / "failed-once").exists()
    figures = re.search(r"figures: .*", first)
    assert figures is not None
    assert len(re.findall(r"function=flights\.model\.fit ", first)) <= 1
    second = run(EXAMPLES / "airflow" / "flights_dag.py", tmp_path, timeout=600)
    assert figures.group() in second
    assert "function=flights.model.fit " not in second
