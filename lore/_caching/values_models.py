"""
Keras models as keys: what was configured, what was learned and how far the optimizer has come.

Names that Keras numbers by itself (`dense_7`) are counted anew within each model, so that a model built twice is one
model. What only remembers how a model was used (the state of metrics, of dropout's generators) does not count.
Functions and classes of the user's own inside a model count by their code, which its configuration only names.

scikit-learn's estimators need nothing of this: their class and state say all. Only its trees of neighbours count how
often they were asked, which is left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from lore._caching.values import Encoder, Unkeyable, Walk, guarded, module_of, node, package_of
from lore._caching.values_objects import is_own

__all__ = ["find"]

_HISTORY = ("keras_history", "input_layers", "output_layers")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def find(cls: type) -> Encoder | None:
    """Return the encoder of a class of Keras' or TensorFlow's, or None where it is an object like any other."""
    if package_of(cls) == "sklearn":
        return guarded(_neighbours) if hasattr(cls, "get_tree_stats") else None
    keras = sys.modules.get("keras")
    if keras is not None:
        if issubclass(cls, keras.Layer):
            return guarded(_layer)
        if issubclass(cls, keras.Optimizer):
            return guarded(_optimizer)
        if issubclass(cls, keras.Variable):
            return lambda value, walk: node(b"keras variable", walk.token(keras.ops.convert_to_numpy(value)))
        if hasattr(cls, "get_config") and hasattr(cls, "from_config"):
            return guarded(_configured)
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and issubclass(cls, (tensorflow.Tensor, tensorflow.Variable)):
        return lambda value, walk: node(b"tensorflow", cls.__name__.encode(), walk.token(value.numpy()))
    return None


def _neighbours(value: Any, walk: Walk) -> bytes:
    state = value.__getstate__()
    asked = slice(7, 11)  # trims, leaves, splits and calls of all queries so far
    return node(b"neighbours", walk.class_token(type(value)), walk.token((*state[: asked.start], *state[asked.stop :])))


def _layer(value: Any, walk: Walk) -> bytes:
    """Encode a layer or model: class, configuration, weights, the user's code in it, and how it is compiled."""
    compiled = bool(getattr(value, "compiled", False))
    return node(
        b"keras model" if compiled else b"keras layer",
        _configured(value, walk),
        walk.token(bool(value.trainable)),
        *(_weight(weight, walk) for weight in value.weights),
        node(b"code", *_own_code(value, walk)),
        *(_compilation(value, walk) if compiled else ()),
    )


def _configured(value: Any, walk: Walk) -> bytes:
    """Encode anything of Keras' by its class and configuration."""
    try:
        config = value.get_config()
    except NotImplementedError as error:
        raise Unkeyable(value, "it has no get_config() that says how it was made") from error
    names = _names(config, type(value).__name__)
    return node(b"keras", walk.class_token(type(value)), walk.token(_renamed(config, names)))


def _weight(weight: Any, walk: Walk) -> bytes:
    from keras import ops

    return walk.token(ops.convert_to_numpy(weight))


def _own_code(value: Any, walk: Walk) -> Iterator[bytes]:
    """Yield tokens of the user's own classes and functions among the layers."""
    for layer in value._flatten_layers():
        if is_own(module_of(type(layer))):
            yield walk.class_token(type(layer))
        for name, item in sorted(vars(layer).items()):
            if type(item) is FunctionType and is_own(item.__module__):
                yield node(name.encode(), walk.token(item))


def _compilation(value: Any, walk: Walk) -> Iterator[bytes]:
    """Yield tokens of what the model was compiled with, and of the optimizer's state."""
    settings = dict(value._compile_config.config)
    settings.pop("optimizer", None)
    yield walk.token(settings)
    if value.optimizer is not None:
        yield walk.token(value.optimizer)


def _optimizer(value: Any, walk: Walk) -> bytes:
    """Encode an optimizer: its settings and its slots; slots that are all zero are as good as not made yet."""
    from keras import ops

    slots = [ops.convert_to_numpy(slot) for slot in value.variables]
    moved = [slot for slot in slots if slot.ndim]
    if not any(slot.any() for slot in moved):
        moved = []
    counters = [slot for slot in slots if not slot.ndim]
    return node(b"keras optimizer", _configured(value, walk), walk.token(counters), walk.token(moved))


# --- names ----------------------------------------------------------------------------------------------------------


def _names(config: Any, class_name: str) -> dict[str, str]:
    """Map the names that Keras made to names that depend only on the order of the layers."""
    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    for kind, name in _named(config, class_name):
        stem = _CAPITAL.sub("_", kind).lower()
        if name not in names and re.fullmatch(rf"{re.escape(stem)}(_\d+)?", name):
            counts[stem] = counts.get(stem, 0) + 1
            names[name] = f"{stem}#{counts[stem]}"
    return names


def _named(config: Any, class_name: str = "") -> Iterator[tuple[str, str]]:
    """Yield class and name of everything in a configuration that has both, in order."""
    if isinstance(config, dict):
        kind = config.get("class_name", class_name)
        inner = config.get("config", config)
        name = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(kind, str) and kind and isinstance(name, str):
            yield kind, name
        for item in config.values():
            yield from _named(item)
    elif isinstance(config, (list, tuple)):
        for item in config:
            yield from _named(item)


def _renamed(config: Any, names: dict[str, str], place: str = "") -> Any:
    """Return a configuration with the names replaced where names stand, and without the bytecode of lambdas."""
    if isinstance(config, dict):
        if config.get("class_name") == "__lambda__":
            return "__lambda__"
        return {key: _renamed(item, names, place if place in _HISTORY else key) for key, item in config.items()}
    if isinstance(config, (list, tuple)):
        return [_renamed(item, names, place if place in _HISTORY else "") for item in config]
    if isinstance(config, str) and (place == "name" or place in _HISTORY):
        return names.get(config, config)
    return config
