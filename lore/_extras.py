"""
Optional packages: imported by the function that needs them, with an error that says how to install what is missing.
"""

from __future__ import annotations

import importlib
from typing import Any

from lore.errors import MissingDependencyError

__all__ = ["require"]


def require(module: str, extra: str) -> Any:
    """
    Import and return an optional module.

    Args:
        module: the dotted name to import, such as `pyarrow.parquet`.
        extra: the extra of lore's that brings it, such as `sql`.

    Raises:
        MissingDependencyError: the package is not installed. An import error inside an installed package is not
            hidden: it passes through as it is.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingDependencyError(
            f"This needs the package {package!r}, which is not installed. "
            f"Install it with:  pip install 'lore[{extra}]'",
            name=error.name,
            extra=extra,
        ) from None
