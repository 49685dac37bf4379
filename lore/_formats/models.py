"""
Keras models in their own format: configuration and weights, without any code.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any, BinaryIO

from lore._extras import require
from lore._formats.problems import FormatError

__all__ = ["dump", "load"]


def load(file: BinaryIO, format_: str, *, trusted: bool = False) -> Any:
    """Return the model; layers that hold Python code load only with `trusted=True`."""
    keras = require("keras", extra="keras")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        with open(path, "wb") as copy:
            shutil.copyfileobj(file, copy)
        return keras.saving.load_model(path, safe_mode=not trusted)


def dump(value: object, file: BinaryIO, format_: str) -> None:
    """Write a model through a file of its own, which Keras wants to name itself."""
    keras = require("keras", extra="keras")
    if not isinstance(value, keras.Model):
        raise FormatError(f"The keras format holds Keras models, not a {type(value).__name__}.")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        keras.saving.save_model(value, path)
        with open(path, "rb") as copy:
            shutil.copyfileobj(copy, file)
