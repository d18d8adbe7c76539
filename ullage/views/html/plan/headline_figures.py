"""The figures that a reader looks for first, as tiles."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Desired
from planner.saving_steps import EXCLUSIVE
from ullage.views.html.markup import Markup, element
from ullage.views.html.number_words import percent_words, rate_words, usd_words


def headline_figures(desired: Desired) -> Markup:
    """Cost, GPUs, unserved demand, gap of the proof and saving, as a list of terms."""
    tiles = (
        element("div", element("dt", name), element("dd", element("b", figure), element("span", note)), class_=f"tile{mark}")
        for name, figure, note, mark in _figures(desired)
    )
    return element("dl", *tiles, class_="tiles")


def _figures(desired: Desired) -> Iterator[tuple[str, str, str, str]]:
    """Name, figure, note and class of each."""
    certificate = desired.certificate
    yield "Cost", usd_words(desired.cost_usd_per_h), "of the GPUs in use", ""
    yield "GPUs in use", f"{desired.gpus_used:,} of {len(desired.gpus):,}", f"{len(desired.replicas):,} replicas", ""
    unserved_rps = sum(workload.unserved_rps for workload in desired.workloads)
    asked_rps = sum(workload.rate_rps for workload in desired.workloads)
    yield "Unserved", f"{rate_words(unserved_rps)} requests/s", f"of {rate_words(asked_rps)} at the peaks", " wrong" if unserved_rps else ""
    gaps = [tier for tier in certificate.proven_tiers if tier.gap_fraction > 0]
    figure = percent_words(gaps[0].gap_fraction, 2) if gaps else percent_words(0)
    proven = "proven optimal for this problem" if certificate.status == "optimal" else f"on {gaps[0].goal}" if gaps else "not proven"
    yield "Proof gap", figure, proven, ""
    found = certificate.baselines.get(EXCLUSIVE)
    if found is None or not found.cost_usd_per_h:
        yield "Saving", "-", "no exclusive baseline", ""
    else:
        saved_usd_per_h = found.cost_usd_per_h - desired.cost_usd_per_h
        yield "Saving", percent_words(saved_usd_per_h / found.cost_usd_per_h), f"{usd_words(saved_usd_per_h)} against exclusive GPUs", ""
