"""The program as a process of its own: what only a real process shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.ullage.commands import PROGRAM


def run(arguments: list[str], stdout: str = "stdout", *, closed_input: bool = False) -> subprocess.CompletedProcess[str]:
    shell = f'exec "$0" "$@" {"<&-" if closed_input else "</dev/null"} >{stdout}'
    return subprocess.run(["sh", "-c", shell, *PROGRAM, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["validate"], 0, ""),
        (["plan", "nowhere.yaml"], 1, "error: nowhere.yaml: there is no such file; `ullage init` writes a starter"),
        (["plan", "--nope"], 1, "No such option"),
        (["plan", "--detailed-exitcode"], 2, ""),
    ],
)
def test_exit_codes(arguments: list[str], code: int, words: str, work: Path) -> None:
    done = run(arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_package_is_a_program_too(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "ullage", "version"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ullage ")


def test_nobody_can_be_asked_without_a_standard_input(work: Path) -> None:
    done = run(["apply", "plan.json"], closed_input=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard input is no terminal, so nobody can confirm")


def test_a_full_disk_behind_standard_output(work: Path) -> None:
    done = run(["show"], "/dev/full")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away(work: Path) -> None:
    shell = f"'{PROGRAM[0]}' -c '{PROGRAM[2]}' schema | head -n 1"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{\n", "")
