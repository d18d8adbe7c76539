"""The installed wheel works where there is no checkout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.packaging.checkout import PACKAGES, project
from tests.packaging.conftest import Installed

# Imports every module of the packages and prints where each of them was found.
IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
found = {}
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    found[name] = package.__file__
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        found[module.name] = importlib.import_module(module.name).__file__
print(json.dumps(found))
"""


@pytest.fixture
def planned(installed: Installed) -> Path:
    """A plan of the shipped demo, made by the installed program."""
    plan = installed.work / "plan.json"
    if not plan.exists():
        installed.run(
            "ullage", "plan", str(installed.site_packages / "ullage" / "examples" / "demo" / "fleet.yaml"), "--no-verify", "-o", str(plan)
        )
    return plan


def test_every_module_comes_from_the_wheel(installed: Installed) -> None:
    found = json.loads(installed.run("python", "-c", IMPORT_EVERYTHING, *PACKAGES).stdout)
    assert {name for name in found if "." not in name} == set(PACKAGES)
    assert [path for path in found.values() if not Path(path).is_relative_to(installed.site_packages)] == []


def test_help_and_version(installed: Installed) -> None:
    assert "Usage: ullage [OPTIONS] COMMAND" in installed.run("ullage", "--help").stdout
    answer = json.loads(installed.run("ullage", "version", "--json").stdout)
    assert (answer["name"], answer["version"]) == ("ullage", project()["version"])


def test_the_starter_is_written_and_valid(installed: Installed) -> None:
    installed.run("ullage", "init", "mine.yaml")
    assert "mine.yaml: valid" in installed.run("ullage", "validate", "mine.yaml").stdout


def test_the_demo_is_found_inside_the_package(installed: Installed) -> None:
    code = "from ullage.demo import example_folder; print(example_folder('demo'))"
    folder = Path(installed.run("python", "-c", code).stdout.strip())
    assert folder == installed.site_packages / "ullage" / "examples" / "demo"
    assert {path.name for path in folder.iterdir()} >= {"fleet.yaml", "arena27.csv.gz"}


@pytest.mark.parametrize("target", ["compose", "envoy", "helm", "kubernetes", "mig-parted", "systemd", "vllm"])
def test_the_demo_is_planned_and_rendered(installed: Installed, planned: Path, target: str) -> None:
    folder = installed.work / target
    installed.run("ullage", "render", str(planned), "--to", target, "-o", str(folder))
    assert [path for path in folder.rglob("*") if path.is_file()] != []
    installed.run("ullage", "render", str(planned), "--to", target, "-o", str(folder), "--check")
