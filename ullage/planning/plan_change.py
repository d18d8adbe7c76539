"""What changes from one plan to another, as if the first had been applied."""

from __future__ import annotations

from dataclasses import dataclass

from planner.diff import diff
from planner.ordering.spares import with_spares
from planner.outages import outages
from planner.plan import Action, Outage, Plan, as_applied
from planner.repairs import NO_REPAIRS


@dataclass(frozen=True, slots=True)
class PlanChange:
    """Two plans, and the actions that turn the first, as it runs, into the second."""

    before: Plan
    after: Plan
    actions: tuple[Action, ...]

    @property
    def before_usd_per_h(self) -> float:
        """Cost of the first plan."""
        return self.before.desired.cost_usd_per_h

    @property
    def after_usd_per_h(self) -> float:
        """Cost of the second plan."""
        return self.after.desired.cost_usd_per_h

    @property
    def usd_per_h(self) -> float:
        """What the second plan costs more; below 0 what it saves."""
        return self.after_usd_per_h - self.before_usd_per_h

    @property
    def outages(self) -> tuple[Outage, ...]:
        """What clients miss while the actions are executed."""
        before = as_applied(self.before)
        return with_spares(before, self.after.desired, outages(before, self.after.desired, self.actions), NO_REPAIRS)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the desired world that differ, by their names in plan.json, beside the hashes of the inputs."""
        names = type(self.before.desired).model_fields
        before, after = self.before.desired, self.after.desired
        return tuple(name for name in names if name != "input_hashes" and getattr(before, name) != getattr(after, name))


def actions_between(before: Plan, after: Plan) -> tuple[Action, ...]:
    """The actions that turn the first plan, as if it had been applied, into the second."""
    return diff(as_applied(before), after.desired)


def change_between(before: Plan, after: Plan) -> PlanChange:
    """What turns the first plan into the second."""
    return PlanChange(before, after, actions_between(before, after))
