"""The wheel of this checkout, built and installed once for the tests that look at it."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.checkout import ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network by the build backend of this environment."""
    out = tmp_path_factory.mktemp("wheel")
    arguments = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.iterdir()
    return built


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that holds the wheel and sees the dependencies of this one, but not the checkout."""

    environment: Path
    work: Path

    @property
    def site_packages(self) -> Path:
        (found,) = self.environment.glob("lib/python*/site-packages")
        return found

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in its working folder; it must succeed and stay silent on standard error."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "VIRTUAL_ENV"))}
        program = str(self.environment / "bin" / arguments[0])
        done = subprocess.run(
            [program, *arguments[1:]], cwd=self.work, env={**kept, "PYTHONSAFEPATH": "1"}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{arguments}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own."""
    folder = tmp_path_factory.mktemp("installed")
    made = Installed(folder / "environment", folder / "work")
    made.work.mkdir()
    venv.create(made.environment, symlinks=True)
    python = str(made.environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--isolated", "--python", python, "install", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # Folders named in a .pth file are searched after the environment's own, and their own .pth files, such as that of an
    # editable installation of the checkout, are not read.
    seen = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (made.site_packages / "dependencies.pth").write_text("\n".join(seen) + "\n", encoding="utf-8")
    return made
