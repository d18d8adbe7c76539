"""The Plan: what people review, git stores, renderers read and apply executes.

Three parts: desired (placements, engine arguments, routes, forecast), prior (the state it was made against) and
actions (what apply executes). Nothing in it depends on the clock: same input, same bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from planner.plan.bounds import (
    Fraction,
    Mib,
    Money,
    PerSecond,
    PlanPart,
    Seconds,
    Serial,
    Some,
    WholeNumber,
)
from planner.plan.burst_parts import Burst
from planner.plan.fleet_rules import Rules
from planner.plan.grounds.evidence import MeasuredMemory, SharingSaving
from planner.plan.grounds.proof import Certificate, TierResult
from planner.plan.grounds.reasons import Explanation
from planner.plan.grounds.workload_forecast import NodeLoss, PlannedWindow, WorkloadForecast
from planner.plan.places.gpu_facts import GpuFacts, Speed
from planner.plan.places.gpu_modes import GpuMode
from planner.plan.places.machines import NodePlan
from planner.plan.routing.apart_workloads import ApartWorkloads, WorkloadRoute
from planner.plan.routing.prompt_splits import LongPrompts, PromptSplit
from planner.plan.routing.request_priorities import RequestPriority
from planner.plan.routing.route_parts import Route, RouterPlan
from planner.plan.sleepers import Sleep, Wake, WithSleepers
from planner.plan.vllm_args import EngineArgs
from planner.risk import Risk

SCHEMA_VERSION = 1


class MigPlace(PlanPart):
    """A MIG instance: profile name and start slot (in memory slices)."""

    profile: str
    start: WholeNumber


class Ledger(PlanPart):
    """Memory of one replica on each of its GPUs, line by line, in MiB.

    start_peak_mib is the most it takes at once as it starts, at least the total.
    provenance says which measured starts it rests on; empty: the constants shipped with the engine version. caveats are what
    a reader should know that the numbers do not say.
    """

    weights_mib: Mib
    activation_mib: Mib
    cuda_graphs_mib: Mib
    context_mib: Mib
    kv_mib: Mib
    total_mib: Mib
    start_peak_mib: Mib
    provenance: str = ""
    caveats: tuple[str, ...] = ()

    @property
    def start_extra_mib(self) -> int:
        """What a start takes for a while beyond the total."""
        return max(0, self.start_peak_mib - self.total_mib)


class ReplicaForecast(PlanPart):
    """What the model expects of a replica at its planned rate, at the sizing quantile and its guaranteed share.

    provenance says what its step times rest on and how wide they are spread; empty in plans made before it was kept.
    ttft_s is that of the most urgent requests where it looks at priorities, and ttft_by_class_s has all of them, the most urgent first.
    active_fractions are the part of time in which it has work beside its neighbours, in each of the plan's windows (one where it has none).
    bandwidth_fraction is what it draws of the GPU's memory bandwidth while it works, where it shares the GPU by MPS.
    """

    ttft_s: Seconds
    tpot_s: Seconds
    busy_fraction: Fraction
    running_requests: PerSecond
    kv_fraction: Fraction
    active_fractions: tuple[Fraction, ...] = (1.0,)
    provenance: str = ""
    ttft_by_class_s: tuple[Seconds, ...] = Field(default=(), exclude_if=lambda times_s: not times_s)
    bandwidth_fraction: Fraction = Field(default=0.0, exclude_if=lambda fraction: not fraction)


class Replica(PlanPart):
    """One engine process group: where it lives, how it is started and what it is expected to do.

    It bears at most max_residents on its GPU, itself counted, whose active fractions add up to at most active_limit. active_at_worst is
    the number of residents active at once, itself counted, for which its forecast is made.

    kv_floor_mib is the part of its KV pool that the plan needs; the rest of ledger.kv_mib has grown into memory that nobody in the plan
    uses. None in plans made before it was kept.

    longer_of: it takes the longer requests for another model's name too. priorities are of the workloads that share it where it takes the
    most urgent requests first, sorted by name. apart are the workloads that it is for alone, of a model that others share.
    slow_link_gb_per_s is the speed of its GPUs' link to their host, one way, for engines that can sleep, where that is slower than
    sleeping counts with. Documents without a split, without priorities, with nobody apart or without slow links have no such field.
    """

    name: str
    served_name: str
    catalogue_model: str
    pool: str
    node: str
    host: str
    gpus: tuple[WholeNumber, ...]
    mig: MigPlace | None = None
    mode: GpuMode
    max_residents: Some = 1
    active_limit: PerSecond = 1.0
    active_at_worst: Some = 1
    engine: Literal["vllm"] = "vllm"
    engine_version: str
    args: EngineArgs
    ledger: Ledger
    kv_floor_mib: Mib | None = None
    capacity_rps: PerSecond
    planned_rps: PerSecond
    forecast: ReplicaForecast
    start_s: Seconds
    longer_of: LongPrompts | None = Field(default=None, exclude_if=lambda longer: longer is None)
    priorities: tuple[RequestPriority, ...] = Field(default=(), exclude_if=lambda priorities: not priorities)
    apart: tuple[WorkloadRoute, ...] = Field(default=(), exclude_if=lambda apart: not apart)
    slow_link_gb_per_s: Speed | None = Field(default=None, exclude_if=lambda speed: speed is None)

    @property
    def threads(self) -> int:
        """Per cent of its GPU's threads that are its own by MPS; 0 where it does not share by MPS."""
        return self.args.active_thread_percentage or 0

    @property
    def kv_grown_mib(self) -> int:
        """The part of its KV pool beyond what the plan needs; 0 where the plan does not say what that is."""
        return 0 if self.kv_floor_mib is None else self.ledger.kv_mib - self.kv_floor_mib


