"""A plan as Markdown for a comment: cost and what is unserved, actions, goals, risks, and the proof folded at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.plan import Desired, Plan
from ullage.views.html.number_words import count_words
from ullage.views.plan.markdown_text import Markdown, bold, bullets, escaped, folded, markdown_table, name_code, sections
from ullage.views.plan.plan_risks import missed_lines, risk_lines
from ullage.views.plan.plan_text import NEVER_FITS, fleet_line, provenance_lines, unserved_line
from ullage.views.plan.simulated_text import simulated_lines
from ullage.views.plan.slo_margins import left_fraction, margin_cells, margin_heads
from ullage.views.tables.move_table import TableRow
from ullage.views.tables.plan_tables import plan_move_rows
from ullage.views.words import MIB_PER_GIB


def plan_markdown(plan: Plan) -> str:
    """The plan for a comment on a change; ends in a newline. The same plan gives the same text."""
    desired = plan.desired
    missed = missed_lines(plan.outages)
    risks = list(risk_lines(desired))
    return sections(
        [
            [f"## Plan: {desired.cost_usd_per_h:.2f} USD/h, {desired.gpus_used} of {len(desired.gpus)} GPUs"],
            [served_line(desired)],
            [escaped(fleet_line(desired))],
            ["### Actions"],
            list(_actions(plan)),
            ["While the actions are executed, clients notice:", "", *bullets(missed)] if missed else [],
            ["### Goals"],
            list(_goals(desired)),
            ["### Risks"],
            list(bullets(risks)) if risks else ["None is known."],
            list(folded("Proof: bounds, solver, simpler methods, what the forecast rests on", list(_proof(plan)))),
        ]
    )


def served_line(desired: Desired) -> Markdown:
    """Whether all demand is served."""
    return bold(unserved_line(desired) or "All demand is served.")


def _actions(plan: Plan) -> Iterator[str]:
    if not plan.actions:
        yield "None: the plan is already applied."
        return
    rows = plan_move_rows(plan)
    yield loaded_line(rows)
    yield ""
    heads = ("step", "action", "replica", "model", "where", "loads GiB", "why")
    yield from markdown_table("actions", heads, list(map(_action_cells, rows)), numbers=(0, 5))


def loaded_line(rows: Sequence[TableRow]) -> str:
    """How many actions there are, and what they load."""
    return f"{count_words(len(rows), 'action')}, in this order; {loaded_gib(rows):.1f} GiB of weights to load."


def loaded_gib(rows: Sequence[TableRow]) -> float:
    """Weights that the starts among these moves load."""
    return sum(float(row["loaded_mib"] or 0) for row in rows) / MIB_PER_GIB


def _action_cells(row: TableRow) -> tuple[str, ...]:
    names = [name_code(str(row[column])) if row[column] is not None else "-" for column in ("replica", "served_name")]
    where = place(row["node"], row["gpus"])
    if row["routes"] is not None:
        where = Markdown(f"routes of {count_words(int(row['routes']), 'model')}")
    elif row["mig_layout"] is not None:
        where = Markdown(f"{where}: {escaped(str(row['mig_layout']))}")
    loaded = "" if row["loaded_mib"] is None else f"{float(row['loaded_mib']) / MIB_PER_GIB:.1f}"
    return (str(row["step"]), str(row["action"]).replace("_", " "), *names, where, loaded, str(row["reason"]))


def place(node: object, gpus: object) -> Markdown:
    """A node with its GPUs; a dash for no place."""
    return Markdown("-") if node is None else Markdown(f"{name_code(str(node))} GPU {escaped(str(gpus))}")


def _goals(desired: Desired) -> Iterator[str]:
    ordered = sorted(desired.workloads, key=lambda item: (not item.unserved_rps, left_fraction(item), item.name))
    yield "The tightest first. `left` is the part of the goal that the forecast does not use."
    yield ""
    yield from markdown_table("workloads", margin_heads(desired), list(map(margin_cells, ordered)), numbers=(2, 3, 4, 5, 6, 7, 8))


def _proof(plan: Plan) -> Iterator[str]:
    certificate = plan.desired.certificate
    yield f"Solver: {name_code(certificate.solver)}. The search ended by: {escaped(certificate.stopped_by.replace('_', ' '))}."
    yield ""
    tiers = [*certificate.tiers, *([plan.churn] if plan.churn is not None else [])]
    rows = [
        (name_code(tier.goal), f"{tier.value:.6g}", f"{tier.bound:.6g}", f"{tier.gap_fraction:.2%}", "yes" if tier.optimised else "no")
        for tier in tiers
    ]
    yield from markdown_table("goals of the plan", ("goal", "value", "bound", "gap", "searched for"), rows, numbers=(1, 2, 3))
    if certificate.baselines:
        yield ""
        yield from _baselines(plan.desired)
    risks = set(risk_lines(plan.desired))
    evidence = [line.strip() for line in (*provenance_lines(plan.desired), *simulated_lines(plan.desired)) if line.strip() not in risks]
    if evidence:
        yield ""
        yield from bullets(evidence)


def _baselines(desired: Desired) -> Iterator[str]:
    unserved_rps = sum(workload.unserved_rps for workload in desired.workloads)
    rows = [("this plan", str(desired.gpus_used), f"{desired.cost_usd_per_h:.2f}", f"{unserved_rps:.2f}", "")]
    for name, baseline in desired.certificate.baselines.items():
        note = "" if baseline.fits else NEVER_FITS if baseline.unserved_rps > 0 else "does not fit the pools"
        rows.append((name_code(name), str(baseline.gpus), f"{baseline.cost_usd_per_h:.2f}", f"{baseline.unserved_rps:.2f}", note))
    yield from markdown_table("methods", ("method", "GPUs", "USD/h", "unserved/s", "note"), rows, numbers=(1, 2, 3))
