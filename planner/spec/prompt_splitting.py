"""Checks of workloads that may be split by the length of prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from planner.spec.declared_workload import DeclaredWorkload
from planner.spec.fleet import Workload
from planner.spec.pools import Report

_NO_SPLIT = "says nothing without a split; write split: prompt_length, or leave it out"


def check_splits(
    declared: Mapping[str, DeclaredWorkload], workloads: Sequence[Workload], model_names: Iterable[str], report: Report
) -> None:
    """Report splits that cannot be made, and what is said of a split where none is asked for."""
    for name, said in declared.items():
        if said.bytes_per_token is not None and said.split == "none":
            report(("workloads", name, "bytes_per_token"), _NO_SPLIT)
        if said.slo.long_ttft_p95_s is not None and said.split == "none":
            report(("workloads", name, "slo", "long_ttft_p95"), _NO_SPLIT)
    sharing = Counter(workload.served_name for workload in workloads)
    taken = {*model_names, *(name for workload in workloads for name in (workload.name, workload.served_name))}
    for workload in workloads:
        if not workload.may_split:
            continue
        where = ("workloads", workload.name, "split")
        if workload.model.adapters:
            report(where, f"model {workload.model.name} has adapters, which both groups would have to load; leave split out")
        if sharing[workload.served_name] > 1:
            others = ", ".join(
                other.name for other in workloads if other.served_name == workload.served_name and other.name != workload.name
            )
            report(where, f"shares the replicas of {workload.served_name} with {others}; write isolate: true, or leave split out")
        if workload.max_replicas is not None:
            report(where, "max_replicas cannot be shared out among two groups of replicas; leave one of them out")
        clash = next((name for name in workload.long_names if name in taken), None)
        if clash is not None:
            report(where, f"its longer prompts would be served as {clash}, which is the name of something else; rename one of them")
