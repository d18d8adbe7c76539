"""What `ullage version` says is what is installed."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from typing import NoReturn

import pytest

from tests.ullage.commands import ullage
from ullage.cli.version import LIBRARIES


def _not_installed(name: str) -> NoReturn:
    raise metadata.PackageNotFoundError(name)


def test_versions_are_those_of_the_installed_distributions() -> None:
    result = ullage("version", "--json")
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out) == {
        "name": "ullage",
        "version": metadata.version("ullage"),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


def test_text_has_one_line_per_part() -> None:
    lines = ullage("version").out.splitlines()
    assert lines[0] == f"ullage {metadata.version('ullage')}, Python {platform.python_version()}"
    assert lines[1:] == [f"{name} {metadata.version(name)}" for name in LIBRARIES]


def test_the_option_is_one_line() -> None:
    result = ullage("--version")
    assert (result.code, result.out, result.err) == (0, f"ullage {metadata.version('ullage')}\n", "")


def test_what_is_not_installed_is_said_without_failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", _not_installed)
    assert "ortools (not installed)" in ullage("version").out
    answer = json.loads(ullage("version", "--json").out)
    assert (answer["version"], set(answer["libraries"].values())) == (None, {None})


def test_options_nobody_knows_end_with_a_sentence() -> None:
    result = ullage("version", "--yaml")
    assert result.code == 1
    assert "--yaml" in result.err
    assert "Traceback" not in result.err
