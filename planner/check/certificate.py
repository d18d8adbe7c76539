"""What a plan says of its own quality agrees with the plan: values, bounds, gaps, status and the baselines it is no worse than."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Desired, TierResult

# Values are sums of whole micro-dollars/h and micro-requests/s, kept as floats.
RELATIVE_TOLERANCE = 1e-6
LEAST = 1e-6


def certificate_problems(desired: Desired) -> Iterator[str]:
    """Claims that the plan itself, or another claim, contradicts. Whether a bound is true only a solver can say."""
    said = desired.certificate
    tiers = {tier.goal: tier for tier in said.tiers}
    if len(tiers) != len(said.tiers):
        yield "certificate: a goal is listed twice"
    for tier in said.tiers:
        yield from _tier(tier)
    cost = tiers.get("cost_usd_per_h")
    if cost is None:
        yield "certificate: has no goal cost_usd_per_h"
    elif _differ(cost.value, desired.cost_usd_per_h):
        yield f"certificate: says a cost of {cost.value:.6g} USD/h, the plan costs {desired.cost_usd_per_h:.6g}"
    yield from _unserved(desired, tiers)
    proven = [tier for tier in said.tiers if tier.goal == "cost_usd_per_h" or tier.goal.startswith("unserved")]
    if said.status == "optimal" and any(tier.gap_fraction > RELATIVE_TOLERANCE for tier in proven):
        yield "certificate: says optimal, and a goal is not at its bound"
    yield from _baselines(desired)


def _tier(tier: TierResult) -> Iterator[str]:
    where = f"certificate: {tier.goal}"
    if not 0 <= tier.bound <= tier.value + _tolerance(tier.value):
        yield f"{where}: its bound {tier.bound:.6g} is not between 0 and its value {tier.value:.6g}"
    gap_fraction = (tier.value - tier.bound) / tier.value if tier.value > 0 else 0.0
    if abs(gap_fraction - tier.gap_fraction) > RELATIVE_TOLERANCE:
        yield f"{where}: gap_fraction is {tier.gap_fraction:.6g}, value {tier.value:.6g} and bound {tier.bound:.6g} say {gap_fraction:.6g}"


def _unserved(desired: Desired, tiers: dict[str, TierResult]) -> Iterator[str]:
    """The unserved demand of each priority is that of its workloads; those of one model share the highest among them."""
    priorities: dict[str, int] = {}
    for workload in desired.workloads:
        priorities[workload.served_name] = max(workload.priority, priorities.get(workload.served_name, workload.priority))
    for priority in sorted({*priorities.values()}):
        tier = tiers.get(f"unserved_rps at priority {priority}")
        rows_rps = sum(workload.unserved_rps for workload in desired.workloads if priorities[workload.served_name] == priority)
        if tier is None:
            yield f"certificate: has no goal for the unserved demand of priority {priority}"
        elif (tier.value > LEAST) != (rows_rps > LEAST):
            yield f"certificate: says {tier.value:.6g} requests/s of priority {priority} unserved, its workloads {rows_rps:.6g}"


def _baselines(desired: Desired) -> Iterator[str]:
    if desired.certificate.kept:
        # a cheaper answer was left for the part of the cost that the policy allows, or for a goal before it
        return
    unserved_rps = sum(workload.unserved_rps for workload in desired.workloads)
    # no baseline survives the loss of a node: what that costs is no part of the comparison
    cost_usd_per_h = desired.cost_usd_per_h - (desired.tolerance_cost_usd_per_h or 0.0)
    for name, baseline in sorted(desired.certificate.baselines.items()):
        cheaper = baseline.cost_usd_per_h < cost_usd_per_h - _tolerance(cost_usd_per_h)
        if (
            baseline.fits
            and baseline.unserved_rps <= LEAST
            and (unserved_rps > _tolerance(1.0) or cheaper)
            and not desired.certificate.kept
        ):
            yield (
                f"certificate: baseline {name} serves everything for {baseline.cost_usd_per_h:.6g} USD/h, the plan costs "
                f"{desired.cost_usd_per_h:.6g} and leaves {unserved_rps:.4g} requests/s unserved"
            )


def _differ(one: float, other: float) -> bool:
    return abs(one - other) > _tolerance(max(one, other))


def _tolerance(value: float) -> float:
    return LEAST + RELATIVE_TOLERANCE * abs(value)
