"""How a plan was made: solver, what ended its search, the engines that were asked, what it rests on, and the hashes of its input."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Desired, EngineReport, Plan
from ullage.views.html.markup import Markup, element, listed_items
from ullage.views.html.table_markup import html_table
from ullage.views.plan.plan_text import proof_words, provenance_lines

_ENDED = {
    "proof": "its own end",
    "work_limit": "its limit on work",
    "time_limit": "the time limit",
    "interrupt": "an interrupt",
}


def origin_section(plan: Plan) -> Iterator[Markup]:
    """Two paragraphs, the engines and the input."""
    desired = plan.desired
    certificate = desired.certificate
    yield element("p", f"Solver {certificate.solver}, {proof_words(certificate)}; ended by {_ENDED[certificate.stopped_by]}.")
    risk = desired.risk
    yield element(
        "p",
        f"Promised: {risk.attainment_fraction * 100:g} % of the requests of each model meet both goals, with steps as slow as p"
        f"{risk.step_quantile * 100:g} of their predicted spread and neighbours that cost {risk.interference_factor:g} times their share.",
    )
    rows = [_engine(item) for item in certificate.engines]
    if rows:
        yield html_table("Engines that were asked", ("engine", "USD/h", "unserved requests/s", "note"), rows, numbers=(1, 2))
    provenance = [line.strip() for line in provenance_lines(desired)]
    if provenance:
        yield element("p", "What the figures rest on:")
        yield listed_items(provenance)
    yield _hashes(desired, plan)


def _engine(item: EngineReport) -> list[str]:
    cost = "-" if item.cost_usd_per_h is None else f"{item.cost_usd_per_h:,.2f}"
    unserved = "-" if item.unserved_rps is None else f"{item.unserved_rps:.2f}"
    return [item.engine, cost, unserved, item.skipped or ""]


def _hashes(desired: Desired, plan: Plan) -> Markup:
    rows = [[name, digest] for name, digest in desired.input_hashes.items()]
    if desired.measurements_sha256 is not None:
        rows.append(["measurements", desired.measurements_sha256])
    rows.append([f"state {plan.prior.serial}", plan.prior.state_hash])
    return html_table("Input, by its SHA-256", ("input", "SHA-256"), rows)
