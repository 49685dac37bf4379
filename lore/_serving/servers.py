"""
`python -m lore.serve`: the command line, the servers that run an application, and what parent and workers tell each
other.

The parent never loads the user's module: each worker does, after the fork. They share one small mapped file: whether
the server is shutting down, whether a worker has announced what is served, whether the application could not be
loaded, and whether workers are to stop now.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import mmap
import multiprocessing.util
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lore import _warning
from lore._serving import logs

__all__ = ["Settings", "is_draining", "load", "main"]

_ENV = "LORE_SERVE"
_DRAIN_S = 1.0
_STACK_BYTES = 32 << 20
_KILL_S = 30
_HEARS_S = 0.3
"""How long a worker that gets SIGTERM waits to see whether its parent got one as well."""
_SWITCH_S = 0.001
"""How long a thread that computes may keep the interpreter from others; health has to get a word in."""


class Settings(NamedTuple):
    """What one server runs, as parent and workers know it."""

    target: str
    host: str
    port: int
    workers: int
    threads: int
    server: str
    log: str
    reload: bool
    shared: str


# -- the command line ------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a server until it is told to stop; return the exit status."""
    given = _parser().parse_args(arguments)
    if os.environ.get("WERKZEUG_RUN_MAIN") == "true" and _ENV in os.environ:
        return _werkzeug(_settings())  # the reloader runs the command again, with the socket already open
    try:
        port = _free_port(given.host, given.port)
    except OSError as error:
        print(f"lore.serve: cannot listen on {given.host}:{given.port}: {error.strerror}. Try --port.", file=sys.stderr)
        return 1
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    with _shared_file() as shared:
        server = _choose_server(given.server, given.reload)
        if server == "werkzeug" and given.workers > 1:
            print("lore.serve: werkzeug's server is one process, for development: no --workers.", file=sys.stderr)
        settings = Settings(
            target=given.target,
            host=given.host,
            port=port,
            workers=1 if server == "werkzeug" else given.workers,
            threads=given.threads,
            server=server,
            log=given.log or ("console" if sys.stderr.isatty() else "json"),
            reload=given.reload,
            shared=shared,
        )
        os.environ[_ENV] = json.dumps(settings._asdict())
        logs.use(settings.log)
        status = _SERVERS[settings.server](settings)
        return 1 if _told(_FAILED) and not _told(_ANNOUNCED) else status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lore.serve",
        description="Serve the endpoints of a module, or any WSGI application.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("target", metavar="module[:app]", help="an application, or a module: all endpoints in it")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; 0.0.0.0 is every one")
    parser.add_argument("--port", type=_whole(0, 65_535), default=3000, help="0 takes a free one")
    parser.add_argument("--workers", type=_whole(1), default=_workers(), help="processes; each loads the module")
    parser.add_argument("--threads", type=_whole(1), default=128, help="requests at once in each process")
    parser.add_argument("--server", choices=sorted(_SERVERS), help="default: granian, else gunicorn, else werkzeug")
    parser.add_argument("--reload", action="store_true", help="start again when a file changes (werkzeug)")
    parser.add_argument("--log", choices=["console", "json"], help="default: console on a terminal, else json")
    return parser


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"must be {most} or less")
        return value

    return number


def _workers() -> int:
    given = os.environ.get("WEB_CONCURRENCY", "")
    return int(given) if given.isdigit() and int(given) > 0 else 1


