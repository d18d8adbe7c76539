"""Entry point: the command tree, and the only place where an error becomes a message and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ullage.cli import (
    catalogue,
    compact,
    declare,
    demand,
    demo,
    diff,
    discover,
    explain,
    fit,
    keep,
    past,
    planning,
    playbook,
    profile,
    quote,
    render,
    report,
    run,
    schedule,
    takeover,
    traffic,
    version,
    whatif,
)
from ullage.cli.exit_code import ExitCode

# typer ends a usage error with 2, which here means "there are changes".
_USAGE_ERROR = 2

# 128 + SIGINT, as shells count it; what typer makes of Ctrl-C.
INTERRUPTED = 130

app = typer.Typer(
    name="ullage",
    help="Plan which vLLM servers share which GPU, with proof; render, apply and keep the plan.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
FAMILIES = (
    *(declare, discover, takeover, demand, planning, compact, schedule, diff, render, explain, report, whatif, quote, fit),
    *(run, playbook, keep, past, traffic, profile, catalogue, demo, version),
)
for module in FAMILIES:
    module.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ullage {version.installed('ullage') or '(not installed)'}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version; `ullage version` prints more.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Run one command and exit with its code."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit code; an error is one message on standard error, never a traceback.

    0 success, 1 any error (usage errors included), 2 only as an answer (`plan` and `diff --detailed-exitcode`: there are changes;
    `render --check`: files differ; `fit`: no; `quote`: not all can be served), 3 only as `plan --fail-on-unserved`: demand stays
    unserved, 130 after Ctrl-C.
    """
    try:
        app(arguments, prog_name="ullage")
    except ExitCode as answer:
        return answer.code
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        if code == INTERRUPTED:
            return _interrupted()
        return 1 if code == _USAGE_ERROR and arguments else 0 if code == _USAGE_ERROR else code
    except KeyboardInterrupt:
        return _interrupted()
    except (OSError, ValueError, RuntimeError) as error:
        typer.echo(f"error: {_printable(str(error))}", err=True)
        return 1
    return 0


def _printable(text: str) -> str:
    """The text with control characters as Python escapes: file names and contents that others wrote must not control the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def _interrupted() -> int:
    typer.echo("interrupted", err=True)
    return INTERRUPTED
