"""
What can be wrong with a file.
"""

from __future__ import annotations

from lore.errors import SourceError

__all__ = ["FormatError", "MissingFile"]


class FormatError(SourceError, ValueError):
    """A suffix, an option, a value or a file's content does not fit the format."""


class MissingFile(SourceError, FileNotFoundError):
    """There is no file of that name."""
