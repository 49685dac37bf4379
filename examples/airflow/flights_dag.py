"""
The flights pipeline as an Airflow DAG: its tasks call the decorated functions of `examples/flights`.

What travels through XCom is a `Ref`, a short text that finds the result in the store. A task that is tried again, or a
DAG run that is started again, finds what is already done there.

Put this file into the DAGS_FOLDER and `examples/flights` onto the PYTHONPATH, and point LORE_HOME at a folder that all
workers see. `python flights_dag.py` runs the DAG once in this process.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.sdk import dag, task

from lore.cache import Ref

ONCE = {"retries": 2, "retry_delay": timedelta(seconds=1)}


@task(**ONCE)
def load() -> dict[str, int]:
    """Load the csv files into the embedded database; nothing where that is done."""
    from flights.data import load_database

    return load_database()


@task(**ONCE)
def table(months: list[int], loaded: dict[str, int]) -> str:
    """Make the features of some months; the value that travels is the text of a Ref."""
    from flights import features

    return features.table.cache_ref(months)


@task(**ONCE)
def fit(flights: str, leaves: int, folder: str = "") -> str:
    """Fit a model on the features behind a Ref; given a folder, fail once after the work is done, as a lost worker."""
    from flights import model

    fitted = model.fit.cache_ref(Ref(flights), leaves)
    if folder and not os.path.exists(marker := os.path.join(folder, "failed-once")):
        open(marker, "w").close()
        raise RuntimeError("the worker is lost after the work was done")
    return fitted


@task(**ONCE)
def judge(fitted: str, flights: str) -> dict[str, float]:
    """Judge a model on months it has not seen."""
    from flights import model

    table = Ref(flights).load()
    return model.scores(table["late"], model.judged(Ref(fitted), Ref(flights)))


@dag(schedule=None, start_date=datetime(2013, 1, 1), catchup=False, params={"folder": ""})
def flights() -> None:
    """From csv files to a judged model."""
    loaded = load()
    seen = table.override(task_id="seen")([1, 2, 3, 4, 5, 6, 7, 8], loaded)
    unseen = table.override(task_id="unseen")([10, 11, 12], loaded)
    judge(fit(seen, leaves=15, folder="{{ params.folder }}"), unseen)


pipeline = flights()

if __name__ == "__main__":
    import sys

    run = pipeline.test(run_conf={"folder": sys.argv[1]} if len(sys.argv) > 1 else None)
    figures = next(ti.xcom_pull(task_ids="judge") for ti in run.get_task_instances() if ti.task_id == "judge")
    print("state:", run.state)
    print("figures:", {name: round(value, 4) for name, value in figures.items()})
