"""The house stands as it was drawn: imports only go down, and faces do not know each other."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import lore

ROOT = Path(lore.__file__).parent
FACES = {"lore.io", "lore.cache", "lore.timing", "lore.serve"}
GROUND = {"lore.errors", "lore.typing"}
JOINERY = {"lore._wrapping", "lore._extras", "lore._home", "lore._warning"}
SHARED_ENGINES = ("lore._inputs", "lore._timing")
ENGINE_ROOMS = ("lore._caching", "lore._querying", "lore._serving", "lore._formats", *SHARED_ENGINES)
TOP = {"lore.testing"}


def modules() -> list[str]:
    return [info.name for info in pkgutil.walk_packages([str(ROOT)], "lore.")]


def room(module: str) -> str:
    """Name the room a module stands in."""
    return next((name for name in ENGINE_ROOMS if module == name or module.startswith(f"{name}.")), module)


def level(module: str) -> int:
    """Number the floors from the ground upwards."""
    place = room(module)
    if place in GROUND:
        return 0
    if place in JOINERY:
        return 1
    if place in SHARED_ENGINES:
        return 2
    if place in ENGINE_ROOMS:
        return 3
    if place in FACES:
        return 4
    if place in TOP:
        return 5
    raise AssertionError(f"{module} stands nowhere in the house")


def path_of(module: str) -> Path:
    relative = Path(*module.split(".")[1:])
    package = ROOT / relative / "__init__.py"
    return package if package.exists() else (ROOT / relative).with_suffix(".py")


def imports_of(module: str) -> Iterator[str]:
    """Yield the modules of lore's that a module imports anywhere in its text, types-only blocks of the ground apart."""
    tree = ast.parse(path_of(module).read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and level(module) == 0
        for inner in ast.walk(node)
    }
    known = set(modules())
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lore":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            inner = [name for name in names if name in known]
            yield from inner or ([node.module] if node.module in known else [])


@pytest.mark.parametrize("module", modules())
def test_imports_go_down(module: str) -> None:
    """A module imports only from floors below its own, or from its own room."""
    for imported in imports_of(module):
        same_room = room(imported) == room(module)
        ground_or_joinery = level(module) == level(imported) <= 1
        assert level(imported) < level(module) or same_room or ground_or_joinery, f"{module} imports {imported}"


@pytest.mark.parametrize("module", modules())
def test_no_relative_imports(module: str) -> None:
    """Every import says where it comes from."""
    tree = ast.parse(path_of(module).read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("module", modules())
def test_no_room_for_odds_and_ends(module: str) -> None:
    """No module is called utils, base, common or helpers."""
    assert not {"utils", "base", "common", "helpers"} & {part.strip("_") for part in module.split(".")}


@pytest.mark.parametrize("module", ["lore", *sorted(FACES | GROUND)])
def test_public_names_are_sorted_and_exist(module: str) -> None:
    """`__all__` is sorted without regard to case and names nothing that is not there."""
    loaded = importlib.import_module(module)
    assert loaded.__all__ == sorted(loaded.__all__, key=str.lower)
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []
