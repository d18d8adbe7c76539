"""Plan, State and actions: the documents between planning and doing."""

from planner.latency_classes import LatencyClass
from planner.plan.applied import as_applied, state_of
from planner.plan.burst_parts import Burst, BurstStep, FreedShare
from planner.plan.document import (
    SCHEMA_VERSION,
    Action,
    Desired,
    Drain,
    GpuPlan,
    Ledger,
    MigPlace,
    Outage,
    Plan,
    Prior,
    Repartition,
    Replica,
    ReplicaForecast,
    SetRoutes,
    Start,
    State,
    Stop,
    ttft_s_of,
)
from planner.plan.extra_args import ExtraArg
from planner.plan.fleet_rules import ModelRules, PoolRules, PortRange, Rules
from planner.plan.grounds.evidence import MeasuredMemory, SharingSaving
from planner.plan.grounds.proof import FRAGMENTATION, Baseline, Certificate, EngineReport, StoppedBy, TierResult
from planner.plan.grounds.reasons import Breaking, Conflict, CostBand, Explanation, GpuRows, Limit, ModelReasons, OneMore, Refusal, Way
from planner.plan.grounds.throughput import GpuThroughput, gpu_throughputs, window_part
from planner.plan.grounds.workload_forecast import Attainment, NodeLoss, PlannedWindow, WorkloadForecast
from planner.plan.json_files import DocumentError, desired_hash, plan_from_json, plan_hash, state_from_json, state_hash, to_json
from planner.plan.places.gpu_facts import GpuFacts, gpu_facts, gpu_look_up
from planner.plan.places.gpu_modes import ALL_THREADS, GpuMode, SharedMode, is_shared, may_be_neighbours
from planner.plan.places.machines import NodePlan
from planner.plan.planned_volume import PlannedVolume, VolumeWindow
from planner.plan.routing.apart_workloads import ApartWorkloads, WorkloadRoute
from planner.plan.routing.prompt_splits import LongPrompts, PromptSplit
from planner.plan.routing.request_priorities import WORKLOAD_HEADER, RequestPriority
from planner.plan.routing.route_parts import Route, RouteBackend, RouterPlan
from planner.plan.sleepers import Asleep, Sleep, SleepLevel, Wake
from planner.plan.vllm_args import EngineArgs, LoraModule

__all__ = [
    "ALL_THREADS",
    "FRAGMENTATION",
    "SCHEMA_VERSION",
    "WORKLOAD_HEADER",
    "Action",
    "ApartWorkloads",
    "Asleep",
    "Attainment",
    "Baseline",
    "Breaking",
    "Burst",
    "BurstStep",
    "Certificate",
    "Conflict",
    "CostBand",
    "Desired",
    "DocumentError",
    "Drain",
    "EngineArgs",
    "EngineReport",
    "Explanation",
    "ExtraArg",
    "FreedShare",
    "GpuFacts",
    "GpuMode",
    "GpuPlan",
    "GpuRows",
    "GpuThroughput",
    "LatencyClass",
    "Ledger",
    "Limit",
    "LongPrompts",
    "LoraModule",
    "MeasuredMemory",
    "MigPlace",
    "ModelReasons",
    "ModelRules",
    "NodeLoss",
    "NodePlan",
    "OneMore",
    "Outage",
    "Plan",
    "PlannedVolume",
    "PlannedWindow",
    "PoolRules",
    "PortRange",
    "Prior",
    "PromptSplit",
    "Refusal",
    "Repartition",
    "Replica",
    "ReplicaForecast",
    "RequestPriority",
    "Route",
    "RouteBackend",
    "RouterPlan",
    "Rules",
    "SetRoutes",
    "SharedMode",
    "SharingSaving",
    "Sleep",
    "SleepLevel",
    "Start",
    "State",
    "Stop",
    "StoppedBy",
    "TierResult",
    "VolumeWindow",
    "Wake",
    "Way",
    "WorkloadForecast",
    "WorkloadRoute",
    "as_applied",
    "desired_hash",
    "gpu_facts",
    "gpu_look_up",
    "gpu_throughputs",
    "is_shared",
    "may_be_neighbours",
    "plan_from_json",
    "plan_hash",
    "state_from_json",
    "state_hash",
    "state_of",
    "to_json",
    "ttft_s_of",
    "window_part",
]
