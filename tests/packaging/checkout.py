"""What the checkout says about itself."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from tests.tools import missing, program

ROOT = Path(__file__).parents[2]
PACKAGES = ("executor", "planner", "profiles", "renderers", "solvers", "ullage")


@cache
def project() -> dict[str, Any]:
    """The [project] table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def tracked(*folders: str) -> tuple[str, ...]:
    """Paths under these folders that git tracks and that are there."""
    if not (ROOT / ".git").exists():
        missing("this is no git checkout: what belongs to it is unknown")
    listed = subprocess.run([program("git", "git"), "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file())


def normalized(name: str) -> str:
    """Name of a distribution in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
