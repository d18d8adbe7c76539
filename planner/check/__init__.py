"""The independent checker: judges a plan document by the rules of reality, whoever or whatever wrote it.

It recomputes what it can (memory ledgers, KV minimum, legal MIG layouts, the effect of the actions) instead of trusting the
numbers in the plan, and shares no code with the solvers or with the code that builds plans.
"""

from __future__ import annotations

from collections.abc import Callable

from planner.check.actions import action_problems
from planner.check.brought_gpus import gpu_type_problems
from planner.check.bursts import burst_problems
from planner.check.certificate import certificate_problems
from planner.check.engines import engine_problems
from planner.check.evidence import evidence_problems
from planner.check.gpus import gpu_problems
from planner.check.lengths import length_problems
from planner.check.losses import loss_problems
from planner.check.placements import placement_problems
from planner.check.priorities import priority_problems
from planner.check.rules import rule_problems
from planner.check.service import service_problems
from planner.check.temporary import temporary_problems
from planner.plan import Plan, State, gpu_look_up
from profiles.gpu_types import GpuType
from profiles.models import Architecture

__all__ = ["TAKEN_AS_SAID", "check", "transition_problems"]

# What only the fleet file, measurements or a solver can confirm: the checker takes it from the plan as it stands there.
TAKEN_AS_SAID = (
    "rates, token lengths, goals and priorities of workloads",
    "rules, prices and memory of others",
    "which workloads are split by the length of prompts, and costs with and without",
    "facts of GPU types that the fleet declares itself",
    "capacities and latency forecasts of replicas",
    "bounds and baselines of the certificate",
    "what workloads keep of their goals in bursts",
)


def check(
    plan: Plan, gpu_type: Callable[[str], GpuType], architecture: Callable[[str], Architecture], state: State | None = None
) -> tuple[str, ...]:
    """Everything that is wrong with a plan, as sentences with names, numbers and units; empty when it is sound.

    gpu_type and architecture look up catalogue entries by the names the plan uses. With the state that the plan was made against
    its actions are followed too, step by step.
    """
    known = gpu_look_up(plan.desired.gpu_types, gpu_type)
    found = [
        *gpu_type_problems(plan.desired, gpu_type),
        *placement_problems(plan.desired),
        *gpu_problems(plan.desired, known),
        *engine_problems(plan.desired, known, architecture),
        *service_problems(plan.desired),
        *length_problems(plan.desired),
        *priority_problems(plan.desired),
        *loss_problems(plan.desired),
        *rule_problems(plan.desired),
        *evidence_problems(plan.desired),
        *certificate_problems(plan.desired),
        *burst_problems(plan.desired),
        *((*temporary_problems(plan, state), *action_problems(plan, state, known)) if state is not None else ()),
    ]
    return tuple(dict.fromkeys(found))


def transition_problems(plan: Plan, state: State, gpu_type: Callable[[str], GpuType]) -> tuple[str, ...]:
    """Everything that would go wrong while the actions of a plan are done from a state; for a way to a plan that was checked itself."""
    known = gpu_look_up(plan.desired.gpu_types, gpu_type)
    return tuple(dict.fromkeys([*temporary_problems(plan, state), *action_problems(plan, state, known)]))
