"""Help: every command explains itself, and asking costs next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

from tests.ullage.commands import ullage
from ullage.cli.main import app

GROUP = typer.main.get_group(app)
TOP = sorted(GROUP.commands)
NESTED = sorted(f"{name} {inner}" for name in TOP for inner in getattr(GROUP.commands[name], "commands", {}))
HEAVY = ("aiohttp", "highspy", "jinja2", "numpy", "ortools", "pulp", "pyarrow")


@pytest.mark.parametrize("command", [*TOP, *NESTED])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_has_a_synopsis_and_an_example_of_that_command(command: str, flag: str) -> None:
    result = ullage(*command.split(), flag)
    assert (result.code, result.err) == (0, "")
    assert f"Usage: ullage {command}" in result.out
    # terminals break lines where they like
    assert f"Example: ullage {command}" in " ".join(result.out.split())


def test_without_arguments_the_commands_are_listed() -> None:
    result = ullage()
    assert result.code == 0
    assert all(f"\n  {command} " in result.out + result.err for command in TOP)


# typer itself brings pydantic to a command's own help
@pytest.mark.parametrize(
    ("arguments", "heavy"), [(["--help"], (*HEAVY, "pydantic")), (["plan", "--help"], HEAVY), (["replay", "-h"], HEAVY)]
)
def test_help_loads_no_heavy_library(arguments: list[str], heavy: tuple[str, ...]) -> None:
    code = (
        "import json, sys\n"
        "from ullage.cli.main import run_command\n"
        f"code = run_command({arguments!r})\n"
        f"print(json.dumps([code, sorted(set({heavy!r}) & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]
