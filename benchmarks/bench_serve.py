"""
Serving beside its peers: microseconds in the process, requests per second on servers, batching, overload, start-up.

    python benchmarks/bench_serve.py inprocess
    python benchmarks/bench_serve.py servers --seconds 3 --rounds 3
    python benchmarks/bench_serve.py rows
    python benchmarks/bench_serve.py batch
    python benchmarks/bench_serve.py overload
    python benchmarks/bench_serve.py start

Every table is one interleaved run: a round asks each contestant once, and the median over the rounds counts. The servers
are loaded by wrk (Debian's package), one worker each, on the same machine. A peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PORT = 3399
BODY = {"carrier": "UA", "distance": 740.5, "hour": 12, "late": True, "note": "x"}
ANSWER = {"minutes": 19.405}

LORE = """
import time
import numpy as np, pandas as pd, numpy.typing as npt
import lore
@lore.endpoint
def delay(carrier: str, distance: float, hour: int, late: bool = False, note: str | None = None) -> dict[str, float]:
    return {"minutes": distance / 100 + hour}
@lore.endpoint
def rows(rows: pd.DataFrame) -> list[float]:
    return (rows["a"] + rows["b"]).tolist()
@lore.endpoint
def burn(x: int) -> int:
    end = time.perf_counter() + 0.02
    while time.perf_counter() < end: pass
    return x
app = lore.serve.app(delay, rows, burn)
"""

FLASK = """
from flask import Flask, request, jsonify
from pydantic import BaseModel
import pandas as pd
class Body(BaseModel):
    carrier: str
    distance: float
    hour: int
    late: bool = False
    note: str | None = None
app = Flask(__name__)
@app.post("/delay")
def delay():
    body = Body(**request.get_json())
    return jsonify({"minutes": body.distance / 100 + body.hour})
@app.post("/plain")
def plain():
    body = request.get_json()
    return jsonify({"minutes": body["distance"] / 100 + body["hour"]})
@app.post("/rows")
def rows():
    frame = pd.DataFrame(request.get_json())
    return jsonify((frame["a"] + frame["b"]).tolist())
"""

FASTAPI = """
from fastapi import FastAPI
from pydantic import BaseModel
import pandas as pd
class Body(BaseModel):
    carrier: str
    distance: float
    hour: int
    late: bool = False
    note: str | None = None
class Row(BaseModel):
    a: float
    b: float
    c: float
    d: str
    e: int
app = FastAPI()
@app.post("/delay")
async def delay(body: Body) -> dict[str, float]:
    return {"minutes": body.distance / 100 + body.hour}
@app.post("/def")
def delay_def(body: Body) -> dict[str, float]:
    return {"minutes": body.distance / 100 + body.hour}
@app.post("/rows")
def rows(body: list[Row]) -> list[float]:
    frame = pd.DataFrame([row.model_dump() for row in body])
    return (frame["a"] + frame["b"]).tolist()
"""

LITESTAR = """
from dataclasses import dataclass
from litestar import Litestar, post
@dataclass
class Body:
    carrier: str
    distance: float
    hour: int
    late: bool = False
    note: str | None = None
@post("/delay", status_code=200)
async def delay(data: Body) -> dict[str, float]:
    return {"minutes": data.distance / 100 + data.hour}
app = Litestar([delay])
"""

LITSERVE = """
import sys
import litserve as ls
class Api(ls.LitAPI):
    def setup(self, device): pass
    def decode_request(self, request): return request
    def predict(self, body): return body["distance"] / 100 + body["hour"]
    def encode_response(self, output): return {"minutes": output}
if __name__ == "__main__":
    server = ls.LitServer(Api(api_path="/delay"), accelerator="cpu")
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="error")
"""

FOREST = """
import numpy as np, numpy.typing as npt
from sklearn.ensemble import RandomForestRegressor
rng = np.random.default_rng(0)
X = rng.normal(size=(2000, 8)); y = X @ rng.normal(size=8)
model = RandomForestRegressor(100, n_jobs=1, random_state=0).fit(X, y)
"""

LORE_FOREST = (
    FOREST
    + """
