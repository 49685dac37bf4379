"""
Files to values and back, by suffix: `read` and `write`.

`suffixes` knows what a name means, `places` where bytes lie and how they are replaced; `tables`, `documents`, `arrays`,
`objects` and `models` each hold one family of formats.
"""

from __future__ import annotations

from lore._formats.files import dump, load, read, write
from lore._formats.problems import FormatError, MissingFile

__all__ = ["FormatError", "MissingFile", "dump", "load", "read", "write"]
