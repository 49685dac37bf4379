"""
A neural network beside the trees:  python -m flights.network  (needs the extra `keras`).

Same features, same months, same judge as `flights.model`.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pandas as pd

import lore
from flights.data import load_database
from flights.features import CATEGORIES, FEATURES, table
from flights.model import CHOOSING, JUDGING, SEED, TEACHING, scores

NUMBERS = [name for name in FEATURES if name not in CATEGORIES]


@lore.cached
@lore.timed
def encoding(flights: pd.DataFrame) -> dict[str, Any]:
    """Learn what turns features into inputs: the categories, and mean and spread of each number."""
    return {
        "categories": {name: sorted(flights[name].astype("str").unique()) for name in CATEGORIES},
        "mean": flights[NUMBERS].mean(),
        "spread": flights[NUMBERS].std().replace(0, 1),
    }


def inputs(flights: pd.DataFrame, code: dict[str, Any]) -> np.ndarray:
    """Return one row of inputs per flight: numbers in units of their spread, 0 where unknown, and 0/1 per category."""
    numbers = ((flights[NUMBERS] - code["mean"]) / code["spread"]).fillna(0).to_numpy("float32")
    marks = [
        (flights[name].astype("str").to_numpy()[:, None] == np.array(known)).astype("float32")
        for name, known in code["categories"].items()
    ]
    return np.concatenate([numbers, *marks], axis=1)


@lore.cached(memory=1)
@lore.timed
def network(flights: pd.DataFrame, epochs: int = 3) -> keras.Model:
    """Fit a small network; its epochs show in the progress line and in the report."""
    keras.utils.set_random_seed(SEED)
    x = inputs(flights, encoding(flights))
    model = keras.Sequential(
        [
            keras.Input((x.shape[1],)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy")
    late = flights["late"].to_numpy("float32")
    model.fit(x, late, epochs=epochs, batch_size=1024, verbose=0, callbacks=[lore.timing.keras_progress()])
    return model


@lore.cached
@lore.timed
def judged(fitted: keras.Model, flights: pd.DataFrame, code: dict[str, Any]) -> np.ndarray:
    """Return the probability of arriving late, one per flight."""
    return fitted.predict(inputs(flights, code), batch_size=8192, verbose=0)[:, 0].astype("float64")


def main() -> None:
    """Fit and judge the network on the months that judge the trees."""
    load_database()
    seen, unseen = table(TEACHING + CHOOSING), table(JUDGING)
    said = judged(network(seen), unseen, encoding(seen))
    print("network:", {name: round(float(value), 4) for name, value in scores(unseen["late"], said).items()})
    print(f"\n{lore.timing.report()}")


if __name__ == "__main__":
    main()
