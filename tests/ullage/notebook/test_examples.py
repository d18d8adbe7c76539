"""The example notebooks run from top to bottom and show what they say; stored, they hold no results."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.packaging.checkout import ROOT

FOLDER = ROOT / "examples" / "notebooks"
NOTEBOOKS = tuple(sorted(FOLDER.glob("*.ipynb")))
SCRIPT = FOLDER / "which-gpus-to-buy.py"
# Far more than a cell takes on a slow machine: a notebook that hangs ends.
MOST_S_OF_A_CELL = 300

# What some cells show, by the name of the notebook: "text/html" for plans, studies and tables, "image/png" for figures.
SHOWN = {
    "capacity-for-next-quarter": {
        "text/html": ("plan", "reasons", "growth", "doubled", "whatif", "pareto", "diff"),
        "image/png": ("plot", "bars"),
    },
    "which-gpus-to-buy": {
        "text/html": ("reasons", "buy", "dies", "prices", "decision", "chosen-plan"),
        "image/png": ("full", "plot"),
    },
    "why-is-my-gpu-empty": {
        "text/html": ("empty", "gpu", "workload", "ways", "dies", "scenarios", "memory", "quote", "joined", "simulate"),
        "image/png": ("plan", "busy"),
    },
}


def name_of(path: Path) -> str:
    return path.stem


def stored(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of examples, where cells may write; kernels import ullage from here and find its program beside Python."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))))
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path / "settings"))
    return Path(shutil.copytree(FOLDER, tmp_path / "notebooks"))


def test_every_notebook_is_here() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_they_are_stored_without_results(path: Path) -> None:
    notebook = stored(path)
    nbformat.validate(notebook)
    assert [cell.id for cell in code_cells(notebook) if cell.outputs or cell.execution_count is not None] == []
    assert [cell.id for cell in notebook.cells if cell.metadata] == []
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_they_run_and_show_plans_and_figures(path: Path, copied: Path) -> None:
    notebook = stored(path)
    resources = {"metadata": {"path": str(copied)}}
    NotebookClient(notebook, timeout=MOST_S_OF_A_CELL, startup_timeout=MOST_S_OF_A_CELL, resources=resources).execute()
    outputs = {cell.id: cell.outputs for cell in code_cells(notebook)}
    assert [(name, said) for name, found in outputs.items() for said in found if is_complaint(said)] == []
    assert [name for name, found in outputs.items() if not found] == []
    for kind, names in SHOWN[path.stem].items():
        assert [name for name in names if not any(kind in said.get("data", {}) for said in outputs[name])] == []


def is_complaint(output: Any) -> bool:
    """Whether it is an error, or a warning on stderr."""
    return bool(output.output_type == "error" or output.get("name") == "stderr")


def statements(source: str) -> list[str]:
    """Its statements, without what only loads: imports and the fleet's file."""
    found = [ast.unparse(node) for node in ast.parse(source).body if not isinstance(node, ast.Import | ast.ImportFrom)]
    return [text for text in found if "ullage.load(" not in text]


def cells_of_script(text: str) -> Iterator[str]:
    """What each cell of a marimo script does, without what hands its names to other cells."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            body: Sequence[ast.stmt] = [item for item in node.body if not isinstance(item, ast.Return)]
            yield "\n".join(ast.unparse(item) for item in body if not ast.unparse(item).startswith(("mo.", "if mo.")))


def test_the_marimo_script_does_what_the_notebook_does() -> None:
    """Also where marimo is not installed: its cells are those of the notebook, which ran."""
    notebook = [text for cell in code_cells(stored(SCRIPT.with_suffix(".ipynb"))) for text in statements(cell.source)]
    script = [text for source in cells_of_script(SCRIPT.read_text(encoding="utf-8")) for text in statements(source)]
    assert script == notebook


@pytest.mark.slow
def test_the_marimo_script_runs_under_marimo(copied: Path) -> None:
    # not part of the development environment, also not in continuous integration: it takes 150 MB for one example
    if find_spec("marimo") is None:
        pytest.skip("marimo is not installed: pip install marimo")
    ran = subprocess.run([sys.executable, SCRIPT.name], cwd=copied, capture_output=True, text=True, timeout=MOST_S_OF_A_CELL, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "one more H100 node" in ran.stdout
