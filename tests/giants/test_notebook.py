"""Notebooks: decorated cells, run in a real kernel, run again, edited, and sent to other processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat, nbclient and ipykernel")
nbclient = pytest.importorskip("nbclient", reason="needs nbformat, nbclient and ipykernel")
pytest.importorskip("ipykernel", reason="needs nbformat, nbclient and ipykernel")

pytestmark = pytest.mark.filterwarnings("ignore")  # of the kernel's own machinery


def execute(cells: list[str], folder: Path) -> list[str]:
    """Run cells in a fresh kernel and return what each printed or showed."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return ["".join(map(_text, cell.outputs)).strip() for cell in notebook.cells]


def _text(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text) if output.name == "stdout" else ""
    return str(output.data.get("text/html") or output.data.get("text/plain", ""))


HELPER = "def helper(x):\n    return x + 1"
CELL = """
import lore

@lore.timed
@lore.cached
def f(x):
    print("computing")
    return helper(x) * 10

print(f(1))
"""


def test_a_cell_run_again_finds_its_result(tmp_path: Path) -> None:
    """A cell that runs again, in this kernel or in the next, finds what it computed; an edited helper makes it stale."""
    outputs = execute([HELPER, CELL, CELL, HELPER.replace("+ 1", "+ 2"), CELL, "print(f(1))"], tmp_path)
    assert outputs == ["", "computing\n20", "20", "", "computing\n30", "30"]
    assert execute([HELPER, CELL], tmp_path)[1] == "20"


def test_cells_travel_to_other_processes(tmp_path: Path) -> None:
    """Functions of a notebook run as joblib tasks in other processes, and their results are found here."""
    search = "from joblib import Parallel, delayed\nprint(Parallel(2)(delayed(f)(i) for i in range(3)))"
    outputs = execute([HELPER, CELL.replace("print(f(1))", ""), search, "print(f(2), f.cache_info().hits)"], tmp_path)
    assert outputs[-2:] == ["[10, 20, 30]", "30 1"]


def test_a_report_shows_itself(tmp_path: Path) -> None:
    """A report at the end of a cell shows itself as HTML, once."""
    shown = execute([HELPER, CELL, "lore.timing.report()"], tmp_path)[-1]
    assert shown.count("<table") <= 2
    assert "f" in shown
    assert "<" in shown
