"""The disruption budget: what is declared, checked and put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from planner.disruption_budget import DisruptionBudget, whole_week
from planner.spec.declared_budget import DeclaredBudget
from planner.spec.messages import Loc
from planner.spec.nearest import nearest


def disruption_budget(declared: DeclaredBudget) -> DisruptionBudget:
    """The budget that was declared, by workload."""
    return DisruptionBudget(
        max_concurrent=declared.max_concurrent,
        min_available=declared.min_available,
        protected=declared.protected,
        windows_s=tuple(
            sorted({part for window in declared.windows for part in whole_week(window.stretches_s, daily=window.days is None)})
        ),
    )


def budget_problems(declared: DeclaredBudget, workloads: Iterable[str]) -> Iterator[tuple[Loc, str]]:
    """Workloads that it names and nobody declares: where in the policy, and what is wrong."""
    known = tuple(workloads)
    named: list[tuple[str, str | int, str]] = [("min_available", name, name) for name in declared.min_available]
    named += [("protected", place, name) for place, name in enumerate(declared.protected)]
    for field, place, name in named:
        if name not in known:
            close = nearest(name, known)
            yield ("disruption_budget", field, place), f"{name!r} is not among the workloads{f'; did you mean {close}?' if close else ''}"