def ttft_s_of(workload: str, replica: Replica) -> float:
    """Forecast time to first token of a workload's requests at a replica; they wait in the order of their priority."""
    by_class_s = replica.forecast.ttft_by_class_s
    ranks = sorted({item.priority for item in replica.priorities})
    own = next((item.priority for item in replica.priorities if item.workload == workload), None)
    return replica.forecast.ttft_s if own is None or len(by_class_s) != len(ranks) else by_class_s[ranks.index(own)]


class GpuPlan(PlanPart):
    """One GPU of the fleet: how it is used and what is left of it. taken_mib is what others hold of its memory."""

    node: str
    index: WholeNumber
    pool: str
    gpu_type: str
    mode: GpuMode
    mig_layout: tuple[MigPlace, ...] = ()
    replicas: tuple[str, ...] = ()
    memory_mib: Mib
    headroom_mib: Mib
    weights_mib: Mib = 0
    kv_mib: Mib = 0
    overhead_mib: Mib = 0
    free_mib: Mib
    taken_mib: Mib = 0
    busy_fraction: Fraction = 0.0
    interference: Literal["none", "assumed", "measured"] = "none"


class Desired(WithSleepers):
    """The wished-for world. measurements_sha256 is of those it rests on (profiles.store.digest), None without any.

    gpu_types are those of its GPUs that the catalogue does not have. windows are those in which workloads are planned together, of their
    peaks at different times; empty where all demand is constant. prompt_splits are of the workloads that ask for one.
    playbook says what to do when a workload gets a multiple of its load, by workload and factor; empty where nobody asks.
    """

    nodes: tuple[NodePlan, ...]
    gpus: tuple[GpuPlan, ...]
    replicas: tuple[Replica, ...]
    routes: tuple[Route, ...]
    router: RouterPlan
    workloads: tuple[WorkloadForecast, ...]
    cost_usd_per_h: Money
    gpus_used: WholeNumber
    risk: Risk
    certificate: Certificate
    input_hashes: dict[str, str]
    explanation: Explanation | None = None
    node_losses: tuple[NodeLoss, ...] = ()
    tolerance_cost_usd_per_h: float | None = None
    rules: Rules
    measured_memory: tuple[MeasuredMemory, ...] = ()
    measurements_sha256: str | None = None
    sharing_saving: SharingSaving | None = None
    warnings: tuple[str, ...] = ()
    gpu_types: tuple[GpuFacts, ...] = ()
    windows: tuple[PlannedWindow, ...] = ()
    prompt_splits: tuple[PromptSplit, ...] = Field(default=(), exclude_if=lambda splits: not splits)
    apart_workloads: tuple[ApartWorkloads, ...] = Field(default=(), exclude_if=lambda apart: not apart)
    playbook: tuple[Burst, ...] = Field(default=(), exclude_if=lambda bursts: not bursts)


class Prior(PlanPart):
    """The state a plan was made against; apply refuses the plan when the state has moved on."""

    serial: Serial
    state_hash: str


class Repartition(PlanPart):
    """Give a GPU this MIG layout (empty: undivided); an instance that stays keeps its replica, one that goes must be empty."""

    kind: Literal["repartition"] = "repartition"
    node: str
    gpu: WholeNumber
    layout: tuple[MigPlace, ...]
    reason: str = ""


class Start(PlanPart):
    """Start a replica and wait until it is ready. Starts on one GPU never overlap."""

    kind: Literal["start"] = "start"
    replica: str
    node: str
    gpus: tuple[WholeNumber, ...]
    reason: str = ""


class Drain(PlanPart):
    """Wait until a replica, already out of the routes, has no request running."""

    kind: Literal["drain"] = "drain"
    replica: str
    reason: str = ""


class Stop(PlanPart):
    """Stop a replica and wait until its process group is gone and its memory is free."""

    kind: Literal["stop"] = "stop"
    replica: str
    reason: str = ""


class SetRoutes(PlanPart):
    """Switch the router to exactly these routes."""

    kind: Literal["set_routes"] = "set_routes"
    routes: tuple[Route, ...]
    reason: str = ""


Action = Annotated[Repartition | Start | Drain | Stop | SetRoutes | Sleep | Wake, Field(discriminator="kind")]


class Outage(PlanPart):
    """A served name that lacks replicas while the actions are done: none for unavailable_s, fewer than least_replicas for short_s.

    Both hold the forecast start times and the longest that apply waits for replicas that drain and stop.
    """

    served_name: str
    unavailable_s: Seconds
    short_s: Seconds
    fewest_replicas: WholeNumber
    least_replicas: WholeNumber
    reason: str


class Plan(PlanPart):
    """Desired world, the state it was made against, and the actions between them.

    churn is the goal that depends on both: weights that the actions load. outages are what the actions keep from clients meanwhile.
    temporary are copies of desired replicas on GPUs that nobody uses: the actions start them, and stop them before the end.
    """

    schema_version: Literal[1] = 1
    desired: Desired
    prior: Prior
    actions: tuple[Action, ...]
    churn: TierResult | None = None
    outages: tuple[Outage, ...] = ()
    temporary: tuple[Replica, ...] = Field(default=(), exclude_if=lambda replicas: not replicas)

    @property
    def started(self) -> tuple[Replica, ...]:
        """All that the actions may start."""
        return (*self.desired.replicas, *self.temporary)


class State(WithSleepers):
    """What runs, as apply left it: the replicas and routes of applied plans, with a serial that counts changes."""

    schema_version: Literal[1] = 1
    serial: Serial = 0
    nodes: tuple[NodePlan, ...] = ()
    gpus: tuple[GpuPlan, ...] = ()
    replicas: tuple[Replica, ...] = ()
    routes: tuple[Route, ...] = ()
    router: RouterPlan | None = None
