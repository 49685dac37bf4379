"""
Publish a cached model to a hub and load it from there:  python publish_model.py [folder or fsspec URL]

With `hf://you/iris` it goes to the Hugging Face Hub (needs `pip install huggingface_hub` and a token); a folder has the
same layout.
"""

from __future__ import annotations

import sys

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import lore


@lore.cached
def fit(strength: float = 1.0) -> Pipeline:
    """Fit a scaled logistic regression on the irises."""
    x, y = load_iris(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength)).fit(x, y)


@lore.cached
def accuracy(model: Pipeline) -> float:
    """Cross-validate a model of the same kind."""
    return float(cross_val_score(model, *load_iris(return_X_y=True), cv=5).mean())


def main(to: str = "published/iris") -> None:
    """Fit, publish, load, predict."""
    model = fit.cache_ref()
    place = lore.cache.publish(
        model,
        to,
        title="Irises",
        summary="Tells three kinds of iris by the lengths of their leaves.",
        metrics={"accuracy": accuracy(model)},
        license="mit",
        tags=["tabular-classification"],
    )
    loaded = lore.cache.fetch(place)
    print(f"published at {place}; it says {loaded.predict([[5.1, 3.5, 1.4, 0.2]])[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
