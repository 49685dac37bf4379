"""Models as keys: fitted estimators and Keras models are what they have learned, however they got here."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from lore._caching.values import fingerprint

np = pytest.importorskip("numpy")


# --- scikit-learn ---------------------------------------------------------------------------------------------------


def estimators() -> list[Any]:
    """Return the common estimators, fitted where they can be."""
    pytest.importorskip("sklearn")
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    table = np.random.default_rng(0).random((80, 3))
    target = (table.sum(axis=1) > 1.5).astype(int)
    models = [
        RandomForestClassifier(5, random_state=0),
        RandomForestClassifier(5, random_state=np.random.RandomState(0)),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
        LogisticRegression(),
        LogisticRegression(C=2),
        KNeighborsClassifier(algorithm="kd_tree"),
        SVC(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(ColumnTransformer([("one", OneHotEncoder(handle_unknown="ignore"), [0])]), LogisticRegression()),
        GridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=2),
        make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()),
    ]
    return [*(model.fit(table, target) for model in models), LogisticRegression(), RandomForestClassifier(5)]


def test_estimators_keep_their_keys_through_pickle_and_use() -> None:
    """An estimator is its class and its state: neither a pickle round trip nor a prediction makes it another."""
    keys = []
    for model in estimators():
        keys.append(fingerprint(model))
        assert fingerprint(pickle.loads(pickle.dumps(model))) == keys[-1]
        if hasattr(model, "classes_"):
            model.predict(np.ones((2, 3)))
            assert fingerprint(model) == keys[-1]
    assert len(set(keys)) == len(keys)


def test_one_number_that_was_learned_counts() -> None:
    """A coefficient that differs in its last bit makes another model."""
    model = estimators()[4]
    before = fingerprint(model)
    model.coef_[0, 1] = np.nextafter(model.coef_[0, 1], 9)
    assert fingerprint(model) != before


@pytest.mark.slow
def test_every_estimator_of_scikit_learn() -> None:
    """All estimators that can be made and fitted without more ado keep their keys through pickle and a prediction."""
    pytest.importorskip("sklearn")
    import contextlib
    import warnings

    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.utils import all_estimators

    table, target = make_classification(120, 8, random_state=0)
    table = abs(table)
    changed = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, kind in all_estimators():
            try:
                model = kind()
            except TypeError:
                try:
                    model = kind(LogisticRegression())
                except Exception:
                    continue
            with contextlib.suppress(Exception):
                model.fit(table, target)
            key = fingerprint(model)
            if fingerprint(pickle.loads(pickle.dumps(model))) != key:
                changed.append(f"{name} through pickle")
            with contextlib.suppress(Exception):
                model.predict(table)
            if fingerprint(model) != key:
                changed.append(f"{name} through predict")
    assert not changed


# --- protobuf and SQL -----------------------------------------------------------------------------------------------


def test_messages() -> None:
    """A protobuf message is its type and its fields; the order in which a map was filled does not count."""
    structs = pytest.importorskip("google.protobuf.struct_pb2")
    stamps = pytest.importorskip("google.protobuf.timestamp_pb2")
    durations = pytest.importorskip("google.protobuf.duration_pb2")
    one, other, third = structs.Struct(), structs.Struct(), structs.Struct()
    one.update({"a": 1, "b": 2})
    other.update({"b": 2, "a": 1})
    third.update({"b": 2, "a": 2})
    assert fingerprint(one) == fingerprint(other) != fingerprint(third)
    assert fingerprint(stamps.Timestamp(seconds=1)) != fingerprint(durations.Duration(seconds=1))
    assert fingerprint([stamps.Timestamp(seconds=1)]) == fingerprint([stamps.Timestamp(seconds=1)])


def test_databases_and_statements() -> None:
    """An engine is where it leads, without the password; a statement is its text, parameters and types."""
    sa = pytest.importorskip("sqlalchemy")
    flights = sa.table("flights", sa.column("month", sa.Integer), sa.column("delay", sa.Float))
    late = sa.select(flights).where(flights.c.delay > 15)
    assert fingerprint(late) == fingerprint(sa.select(flights).where(flights.c.delay > 15))
    different = [
        late,
        sa.select(flights).where(flights.c.delay > 16),
        sa.select(flights.c.month),
        sa.text("select 1"),
        sa.text("select 2"),
        sa.make_url("postgresql://u:p@host/one"),
        sa.make_url("postgresql://u:p@host/two"),
    ]
    assert len(set(map(fingerprint, different))) == len(different)
    one, other = (sa.create_engine(f"postgresql+psycopg2://u:{word}@host/db") for word in ("secret", "other"))
    assert fingerprint(one) == fingerprint(other)
    with pytest.raises(TypeError, match="memory"):
        fingerprint(sa.create_engine("sqlite://"))


# --- Keras ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras() -> Any:
    import os
    import warnings

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras")


def sequential(keras: Any, units: int = 4, rate: float = 0.2, name: str | None = None, loss: Any = "mse") -> Any:
    layers = [
        keras.Input((3,)),
        keras.layers.Dense(units, activation="relu", name=name),
        keras.layers.Dropout(rate),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(), loss, metrics=["mae"])
    return model


def functional(keras: Any) -> Any:
    entry = keras.Input((3,))
    sides = [keras.layers.Dense(2)(entry), keras.layers.Dense(2)(entry)]
    return keras.Model(entry, keras.layers.Add()(sides))


def with_weights_of(model: Any, other: Any) -> Any:
    model.set_weights(other.get_weights())
    return model


def own_loss(truth: Any, guess: Any) -> Any:
    return (truth - guess) ** 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", [sequential, functional])
def test_a_model_built_twice_is_one_model(keras: Any, build: Any) -> None:
    """The names that Keras gives by itself do not count, nor does a pickle round trip."""
    model = build(keras)
    assert fingerprint(with_weights_of(build(keras), model)) == fingerprint(model)
    assert fingerprint(pickle.loads(pickle.dumps(model))) == fingerprint(model)
    assert fingerprint(build(keras)) != fingerprint(model)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_makes_another_model(keras: Any) -> None:
    """Configuration, given names, losses, weights and the optimizer's state count."""
    model = sequential(keras)
    rows = np.random.default_rng(0).random((16, 3)).astype("f4")
    trained = with_weights_of(sequential(keras), model)
    trained.fit(rows, rows[:, 0], verbose=0)
    forgetful = with_weights_of(sequential(keras), trained)
    variants = [
        model,
        with_weights_of(sequential(keras, rate=0.3), model),
        with_weights_of(sequential(keras, name="given"), model),
        with_weights_of(sequential(keras, loss="mae"), model),
        with_weights_of(sequential(keras, loss=own_loss), model),
        trained,
        forgetful,
    ]
    assert len(set(map(fingerprint, variants))) == len(variants)
    key = fingerprint(trained)
    trained.predict(rows, verbose=0)
    trained.evaluate(rows, rows[:, 0], verbose=0)
    assert fingerprint(trained) == key
    assert fingerprint(pickle.loads(pickle.dumps(trained))) == key


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_users_own_layers_count_by_their_code(keras: Any) -> None:
    """A layer of the user's own class, or a function in a Lambda layer, is followed into its code."""

    def build(factor: int) -> Any:
        class Own(keras.layers.Layer):
            def __init__(self, **options: Any) -> None:
                super().__init__(**options)
                self.dense = keras.layers.Dense(2)

            def call(self, rows: Any) -> Any:
                return self.dense(rows) * factor

        return keras.Sequential([keras.Input((3,)), Own()])

    def with_lambda(factor: int) -> Any:
        return keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda rows: rows * factor)])

    model = build(2)
    assert fingerprint(with_weights_of(build(2), model)) == fingerprint(model)
    assert fingerprint(with_weights_of(build(3), model)) != fingerprint(model)
    assert fingerprint(with_lambda(2)) == fingerprint(with_lambda(2))
    assert fingerprint(with_lambda(2)) != fingerprint(with_lambda(3))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tensors(keras: Any) -> None:
    """A tensor is its kind, dtype, shape and numbers."""
    tensorflow = pytest.importorskip("tensorflow")
    make, variable = tensorflow.constant, tensorflow.Variable
    assert fingerprint(make([1.0, 2.0])) == fingerprint(make([1.0, 2.0]))
    kinds = [make([1.0]), make([1.0], tensorflow.float64), make([[1.0]]), variable([1.0]), keras.Variable([1.0])]
    assert len(set(map(fingerprint, kinds))) == len(kinds)
