"""Running the command line in this process, and the small files its tests need."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import yaml

from planner.plan import Plan, to_json
from tests.fleets import fleet_dict
from ullage.cli.main import run_command

# the console script, for tests that need a process of their own
PROGRAM = (sys.executable, "-c", "from ullage.cli.main import main; main()")

TRACE_HEAD = "arrival_s,input_tokens,output_tokens,tenant\n"


@dataclass(frozen=True, slots=True)
class Result:
    """What a user sees: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def ullage(*arguments: object) -> Result:
    """Run a command; what it raises beside its exit code fails the test as a traceback would."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run_command([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())


def write_fleet(path: Path, **changes: object) -> Path:
    """The small fleet of tests.fleets as a file."""
    path.write_text(yaml.safe_dump(fleet_dict(**changes)), encoding="utf-8")
    return path


def write_plan(path: Path, plan: Plan) -> Path:
    """A plan as the file that `ullage plan -o` writes."""
    path.write_text(to_json(plan), encoding="utf-8")
    return path


def write_trace(path: Path, *tenants: str) -> Path:
    """One request per tenant, half a second apart."""
    rows = "".join(f"{0.5 * index},40,20,{tenant}\n" for index, tenant in enumerate(tenants))
    path.write_text(TRACE_HEAD + rows, encoding="utf-8")
    return path
