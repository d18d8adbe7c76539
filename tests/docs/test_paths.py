"""Files, folders and modules of ours that documents, docstrings and comments name are there."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tests.docs.documents import DOCUMENTS, ROOT

PACKAGES = ("benchmarks", "executor", "planner", "profiles", "renderers", "solvers", "ullage")
FOLDERS = (*PACKAGES, "changes", "docs", "examples", "tests")
SOURCES = tuple(sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")))

# <name>, *.yaml and NAME stand for whatever is put there: what is before them must exist
_PLACEHOLDER = re.compile(r"[<*]|(?<=/)[A-Z]{2,}")
_PATH = re.compile(rf"(?<![\w./<>:-])(?:{'|'.join(FOLDERS)})/[\w.<>*/-]*")
_DOTTED = re.compile(rf"(?<![\w./@-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+(?![\w/])")

# the example that the guide for renderers leads through
EXAMPLES = ("renderers/nomad",)
# groups of entry points are called like modules, and NAME stands for any of them
NO_MODULES = {"benchmarks.NAME", "ullage.solvers", "ullage.renderers", "ullage.sources", "ullage.backends"}


def prose(path: Path) -> str:
    """What people read: the whole of a document, the docstrings and comments of source."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    parts = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    parts += [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT]
    return "\n".join(parts)


def lost_paths(text: str) -> list[str]:
    """Paths that lead nowhere."""
    named = [path.rstrip("./") for path in _PATH.findall(text) if not path.startswith(EXAMPLES)]
    return [path for path in named if not (ROOT / _fixed(path)).exists()]


def _fixed(path: str) -> str:
    """The part of a path that must exist: the folder before the first placeholder."""
    start = _PLACEHOLDER.split(path)[0]
    return path if start == path else start.rpartition("/")[0]


def lost_modules(text: str) -> list[str]:
    """Dotted names that are no module, nor anything in one."""
    return [name for name in _DOTTED.findall(text) if name not in NO_MODULES and not _resolves(name)]


def _resolves(name: str) -> bool:
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("path", [*DOCUMENTS, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_named_is_there(path: Path) -> None:
    text = prose(path)
    assert (lost_paths(text), lost_modules(text)) == ([], [])


def test_the_rules_themselves() -> None:
    assert lost_paths("`planner/gone.py`, planner/problem, `solvers/<name>.py`, solvers/gone/*.py, see tests/docs/.") == [
        "planner/gone.py",
        "solvers/gone/*.py",
    ]
    assert lost_modules("planner.spec.load_fleet and planner.gone, planner.spec.gone, ullage.solvers, planner/spec.py") == [
        "planner.gone",
        "planner.spec.gone",
    ]
