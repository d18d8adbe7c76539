"""What changes from one plan to another, as Markdown for a comment on a change of the fleet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.plan import WorkloadForecast
from ullage.planning.plan_change import PlanChange
from ullage.views.html.number_words import count_words
from ullage.views.plan.diff_text import unserved_rps
from ullage.views.plan.markdown_text import Markdown, bullets, escaped, folded, markdown_table, name_code, names_code, sections
from ullage.views.plan.plan_markdown import loaded_gib, place, served_line
from ullage.views.plan.plan_risks import missed_lines, risk_lines
from ullage.views.plan.plan_text import action_lines, fleet_line
from ullage.views.plan.replica_moves import ReplicaMove, replica_moves
from ullage.views.plan.slo_margins import against, left_fraction
from ullage.views.tables.move_table import move_rows
from ullage.views.words import MIB_PER_GIB


def diff_markdown(change: PlanChange) -> str:
    """Both plans beside each other, moves, goals that change, risks that come and go; ends in a newline."""
    before, after = change.before.desired, change.after.desired
    missed = missed_lines(change.outages)
    return sections(
        [
            [f"## Plan: {before.cost_usd_per_h:.2f} to {after.cost_usd_per_h:.2f} USD/h ({change.usd_per_h:+.2f})"],
            [served_line(after)],
            list(_figures(change)),
            ["### Moves"],
            list(_moves(change)),
            ["While they are executed, clients notice:", "", *bullets(missed)] if missed else [],
            ["### Goals that change"],
            list(_goals(change)),
            ["### Risks"],
            list(_risks(change)),
            list(folded("All actions, and the proof of both plans", list(_proof(change)))),
        ]
    )


def _figures(change: PlanChange) -> Iterator[str]:
    before, after = change.before.desired, change.after.desired
    pairs = [
        ("cost, USD/h", before.cost_usd_per_h, after.cost_usd_per_h, ".2f"),
        ("GPUs in use", before.gpus_used, after.gpus_used, "d"),
        ("replicas", len(before.replicas), len(after.replicas), "d"),
        ("unserved, requests/s", unserved_rps(change.before), unserved_rps(change.after), ".3g"),
    ]
    rows = [(what, f"{was:{form}}", f"{becomes:{form}}", f"{becomes - was:+{form}}") for what, was, becomes, form in pairs]
    yield from markdown_table("figures", ("", "before", "after", "change"), rows, numbers=(1, 2, 3))


def _moves(change: PlanChange) -> Iterator[str]:
    moves = replica_moves(change)
    if not moves:
        yield "None: the same replicas run in the same places."
        return
    gib = loaded_gib(move_rows(change.actions, change.way.started))
    after = count_words(len(change.after.desired.replicas), "replica")
    yield f"{count_words(len(moves), 'move')}, {after} in the end; {gib:.1f} GiB of weights to load."
    yield ""
    heads = ("replica", "model", "from", "to", "loads GiB", "why")
    yield from markdown_table("moves", heads, list(map(_move_cells, moves)), numbers=(4,))


def _move_cells(move: ReplicaMove) -> Sequence[str]:
    becomes = move.after
    places = [place(item.node, ", ".join(map(str, item.gpus))) if item is not None else Markdown("-") for item in (move.before, becomes)]
    loads = f"{becomes.ledger.weights_mib * len(becomes.gpus) / MIB_PER_GIB:.1f}" if becomes is not None else "-"
    return (names_code(move.names), name_code(move.served_name), *places, loads, move.reason)


def _goals(change: PlanChange) -> Iterator[str]:
    before = {workload.name: workload for workload in change.before.desired.workloads}
    after = {workload.name: workload for workload in change.after.desired.workloads}
    names = [name for name in {**before, **after} if _shown(before.get(name)) != _shown(after.get(name))]
    if not names:
        yield "None."
        return
    names.sort(key=lambda name: (left_fraction(after[name]) if name in after else 1.0, name))
    rows = [(name_code(name), *_pairs(before.get(name), after.get(name))) for name in names]
    percent = f"p{change.after.desired.risk.attainment_fraction * 100:g}"
    yield from markdown_table(
        "workloads", ("workload", "requests/s", f"TTFT {percent} / goal", f"TPOT {percent} / goal", "tightest left", "unserved/s"), rows
    )


def _shown(workload: WorkloadForecast | None) -> tuple[str, ...]:
    """What a row says of a workload in one of the plans."""
    if workload is None:
        return ("-",) * 5
    return (
        f"{workload.rate_rps:.2f}",
        against(workload.ttft_s, workload.ttft_slo_s),
        against(workload.tpot_s, workload.tpot_slo_s),
        f"{left_fraction(workload):.0%}" if workload.ttft_s is not None else "-",
        f"{workload.unserved_rps:.2f}" if workload.unserved_rps else "-",
    )


def _pairs(before: WorkloadForecast | None, after: WorkloadForecast | None) -> Iterator[str]:
    for was, becomes in zip(_shown(before), _shown(after), strict=True):
        yield was if was == becomes else f"{was} → {becomes}" if before and after else f"gone ({was})" if before else f"new ({becomes})"


def _risks(change: PlanChange) -> Iterator[str]:
    before, after = list(risk_lines(change.before.desired)), list(risk_lines(change.after.desired))
    new, gone = [line for line in after if line not in before], [line for line in before if line not in after]
    for title, lines in (("New:", new), ("Gone:", gone)):
        if lines:
            yield from (title, "", *bullets(lines), "")
    stays = len(after) - len(new)
    yield f"{count_words(stays, 'risk')} as before." if stays else "No other is known." if new or gone else "None is known."


def _proof(change: PlanChange) -> Iterator[str]:
    for title, plan in (("Before", change.before), ("After", change.after)):
        yield f"{title}: {escaped(fleet_line(plan.desired))}"
        yield ""
    if change.parts:
        yield f"Parts of plan.json that differ: {names_code(change.parts, most=len(change.parts))}"
        yield ""
    yield from bullets([line.strip() for line in list(action_lines(change.actions))[1:]])