import lore
@lore.endpoint(batch=64)
def batched(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return model.predict(x)
@lore.endpoint
def single(x: npt.NDArray[np.float64]) -> float:
    return float(model.predict(x[None])[0])
app = lore.serve.app(batched, single)
"""
)

LITSERVE_FOREST = (
    FOREST
    + """
import sys
import litserve as ls
class Api(ls.LitAPI):
    def setup(self, device): pass
    def decode_request(self, request): return np.asarray(request["x"], dtype=float)
    def batch(self, inputs): return np.stack(inputs)
    def predict(self, x): return model.predict(x)
    def unbatch(self, output): return list(output)
    def encode_response(self, output): return float(output)
if __name__ == "__main__":
    server = ls.LitServer(Api(max_batch_size=64, batch_timeout=0.002, api_path="/batched"), accelerator="cpu")
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="error")
"""
)


def has(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) for package in packages)


# -- in the process ------------------------------------------------------------------------------------------------


def inprocess(given: argparse.Namespace) -> None:
    """Measure one request through each WSGI application, without a server."""
    folder = sources()
    sys.path.insert(0, str(folder))
    import lore_app

    from lore._serving import logs

    body = json.dumps(BODY).encode()
    null = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    logs._writers[:] = [logs.json_writer(null)]
    contestants: list[tuple[str, Any, str]] = [
        ("lore: id, validation, metrics, JSON access line", lore_app.app, "/delay")
    ]
    if has("flask", "pydantic"):
        import flask_app

        contestants += [
            ("Flask + pydantic", flask_app.app, "/delay"),
            ("Flask, nothing checked", flask_app.app, "/plain"),
        ]
    if has("werkzeug"):
        contestants.append(("werkzeug Map, Request, Response, msgspec", werkzeug_app(), "/delay"))
    contestants.append(("floor: msgspec and a dict", floor_app(), "/delay"))

    def run(app: Any, path: str, count: int = 2_000) -> float:
        environs = [
            {
                "REQUEST_METHOD": "POST",
                "PATH_INFO": path,
                "SCRIPT_NAME": "",
                "QUERY_STRING": "",
                "CONTENT_TYPE": "application/json",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_ACCEPT": "*/*",
                "HTTP_HOST": "localhost",
                "SERVER_NAME": "localhost",
                "SERVER_PORT": "80",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "wsgi.url_scheme": "http",
                "wsgi.errors": sys.stderr,
                "wsgi.input": io.BytesIO(body),
            }
            for _ in range(count)
        ]
        started = time.perf_counter()
        for environ in environs:
            app(environ, start)
        return (time.perf_counter() - started) / count * 1e6

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        assert status == "200 OK", status
        return None

    times: dict[str, list[float]] = {name: [] for name, _, _ in contestants}
    for _ in range(given.rounds * 5):
        for name, app, path in contestants:
            times[name].append(run(app, path))
    base = statistics.median(times[contestants[0][0]])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:55} {median:7.1f} us median {min(found):7.1f} us best {median / base:6.1f}x")


def floor_app() -> Any:
    import msgspec

    struct = msgspec.defstruct(
        "Body",
        [("carrier", str), ("distance", float), ("hour", int), ("late", bool, False), ("note", str | None, None)],
    )
    decode, encode = msgspec.json.Decoder(struct).decode, msgspec.json.Encoder().encode

    def app(environ: Any, start_response: Any) -> list[bytes]:
        body = decode(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        out = encode({"minutes": body.distance / 100 + body.hour})
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(out)))])
        return [out]

    return app


def werkzeug_app() -> Any:
    import msgspec
    from werkzeug.routing import Map, Rule
    from werkzeug.wrappers import Request, Response

    struct = msgspec.defstruct(
        "Body",
        [("carrier", str), ("distance", float), ("hour", int), ("late", bool, False), ("note", str | None, None)],
    )
    decode, encode = msgspec.json.Decoder(struct).decode, msgspec.json.Encoder().encode
    routes = Map([Rule("/delay", endpoint="delay", methods=["POST"])])

    def app(environ: Any, start_response: Any) -> Any:
        routes.bind_to_environ(environ).match()
        body = decode(Request(environ).get_data())
        return Response(encode({"minutes": body.distance / 100 + body.hour}), mimetype="application/json")(
            environ, start_response
        )

    return app


# -- servers ---------------------------------------------------------------------------------------------------------

APPS = {
    "lore_app": LORE,
    "flask_app": FLASK,
    "fastapi_app": FASTAPI,
    "litestar_app": LITESTAR,
    "litserve_app": LITSERVE,
    "lore_forest": LORE_FOREST,
    "litserve_forest": LITSERVE_FOREST,
}


def sources() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="lore-bench-"))
    for name, source in APPS.items():
        (folder / f"{name}.py").write_text(source)
    return folder


def commands() -> dict[str, list[str]]:
    """Name the ways to run each contestant, one worker each."""
    python = sys.executable
    lore = [python, "-m", "lore.serve", "--port", str(PORT), "--log", "json"]
    uvicorn = [python, "-m", "uvicorn", "--no-access-log", "--log-level", "error", "--port", str(PORT)]
    gunicorn = [python, "-m", "gunicorn", "-b", f"127.0.0.1:{PORT}", "--threads", "8", "--log-level", "error"]
    found = {
        "lore on granian": [*lore, "lore_app:app"],
        "lore on gunicorn": [*lore, "lore_app:app", "--server", "gunicorn", "--threads", "8"],
    }
    if has("litestar", "uvicorn"):
        found["Litestar async on uvicorn"] = [*uvicorn, "litestar_app:app"]
    if has("fastapi", "uvicorn"):
        found["FastAPI on uvicorn"] = [*uvicorn, "fastapi_app:app"]
    if has("flask", "gunicorn"):
        found["Flask + pydantic on gunicorn"] = [*gunicorn, "flask_app:app"]
    if has("litserve"):
        found["LitServe"] = [python, "litserve_app.py", str(PORT)]
    return found


@contextlib.contextmanager
def running(command: list[str], folder: Path, path: str, body: Any) -> Iterator[tuple[int, float]]:
    """Start a server, wait for its first answer, give its process and the seconds that took."""
    log = (folder / "server.log").open("w")
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=log,
        stderr=log,
        env={**os.environ, "LORE_HOME": str(folder / "home"), "LORE_DRAIN_S": "0"},
    )
    try:
        while True:
            try:
                status, _ = ask(path, body)
                assert status == 200, (command, status, _)
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() - started > 60:
                    raise RuntimeError((folder / "server.log").read_text()[-2000:]) from None
                time.sleep(0.02)
        yield process.pid, time.perf_counter() - started
    finally:
        family = [*descendants(process.pid)]
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        for pid in family:
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        log.close()
        time.sleep(0.3)


def descendants(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    children = [int(line) for line in listing.split()]
    return [*children, *(deeper for child in children for deeper in descendants(child))]


def ask(path: str, body: Any, timeout: float = 20) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wrk(folder: Path, path: str, body: Any, clients: int, seconds: float) -> tuple[float, float, int]:
    """Load a server; return requests per second, the 99th percentile in ms, and how many answers were no 2xx."""
    script = folder / "post.lua"
    text = json.dumps(body)
    script.write_text(
        f"wrk.method='POST'\nwrk.headers['Content-Type']='application/json'\nwrk.body=[==[{text}]==]\n" + REPORT
    )
    done = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{clients}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "20s",
            "-s",
            str(script),
            f"http://127.0.0.1:{PORT}{path}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    rps, p99, bad = done.stdout.rpartition("REPORT ")[2].split()[:3]
    return float(rps), float(p99), int(bad)


REPORT = """
done = function(summary, latency, requests)
  io.write(string.format("REPORT %f %f %d\\n", summary.requests / summary.duration * 1e6, latency:percentile(99) / 1e3, summary.errors.status))
