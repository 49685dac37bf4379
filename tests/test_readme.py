"""What README and docs show runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/README.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def script(page: Path) -> str:
    """Return the python blocks of a page as one script whose line numbers are the page's."""
    text = page.read_text()
    lines = [""] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        lines[first : first + block.group(1).count("\n")] = block.group(1).splitlines()
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_python_block_of_a_page_runs(page, tmp_path):
    """The blocks of a page, run one after the other in an empty folder, raise nothing."""
    code = script(page)
    if not code.strip():
        pytest.skip("no python on this page")
    (tmp_path / f"{page.stem.lower()}_page.py").write_text(code)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LORE_")}
    environment |= {"LORE_HOME": str(tmp_path / "home"), "WAREHOUSE_URL": "sqlite://", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error::lore.errors.LoreWarning", f"{page.stem.lower()}_page.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, textwrap.shorten(done.stderr, 3000, placeholder=" ...")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """Every relative link of a page names a file or folder that is there."""
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