def _free_port(host: str, port: int) -> int:
    """Find out before anything starts whether the port can be had, and which one 0 stands for."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def _choose_server(named: str | None, reload: bool) -> str:
    if named is not None:
        return named
    if reload:
        return "werkzeug"
    found = next((name for name in ("granian", "gunicorn") if importlib.util.find_spec(name)), None)
    if found is None:
        _warning.warn(
            "Neither granian nor gunicorn is installed: werkzeug's development server runs instead, which is not made "
            "for production. Install one with:  pip install 'lore[serve]'"
        )
    return found or "werkzeug"


# -- the target ------------------------------------------------------------------------------------


def load(target: str) -> Callable[..., Iterable[bytes]]:
    """
    Import what is to be served.

    Args:
        target: `module:name` of a WSGI callable, of an endpoint or of what makes one; or `module`, which stands for all
            endpoints in it.

    Raises:
        LookupError: there is nothing like that in the module.
        Exception: what the module raised when it was imported.
    """
    name, _, attribute = target.partition(":")
    name = name.removesuffix(".py").replace(os.sep, ".")
    module = importlib.import_module(name)
    if not attribute:
        return _app_of(module, module)
    found: Any = module
    for part in attribute.removesuffix("()").split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise LookupError(f"{name} has no {attribute}") from None
    return _app_of(found() if attribute.endswith("()") else found, module)


def _app_of(found: Any, module: types.ModuleType) -> Callable[..., Iterable[bytes]]:
    from lore._serving.application import App

    if isinstance(found, App):
        return found
    make = sys.modules["lore.serve"].app if "lore.serve" in sys.modules else _face().app
    if isinstance(found, types.ModuleType):
        apps = list({id(value): value for value in vars(found).values() if isinstance(value, App)}.values())
        return apps[0] if len(apps) == 1 else make(found)
    if hasattr(found, "__lore_layer__"):
        return make(found)  # type: ignore[no-any-return]
    if callable(found):
        return found  # type: ignore[no-any-return]
    raise LookupError(f"{found!r} in {module.__name__} is no application")


def _face() -> Any:
    # the face stands above this room: it is looked up by name, as the server's entry point
    return importlib.import_module("lore.serve")


def _load_in_worker() -> Callable[..., Iterable[bytes]]:
    """Load the application in a worker, tell what is served, and start warming."""
    settings = _settings()
    logs.use(settings.log)
    sys.setswitchinterval(_SWITCH_S)
    try:
        with _ended_by_sigterm(settings.server):
            application = load(settings.target)
    except BaseException as error:
        _report_failed_load(settings, error)
        if settings.server == "gunicorn":
            os._exit(4)  # what gunicorn takes for an application that cannot be loaded
        raise SystemExit(4) from None
    # a process of multiprocessing's, as granian's workers are, ends without atexit
    multiprocessing.util.Finalize(None, _flush, exitpriority=10)
    if hasattr(application, "admit"):
        application.admit(_admitted(settings.threads))
    threading.Thread(target=_announce, args=(settings, application), name="lore-announce", daemon=True).start()
    if not getattr(application, "is_ready", True):  # asking is what starts warming
        logs.note("warming")
    getattr(application, "is_ready", None)
    return application


@contextmanager
def _ended_by_sigterm(server: str) -> Iterator[None]:
    """End a worker at once while it loads: a server's own handler would let the import run to its end first."""
    if server == "werkzeug":
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        if server == "gunicorn":  # granian installs its own later; what is there now is the parent's
            signal.signal(signal.SIGTERM, before)


def _flush() -> None:
    """Write what the last requests left: their lines and their counts."""
    from lore._timing import metrics, spans

    logs.flush()
    spans.collect()
    metrics.flush()


def _admitted(threads: int) -> int:
    """
    Say how many threads may be in endpoints: an eighth is kept free to refuse, and to answer for health.

    Where there are few, none is: as many clients as threads must not be refused.
    """
    return threads - threads // 8 if threads >= 16 else threads


def _report_failed_load(settings: Settings, error: BaseException) -> None:
    """Say once why there is nothing to serve; where no worker has ever started, end the server."""
    if not _told(_FAILED):
        _tell(_FAILED)
        text = f"{type(error).__name__}: {error}"
        if not isinstance(error, LookupError) and type(error).__module__.partition(".")[0] != "lore":
            text = "".join(traceback.format_exception(type(error), error, _from_the_users_code(error))).rstrip()
        print(f"lore.serve: {settings.target} cannot be loaded.\n{text}", file=sys.stderr, flush=True)
    if settings.server == "granian" and not _told(_ANNOUNCED):
        os.kill(os.getppid(), signal.SIGINT)


