"""A quote as text."""

from __future__ import annotations

from collections.abc import Iterator

from planner.newcomer import PlacementEstimate, Quote


def estimate_line(first: PlacementEstimate) -> str:
    """The first answer in one line."""
    if first.usd_per_h is None:
        return "estimate: no room beside the replicas of the plan; others would have to move, or lose capacity"
    if not first.replicas:
        return "estimate: +0.00 USD/h, the existing replicas carry it"
    where = f"{_new(first.replicas)}, {first.joined} on GPUs in use" if first.joined else f"{_new(first.replicas)} on free GPUs"
    instead = f", in place of the {first.replaced} existing" if first.replaced else ""
    return f"estimate: {first.usd_per_h:+.2f} USD/h, {first.shape}: {where}{instead}; everything else stays as it is"


def _new(replicas: int) -> str:
    return "1 new replica" if replicas == 1 else f"{replicas} new replicas"


def quote_text(quote: Quote) -> str:
    """The whole quote for a terminal; ends in a newline."""
    return "\n".join([estimate_line(quote.estimate), *_lines(quote)]) + "\n"


def _lines(quote: Quote) -> Iterator[str]:
    proof = "exact: both plans are proven optimal" if quote.exact else "both plans have a gap"
    between = "" if quote.exact else f", between {quote.least_usd_per_h:+.2f} and {quote.most_usd_per_h:+.2f} USD/h"
    yield f"confirmed: {quote.usd_per_h:+.2f} USD/h ({proof}{between})"
    yield f"  serves {quote.served_rps:.3g} requests/s on {', '.join(quote.places) or 'nothing'}"
    if quote.unserved_rps:
        yield f"  cannot serve {quote.unserved_rps:.3g} requests/s: {quote.unserved_reason}"
    if quote.moved:
        yield f"  starts or stops {len(quote.moved)} replicas of others: {', '.join(quote.moved)}"
    for name, lost_rps in sorted(quote.displaced_rps.items()):
        yield f"  displaces {lost_rps:.3g} requests/s of {name}"
    if not quote.displaced_rps:
        yield "  displaces no other workload"
