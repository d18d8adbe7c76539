"""plan, show: from a fleet file to a plan, and from a plan to text and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ullage.cli import completion
from ullage.cli.exit_code import ExitCode
from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION

if TYPE_CHECKING:
    from planner.plan import Plan, State
    from planner.problem import Watch
    from planner.spec import Fleet
    from ullage.planning.frontier import FrontierPoint
    from ullage.planning.plan import Planned

T = TypeVar("T")

CHANGES = 2
UNSERVED = 3

EXPLAIN_HELP = "Also find conflicts, what one more GPU buys, and the cost at p10 and p90 step times; takes several times as long."
VERIFY_HELP = (
    "Simulate every GPU with its planned load, and plan again with more room for models that fall short; the default without --frontier."
)
FRONTIER_HELP = "Print a table of the plans between least cost and least disturbance of what runs, and the option that gets each of them."
SCALE_HELP = "Plan for the demand of a workload or model times a factor. Can be repeated."
PRIOR_HELP = "Plan as if this plan had been applied; no state folder is read."
REPRODUCIBLE_HELP = (
    "Use only limits that count work, so that every machine gives the same bytes. Ctrl-C then gives up instead of ending early."
)
SOLVER_OPTION = typer.Option("--solver", autocompletion=completion.solvers, help="Solver that is used in addition to the baselines.")
TIME_LIMIT_OPTION = typer.Option("--time-limit", min=0.0, help="Stop each solver after so many seconds, with the best plan so far.")
DETAILED_OPTION = typer.Option("--detailed-exitcode", help="Exit with 0 when nothing changes, 2 when there are changes, 1 on errors.")
UNSERVED_OPTION = typer.Option(
    "--fail-on-unserved", help="Exit with 3 when demand stays unserved, even with --detailed-exitcode; 1 on errors."
)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command tree."""
    app.command()(plan)
    app.command()(show)


