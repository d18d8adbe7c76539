"""What keeps the source easy to read: small files and functions, docstrings, plain words, and no trace of one machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("executor", "planner", "profiles", "renderers", "solvers", "ullage")
SOURCES = tuple(sorted(path for package in (*PACKAGES, "benchmarks") for path in (ROOT / package).rglob("*.py")))
TESTS = tuple(sorted((ROOT / "tests").rglob("*.py")))

MOST_LINES_OF_A_FILE = 320
MOST_LINES_OF_A_FUNCTION = 45

# Words that say nothing about what a thing is; each has a better one in docs/architecture.md.
EMPTY_WORDS = frozenset({"job", "task", "manager", "helper", "util", "data", "handler"})
EMPTY_WORDS |= {f"{word}s" for word in EMPTY_WORDS}

# names that others gave: asyncio.Protocol
GIVEN = {"data_received"}

# Home folders and checkouts of whoever wrote it.
MACHINE_PATH = re.compile(r"(?<![\w.$}~/-])/(?:home|root|work|Users)/\w")
TEXTS = {".md", ".py", ".toml", ".yaml", ".yml", ".j2", ".sh", ".json", ".txt", ""}
KEPT = ("docs", "tests", "examples", "benchmarks", "changes", *PACKAGES)

Function = ast.FunctionDef | ast.AsyncFunctionDef
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.Module) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree) if isinstance(node, Function))


def length(function: Function) -> int:
    """Lines from `def` to the end, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def words(name: str) -> set[str]:
    """Words of an identifier, snake_case or CamelCase."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_are_small_documented_and_plainly_named(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the module has no docstring"
    assert text.count("\n") <= MOST_LINES_OF_A_FILE
    long = {function.name: length(function) for function in functions(tree) if length(function) > MOST_LINES_OF_A_FUNCTION}
    assert long == {}
    named = [node.name for node in ast.walk(tree) if isinstance(node, NAMED) and node.name not in GIVEN]
    assert [name for name in (path.stem, *named) if words(name) & EMPTY_WORDS] == []


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_files_of_tests_are_small_too(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= MOST_LINES_OF_A_FILE


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_no_test_compresses_the_time_of_day(path: Path) -> None:
    """gzip writes the second into its header: as a parameter it gives two workers different tests, and the run ends."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    timed = [
        call.lineno for call in calls if ast.unparse(call.func) == "gzip.compress" and all(word.arg != "mtime" for word in call.keywords)
    ]
    assert timed == []


def test_nothing_names_a_path_of_one_machine() -> None:
    # in a worktree .git is a file that names the checkout: git's own, and never committed
    files = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    files += [path for folder in KEPT for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    found = [
        f"{name_of(path)}:{number}: {line.strip()[:80]}"
        for path in files
        if path.suffix in TEXTS and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_the_rules_themselves() -> None:
    assert words("JobTable") & EMPTY_WORDS == {"job"}
    assert words("load_data_files") & EMPTY_WORDS == {"data"}
    assert not words("metadata_of_tasking") & EMPTY_WORDS
    assert MACHINE_PATH.search("see /home/me/fleet.yaml")
    assert not MACHINE_PATH.search("see ./work/fleet.yaml and https://example.org/home/fleet")
    tree = ast.parse('def f():\n    """One\n    two."""\n    return 1\n')
    assert [length(function) for function in functions(tree)] == [2]


def test_fragments_of_changes_have_a_number_of_their_own_and_a_kind() -> None:
    names = sorted(path.name for path in (ROOT / "changes").glob("*.md"))
    found = [re.fullmatch(r"(\d{4})\.(?:added|changed|fixed|removed)\.md", name) for name in names]
    assert [name for name, match in zip(names, found, strict=True) if match is None] == []
    numbers = [match[1] for match in found if match is not None]
    assert len(set(numbers)) == len(numbers) > 20
