"""
Results for a hub: a folder in the layout that model hubs show, and back.

The folder holds the value in a format that others can open and that executes nothing when it is opened (skops for
scikit-learn, `.keras` and, on request, TensorFlow's SavedModel for Keras, safetensors for arrays, Parquet for frames,
JSON for plain values), a `README.md` with a model card, a `requirements.txt`, and `lore.json`: where the value came
from. The network is fsspec's part: `hf://user/name`, `s3://bucket/prefix` or a local folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from lore._caching import entries
from lore._caching.entries import Entry
from lore._extras import require
from lore._warning import warn
from lore.errors import CacheError, IntegrityError, StoreError

__all__ = ["fetch", "origin", "publish", "requirements"]

_ORIGIN = "lore.json"


class _Form(NamedTuple):
    """One way to write a value into a folder: which values, under which name, by which library."""

    fits: Callable[[Any], bool]
    file: str
    library: str
    write: Callable[[Any, Path], None]
    read: Callable[[Path, Sequence[str]], Any]


def publish(
    entry: Entry,
    to: str,
    *,
    title: str | None,
    summary: str,
    metrics: Mapping[str, float],
    license: str | None,
    tags: Sequence[str],
    saved_model: bool,
) -> str:
    """Write a stored result as a folder to a hub and return where it stands."""
    import tempfile

    value = entry.load()
    form = next((form for form in _FORMS if form.fits(value)), None)
    if form is None:
        raise CacheError(
            f"A {type(value).__qualname__} has no format that is safe to open elsewhere. Publish an estimator, a Keras "
            f"model, arrays, a frame or plain data; of other objects publish what they hold."
        )
    made = origin(entry) | {"file": form.file, "metrics": dict(metrics)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        form.write(value, folder / form.file)
        if saved_model:
            _export_saved_model(value, folder / "saved_model")
        (folder / _ORIGIN).write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "requirements.txt").write_text(requirements(made["packages"]), encoding="utf-8")
        card = _card(made, form, title or entry.function.rpartition(".")[2], summary, license, tags)
        (folder / "README.md").write_text(card, encoding="utf-8")
        _upload(folder, to)
    return to


def fetch(url: str, trusted: Sequence[str]) -> Any:
    """Load what `publish` wrote; say so where it was made under other versions."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        folder = _download(url, Path(scratch))
        try:
            made = json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))
            form = next(form for form in _FORMS if form.file == made["file"])
        except (OSError, ValueError, KeyError, StopIteration):
            raise IntegrityError(
                f"{url} holds no result that lore published: {_ORIGIN} is missing or damaged."
            ) from None
        _compare_versions(url, made)
        return form.read(folder / form.file, trusted)


def origin(entry: Entry) -> dict[str, Any]:
    """Return where a result came from, as JSON has it."""
    folder = entry.name.rpartition("/")[0]
    facts = entries.read_facts(entry.store, folder, entry.code) or {}
    return {
        "function": entry.function,
        "arguments": entry.arguments,
        "code": {"digest": entry.code, "facts": {name: fact for name, fact in facts.items() if name != "packages"}},
        "inputs": list(entry.inputs),
        "python": entry.python,
        "packages": facts.get("packages", {}).get("versions", {}),
        "commit": entry.commit,
        "command": entry.command,
        "host": entry.host,
        "created": datetime.fromtimestamp(entry.created_s, UTC).isoformat(timespec="seconds"),
        "elapsed_s": entry.elapsed_s,
        "key": entry.key,
    }


def requirements(packages: Mapping[str, str]) -> str:
    """Return the text of a requirements file that installs just these versions."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(packages.items()))


# --- the card --------------------------------------------------------------------------------------------------------


def _card(
    made: Mapping[str, Any], form: _Form, title: str, summary: str, license: str | None, tags: Sequence[str]
) -> str:
    """Write the card: a head that hubs read, and what a person wants to know, from what lore knows."""
    head = [f"library_name: {form.library}"]
    if license:
        head.append(f"license: {license}")
    head += ["tags:", *(f"- {tag}" for tag in ("lore", *tags))]
    sections = [
        f"# {title}",
        summary,
        "## How it was made\n\n" + _table(_how(made)),
        "## Arguments\n\n" + (_table(made["arguments"]) if made["arguments"] else "None."),
    ]
    if made["metrics"]:
        sections.append("## Metrics\n\n" + _table({name: f"{value:.6g}" for name, value in made["metrics"].items()}))
    if made["inputs"]:
        sections.append("## Data\n\n" + "\n".join(f"- {_said(item)}" for item in made["inputs"]))
    sections.append("## Packages\n\n" + (_table(made["packages"]) if made["packages"] else "None besides Python."))
    sections.append(
        f'## Use\n\n```python\nimport lore\n\nvalue = lore.cache.fetch("<where this folder is>")\n```\n\n'
        f"`{made['file']}` is the value, `{_ORIGIN}` its origin, `requirements.txt` rebuilds its environment."
    )
    return "---\n" + "\n".join(head) + "\n---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


def _how(made: Mapping[str, Any]) -> dict[str, str]:
    return {
        "function": made["function"],
        "code": made["code"]["digest"],
        "commit": made["commit"] or "none",
        "command": made["command"],
        "Python": made["python"],
        "created": made["created"],
        "seconds": f"{made['elapsed_s']:.3g}",
    }


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _cell(text: object) -> str:
    """Keep what stands in a cell from being read as the table's own signs."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _said(item: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {_cell(value)}" for name, value in item.items())