def _from_the_users_code(error: BaseException) -> types.TracebackType | None:
    """Leave out what led to the import: the first line that matters is one of the user's, if there is any."""
    found = error.__traceback__
    while found is not None:
        file = found.tb_frame.f_code.co_filename
        if file != __file__ and "importlib" not in file:
            return found
        found = found.tb_next
    return None


def _settings() -> Settings:
    return Settings(**json.loads(os.environ[_ENV]))


def _announce(settings: Settings, application: Any) -> None:
    """Say where the server listens and what it answers; the first worker does."""
    if _told(_ANNOUNCED):
        return
    _tell(_ANNOUNCED)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    _wait_for(host, settings.port)
    host = f"[{host}]" if ":" in host else host
    url = f"http://{host}:{settings.port}"
    endpoints = getattr(application, "endpoints", ())
    has_docs = getattr(application, "has_docs", False)
    if settings.log == "json":
        logs.note(
            "listening",
            url=url,
            host=settings.host,
            server=settings.server,
            workers=settings.workers,
            endpoints=[f"{method} {one.path}" for one in endpoints for method in one.options.methods],
            docs=f"{url}/docs" if has_docs else None,
        )
        return
    everywhere = ", on every address of this machine" if settings.host in ("0.0.0.0", "::") else ""
    how = "for development" if settings.server == "werkzeug" else _count(settings.workers, "worker")
    lines = [f"lore.serve: listening on {url}{everywhere} ({settings.server}, {how})"]
    lines += [f"  {'/'.join(one.options.methods):6} {one.path}" for one in endpoints]
    if has_docs:
        lines.append(f"  docs   {url}/docs")
    print("\n".join(lines), file=sys.stderr, flush=True)


def _wait_for(host: str, port: int) -> None:
    """Wait until somebody listens; some servers bind only once the application has been loaded."""
    for _ in range(200):
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# -- what parent and workers share -----------------------------------------------------------------

_DRAINING, _ANNOUNCED, _FAILED, _STOPPING = range(4)
_map: mmap.mmap | None = None


@contextmanager
def _shared_file() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="lore-serve-"))
    parent = os.getpid()
    path = folder / "shared"
    path.write_bytes(bytes(4))
    try:
        yield str(path)
    finally:
        if os.getpid() == parent:  # a forked worker unwinds through here as well
            shutil.rmtree(folder, ignore_errors=True)


def _mapped() -> mmap.mmap | None:
    global _map
    if _map is None and _ENV in os.environ:
        try:
            with open(_settings().shared, "r+b") as file:
                _map = mmap.mmap(file.fileno(), 4)
        except (OSError, ValueError, TypeError):
            return None
    return _map


def _told(what: int) -> bool:
    shared = _mapped()
    return shared is not None and shared[what] == 1


def _tell(what: int, value: int = 1) -> None:
    shared = _mapped()
    if shared is not None:
        shared[what] = value


def is_draining() -> bool:
    """Tell whether the server is about to stop, so that readiness goes before the listener does."""
    return _told(_DRAINING)


def _drain_then(stop: Callable[[], object]) -> None:
    """Answer SIGTERM by taking readiness away, and stop a moment later; a second signal stops at once."""

    parent = os.getpid()

    def stop_now() -> None:
        _tell(_STOPPING)
        stop()

    def on_signal(number: int, frame: object) -> None:
        if os.getpid() != parent:  # a worker that has not come so far as to have a handler of its own
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        if _told(_DRAINING):
            stop_now()
            return
        _tell(_DRAINING)
        logs.note("draining", seconds=_drain_s())
        timer = threading.Timer(_drain_s(), stop_now)
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGTERM, on_signal)


def _leave_draining_to_the_parent() -> None:
    """
    Let a worker go on when SIGTERM was sent to the whole group, as supervisors do, until the parent stops it.

    Nobody can tell from a signal who sent it: the parent says beforehand that it stops its workers, and what comes
    without that waits a moment for the parent to hear of it as well.
    """
    parent, end = os.getppid(), signal.getsignal(signal.SIGTERM)
    if not callable(end):
        return

    def later() -> None:
        if not _told(_DRAINING) or os.getppid() != parent:
            end(signal.SIGTERM, None)

    def on_signal(number: int, frame: Any) -> None:
        if _told(_STOPPING) or os.getppid() != parent:
            end(number, frame)
        elif not _told(_DRAINING):
            timer = threading.Timer(_HEARS_S, later)
            timer.daemon = True
            timer.start()

    signal.signal(signal.SIGTERM, on_signal)


