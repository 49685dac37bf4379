"""
Show the whole house at work on real flights, and end by itself:  make demo

The pipeline runs here, in examples/flights; what it makes stays in .lore beside this file, so a second demo finds it.
The edits happen in a copy that is thrown away.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE / ".lore"

GOOD = {
    "carrier": "B6",
    "origin": "JFK",
    "dest": "BOS",
    "departs": "2013-12-22T18:55:00",
    "arrives": "2013-12-22T20:10:00",
    "tailnum": "N266JB",
}


def main() -> None:
    """Run the pipeline, ask the server, edit a helper."""
    heading("1. The pipeline: csv files, database, features, model, judgement")
    show_speed(run_pipeline(HERE, HOME))

    heading("2. The service: a good request, and some that are not")
    with server() as url:
        ask(url, "/delay", GOOD)
        ask(
            url,
            "/delays",
            {"flights": [GOOD, {**GOOD, "departs": "2013-12-22T07:00:00", "arrives": "2013-12-22T08:15:00"}]},
        )
        ask(url, "/delay", {**GOOD, "origin": "BOS", "departs": "this evening"})
        ask(url, "/delay", {key: value for key, value in GOOD.items() if key != "dest"})
        ask(url, "/delay", {**GOOD, "dest": "SYD"})
        ask(url, "/health", None)

    heading("3. Edits, in a copy: only what depends on them runs again")
    with a_copy() as (copy, home):
        said("A comment and a pair of parentheses in age():")
        edit(copy, "    return 2013 - built\n", "    # None is older than a century.\n    return (2013 - built)\n")
        run_pipeline(copy, home, brief=True)

        said("age() never below zero. It was not before either: no feature changes, so no model is fitted.")
        edit(copy, "    return (2013 - built)\n", "    return (2013 - built).clip(lower=0)\n")
        explain(copy, home)
        run_pipeline(copy, home, brief=True)

        said("age() never above twenty. Now features change, and models; weather and baseline do not depend on it.")
        edit(copy, ".clip(lower=0)\n", ".clip(upper=20)\n")
        run_pipeline(copy, home, brief=True)


def said(text: str) -> None:
    """Print what is about to be shown."""
    print(f"\n{text}", flush=True)


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'=' * len(text)}\n", flush=True)


def run_pipeline(folder: Path, home: Path, brief: bool = False) -> float:
    """Run the pipeline in a process of its own, show what it says, and return the seconds it took."""
    done = subprocess.run(
        [sys.executable, "-m", "flights.pipeline"],
        cwd=folder,
        env=environment(folder, home),
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(done.returncode)
    lines = done.stdout.rstrip().splitlines()
    print("\n".join(f"    {line}" for line in lines[-3:]) if brief else "\n".join(lines), flush=True)
    return float(lines[-1].split()[1])


def environment(folder: Path, home: Path) -> dict[str, str]:
    """Return an environment for the example in `folder`, with its results in `home`."""
    return {
        **os.environ,
        "LORE_HOME": str(home),
        # A copy reads the one database; here it is the default, which is made when it is first written to.
        **({} if home == HOME else {"LORE_DATABASE_URL": f"duckdb:///{HOME}/lore.duckdb"}),
        "PYTHONPATH": str(folder),
    }


def show_speed(elapsed_s: float) -> None:
    """Say how this run compares with the first."""
    first = HOME / "first_run.json"
    if not first.exists():
        first.write_text(json.dumps({"elapsed_s": elapsed_s}))
        print("\nThis was the first run. Say `make demo` again, and everything is found.")
        return
    first_s = json.loads(first.read_text())["elapsed_s"]
    print(f"\nThe first run took {first_s:.2f} s, this one {elapsed_s:.2f} s: {first_s / elapsed_s:.0f} times faster.")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Serve the endpoints on a free port until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lore.serve", "flights.service:app", "--port", str(port)]
    with (HOME / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=HERE, env=environment(HERE, HOME), stdout=log, stderr=log)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/ready", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Return when the server has loaded its model."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    sys.exit(f"The server was not ready within {seconds:.0f} s:\n{(HOME / 'server.log').read_text()}")


def ask(url: str, path: str, body: object) -> None:
    """Send a request and show it with its answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"} if data else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    print(
        f"\n{'GET' if data is None else 'POST'} {path} {'' if data is None else data.decode()}\n  {status} {text}",
        flush=True,
    )


@contextlib.contextmanager
def a_copy() -> Iterator[tuple[Path, Path]]:
    """Copy the example and what it stored into a folder that is removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "flights"
        shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns(".lore", "__pycache__"))
        shutil.copytree(HOME, copy / ".lore", ignore=shutil.ignore_patterns("lore.duckdb*"))
        yield copy, copy / ".lore"


def edit(folder: Path, old: str, new: str) -> None:
    """Replace a text in features.py that stands there once."""
    file = folder / "flights" / "features.py"
    text = file.read_text()
    if text.count(old) != 1:
        sys.exit(f"features.py holds {old!r} {text.count(old)} times; the demo wants to edit it.")
    file.write_text(text.replace(old, new))


def explain(folder: Path, home: Path) -> None:
    """Let lore say why a step has to be computed again."""
    code = "from flights import features; print(features.planes.cache_explain())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(folder, home),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    print(re.sub("^", "    ", done.stdout.rstrip(), flags=re.MULTILINE), flush=True)


if __name__ == "__main__":
    main()
