"""
Whose code is this? The user's own is followed; packages and the standard library count by version.

A file belongs to a package when an installed distribution lists it: that is what tells a package in site-packages from
an editable install, which is the user's own code. Nothing is imported to find out, and no more metadata is read than
that of the packages in question.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from types import ModuleType
from typing import Literal, NamedTuple

import xxhash

__all__ = ["Origin", "of_file", "of_module", "of_module_named", "python_version", "version_of", "with_requirements"]


class Origin(NamedTuple):
    """
    Where code comes from.

    Args:
        kind: "own" is followed, "package" and "python" (the standard library) count by version, "lore" not at all.
        name: the distribution's name, for packages.
        place: the folder of the distribution's metadata, or a version where there is no metadata.
    """

    kind: Literal["own", "package", "python", "lore"]
    name: str = ""
    place: str = ""


OWN = Origin("own")
PYTHON = Origin("python")
LORE = Origin("lore")
NAMESPACE = Origin("package")  # shared by several distributions

_LORE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STDLIB = tuple(
    {path + os.sep for path in (os.path.dirname(os.__file__), os.path.realpath(os.path.dirname(os.__file__)))}
)
_SITE = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
_SEPARATORS = re.compile(r"[-_.]+")
_BEFORE_VERSION = re.compile(r"-(?=\d)")


@functools.lru_cache(maxsize=4096)
def of_file(filename: str) -> Origin | None:
    """Tell whose file this is; None where the name is no file's, as in `<string>` or a notebook's cell."""
    if filename.startswith("<frozen "):
        return PYTHON
    if filename.startswith("<"):
        return None
    path = os.path.abspath(filename)
    if path.startswith(_LORE):
        return LORE
    if path.startswith(_STDLIB) and not _SITE.search(path):
        return PYTHON
    return _package_of(path) or OWN


def of_module_named(name: str) -> Origin:
    """Tell whose module this is, by its name; a module that was never imported is looked up without importing it."""
    if name in ("__main__", "__mp_main__", ""):
        return OWN
    module = sys.modules.get(name)
    if module is not None:
        return of_module(module)
    return _of_unloaded(name)


def of_module(module: ModuleType) -> Origin:
    """Tell whose module this is; a stand-in that loads another when asked belongs to who wrote the stand-in."""
    if type(module) is not ModuleType:
        writer = of_module_named(type(module).__module__)
        if writer.kind == "package":
            return writer
    names = module.__dict__
    filename = names.get("__file__")
    if isinstance(filename, str):
        origin = of_file(filename)
        if origin is not None:
            return origin
    if filename is None and "__path__" in names:
        return _of_namespace(tuple(names["__path__"]))
    top = str(names.get("__name__", "")).partition(".")[0]
    if top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return PYTHON
    # a stand-in that loads the real module when asked belongs to the package that it is named after
    return OWN if top in ("", "__main__", "__mp_main__") else _of_unloaded(top)


def _of_namespace(paths: tuple[str, ...]) -> Origin:
    """A namespace package has no file: it is the user's own unless it lies among installed packages, and no version."""
    return NAMESPACE if paths and all(_SITE.search(path + os.sep) for path in paths) else OWN


@functools.lru_cache(maxsize=1024)
def _of_unloaded(name: str) -> Origin:
    from importlib.util import find_spec

    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        try:
            spec = find_spec(".".join(parts[:depth]))
        except (ImportError, AttributeError, ValueError):
            return OWN
        if spec is None:
            return OWN
        if spec.origin in ("built-in", "frozen"):
            return PYTHON
        if spec.origin is not None:
            return of_file(spec.origin) or OWN
    return _of_namespace(tuple(spec.submodule_search_locations or ())) if spec else OWN


# --- packages ---------------------------------------------------------------------------------------------------------


def _package_of(path: str) -> Origin | None:
    site = list(_SITE.finditer(path))
    root = path[: site[-1].end() - 1] if site else _root_above(path)
    listed = _distributions(root)
    if not listed and not site:
        return None
    relative = path[len(root) + 1 :].replace(os.sep, "/")
    top = relative.partition("/")[0]
    regular = os.path.exists(os.path.join(root, top, "__init__.py"))
    owner = _owner(root, top if regular else relative)
    if owner is not None:
        return Origin("package", owner, listed[owner])
    stated = getattr(sys.modules.get(top.partition(".")[0]), "__version__", None) if site else None
    return Origin("package", top.partition(".")[0], f"={stated}") if isinstance(stated, str) else None


