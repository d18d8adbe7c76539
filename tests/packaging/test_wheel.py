"""What the wheel holds, and that it takes nobody's place."""

from __future__ import annotations

import sys
from email.message import Message
from email.parser import BytesParser
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.packaging.checkout import PACKAGES, ROOT, normalized, project, tracked


@pytest.fixture(scope="session")
def names(wheel: Path) -> frozenset[str]:
    with ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


@pytest.fixture(scope="session")
def described(wheel: Path, dist_info: str) -> Message:
    with ZipFile(wheel) as archive:
        return BytesParser().parsebytes(archive.read(f"{dist_info}/METADATA"))


@pytest.fixture(scope="session")
def dist_info() -> str:
    return f"{project()['name']}-{project()['version']}.dist-info"


def test_every_tracked_file_of_the_packages_is_inside(names: frozenset[str]) -> None:
    expected = tracked(*PACKAGES)
    assert sorted({Path(path).suffix for path in expected} & {".py", ".yaml", ".json", ".lua", ".tsv", ".j2", ".sh", ".typed"}) == [
        ".j2", ".json", ".lua", ".py", ".sh", ".tsv", ".typed", ".yaml",
    ]  # fmt: skip
    assert set(expected) - names == set()


def test_the_examples_are_inside_as_data_of_ullage(names: frozenset[str]) -> None:
    expected = {f"ullage/{path}" for path in tracked("examples")}
    assert "ullage/examples/demo/fleet.yaml" in expected
    assert expected - names == set()


def test_users_of_every_package_see_its_types(names: frozenset[str]) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} - names == set()


def test_nothing_else_is_inside(names: frozenset[str], dist_info: str) -> None:
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, dist_info}
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc") or "/.ullage/" in name] == []


def test_no_file_of_an_installed_distribution_is_overwritten(names: frozenset[str]) -> None:
    overlaps = {
        f"{file} of {distribution.name}"
        for distribution in metadata.distributions()
        if normalized(distribution.name) != "ullage"
        for file in distribution.files or ()
        if str(file) in names or file.parts[0] in PACKAGES
    }
    assert overlaps == set()


def test_no_module_of_python_is_hidden() -> None:
    assert set(PACKAGES) & sys.stdlib_module_names == set()


def test_the_command_is_nobody_elses() -> None:
    owners = {point.dist.name for point in metadata.entry_points(group="console_scripts", name="ullage") if point.dist is not None}
    assert owners <= {"ullage"}


def test_metadata_names_what_it_is(described: Message, names: frozenset[str], dist_info: str) -> None:
    assert (described["Name"], described["Version"], described["License-Expression"]) == ("ullage", project()["version"], "Apache-2.0")
    assert described.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert {f"{dist_info}/licenses/{name}" for name in ("LICENSE", "NOTICE")} <= names
    assert described["Summary"] == project()["description"]
    assert described.get_payload(decode=True) == (ROOT / "README.md").read_bytes()


def test_python_below_3_11_is_refused(described: Message) -> None:
    required = SpecifierSet(described["Requires-Python"])
    assert [version in required for version in ("3.10.14", "3.11.0", "3.14.1")] == [False, True, True]


def test_requirements_and_extras_are_those_declared(described: Message) -> None:
    assert sorted(described.get_all("Provides-Extra") or ()) == ["dev", "notebook", "vllm"]
    found = [Requirement(text) for text in described.get_all("Requires-Dist") or ()]
    assert all(requirement.url is None for requirement in found)
    always = {normalized(requirement.name) for requirement in found if "extra" not in str(requirement.marker)}
    assert always == {normalized(Requirement(text).name) for text in project()["dependencies"]}


def test_the_command_line_is_the_only_script(wheel: Path, dist_info: str) -> None:
    with ZipFile(wheel) as archive:
        text = archive.read(f"{dist_info}/entry_points.txt").decode()
    assert text.split() == ["[console_scripts]", "ullage", "=", "ullage.cli.main:main"]