def _drain_s() -> float:
    """Read how long readiness is false before the listener closes; `LORE_DRAIN_S`, in seconds."""
    try:
        seconds = float(os.environ.get("LORE_DRAIN_S", _DRAIN_S))
    except ValueError:
        return _DRAIN_S
    return seconds if math.isfinite(seconds) and seconds >= 0 else _DRAIN_S


# -- servers ---------------------------------------------------------------------------------------


def _granian(settings: Settings) -> int:
    """Run granian: the default, since most of what a request costs is the server."""
    import logging

    from lore._extras import require

    server_class = require("granian", "serve").Granian
    options = {
        "address": settings.host,
        "port": settings.port,
        "interface": "wsgi",
        "workers": settings.workers,
        "blocking_threads": settings.threads,
        "backpressure": 65_536,
        "backlog": 4_096,
        "http": "1",
        "respawn_failed_workers": True,
        "workers_kill_timeout": _KILL_S,
        "websockets": False,
        "log_enabled": True,
        "log_level": "warning",
    }
    # Its threads have 2 MiB of stack, less than what newer Pythons let a recursion use before they refuse it.
    os.environ.setdefault("RUST_MIN_STACK", str(_STACK_BYTES))
    server = server_class(settings.target, **_spelled(options))
    if hasattr(server, "respawned_wrks"):
        server.respawned_wrks = _Respawned()
    _respawn_until_draining(server)
    interrupt = server.signal_handler_interrupt

    def stop(*signalled: Any) -> None:
        _tell(_STOPPING)
        interrupt()

    server.signal_handler_interrupt = stop
    server.on_startup(lambda: _drain_then(stop))
    logging.getLogger("_granian").setLevel(logging.ERROR)
    try:
        server.serve(target_loader=_load_in_worker, wrap_loader=False)
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def _respawn_until_draining(server: Any) -> None:
    """Start no worker again that ends while the server does, and let workers leave draining to the parent."""
    respawn = getattr(server, "_respawn_workers", None)
    if respawn is not None:
        server._respawn_workers = lambda *args, **kwargs: None if _told(_DRAINING) else respawn(*args, **kwargs)
    try:
        signals = importlib.import_module("granian._signals")
        install = signals.set_sync_signals
    except (ImportError, AttributeError):
        return

    def installed() -> Any:
        event = install()
        _leave_draining_to_the_parent()
        return event

    signals.set_sync_signals = installed  # type: ignore[attr-defined]


def _spelled(options: dict[str, Any]) -> dict[str, Any]:
    """Write options as granian's enumerations."""
    constants = importlib.import_module("granian.constants")
    levels = importlib.import_module("granian.log").LogLevels
    return {
        **options,
        "interface": constants.Interfaces(options["interface"]),
        "http": constants.HTTPModes(options["http"]),
        "log_level": levels(options["log_level"]),
    }


class _Respawned(dict[int, float]):
    """
    When granian's workers were started again.

    granian gives up when a worker dies twice within seconds, which is what two killed workers look like. This
    remembers only what makes it go on, and slows down what would otherwise spin.
    """

    def get(self, key: int, default: Any = None) -> Any:
        threading.Event().wait(0.2)
        return 0


def _gunicorn(settings: Settings) -> int:
    """Run gunicorn with threads."""
    from lore._extras import require

    base = require("gunicorn.app.base", "serve").BaseApplication

    class Server(base):  # type: ignore[misc, valid-type]
        def load_config(self) -> None:
            for name, value in _gunicorn_options(settings).items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> Any:
            return _load_in_worker()

    parent = os.getpid()
    try:
        Server().run()
    except SystemExit as done:
        if os.getpid() != parent:
            raise
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0


def _gunicorn_options(settings: Settings) -> dict[str, Any]:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host

    def when_ready(arbiter: Any) -> None:
        _drain_then(lambda: arbiter.signal(signal.SIGTERM, None))

    return {
        "bind": f"{host}:{settings.port}",
        "workers": settings.workers,
        "worker_class": "gthread",
        "threads": settings.threads,
        "worker_connections": 10_000,
        "graceful_timeout": _KILL_S,
        "loglevel": "warning",
        "proc_name": f"lore {settings.target}",
        "control_socket_disable": True,
        "when_ready": when_ready,
        "post_worker_init": lambda worker: _leave_draining_to_the_parent(),
    }


def _werkzeug(settings: Settings) -> int:
    """Run werkzeug's development server, which can start again when a file changes."""
    import logging

    from lore._extras import require

    serving = require("werkzeug.serving", "serve")

    class Quiet(serving.WSGIRequestHandler):  # type: ignore[misc, name-defined]
        def log(self, type: str, message: str, *args: Any) -> None:
            if type == "error":
                super().log(type, message, *args)

        def log_request(self, *args: Any) -> None:
            """Leave it to the application's own event."""

    class Counted(Quiet):
        def run_wsgi(self) -> None:
            with in_flight:
                super().run_wsgi()

    in_flight = _InFlight()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    try:
        if settings.reload:
            signal.signal(signal.SIGTERM, _exit)
            serving.run_simple(
                settings.host,
                settings.port,
                _Reloaded(settings),
                threaded=True,
                use_reloader=True,
                reloader_type="stat",
                request_handler=Quiet,
                extra_files=_file_of(settings.target),
            )
        else:
            server = serving.make_server(
                settings.host, settings.port, _load_in_worker(), threaded=True, request_handler=Counted
            )
            _drain_then(lambda: threading.Thread(target=server.shutdown, daemon=True).start())
            server.serve_forever(0.05)
            if is_draining():
                in_flight.wait(_KILL_S)
                _flush()
    except (SystemExit, KeyboardInterrupt) as done:
        return int(getattr(done, "code", 0) or 0)
    return 0


def _exit(number: int, frame: object) -> None:
    raise SystemExit(0)


class _InFlight:
    """Counts requests that are being answered: werkzeug's threads end with the process, done or not."""

    def __init__(self) -> None:
        self._count = 0
        self._changes = threading.Condition()

    def __enter__(self) -> None:
        with self._changes:
            self._count += 1

    def __exit__(self, *exc: object) -> None:
        with self._changes:
            self._count -= 1
            self._changes.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait until none is left, or so long."""
        with self._changes:
            self._changes.wait_for(lambda: self._count == 0, seconds)


class _Reloaded:
    """An application that is loaded at its first request and, if that fails, says why until a file changes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: Callable[..., Iterable[bytes]] | None = None
        self._guards_loading = threading.Lock()
        if os.environ.get("WERKZEUG_RUN_MAIN") == "true":
            threading.Thread(target=self._load, daemon=True).start()

    def _load(self) -> Callable[..., Iterable[bytes]]:
        with self._guards_loading:
            if self._loaded is None:
                _tell(_FAILED, 0)
                try:
                    self._loaded = _load_in_worker()
                except SystemExit:
                    self._loaded = _broken
            return self._loaded

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return (self._loaded or self._load())(environ, start_response)


def _broken(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    from lore._serving.problems import MEDIA_TYPE, Problem, status_line

    problem = Problem(500, "the application cannot be loaded; the terminal has the reason")
    start_response(status_line(problem.status), [("Content-Type", MEDIA_TYPE)])
    return [problem.document("none")]


def _file_of(target: str) -> list[str]:
    try:
        spec = importlib.util.find_spec(target.partition(":")[0])
    except (ImportError, ValueError):
        return []
    return [spec.origin] if spec is not None and spec.origin else []


_SERVERS: dict[str, Callable[[Settings], int]] = {
    "granian": _granian,
    "gunicorn": _gunicorn,
    "werkzeug": _werkzeug,
}