def plan(
    fleet: Annotated[Path, typer.Argument(help="The fleet file.")] = Path("fleet.yaml"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the plan to this file.")] = None,
    state: Annotated[Path | None, typer.Option("--state", help="State folder; default .ullage beside the fleet file.")] = None,
    prior: Annotated[Path | None, typer.Option("--prior", metavar="PLAN", help=PRIOR_HELP)] = None,
    scale: Annotated[list[str] | None, typer.Option("--scale", metavar="NAME=FACTOR", help=SCALE_HELP)] = None,
    solver: Annotated[str, SOLVER_OPTION] = "exact",
    time_limit: Annotated[float | None, TIME_LIMIT_OPTION] = None,
    explain: Annotated[bool, typer.Option("--explain", help=EXPLAIN_HELP)] = False,
    verify: Annotated[bool | None, typer.Option("--verify/--no-verify", help=VERIFY_HELP)] = None,
    frontier: Annotated[bool, typer.Option("--frontier", help=FRONTIER_HELP)] = False,
    reproducible: Annotated[bool, typer.Option("--reproducible", help=REPRODUCIBLE_HELP)] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Print progress also where there is no terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    detailed_exitcode: Annotated[bool, DETAILED_OPTION] = False,
    fail_on_unserved: Annotated[bool, UNSERVED_OPTION] = False,
) -> None:
    """Decide which vLLM servers share which GPU, and show the difference to what runs.

    Example: ullage plan fleet.yaml -o plan.json
    """
    from planner.demand.scaled import scaled
    from planner.plan import to_json
    from ullage.inputs import check_target, read_fleet, write_text
    from ullage.planning.plan import plan_fleet
    from ullage.planning.running_state import running_state
    from ullage.views.plan.plan_text import plan_text

    if reproducible and time_limit is not None:
        raise ValueError("--reproducible and --time-limit contradict each other: with a limit in seconds, runs differ; give one of them")
    if frontier:
        _refuse_with_frontier({"-o": out is not None, "--explain": explain, "--detailed-exitcode": detailed_exitcode})
    if out is not None:
        check_target(out, fleet)
    spec, now = scaled(read_fleet(fleet), factors_of(scale or ())), running_state(fleet, state, prior)
    how: dict[str, Any] = {"solver": solver, "time_limit_s": time_limit}
    waits = {"progress": progress, "interruptible": not reproducible}
    if frontier:
        points = _watched(lambda watch: _frontier(spec, now, as_json=as_json, watch=watch, verify=bool(verify), **how), **waits)
        _answer(points[0].plan, fail_on_unserved=fail_on_unserved, detailed_exitcode=False)
        return
    how |= {"explain": explain, "verify": verify is not False}
    planned = _watched(lambda watch: plan_fleet(spec, now, watch=watch, **how), **waits)
    if out is not None:
        write_text(out, to_json(planned.plan))
    typer.echo(json.dumps(summary(planned), sort_keys=True) if as_json else plan_text(planned.plan), nl=as_json)
    if out is not None:
        _tell_next(planned.plan, fleet, out, as_json=as_json)
    _answer(planned.plan, fail_on_unserved=fail_on_unserved, detailed_exitcode=detailed_exitcode)


def _answer(plan: Plan, *, fail_on_unserved: bool, detailed_exitcode: bool) -> None:
    """End with the exit code that was asked for."""
    if fail_on_unserved and any(workload.unserved_rps > 0 for workload in plan.desired.workloads):
        raise ExitCode(UNSERVED)
    if detailed_exitcode and plan.actions:
        raise ExitCode(CHANGES)


def factors_of(texts: Sequence[str]) -> dict[str, float]:
    """Factors by name, of NAME=FACTOR."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, factor = text.partition("=")
        try:
            found[name] = float(factor)
        except ValueError:
            raise ValueError(f"--scale {text!r}: write NAME=FACTOR, for example chat=1.5") from None
    return found


def _tell_next(plan: Plan, fleet: Path, out: Path, *, as_json: bool) -> None:
    """Print the next command, with --fleet-folder if local paths do not start from the folder of the plan file."""
    from shlex import quote

    from ullage.local_files import has_relative_paths

    option = ""
    if has_relative_paths(plan) and out.parent.resolve() != fleet.parent.resolve():
        option = f" --fleet-folder {quote(str(fleet.parent))}"
        typer.echo(
            f"note: local paths in {out} start from the folder of {fleet}, not from the folder of the plan: give{option} with this plan",
            err=True,
        )
    if not as_json:
        typer.echo(f"\nwrote {out}; next: ullage apply {out}{option}")


def _watched(work: Callable[[Watch], T], *, progress: bool, interruptible: bool) -> T:
    """What work makes. The first Ctrl-C ends its search with the best so far, unless the plan must be reproducible."""
    from planner.problem import Watch
    from ullage.planning.interrupt import watched
    from ullage.views.plan.solve_progress import end_progress, solve_progress

    report = solve_progress(progress)
    try:
        if not interruptible:
            return work(Watch(report, lambda: False))
        with watched(report, lambda: typer.echo("\nstopping with the best plan so far; press Ctrl-C again to give up", err=True)) as watch:
            return work(watch)
    finally:
        end_progress()


def _frontier(fleet: Fleet, state: State, *, as_json: bool, **options: Any) -> tuple[FrontierPoint, ...]:  # noqa: ANN401 -- of plan_fleet
    """The plans between least cost and least disturbance, printed."""
    from ullage.planning.frontier import frontier
    from ullage.views.plan.frontier_text import frontier_json, frontier_text

    points = frontier(fleet, state, **options)
    runs = bool(state.replicas)
    if as_json:
        typer.echo(json.dumps(frontier_json(points, runs=runs), sort_keys=True))
    else:
        typer.echo(frontier_text(points, runs=runs, verified=options["verify"]), nl=False)
    return points


def _refuse_with_frontier(given: Mapping[str, bool]) -> None:
    """Say which options want one plan, and how to get it."""
    wrong = [name for name, is_given in given.items() if is_given]
    if wrong:
        raise ValueError(
            f"--frontier prints a table of plans and not one plan: leave out {' and '.join(wrong)}; or write the option of a line of the "
            "table into the fleet file, then plan without --frontier"
        )


def summary(planned: Planned) -> dict[str, Any]:
    """The figures of a plan as one flat object, with baselines by name."""
    desired = planned.plan.desired
    certificate = desired.certificate
    return {
        "actions": len(planned.plan.actions),
        "baselines": {
            name: {"cost_usd_per_h": item.cost_usd_per_h, "unserved_rps": item.unserved_rps, "gpus": item.gpus, "fits": item.fits}
            for name, item in certificate.baselines.items()
        },
        "bound_usd_per_h": certificate.proven_tiers[-1].bound,
        "cost_usd_per_h": desired.cost_usd_per_h,
        "gap_fraction": next((tier.gap_fraction for tier in certificate.proven_tiers if tier.gap_fraction > 0), 0.0),
        "gap_goal": next((tier.goal for tier in certificate.proven_tiers if tier.gap_fraction > 0), None),
        "gpus_total": len(desired.gpus),
        "gpus_used": desired.gpus_used,
        "solve_s": round(planned.solve_s, 3),
        "solver": certificate.solver,
        "outages": {item.served_name: {"unavailable_s": item.unavailable_s, "short_s": item.short_s} for item in planned.plan.outages},
        "status": certificate.status,
        "stopped_by": certificate.stopped_by,
        "unserved_rps": sum(workload.unserved_rps for workload in desired.workloads),
    }


def show(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")] = Path("plan.json"),
    svg: Annotated[Path | None, typer.Option("--svg", help="Also draw the GPUs into this SVG file.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown for a comment on GitHub or GitLab.")] = False,
    fleet_folder: Annotated[Path | None, FLEET_FOLDER_OPTION] = None,
) -> None:
    """Print a plan file as text or Markdown, and draw it with --svg.

    Example: ullage show plan.json --svg plan.svg
    """
    from ullage.inputs import check_target, write_text
    from ullage.views.plan.plan_markdown import plan_markdown
    from ullage.views.plan.plan_svg import plan_svg
    from ullage.views.plan.plan_text import plan_text

    plan = sound(plan_file, fleet_folder)
    if svg is not None:
        check_target(svg, plan_file)
        write_text(svg, plan_svg(plan.desired))
    typer.echo(plan_markdown(plan) if markdown else plan_text(plan), nl=False)


def sound(plan_file: Path, fleet_folder: Path | None) -> Plan:
    """The plan of a file, judged by the checker."""
    from ullage import local_files
    from ullage.checking import architectures_from, checked
    from ullage.inputs import read_plan

    architecture = architectures_from(local_files.fleet_folder(plan_file, fleet_folder))
    return checked(read_plan(plan_file), str(plan_file), architecture=architecture)