# --- the forms -------------------------------------------------------------------------------------------------------


def _from(module: str, name: str) -> Callable[[Any], bool]:
    """Tell instances of a class whose module is loaded; what is not loaded made no instance."""

    def fits(value: Any) -> bool:
        cls = getattr(sys.modules.get(module), name, None)
        return cls is not None and isinstance(value, cls)

    return fits


def _is_arrays(value: Any) -> bool:
    is_array = _from("numpy", "ndarray")
    # an array alone is written under the empty name
    plain = type(value) is dict and bool(value) and all(type(name) is str and name for name in value)
    arrays = list(value.values()) if plain else [value]
    return all(is_array(array) and array.dtype.kind in "biuf" for array in arrays)


def _is_json(value: Any) -> bool:
    try:
        same: bool = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError, RecursionError):
        return False
    return same


def _write_arrays(value: Any, path: Path) -> None:
    arrays = value if type(value) is dict else {"": value}
    contiguous = {name: require("numpy", "hub").ascontiguousarray(array) for name, array in arrays.items()}
    require("safetensors.numpy", "hub").save_file(contiguous, path)


def _read_arrays(path: Path, trusted: Sequence[str]) -> Any:
    arrays = require("safetensors.numpy", "hub").load_file(path)
    return arrays[""] if list(arrays) == [""] else arrays


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _read_skops(path: Path, trusted: Sequence[str]) -> Any:
    skops = require("skops.io", "hub")
    unknown = sorted(set(skops.get_untrusted_types(file=path)) - set(trusted))
    if unknown:
        raise IntegrityError(
            f"{path.name} holds types that skops does not vouch for: {', '.join(unknown)}. Where you trust who "
            f"published it, name them:  lore.cache.fetch(url, trusted={unknown!r})"
        )
    return skops.load(path, trusted=list(trusted))


_FORMS = (
    _Form(
        _from("keras", "Model"),
        "model.keras",
        "keras",
        lambda value, path: value.save(path),
        lambda path, trusted: require("keras", "keras").models.load_model(path),
    ),
    _Form(
        _from("sklearn.base", "BaseEstimator"),
        "model.skops",
        "sklearn",
        lambda value, path: require("skops.io", "hub").dump(value, path),
        _read_skops,
    ),
    _Form(
        _from("pandas", "DataFrame"),
        "data.parquet",
        "pandas",
        lambda value, path: value.to_parquet(path),
        lambda path, trusted: require("pandas", "sql").read_parquet(path),
    ),
    _Form(_is_arrays, "model.safetensors", "safetensors", _write_arrays, _read_arrays),
    _Form(
        _is_json,
        "value.json",
        "lore",
        _write_json,
        lambda path, trusted: json.loads(path.read_text(encoding="utf-8")),
    ),
)


def _export_saved_model(value: Any, path: Path) -> None:
    """Write TensorFlow's SavedModel, which TensorFlow Hub and TensorFlow Serving load as a folder."""
    if not _from("keras", "Model")(value):
        raise CacheError(f"saved_model=True is for Keras models, and this is a {type(value).__qualname__}.")
    value.export(str(path), verbose=False)


# --- the way there and back ------------------------------------------------------------------------------------------


def _upload(folder: Path, to: str) -> None:
    """Copy a folder file by file; the origin comes last, so that what is half there is not taken for whole."""
    system, path = require("fsspec", "remote").core.url_to_fs(to)
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.name == _ORIGIN)
    try:
        for file in files:
            target = f"{path.rstrip('/')}/{file.relative_to(folder).as_posix()}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.pipe_file(target, file.read_bytes())
    except OSError as error:
        raise StoreError(f"The result could not be published at {to}: {error}") from error


def _download(url: str, scratch: Path) -> Path:
    """Return a local folder with what stands at a URL."""
    system, path = require("fsspec", "remote").core.url_to_fs(url)
    try:
        if not system.exists(f"{path.rstrip('/')}/{_ORIGIN}"):
            raise StoreError(f"There is no published result at {url}.")
        if "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)):
            return Path(path)
        system.get(path.rstrip("/") + "/", f"{scratch}/", recursive=True)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"The result at {url} could not be read: {error}") from error
    return scratch


def _compare_versions(url: str, made: Mapping[str, Any]) -> None:
    """Warn where a result was made under other versions than those that are installed here."""
    from importlib import metadata

    others = []
    for name, version in made["packages"].items():
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            here = "not installed"
        if here != version:
            others.append(f"{name} {version} (here {here})")
    python = ".".join(map(str, sys.version_info[:2]))
    if not str(made["python"]).startswith(python):
        others.insert(0, f"Python {made['python']} (here {python})")
    if others:
        warn(
            f"The result at {url} was made under other versions: {', '.join(others)}. Its requirements.txt rebuilds "
            f"the environment it was made in.",
            once=("versions", url),
        )
