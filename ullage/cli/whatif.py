"""whatif: the plans of a fleet with something changed, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli import completion
from ullage.cli.burst import answer_burst
from ullage.cli.exit_code import ExitCode

if TYPE_CHECKING:
    from ullage.study.question import StudyQuestion
    from ullage.study.results import StudyResults
    from ullage.study.solve import StudyOptions
    from ullage.study.study_run import Watcher

# What a shell says of a program that was ended by Ctrl-C.
INTERRUPTED = 130

# A study that may take longer is only begun by whoever says so.
LONG_S = 600.0

# Before a study that may take longer, it is told how long.
TOLD_S = 10.0

SET_HELP = "Values of a field, PATH=VALUES: a list (x0.5,x1,x2) or a range (2..6). Can be repeated: all combinations are planned."
SCENARIO_HELP = "A scenario of its own, KIND=VALUE, for example node_lost=h100-0 or demand={chat: x2}. Can be repeated; see docs/whatif.md."
FILE_HELP = "A study file with `set` and `scenarios`."
OUT_HELP = "Folder for the rows (csv, parquet, json) and a picture. The same command goes on where it stopped."
PARETO_HELP = "Mark the scenarios that none beats in both cost and attainment, risk or unserved."
VERIFY_HELP = "Simulate every GPU with its planned load, as `ullage plan` does; takes many times as long."

BURST_HELP = "Answer from the playbook and the simulation what a burst does, instead of planning variants; FLEET may be a plan then."


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(whatif)


def whatif(
    fleet: Annotated[Path, typer.Argument(help="The fleet file.")] = Path("fleet.yaml"),
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUES", help=SET_HELP)] = None,
    scenarios: Annotated[list[str] | None, typer.Option("--scenario", metavar="KIND=VALUE", help=SCENARIO_HELP)] = None,
    file: Annotated[Path | None, typer.Option("--file", help=FILE_HELP)] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help=OUT_HELP)] = None,
    pareto: Annotated[str | None, typer.Option("--pareto", metavar="AGAINST", help=PARETO_HELP)] = None,
    state: Annotated[Path | None, typer.Option("--state", help="State folder; default .ullage beside the fleet file.")] = None,
    prior: Annotated[Path | None, typer.Option("--prior", metavar="PLAN", help="Plan as if this plan had been applied.")] = None,
    solver: Annotated[str, typer.Option("--solver", autocompletion=completion.solvers, help="Solver for every scenario.")] = "exact",
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", min=0.0, help="Stop the solver after so many seconds in each scenario.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help=VERIFY_HELP)] = False,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; default: one per core.")] = None,
    burst: Annotated[str | None, typer.Option("--burst", metavar="WORKLOAD=xFACTOR", help=BURST_HELP)] = None,
    lasts: Annotated[str, typer.Option("--for", metavar="TIME", help="With --burst: how long it lasts.")] = "5min",
    yes: Annotated[bool, typer.Option("--yes", help="Begin also where it may take longer than 10 minutes.")] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Print progress also where there is no terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the study as one JSON object instead of a table.")] = False,
) -> None:
    """Plan a fleet in many variants, and show what each costs, leaves unserved and is limited by.

    Example: ullage whatif fleet.yaml --set pools.h100.nodes=1..3 --set workloads.chat.rate=x0.5,x1,x2
    """
    if burst is not None:
        if settings or scenarios or file is not None or out is not None or pareto is not None:
            raise ValueError("--burst: is answered by itself; leave out --set, --scenario, --file, --out and --pareto")
        answer_burst(fleet, burst, lasts, state, prior, solver, as_json=as_json)
        return
    from ullage.study.results import check_against
    from ullage.study.solve import StudyOptions
    from ullage.study.study_folder import StudyFolder
    from ullage.study.study_run import run_study
    from ullage.views.study.study_files import write_study

    if pareto is not None:
        check_against(pareto, simulated=verify)
    options = StudyOptions(solver=solver, time_limit_s=time_limit, verify=verify)
    question = _question(fleet, settings or (), scenarios or (), file, state, prior, options)
    folder = StudyFolder(out) if out is not None else None
    with _watched(progress=progress, yes=yes) as watcher:
        results = run_study(question, workers=workers, folder=folder, watcher=watcher)
    if out is not None:
        write_study(out, results)
    _tell(results, out, pareto, as_json=as_json)
    _end(results, out)


def _tell(results: StudyResults, out: Path | None, against: str | None, *, as_json: bool) -> None:
    from ullage.study.results import pareto
    from ullage.views.study.study_text import study_text

    if as_json:
        typer.echo(results.model_dump_json())
        return
    typer.echo(study_text(results, pareto(results, against) if against is not None else (), against or ""), nl=False)
    if out is not None:
        typer.echo(f"\nwrote {out}; next: ullage report {out} -o report.html")


def _end(results: StudyResults, out: Path | None) -> None:
    """How it ended, as an exit code: 130 when it was cut off, 1 when no scenario could be planned."""
    if not results.complete:
        again = f"the same command with -o {out} goes on from here" if out is not None else "with -o DIR it could go on from here"
        typer.echo(f"stopped with {len(results.rows)} of {results.total} scenarios; {again}", err=True)
        raise ExitCode(INTERRUPTED)
    if not any(row.solved for row in results.rows[1:]):
        raise ExitCode(1)


def _question(
    fleet: Path,
    settings: Sequence[str],
    scenarios: Sequence[str],
    file: Path | None,
    state: Path | None,
    prior: Path | None,
    options: StudyOptions,
) -> StudyQuestion:
    """What the options ask for; ValueError names the one that is wrong."""
    from ullage.fleet_spec import load
    from ullage.planning.running_state import running_state
    from ullage.study.definition import read_study
    from ullage.study.named import said_in, scenario
    from ullage.study.question import StudyQuestion
    from ullage.study.values import setting_of

    spec = load(fleet)
    asked = [setting_of(text) for text in settings]
    from_file, named = read_study(file, spec) if file is not None else ({}, ())
    twice = [path for place, (path, _) in enumerate(asked) if path in from_file or path in [other for other, _ in asked[:place]]]
    if twice:
        raise ValueError(f"--set {twice[0]}: is set twice; give all its values at once, separated by commas")
    named = (*named, *(scenario(spec, said_in(text)) for text in scenarios))
    return StudyQuestion(spec, {**from_file, **dict(asked)}, named, running_state(fleet, state, prior), options)


@contextmanager
def _watched(*, progress: bool, yes: bool) -> Iterator[Watcher]:
    """Tells how long it may take before it begins, and how far it is."""
    from ullage.study.study_run import Watcher
    from ullage.views.study.study_progress import duration_words, study_progress

    def begins(scenarios: int, left_s: float, workers: int) -> None:
        long = f"{scenarios} scenarios may take about {duration_words(left_s)} on {workers} {'process' if workers == 1 else 'processes'}"
        if left_s > LONG_S and not yes:
            raise ValueError(f"{long}; give --yes to begin, with -o DIR so that it can go on where it stopped")
        if left_s > TOLD_S or progress:
            typer.echo(long, err=True)

    with study_progress(progress) as moves:
        yield Watcher(begins, moves)
