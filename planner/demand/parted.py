"""A fleet in which one workload is two: its shorter prompts and its longer ones, each with replicas of its own."""

from __future__ import annotations

from planner.demand.prompt_lengths import SplitDemand
from planner.disruption_budget import DisruptionBudget
from planner.spec.fleet import Fleet, LongerOf, Workload


def parted(fleet: Fleet, name: str, split: SplitDemand) -> Fleet:
    """The fleet with a workload divided; everything that is said of it holds for both parts.

    Raises KeyError for a workload that the fleet does not have.
    """
    whole = {workload.name: workload for workload in fleet.workloads}[name]
    short = whole.model_copy(update={"demand": split.short, "splits": ()})
    long = whole.model_copy(
        update={
            "name": whole.long_names[0],
            "demand": split.long,
            "splits": (),
            "ttft_p95_s": whole.ttft_p95_s if whole.long_ttft_p95_s is None else whole.long_ttft_p95_s,
            "longer_of": LongerOf(
                served_name=whole.served_name,
                workload=whole.name,
                over_tokens=split.over_tokens,
                bytes_per_token=whole.bytes_per_token,
            ),
        }
    )
    both = {whole.served_name: long.served_name}
    workloads: list[Workload] = []
    for workload in fleet.workloads:
        workloads.extend((short, long) if workload.name == name else (_away_from_both(workload, both),))
    policy = fleet.policy.model_copy(update={"disruption_budget": _for_both(fleet.policy.disruption_budget, name, long.name)})
    return fleet.model_copy(update={"workloads": tuple(workloads), "policy": policy})


def _away_from_both(workload: Workload, both: dict[str, str]) -> Workload:
    further = {both[name] for name in workload.not_with if name in both}
    return workload.model_copy(update={"not_with": tuple(sorted({*workload.not_with, *further}))}) if further else workload


def _for_both(budget: DisruptionBudget, name: str, long_name: str) -> DisruptionBudget:
    """What is protected as a whole is in both parts."""
    least = budget.min_available
    if name in least:
        least = dict(sorted({**least, long_name: least[name]}.items()))
    protected = (*budget.protected, long_name) if name in budget.protected else budget.protected
    return budget.model_copy(update={"min_available": least, "protected": tuple(sorted(protected))})
