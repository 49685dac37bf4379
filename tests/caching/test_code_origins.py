"""
Whose code it is: the user's own is followed, packages count by version.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lore._caching import origins
from lore._caching.code import explain

PRINT = """
import json
from lore._caching.code import Code
code = Code.of(f)
print(json.dumps([code.digest().hex(), code.facts()]))
"""
MAIN = "import tool\ndef f(x): return tool.use(x)\n"


class Site:
    """A folder of installed packages and a program beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packages = folder / "env" / "site-packages"
        self.packages.mkdir(parents=True)
        self.write(folder / "main.py", MAIN)

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def install(self, name: str, version: str, files: dict[str, str], requires: tuple[str, ...] = ()) -> Path:
        """Install a distribution as pip does."""
        for old in self.packages.glob(f"{name}-*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        place = self.packages / f"{name}-{version}.dist-info"
        needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
        self.write(
            place / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}\nVersion: text\n"
        )
        for path, text in files.items():
            self.write(self.packages / path, text)
        lines = [f"{path},sha256={abs(hash(text))},{len(text)}" for path, text in files.items()]
        self.write(place / "RECORD", "\n".join([*lines, f"{place.name}/METADATA,,"]))
        return place

    def look(self, text: str = "from main import f\n") -> tuple[str, dict[str, Any]]:
        """Return the digest of the program's function and its facts, as a new process sees them."""
        path = os.pathsep.join(map(str, (self.folder, self.packages, Path(__file__).parents[2])))
        variables = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", text + PRINT]
        done = subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digest, facts = json.loads(done.stdout)
        return digest, facts


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_package_counts_by_its_version(site: Site) -> None:
    """A new version changes the digest and is named; the package's code as such does not count."""
    site.install("tool", "1.0", {"tool/__init__.py": "def use(x): return x"})
    first, old = site.look()
    site.install("tool", "1.0", {"tool/__init__.py": "def use(x): return -x"})
    assert site.look()[0] == first
    site.install("tool", "1.1", {"tool/__init__.py": "def use(x): return x"})
    second, new = site.look()
    assert second != first
    assert explain(old, new) == ["tool 1.0 -> 1.1"]


def test_a_package_may_have_another_name_than_its_module(site: Site) -> None:
    """`import sklearn` is scikit-learn: the distribution is the one that lists the file."""
    site.install("zzz-other", "5", {"other.py": ""})
    site.install("the-tools", "1.0", {"tool/__init__.py": "def use(x): return x"})
    _, old = site.look()
    site.install("the-tools", "1.1", {})
    site.install("the-tools", "1.1", {"tool/__init__.py": "def use(x): return x"})
    assert explain(old, site.look()[1]) == ["the-tools 1.0 -> 1.1"]
    site.install("tool", "9", {"unrelated.py": ""})
    assert explain(old, site.look()[1]) == ["the-tools 1.0 -> 1.1"]


def test_what_a_package_requires_counts_too(site: Site) -> None:
    """A result comes from numpy as much as from the package that calls it."""
    site.install("tool", "1.0", {"tool/__init__.py": "def use(x): return x"}, ("Low_Level>=1", "extra ; extra == 'x'"))
    site.install("low-level", "1.0", {"low.py": ""}, ("tool",))
    site.install("extra", "1.0", {"extra.py": ""})
    _, old = site.look()
    site.install("low-level", "2.0", {"low.py": ""}, ("tool",))
    site.install("extra", "2.0", {"extra.py": ""})
    assert explain(old, site.look()[1]) == ["low-level 1.0 -> 2.0"]


def test_a_package_installed_from_a_folder_counts_by_its_modules_too(site: Site) -> None:
    """`pip install ./tool` again, with other code under the same version, is seen."""
    place = site.install("tool", "1.0", {"tool/__init__.py": "def use(x): return x"})
    site.write(place / "direct_url.json", "{}")
    first, _ = site.look()
    record = (place / "RECORD").read_text()
    (place / "RECORD").write_text(record.replace("sha256=", "sha256=1"))
    assert site.look()[0] != first