def _root_above(path: str) -> str:
    """Return the folder that a file is imported from: the first one above that is no package."""
    folder = os.path.dirname(path)
    while os.path.exists(os.path.join(folder, "__init__.py")) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


@functools.lru_cache(maxsize=256)
def _distributions(root: str) -> dict[str, str]:
    """List the distributions installed in a folder: normalised name to the place of the metadata."""
    try:
        names = os.listdir(root)
    except OSError:
        return {}
    found: dict[str, str] = {}
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        # an egg-info beside sources is what a checkout has: only among installed packages does it name one
        if suffix == ".dist-info" or (suffix == ".egg-info" and _SITE.search(root + os.sep)):
            found.setdefault(_normal(_BEFORE_VERSION.split(stem)[0]), os.path.join(root, name))
    return found


@functools.lru_cache(maxsize=4096)
def _owner(root: str, relative: str) -> str | None:
    """Find the distribution that installed a file or a folder: the one of that name, or whichever lists it."""
    listed = _distributions(root)
    guess = _normal(relative.partition("/")[0].partition(".")[0])
    if guess in listed and _lists(listed[guess], relative, guess):
        return guess
    return next((name for name, place in listed.items() if _lists(place, relative, guess, strictly=True)), None)


def _lists(place: str, relative: str, guess: str, strictly: bool = False) -> bool:
    record = _bytes(os.path.join(place, "RECORD")) or _bytes(os.path.join(place, "installed-files.txt"))
    if record:
        lines = b"\n" + record.replace(b"\\", b"/")
        return f"\n{relative},".encode() in lines or f"\n{relative}/".encode() in lines
    top = relative.partition("/")[0].partition(".")[0]
    tops = (_bytes(os.path.join(place, "top_level.txt")) or b"").decode("utf-8", "replace").split()
    return top in tops or (not strictly and not tops and guess == _normal(top))


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _normal(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


# --- versions ---------------------------------------------------------------------------------------------------------


def python_version() -> str:
    """Return the version of the interpreter and its standard library, such as "3.11.7"."""
    return "{}.{}.{}".format(*sys.version_info)


@functools.lru_cache(maxsize=1024)
def version_of(origin: Origin) -> str:
    """
    Return a package's version.

    A package that was installed from a folder, a repository or a single wheel may change under the same version: for
    those, the digest of the installed modules stands behind it.
    """
    if origin.place.startswith("=") or not os.path.isabs(origin.place):
        return origin.place.lstrip("=")
    version = next(iter(_headers(origin.place, "Version")), "")
    if os.path.exists(os.path.join(origin.place, "direct_url.json")):
        version += f" ({_content_of(origin.place)})"
    return version


def with_requirements(origins: set[Origin]) -> dict[str, str]:
    """
    Return the versions of packages and of everything they require, by name.

    A model's result comes from numpy as much as from scikit-learn, whoever of the two is named in the code.
    """
    found: dict[str, str] = {}
    waiting = sorted(origins)
    while waiting:
        origin = waiting.pop()
        if origin.name not in found:
            found[origin.name] = version_of(origin)
            waiting.extend(_requirements(origin))
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=1024)
def _requirements(origin: Origin) -> tuple[Origin, ...]:
    if not os.path.isabs(origin.place):
        return ()
    lines = (line for line in _headers(origin.place, "Requires-Dist") if "extra ==" not in line)
    names = {_normal(match.group()) for line in lines if (match := re.match(r"[A-Za-z0-9._-]+", line))}
    roots = dict.fromkeys((os.path.dirname(origin.place), *sys.path))
    return tuple(
        Origin("package", name, place)
        for name in sorted(names)
        if (place := next((at for root in roots if (at := _distributions(root or ".").get(name))), None))
    )


def _headers(place: str, wanted: str) -> list[str]:
    """Read one header of a distribution's metadata, which ends where the description begins."""
    for name in ("METADATA", "PKG-INFO", ""):
        text = _bytes(os.path.join(place, name) if name else place)
        if text is not None:
            head = text.decode("utf-8", "replace").replace("\r\n", "\n").partition("\n\n")[0]
            return [line.partition(":")[2].strip() for line in head.split("\n") if line.startswith(f"{wanted}:")]
    return []


def _content_of(place: str) -> str:
    record = (_bytes(os.path.join(place, "RECORD")) or b"").split(b"\n")
    modules = sorted(line.strip() for line in record if b".py,sha256=" in line)
    return xxhash.xxh3_64_hexdigest(b"\n".join(modules))
