"""From a plan to what a simulation is given: engines with recomputed step times, GPUs, routes and requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from planner.demand.traces import TraceRequest
from planner.plan import Desired, GpuPlan, Plan, PromptSplit, Replica, gpu_look_up
from planner.plan.vllm_args import loaded
from planner.simulation.configuration import engine_config
from planner.simulation.simulation_input import Longer, Routes, SimulatedEngine, SimulatedGpu, SimulatedRequest
from profiles.gpu_types import GpuType, settings_on
from profiles.latency.prediction import predict
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.store.measurements import Measurements

_NOTHING = Measurements()


@dataclass(frozen=True, slots=True)
class PlannedWorld:
    """The engines, GPUs, routes and limits between short and long prompts of a plan, as simulate() takes them."""

    engines: tuple[SimulatedEngine, ...]
    gpus: tuple[SimulatedGpu, ...]
    routes: Routes
    longer_over_tokens: Longer


def planned_world(
    plan: Plan, gpu_type: Callable[[str], GpuType], architecture: Callable[[str], Architecture], measurements: Measurements = _NOTHING
) -> PlannedWorld:
    """What a plan wants to run, with step times from the profiles instead of the plan's own forecast.

    gpu_type and architecture look up catalogue entries by the names the plan uses; measurements are those it was made with. Raises
    ValueError when a replica names a GPU or MIG profile that is not there, UnsupportedError when an engine cannot run.
    """
    desired = plan.desired
    look_up = gpu_look_up(desired.gpu_types, gpu_type)
    types = {(gpu.node, gpu.index): look_up(gpu.gpu_type) for gpu in desired.gpus}
    blocks = {(item.node, index): _gpu_key(item) for item in desired.replicas if len(item.gpus) > 1 for index in item.gpus}
    engines = []
    for item in desired.replicas:
        device = types.get((item.node, item.gpus[0])) if item.gpus else None
        if device is None:
            raise ValueError(f"replica {item.name}: GPUs {list(item.gpus)} of node {item.node} are not in the plan")
        engines.append(_engine(item, device, loaded(architecture(item.catalogue_model), item.args, architecture), measurements))
    return PlannedWorld(
        engines=tuple(engines),
        gpus=tuple(_gpu(gpu, types[gpu.node, gpu.index], blocks.get((gpu.node, gpu.index))) for gpu in desired.gpus),
        routes={
            route.served_name: tuple((backend.replica, backend.weight) for backend in route.backends)
            for route in desired.routes
            if route.backends
        },
        longer_over_tokens={
            route.served_name: (route.longer.over_tokens, route.longer.served_name) for route in desired.routes if route.longer is not None
        },
    )


def workload_requests(plan: Plan, requests: Iterable[TraceRequest]) -> tuple[SimulatedRequest, ...]:
    """Requests whose tenant is the name of a workload, addressed to the model name that serves it. ValueError for an unknown workload.

    The longer ones of a workload that is split are of its longer part, and name the same model: it is the router that tells them apart.
    """
    served_names = tenants(plan)
    longer = {split.workload: split for split in plan.desired.prompt_splits if split.longer is not None}
    priorities = workload_priorities(plan.desired)
    pooling = {workload.name for workload in plan.desired.workloads if not workload.generates}
    addressed = []
    for request in requests:
        served_name = served_names.get(request.tenant)
        if served_name is None:
            known = ", ".join(sorted(served_names)) or "none"
            raise ValueError(
                f"the request at {request.arrival_s:g} s is of workload {request.tenant!r}, which the plan does not have ({known})"
            )
        addressed.append(
            SimulatedRequest(
                workload=_part_of(longer.get(request.tenant), request),
                served_name=served_name,
                arrival_s=request.arrival_s,
                input_tokens=request.input_tokens,
                # the answer of a model that generates nothing
                output_tokens=1 if request.tenant in pooling else request.output_tokens,
                cached_prefix_tokens=request.cached_prefix_tokens,
                priority=priorities.get(request.tenant, 0),
            )
        )
    return tuple(addressed)


def workload_priorities(desired: Desired) -> dict[str, int]:
    """vLLM's priority of the requests of each workload that has one, as the routes set it."""
    return {item.workload: item.priority for route in desired.routes for item in route.priorities}


