"""Hubs: a stored result is published as a folder that others can open, and loaded from there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lore
from lore.errors import CacheError, IntegrityError, StoreError

pytest.importorskip("skops", reason="needs skops")
pytest.importorskip("safetensors", reason="needs safetensors")
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

EXAMPLES = Path(__file__).parents[2] / "examples"


@lore.cached
def result(kind: str) -> Any:
    return {
        "forest": lambda: RandomForestRegressor(5, random_state=0).fit(np.eye(4), np.arange(4)),
        "pipeline": lambda: make_pipeline(StandardScaler(), Ridge()).fit(np.eye(4), np.arange(4)),
        "frame": lambda: pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        "array": lambda: np.arange(12.0).reshape(3, 4).T,
        "arrays": lambda: {"w": np.eye(3), "b": np.zeros(3, "float32")},
        "plain": lambda: {"name": "x|y", "values": [1, 2.5, None, True]},
        "other": lambda: {1, 2, 3},
    }[kind]()


@pytest.mark.parametrize("place", ["folder", "memory"])
@pytest.mark.parametrize("kind", ["pipeline", "forest", "frame", "array", "arrays", "plain"])
def test_what_is_published_comes_back(kind: str, place: str, tmp_path: Path) -> None:
    """Estimators, frames, arrays and plain data come back equal from a folder and from a remote file system."""
    to = str(tmp_path / "hub" / kind) if place == "folder" else f"memory://hub/{kind}"
    trusted = ["sklearn.tree._tree.Tree"] if kind == "forest" else []
    back = lore.cache.fetch(lore.cache.publish(result.cache_ref(kind), to), trusted=trusted)
    if kind in ("forest", "pipeline"):
        assert np.array_equal(back.predict(np.eye(4)), result(kind).predict(np.eye(4)))
    else:
        assert lore.cache.fingerprint(back) == lore.cache.fingerprint(result(kind))


def test_the_card_says_what_lore_knows(tmp_path: Path) -> None:
    """The folder has a card with a head that hubs read, the origin, and the versions, without being told any of it."""
    lore.cache.publish(
        result.cache_ref("plain"), tmp_path / "x", metrics={"auc": 0.75}, license="mit", tags=["tabular"]
    )
    card = (tmp_path / "x" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: lore\nlicense: mit\ntags:\n- lore\n- tabular\n---\n")
    assert "test_hub.result" in card
    assert "| auc | 0.75 |" in card
    made = json.loads((tmp_path / "x" / "lore.json").read_text())
    assert made["arguments"] == {"kind": "'plain'"}
    assert made["python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
    pinned = dict(line.split("==") for line in (tmp_path / "x" / "requirements.txt").read_text().split())
    assert pinned["pandas"] == pd.__version__


def test_what_has_no_safe_format_is_refused(tmp_path: Path) -> None:
    """A value that only a pickle could hold is refused, and nothing is written."""
    with pytest.raises(CacheError, match="set has no format"):
        lore.cache.publish(result.cache_ref("other"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


class Mine(BaseEstimator):
    """An estimator that skops does not know."""

    def fit(self) -> Mine:
        self.fitted_ = True
        return self


@lore.cached
def mine() -> Mine:
    return Mine().fit()


def test_unknown_types_are_named_and_must_be_trusted(tmp_path: Path) -> None:
    """An estimator of a class that skops does not vouch for is loaded only where its type is named as trusted."""
    place = lore.cache.publish(mine.cache_ref(), tmp_path / "x")
    with pytest.raises(IntegrityError, match=r"test_hub\.Mine"):
        lore.cache.fetch(place)
    assert lore.cache.fetch(place, trusted=["test_hub.Mine"]).fitted_


def test_other_versions_are_named(tmp_path: Path) -> None:
    """A result made under other versions is loaded with a warning that names them."""
    place = lore.cache.publish(result.cache_ref("plain"), tmp_path / "x")
    origin = tmp_path / "x" / "lore.json"
    made = json.loads(origin.read_text())
    made["packages"]["pandas"] = "0.1"
    origin.write_text(json.dumps(made))
    with pytest.warns(lore.errors.LoreWarning, match=r"pandas 0\.1 \(here"):
        lore.cache.fetch(place)


def test_nothing_and_damage_are_told_apart(tmp_path: Path) -> None:
    """Where nothing was published it is a StoreError, where something is damaged an IntegrityError."""
    with pytest.raises(StoreError, match="no published result"):
        lore.cache.fetch(tmp_path / "nothing")
    place = lore.cache.publish(result.cache_ref("plain"), tmp_path / "x")
    (tmp_path / "x" / "lore.json").write_text("{")
    with pytest.raises(IntegrityError):
        lore.cache.fetch(place)


def test_a_keras_model_as_a_saved_model(run: Callable[..., str], tmp_path: Path) -> None:
    """A Keras model is published as `.keras` and as TensorFlow's SavedModel, and both predict what it predicted."""
    pytest.importorskip("keras")
    code = """
import keras, numpy as np, tensorflow as tf, lore

@lore.cached
def model():
    m = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    m.compile("adam", "mse")
    return m

x = np.ones((4, 3), "float32")
said = model().predict_on_batch(x)
lore.cache.publish(model.cache_ref(), "hub/m", saved_model=True)
assert np.allclose(lore.cache.fetch("hub/m").predict_on_batch(x), said)
loaded = tf.saved_model.load("hub/m/saved_model")
assert np.allclose(loaded.serve(x), said)
"""
    run("-c", code, timeout=300)


def test_the_example(tmp_path: Path, run: Callable[..., str]) -> None:
    """The example publishes a forest and loads it from there."""
    assert run(EXAMPLES / "hub" / "publish_model.py", tmp_path / "iris").strip().endswith("it says 0")
    assert (tmp_path / "iris" / "model.skops").exists()


def test_the_requirements_rebuild_the_environment(tmp_path: Path) -> None:
    """An installer accepts the requirements file as it stands."""
    lore.cache.publish(result.cache_ref("forest"), tmp_path / "x")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "-q", "-r", str(tmp_path / "x" / "requirements.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named pip" in done.stderr:
        pytest.skip("needs pip in this environment")
    assert done.returncode == 0, done.stderr