def test_an_editable_install_is_the_users_own_code(site: Site) -> None:
    """Its files lie elsewhere and are followed; its version does not count."""
    site.write(site.folder / "src" / "tool" / "__init__.py", "def use(x): return x")
    site.install("tool", "1.0", {"__editable__.tool.pth": ""})
    path = f"import sys; sys.path.append({str(site.folder / 'src')!r})\nfrom main import f\n"
    first, old = site.look(path)
    site.install("tool", "2.0", {"__editable__.tool.pth": ""})
    assert site.look(path)[0] == first
    site.write(site.folder / "src" / "tool" / "__init__.py", "def use(x): return -x")
    assert explain(old, site.look(path)[1]) == ["helper use() in src/tool/__init__.py changed"]


def test_a_package_in_a_folder_of_another_name_counts_by_version(site: Site) -> None:
    """`pip install --target lib` makes packages too: what counts is that a distribution lists the file."""
    site.packages = site.folder / "lib"
    site.install(
        "tool", "1.0", {"tool/__init__.py": "from tool.deep import use", "tool/deep.py": "def use(x): return x"}
    )
    first, _ = site.look()
    site.write(site.packages / "tool" / "deep.py", "def use(x): return -x")
    assert site.look()[0] == first
    site.install(
        "tool", "1.1", {"tool/__init__.py": "from tool.deep import use", "tool/deep.py": "def use(x): return x"}
    )
    assert site.look()[0] != first


def test_a_module_among_packages_that_nobody_lists_is_followed_or_counts_by_its_own_version(site: Site) -> None:
    """A loose file in site-packages is code like any other, unless it states its version."""
    site.write(site.packages / "tool.py", "def use(x): return x")
    first, _ = site.look()
    site.write(site.packages / "tool.py", "def use(x): return -x")
    assert site.look()[0] != first
    site.write(site.packages / "tool.py", "__version__ = '3'\ndef use(x): return -x")
    stated, facts = site.look()
    site.write(site.packages / "tool.py", "__version__ = '3'\ndef use(x): return x")
    assert site.look()[0] == stated
    assert facts["packages"]["versions"] == {"tool": "3"}


def test_a_decorator_of_a_package_around_own_code_is_looked_through(site: Site) -> None:
    """What a package's decorator wraps is followed, and what it was called with counts."""
    decorator = "def deco(k):\n    def d(g):\n        def w(x): return g(x), k\n        return w\n    return d\n"
    site.install("tool", "1.0", {"tool/__init__.py": decorator})
    program = "import tool\n@tool.deco(3)\ndef g(x): return x\ndef f(x): return g(x)\n"
    site.write(site.folder / "main.py", program)
    first, old = site.look()
    site.write(site.folder / "main.py", program.replace("(3)", "(4)"))
    assert site.look()[0] != first
    site.write(site.folder / "main.py", program.replace("return x", "return -x"))
    assert explain(old, site.look()[1]) == ["helper g() in main.py changed"]


def test_an_import_inside_a_function_does_not_load_the_package(site: Site) -> None:
    """The version of a heavy package is found without importing it, and is the same once it is loaded."""
    site.install("tool", "1.0", {"tool/__init__.py": "def use(x): return x"})
    site.write(
        site.folder / "main.py", "def f(x):\n    import tool\n    from tool import use\n    return tool.use(x), use"
    )
    check = "from lore._caching.code import Code\nfrom main import f\nimport sys\nbefore = Code.of(f).digest()\n"
    check += "assert 'tool' not in sys.modules\nimport tool\nassert Code.of(f).digest() == before\n"
    _, old = site.look(check)
    site.install("tool", "1.1", {"tool/__init__.py": "def use(x): return x"})
    assert explain(old, site.look()[1]) == ["tool 1.0 -> 1.1"]


