"""scikit-learn: pipelines and grid searches whose inner fits are cached, and versions in the validity of a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import lore


class Squares(TransformerMixin, BaseEstimator):
    """A transformer of the user's own that counts its fits."""

    def __init__(self, power: int = 2) -> None:
        self.power = power

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> Squares:
        _note(self.power)
        self.mean_ = x.mean()
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        return np.hstack([x, x**self.power])


def _note(power: int) -> None:
    """Count fits in a file: a list in this module would be part of the class's own validity."""
    with Path(os.environ["LORE_HOME"], "fits").open("a") as log:
        log.write(f"{power}\n")


def fits() -> list[int]:
    """Return the fits since the last time this was asked."""
    log = Path(os.environ["LORE_HOME"], "fits")
    powers = [int(line) for line in log.read_text().split()] if log.exists() else []
    log.unlink(missing_ok=True)
    return powers


def problem() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(300, 4))
    return x, x @ [1, 2, 3, 4] + x[:, 0] ** 2


def pipeline() -> Pipeline:
    memory = lore.cache.Memory()
    return Pipeline([("scale", StandardScaler()), ("squares", Squares()), ("ridge", Ridge())], memory=memory)


def test_a_grid_search_fits_each_step_once() -> None:
    """A grid over the last step fits the steps before it once per fold, and a second search fits none of them."""
    grid = {"ridge__alpha": [0.1, 1.0, 10.0, 100.0]}
    search = GridSearchCV(pipeline(), grid, cv=3).fit(*problem())
    assert len(fits()) == 3 + 1
    again = GridSearchCV(pipeline(), grid, cv=3).fit(*problem())
    assert fits() == []
    assert again.best_params_ == search.best_params_
    assert np.array_equal(again.predict(problem()[0]), search.predict(problem()[0]))


def test_a_step_with_other_parameters_is_fitted_again() -> None:
    """Another parameter of a step, or another array, is another fit."""
    x, y = problem()
    pipeline().fit(x, y)
    pipeline().set_params(squares__power=3).fit(x, y)
    pipeline().fit(x + 1, y)
    assert fits() == [2, 3, 2]


def test_a_pipeline_with_a_memory_survives_clone_and_pickle() -> None:
    """A pipeline with a Memory is cloned and pickled like any other."""
    import pickle

    from sklearn.base import clone

    copy = pickle.loads(pickle.dumps(clone(pipeline())))
    assert np.array_equal(copy.fit(*problem()).predict(problem()[0]), pipeline().fit(*problem()).predict(problem()[0]))


MODEL = """
import lore
from sklearn.linear_model import Ridge

@lore.cached
def fit(x, y):
    print("fitting")
    return Ridge().fit(x, y)

import numpy as np
fit(np.eye(3), np.arange(3))
"""


def test_the_version_of_the_package_is_part_of_the_validity(
    run: Callable[..., str], environment: dict[str, str], tmp_path: Path
) -> None:
    """Where another version of scikit-learn is installed the model is fitted again, and the explanation names it."""
    import sklearn

    script = tmp_path / "script.py"
    script.write_text(MODEL + "print(fit.cache_explain(np.eye(3), np.arange(3)))\n")
    assert "fitting" in run(script)
    assert "fitting" not in run(script)
    # the same package under another version: a copy of its metadata, found before the real one
    installed = Path(sklearn.__file__).parents[1]
    real = next(installed.glob("scikit_learn-*.dist-info"))
    other = tmp_path / "site-packages"
    other.mkdir()
    (other / "sklearn").symlink_to(installed / "sklearn")
    for libraries in installed.glob("scikit_learn.libs"):
        (other / libraries.name).symlink_to(libraries)
    metadata = other / "scikit_learn-0.0.1.dist-info"
    metadata.mkdir()
    for file in real.iterdir():
        if file.is_file():
            text = file.read_bytes()
            (metadata / file.name).write_bytes(
                text.replace(f"Version: {sklearn.__version__}".encode(), b"Version: 0.0.1", 1)
                if file.name == "METADATA"
                else text
            )
    environment["PYTHONPATH"] = str(other)
    script.write_text(
        MODEL.replace("fit(np.eye(3), np.arange(3))", "") + "print(fit.cache_explain(np.eye(3), np.arange(3)))\n"
    )
    explained = run(script)
    assert "scikit-learn" in explained
    assert "0.0.1" in explained
