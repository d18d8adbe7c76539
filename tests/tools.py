"""What a test needs beside Python packages: skipped without it on a developer's machine, a failure in continuous integration."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def program(name: str, installed_by: str) -> str:
    """Path of a program beside this Python, else on PATH; without it the test is `missing`."""
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if found is None:
        missing(f"no {name} beside Python nor on PATH: install {installed_by}")
    return found


def missing(reason: str) -> NoReturn:
    """Skip the running test; where the environment says CI=true it fails, because there a skipped check is a check nobody makes."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{reason} (CI is set: nothing may be missing here)", pytrace=False)
    pytest.skip(reason)
