"""Real servers for tests: `python -m lore.serve` in a process of its own, and sockets to talk to it as one pleases."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SERVERS = ("granian", "gunicorn")


class Running:
    """
    One server, ended at the end of the block.

    Args:
        folder: where the module stands that is served.
        target: what is served.
        options: of the command line.
        start_new_session: make the server the leader of a process group of its own.
    """

    def __init__(
        self, folder: Path, target: str, *options: str, start_new_session: bool = False, **environ: str
    ) -> None:
        self.log = folder / f"server-{time.monotonic_ns()}.log"
        tests = str(Path(__file__).parent)
        self._file = self.log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lore.serve", target, "--port", "0", "--log", "json", *options],
            cwd=folder,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": tests, "LORE_DRAIN_S": "0.3", **environ},
            start_new_session=start_new_session,
        )
        self.port = 0

    def __enter__(self) -> Running:
        self.port = int(self.event("listening")["url"].rpartition(":")[2])
        until(lambda: self.get("/health")[0] == 200)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the server and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            for pid in self.workers():
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait(5)
            raise
        finally:
            self._file.close()

    def events(self) -> list[dict[str, Any]]:
        """Read the log so far."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event and return it."""

        def found() -> dict[str, Any] | None:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log.read_text(errors='replace')}")
            return next((event for event in self.events() if event["event"] == name), None)

        until(found)
        return found() or {}

    def workers(self) -> list[int]:
        """List the processes below the server's."""
        listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return [int(line) for line in listing.stdout.split()]

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Send one polite request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, data, named)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        """Get a page; status 0 where the server cannot be reached."""
        try:
            status, _, body = self.request("GET", path)
        except OSError:
            return 0, b""
        return status, body

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Post JSON, and read JSON."""
        status, _, data = self.request("POST", path, body, Content_Type="application/json")
        return status, json.loads(data) if data else None

    def connect(self) -> socket.socket:
        """Open a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def raw(self, data: bytes, wait_s: float = 5.0) -> bytes:
        """Send bytes and read what comes back until the server is done or a response is complete."""
        with self.connect() as connection:
            connection.settimeout(wait_s)
            try:
                connection.sendall(data)
            except OSError:
                pass
            return read_response(connection)


def read_response(connection: socket.socket) -> bytes:
    """Read one response with a Content-Length, or what there is until the connection ends or nothing comes."""
    got = b""
    while True:
        head, end, body = got.partition(b"\r\n\r\n")
        if end:
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if lengths and len(body) >= int(lengths[0].partition(b":")[2]):
                return got
        try:
            part = connection.recv(65_536)
        except OSError:
            return got
        if not part:
            return got
        got += part


def until(true: Any, within_s: float = 20.0) -> Any:
    """Wait until something holds."""
    end = time.monotonic() + within_s
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
