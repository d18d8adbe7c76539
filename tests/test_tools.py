"""A missing tool is a reason to skip at home and a failure in continuous integration."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.tools import missing, program


def test_a_program_beside_python_is_found_without_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    python = Path(sys.executable)
    assert program(python.name, "Python") == str(python)


def test_a_program_on_path_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "a-tool-of-this-test"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program(tool.name, "nothing") == str(tool)


@pytest.mark.parametrize("ci", ["", "false", "0"])
def test_without_a_tool_a_test_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.skip.Exception, match="no a-tool-nobody-has beside Python nor on PATH: install its-package"):
        program("a-tool-nobody-has", "its-package")


@pytest.mark.parametrize("ci", ["true", "True", "1"])
def test_without_a_tool_a_test_fails_in_continuous_integration(monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.fail.Exception, match=r"no GPU .*CI is set"):
        missing("no GPU")