def test_a_part_of_a_namespace_counts_by_the_version_of_who_brings_it(site: Site) -> None:
    """`import google.protobuf`: the namespace belongs to many, the part to one, inside a function too."""
    site.write(site.folder / "main.py", "import shared.tool\ndef f(x): return shared.tool.use(x)")
    site.write(site.folder / "inner.py", "def f(x):\n    import shared.tool\n    return shared.tool.use(x)")
    site.install("zzz", "1.0", {"shared/other.py": ""})
    site.install("the-tool", "1.0", {"shared/tool/__init__.py": "def use(x): return x"})
    (_, outer), (_, inner) = site.look(), site.look("from inner import f\n")
    site.install("zzz", "2.0", {"shared/other.py": ""})
    site.install("the-tool", "1.1", {"shared/tool/__init__.py": "def use(x): return x"})
    assert explain(outer, site.look()[1]) == ["the-tool 1.0 -> 1.1"]
    assert explain(inner, site.look("from inner import f\n")[1]) == ["the-tool 1.0 -> 1.1"]


def test_a_module_that_a_package_loads_when_asked_is_left_alone(site: Site) -> None:
    """A stand-in such as TensorFlow's for Keras is the package's, loaded or not, and is not loaded to look at it."""
    lazy = """
        import importlib, types
        class Lazy(types.ModuleType):
            def __init__(self): self.__dict__.clear()
            def __getattr__(self, name):
                self.__dict__.update(importlib.import_module("tool.real").__dict__)
                return self.__dict__[name]
        later = Lazy()
        """
    files = {"tool/__init__.py": textwrap.dedent(lazy), "tool/real.py": "def use(x): return x"}
    site.install("tool", "1.0", files)
    site.write(
        site.folder / "main.py", "import tool\nfrom tool import later\ndef f(x): return later.use(x), tool.later.use(x)"
    )
    check = "from lore._caching.code import Code\nfrom main import f\nimport sys\nbefore = Code.of(f).digest()\n"
    check += "assert 'tool.real' not in sys.modules\nf(1)\nassert Code.of(f).digest() == before\n"
    _, old = site.look(check)
    site.install("tool", "1.1", files)
    assert explain(old, site.look()[1]) == ["tool 1.0 -> 1.1"]


def test_where_code_comes_from() -> None:
    """The standard library, lore, packages and this file are told apart."""
    assert origins.of_module_named("json").kind == "python"
    assert origins.of_module_named("sys").kind == "python"
    assert origins.of_module_named("os.path").kind == "python"
    assert origins.of_module_named("importlib._bootstrap").kind == "python"
    assert origins.of_module_named("lore.errors").kind == "lore"
    assert origins.of_module_named("pytest").name == "pytest"
    assert origins.of_module_named("_pytest.fixtures").name == "pytest"
    assert origins.of_module_named("attr").name == "attrs"
    assert origins.of_module_named("__main__").kind == "own"
    assert origins.of_module_named("nowhere.to.be.found").kind == "own"
    assert origins.of_module_named(__name__).kind == "own"


def test_versions_are_those_that_are_installed() -> None:
    """What is read by hand, for speed, is what importlib.metadata says."""
    from importlib.metadata import version

    for name in ("pytest", "attrs", "xxhash"):
        assert origins.version_of(
            origins.of_module_named(name.removesuffix("s") if name == "attrs" else name)
        ) == version(name)
    assert {"iniconfig", "pluggy"} <= set(origins.with_requirements({origins.of_module_named("pytest")}))


def test_a_file_that_shadows_the_standard_library_is_own_code(site: Site) -> None:
    """`statistics.py` beside the program is the user's, whatever else has that name."""
    site.write(site.folder / "statistics.py", "def use(x): return x")
    site.write(site.folder / "main.py", MAIN.replace("tool", "statistics"))
    _, old = site.look()
    site.write(site.folder / "statistics.py", "def use(x): return -x")
    assert explain(old, site.look()[1]) == ["helper use() in statistics.py changed"]
