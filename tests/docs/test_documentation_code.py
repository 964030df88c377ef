"""Python code of the documentation runs: blocks of pages and notebooks of the gallery."""

from __future__ import annotations

import linecache
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from blocks import REPOSITORY, Block, blocks_of, cells_of, notebooks, pages

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # such as truncated texts, with tiny models
Workspace = Callable[[str], Path]


def python_blocks(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language == "python" and not block.skipped]


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@contextmanager
def namespace(name: str, file: Path) -> Iterator[ModuleType]:
    """A module that can be found by its name, as dataclasses and ``inspect`` need it."""
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module
    try:
        yield module
    finally:
        del sys.modules[name]
        linecache.checkcache(str(file))


def run_blocks(blocks: list[tuple[int, str]], folder: Path) -> ModuleType:
    """Run code in one namespace; errors show the line of the page.

    Args:
        blocks: The number of the first line of each block, and its code.
        folder: Where the code is written, so that tracebacks and ``inspect`` find it.
    """
    lines: list[str] = []
    for number, code in blocks:
        lines += [""] * (number - 1 - len(lines)) + code.splitlines()
    file = folder / "page.py"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with namespace("page", file) as module:
        for number, code in blocks:
            exec(compile("\n" * (number - 1) + code, str(file), "exec", dont_inherit=True), vars(module))
    return module


@pytest.mark.parametrize("page", [page for page in pages() if python_blocks(page)], ids=name_of)
def test_python_blocks_of_a_page_run(page: Path, workspace: Workspace) -> None:
    blocks = python_blocks(page)
    folder = workspace("\n".join(block.code for block in blocks))
    run_blocks([(block.line, block.code) for block in blocks], folder)


@pytest.mark.parametrize("notebook", notebooks(), ids=name_of)
def test_cells_of_a_notebook_run(notebook: Path, workspace: Workspace) -> None:
    cells = cells_of(notebook)
    folder = workspace("\n".join(cells))
    run_blocks([(1, code) for code in cells], folder)


@pytest.mark.parametrize("notebook", notebooks(), ids=name_of)
def test_outputs_of_a_notebook_name_no_folder_of_a_machine(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|Users|work)/", text)
    assert '"stderr"' not in text and '"error"' not in text
    assert len(text) < 60_000


@pytest.mark.slow
@pytest.mark.parametrize("notebook", notebooks(), ids=name_of)
def test_a_notebook_runs_in_a_kernel(notebook: Path, workspace: Workspace) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    folder = workspace("\n".join(cells_of(notebook)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages of Jupyter
        cells = nbformat.read(notebook, as_version=4)
        nbclient.NotebookClient(cells, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
