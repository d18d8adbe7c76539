"""Routes: who takes the requests for a model."""

from __future__ import annotations

from pydantic import Field

from planner.plan.bounds import PlanPart, Port, Some
from planner.plan.routing.apart_workloads import WorkloadRoute
from planner.plan.routing.prompt_splits import LongPrompts
from planner.plan.routing.request_priorities import RequestPriority


class RouteBackend(PlanPart):
    """A replica that takes a share of a route; weights of a route are whole numbers and sum to 1000 per begun hundred of replicas."""

    replica: str
    host: str
    port: Port
    weight: Some


class Route(PlanPart):
    """Requests that name this model go to these backends; without any they get a 503.

    longer is for whom the longer ones are. priorities are of the workloads that share the model, sorted by name; a request that names none
    of them is as urgent as the most urgent one. apart are workloads whose requests for the model go to other routes. Documents without a
    split, without priorities or with nobody apart have no such field.
    """

    served_name: str
    backends: tuple[RouteBackend, ...]
    longer: LongPrompts | None = Field(default=None, exclude_if=lambda longer: longer is None)
    priorities: tuple[RequestPriority, ...] = Field(default=(), exclude_if=lambda priorities: not priorities)
    apart: tuple[WorkloadRoute, ...] = Field(default=(), exclude_if=lambda apart: not apart)


class RouterPlan(PlanPart):
    """Where the router listens."""

    host: str
    port: Port
    admin_port: Port
