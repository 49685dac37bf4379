"""mani's distributed clock runs decorated functions on a real Redis."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytest.importorskip("mani", reason="needs mani")


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """Start a real Redis on a free port."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("needs redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [server, "--port", str(port), "--save", "", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL
    )
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_two_clocks_one_run(redis_url: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Two clocks share the ticks, no tick runs twice, and the cached step behind them runs once."""
    log = tmp_path / "clock.log"
    environment["CLOCK_LOG"] = str(log)
    clocks = [
        subprocess.Popen(
            [sys.executable, str(EXAMPLES / "mani" / "clock.py"), redis_url],
            env=environment,
            cwd=tmp_path,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    deadline = time.monotonic() + 60
    while (not log.exists() or log.read_text().count("tick") < 4) and time.monotonic() < deadline:
        time.sleep(0.2)
    for clock in clocks:
        clock.send_signal(signal.SIGTERM)
        clock.wait(timeout=20)
    lines = [line.split() for line in log.read_text().splitlines()]
    ticks = [int(second) for kind, second, _ in lines if kind == "tick"]
    assert len(ticks) >= 4
    assert len(set(ticks)) == len(ticks)
    days = {line[1] for line in lines if line[0] == "aggregate"}
    assert len([line for line in lines if line[0] == "aggregate"]) == len(days)
