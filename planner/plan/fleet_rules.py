"""What the fleet file asks of places and money, kept with the plan so that it can be judged without that file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from planner.disruption_budget import DisruptionBudget
from planner.plan.bounds import Mib, Money, PlanPart, Port, Some, WholeNumber
from planner.rollout_rules import Rollout


class ModelRules(PlanPart):
    """Where a served model may live: pools (empty: any), served models that may not share a GPU with it, whose it is, limits.

    spread_nodes: no two of its replicas are on one machine. Documents in which no model asks for that do not have this field.
    """

    served_name: str
    pools: tuple[str, ...] = ()
    not_with: tuple[str, ...] = ()
    team: str | None = None
    max_replicas: Some | None = None
    min_replicas: WholeNumber = 0
    spread_nodes: bool = False

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if not self.spread_nodes:
            written.pop("spread_nodes", None)
        return written


class PoolRules(PlanPart):
    """What a pool costs: price per GPU, for the GPUs in use or for whole nodes, min_nodes of them in any case."""

    name: str
    price_usd_per_h: Money
    billing: Literal["gpu", "node"]
    min_nodes: WholeNumber = 0


class PortRange(PlanPart):
    """Ports for engines on every node, both ends included."""

    start: Port = 8100
    end: Port = 8999


class Rules(PlanPart):
    """Rules of models and pools by name; with isolate_teams models of different teams never share a GPU.

    Every GPU keeps headroom_mib free, and at most max_active_residents of a shared one may be active together.
    The disruption budget names served models. Plans for the usual ports do not have that field.
    """

    models: tuple[ModelRules, ...]
    pools: tuple[PoolRules, ...]
    isolate_teams: bool = False
    headroom_mib: Mib
    max_active_residents: Some
    disruption_budget: DisruptionBudget = DisruptionBudget()
    rollout: Rollout = Rollout()
    ports: PortRange = Field(default=PortRange(), exclude_if=lambda ports: ports == PortRange())