end
"""


def cpu_s(pid: int) -> float:
    total = 0.0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def table(
    contestants: dict[str, tuple[list[str], str, Any]], given: argparse.Namespace, clients: tuple[int, ...]
) -> None:
    """Load each contestant once per round and print medians."""
    folder = sources()
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for _ in range(given.rounds):
        for name, (command, path, body) in contestants.items():
            with running(command, folder, path, body) as (pid, _):
                wrk(folder, path, body, 4, 0.5)
                for count in clients:
                    before_s = cpu_s(pid)
                    rps, p99, bad = wrk(folder, path, body, count, given.seconds)
                    spent = (cpu_s(pid) - before_s) / max(1, rps * given.seconds) * 1e6
                    assert bad == 0, (name, bad)
                    found.setdefault((name, count), []).append((rps, p99, spent))
    for count in clients:
        first = None
        for name in contestants:
            rps, p99, spent = (statistics.median(column) for column in zip(*found[name, count]))
            first = first or rps
            print(
                f"c={count:<3} {name:34} {rps:9,.0f} requests/s   p99 {p99:8.2f} ms   {spent:8.1f} us cpu/request   {rps / first:5.2f}x"
            )


def servers(given: argparse.Namespace) -> None:
    """Ask for one typed body of five fields."""
    contestants = {name: (command, "/delay", BODY) for name, command in commands().items()}
    if "FastAPI on uvicorn" in contestants:
        contestants["FastAPI def on uvicorn"] = (commands()["FastAPI on uvicorn"], "/def", BODY)
    table(contestants, given, (1, 8, 64))


def rows(given: argparse.Namespace) -> None:
    """Send a thousand records that become a frame."""
    body = [{"a": i / 3, "b": 1.5, "c": 2.5, "d": f"t{i}", "e": i} for i in range(1_000)]
    names = {"lore on granian", "lore on gunicorn", "FastAPI on uvicorn", "Flask + pydantic on gunicorn"}
    table({name: (command, "/rows", body) for name, command in commands().items() if name in names}, given, (8,))


def batch(given: argparse.Namespace) -> None:
    """Ask a forest of 100 trees for one row each, from 64 clients."""
    lore = [sys.executable, "-m", "lore.serve", "--port", str(PORT), "--log", "json", "lore_forest:app"]
    body = {"x": [0.1] * 8}
    contestants: dict[str, tuple[list[str], str, Any]] = {
        "lore batch=64": (lore, "/batched", body),
        "lore unbatched": ([*lore, "--threads", "512"], "/single", body),
    }
    if has("litserve"):
        contestants["LitServe max_batch_size=64"] = (
            [sys.executable, "litserve_forest.py", str(PORT)],
            "/batched",
            body,
        )
    table(contestants, given, (1, 64))


def overload(given: argparse.Namespace) -> None:
    """Load an endpoint that computes 20 ms with 1,000 connections, ask for health meanwhile, and see it recover."""
    folder = sources()
    for name in ("lore on granian", "lore on gunicorn"):
        with running(commands()[name], folder, "/burn", {"x": 1}):
            script = folder / "burn.lua"
            script.write_text(
                "wrk.method='POST'\nwrk.headers['Content-Type']='application/json'\nwrk.body='{\"x\":1}'\nlocal seen={}\nresponse=function(status) seen[status]=(seen[status] or 0)+1 if seen[status]%500==1 then print('STATUS '..status) end end\n"
            )
            load = subprocess.Popen(
                [
                    "wrk",
                    "-t1",
                    "-c1000",
                    f"-d{round(given.seconds) + 2}s",
                    "--timeout",
                    "20s",
                    "-s",
                    str(script),
                    f"http://127.0.0.1:{PORT}/burn",
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            time.sleep(1)
            health, end = [], time.perf_counter() + given.seconds
            while time.perf_counter() < end:
                started = time.perf_counter()
                status, _ = ask("/health", None)
                health.append((time.perf_counter() - started) * 1e3)
                assert status == 200
                time.sleep(0.05)
            out = load.communicate()[0]
            started = time.perf_counter()
            while ask("/burn", {"x": 1})[0] != 200:
                time.sleep(0.02)
            recovered = time.perf_counter() - started
            statuses = sorted({line.split()[1] for line in out.splitlines() if line.startswith("STATUS")})
            print(
                f"{name:20} statuses {statuses}  health ms: median {statistics.median(health):.0f} max {max(health):.0f}  recovered in {recovered:.2f} s"
            )


def start(given: argparse.Namespace) -> None:
    """Measure the seconds to the first answer and the memory of all processes then."""
    folder = sources()
    for name, command in commands().items():
        found, memory = [], []
        for _ in range(given.rounds):
            with running(command, folder, "/delay", BODY) as (pid, seconds):
                found.append(seconds)
                kilobytes = 0
                for one in (pid, *descendants(pid)):
                    rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
                    kilobytes += int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
                memory.append(kilobytes / 1024)
        print(
            f"{name:34} {statistics.median(found):6.2f} s to the first answer   {statistics.median(memory):7.1f} MB, all processes"
        )


def main() -> None:
    tables: dict[str, Callable[[argparse.Namespace], None]] = {
        one.__name__: one for one in (inprocess, servers, rows, batch, overload, start)
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=tables)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.table not in ("inprocess", "start") and shutil.which("wrk") is None:
        parser.error("this table needs wrk: apt-get install wrk")
    tables[given.table](given)


if __name__ == "__main__":
    main()
