"""Keras and TensorFlow: fits under `cached` and `timed`, models found by another process, served by several workers."""

from __future__ import annotations

import concurrent.futures
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("keras", reason="needs keras and tensorflow")

MODELS = """
import os
import keras
import numpy as np
import lore

def layers(width: int) -> list:
    return [keras.Input((4,)), keras.layers.Dense(width, activation="relu"), keras.layers.Dense(1)]

@lore.cached(memory=1)
@lore.timed
def fit(width: int) -> keras.Model:
    with open("log", "a") as log:
        log.write(f"{os.getpid()}\\n")
    keras.utils.set_random_seed(7)
    model = keras.Sequential(layers(width))
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(5_000, 4)).astype("float32")
    model.fit(x, x.sum(axis=1), epochs=2, verbose=0, callbacks=[lore.timing.keras_progress()])
    return model

@lore.cached
def rated(model: keras.Model, row: list[float]) -> float:
    return float(model.predict_on_batch(np.array([row], "float32"))[0, 0])

@lore.endpoint(warm=(lambda: fit(8),))
def rate(a: float, b: float, c: float, d: float) -> dict[str, float]:
    return {"rate": float(fit(8).predict_on_batch(np.array([[a, b, c, d]], "float32"))[0, 0]), "pid": os.getpid()}
"""


def test_another_process_loads_the_same_predictions(run: Callable[..., str], tmp_path: Path) -> None:
    """A fitted model is found by another process, predicts the same, and counts as the same argument there."""
    (tmp_path / "models.py").write_text(MODELS)
    code = "import models; print(repr(models.rated(models.fit(8), [1, 2, 3, 4])), models.rated.cache_info().hits)"
    first, second = run("-c", code).split(), run("-c", code).split()
    assert first[0] == second[0]
    assert (first[1], second[1]) == ("0", "1")
    assert len((tmp_path / "log").read_text().split()) == 1


def test_the_flights_network(run: Callable[..., str]) -> None:
    """The network of the flights example is fitted and judged once, and found on the second run."""
    first, second = run("-m", "flights.network", timeout=600), run("-m", "flights.network", timeout=600)
    figures = re.search(r"network: .*", first)
    assert figures is not None
    assert figures.group() in second
    assert float(re.search(r"'auc': ([\d.]+)", first)[1]) > 0.65  # type: ignore[index]
    assert re.search(r"network +1 ", first)
    assert not re.search(r"network +1 ", second)


@pytest.mark.parametrize("server", ["granian", "gunicorn"])
def test_several_workers_serve_a_model(server: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Two workers load the model after they were forked, fit it once between them, and answer without hanging."""
    (tmp_path / "models.py").write_text(MODELS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "lore.serve", "models", "--server", server, "--workers", "2", "--port", str(port)],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_ready(port)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: _rate(port), range(40)))
        assert len({answer["rate"] for answer in answers}) == 1
        assert len((tmp_path / "log").read_text().split()) == 1
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.3)
    raise AssertionError("the server did not become ready")


def _rate(port: int) -> dict[str, float]:
    body = json.dumps({"a": 1, "b": 2, "c": 3, "d": 4}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/rate", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        result: dict[str, float] = json.load(answer)
    return result
