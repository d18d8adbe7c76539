"""What changes from one plan to another, as if the first had been applied."""

from __future__ import annotations

from dataclasses import dataclass

from planner.plan import Action, Outage, Plan, as_applied
from planner.transitions.change import change


@dataclass(frozen=True, slots=True)
class PlanChange:
    """Two plans, and the way from the first, as it runs, to the second: another plan of the same world."""

    before: Plan
    after: Plan
    way: Plan

    @property
    def actions(self) -> tuple[Action, ...]:
        """What turns the first into the second."""
        return self.way.actions

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
        return self.way.outages

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the desired world that differ, by their names in plan.json, beside the hashes of the inputs."""
        names = type(self.before.desired).model_fields
        before, after = self.before.desired, self.after.desired
        return tuple(name for name in names if name != "input_hashes" and getattr(before, name) != getattr(after, name))


def way_between(before: Plan, after: Plan) -> Plan:
    """The way from the first plan, as if it had been applied, to the second."""
    return change(as_applied(before), after.desired)


def change_between(before: Plan, after: Plan) -> PlanChange:
    """What turns the first plan into the second."""
    return PlanChange(before, after, way_between(before, after))
