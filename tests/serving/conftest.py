"""What the tests of serving share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def structlog_as_it_was() -> Iterator[None]:
    """Leave structlog unconfigured, as it is in a process where nobody asked for logs."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
