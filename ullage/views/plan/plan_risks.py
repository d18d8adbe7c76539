"""What may go wrong with a plan: demand that is not served, promises that the simulation denies, assumptions, and warnings."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Desired, Outage
from ullage.views.plan.plan_text import node_loss_lines, outage_lines, short_lines
from ullage.views.plan.simulated_text import simulated_lines

_DENIED = ("NOT CONFIRMED", "not sure for", "falls short", "best effort")


def risk_lines(desired: Desired) -> Iterator[str]:
    """One sentence per risk, the worst kind first; none where nothing is known."""
    yield from (line.strip() for line in short_lines(desired))
    yield from (line.strip() for line in simulated_lines(desired) if any(word in line for word in _DENIED))
    yield from (f"loss of a node: {line.strip()}" for line in node_loss_lines(desired) if "NOT survived" in line)
    assumed = sum(gpu.interference == "assumed" for gpu in desired.gpus)
    if assumed:
        yield f"{assumed} {'GPU is' if assumed == 1 else 'GPUs are'} shared with interference that is assumed, not measured"
    yield from sorted({caveat for replica in desired.replicas for caveat in replica.ledger.caveats})
    yield from (f"warning: {warning}" for warning in desired.warnings)


def missed_lines(outages: tuple[Outage, ...]) -> list[str]:
    """What clients miss while the actions are executed, one sentence per model."""
    return [line.strip() for line in outage_lines(outages)][1:]