def tenants(plan: Plan) -> dict[str, str]:
    """The workloads that people declared, each with the model that its requests name: longer parts are none of them."""
    parts = {split.long_workload for split in plan.desired.prompt_splits}
    return {workload.name: workload.served_name for workload in plan.desired.workloads if workload.name not in parts}


def told_apart(plan: Plan, requests: Sequence[SimulatedRequest]) -> tuple[SimulatedRequest, ...]:
    """Requests drawn for both parts of split workloads as clients send them: for the one model, and just as long as their part allows.

    Lengths of a part are drawn from a log-normal, which has no ends: what is beyond the limit between the parts is put on it.
    """
    short = {split.workload: split.longer for split in plan.desired.prompt_splits if split.longer is not None}
    long = {split.long_workload: split for split in plan.desired.prompt_splits if split.longer is not None}
    longest = {replica.served_name: replica.args.max_model_len for replica in plan.desired.replicas}

    def told(request: SimulatedRequest) -> SimulatedRequest:
        rule, split = short.get(request.workload), long.get(request.workload)
        if rule is not None and request.input_tokens > rule.over_tokens:
            return _as_long_as(request, rule.over_tokens)
        if split is None or split.longer is None:
            return request
        prompt = max(request.input_tokens, split.longer.over_tokens + 1)
        room = longest.get(request.served_name, prompt + request.output_tokens) - prompt
        return replace(_as_long_as(request, prompt), served_name=split.served_name, output_tokens=min(request.output_tokens, room))

    return tuple(map(told, requests))


def _as_long_as(request: SimulatedRequest, prompt: int) -> SimulatedRequest:
    cached = int(prompt * request.cached_prefix_tokens / request.input_tokens)
    return replace(request, input_tokens=prompt, cached_prefix_tokens=cached)


def _part_of(split: PromptSplit | None, request: TraceRequest) -> str:
    if split is None or split.longer is None or request.input_tokens <= split.longer.over_tokens:
        return request.tenant
    return split.long_workload or request.tenant


def workload_slos(plan: Plan) -> dict[str, tuple[float, float]]:
    """Workload -> (TTFT goal, TPOT goal) in seconds, as summarise() takes them; infinite where nothing is generated."""
    return {
        workload.name: (workload.ttft_slo_s, math.inf if workload.tpot_slo_s is None else workload.tpot_slo_s)
        for workload in plan.desired.workloads
    }


def replica_settings(replica: Replica, gpu: GpuType) -> EngineSettings:
    """The settings of a replica's engine as it has them on this type of device."""
    return settings_on(gpu, replica.args.settings(replica.engine_version))


def _engine(replica: Replica, gpu: GpuType, architecture: Architecture, measurements: Measurements) -> SimulatedEngine:
    args, settings = replica.args, replica_settings(replica, gpu)
    mig = gpu.mig_profile(replica.mig.profile) if replica.mig is not None else None
    return SimulatedEngine(
        name=replica.name,
        config=engine_config(architecture, settings, args.kv_cache_memory_bytes, by_priority=args.scheduling_policy == "priority"),
        step_time=predict(architecture, gpu, settings, mig, measurements),
        gpu_key=_gpu_key(replica),
        kv_mib=replica.ledger.kv_mib,
        own_threads=replica.mode == "mps",
    )


def _gpu_key(replica: Replica) -> str:
    gpus = "+".join(map(str, replica.gpus))
    slot = "" if replica.mig is None else _slot(replica.mig.profile, replica.mig.start)
    return f"{replica.node}/gpu{gpus}{slot}"


def _gpu(gpu: GpuPlan, gpu_type: GpuType, block: str | None) -> SimulatedGpu:
    name = f"{gpu.node}/gpu{gpu.index}"
    if not gpu.mig_layout:
        return SimulatedGpu(name, ((block or name, 1.0),))
    parts = []
    for place in gpu.mig_layout:
        slices = gpu_type.mig_profile(place.profile).compute_slices
        parts.append((name + _slot(place.profile, place.start), slices / gpu_type.mig_compute_slices))
    return SimulatedGpu(name, tuple(parts))


def _slot(profile: str, start: int) -> str:
    return f"/{profile}@{start}"
