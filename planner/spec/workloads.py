"""From declared workloads to workloads of the fleet: class defaults, demand profiles, and checks across workloads."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from planner.demand.prompt_lengths import SplitDemand, split_profile, split_requests, trace_demand
from planner.demand.traces import MAX_REQUESTS, TraceRequest
from planner.demand.volumes import Volume
from planner.demand.windows import (
    DemandProfile,
    TokenLengths,
    constant_demand,
    fixed_length,
    spread_length,
    window_edges,
)
from planner.latency_classes import LatencyClass
from planner.spec.declared_demand import DeclaredForecast, DeclaredLengths, DeclaredRate, DeclaredTrace, DeclaredVolume, DeclaredWindow
from planner.spec.declared_workload import DeclaredWorkload
from planner.spec.demand_files import Recorded, Trace
from planner.spec.errors import RefusedDemandError
from planner.spec.fleet import BYTES_PER_TOKEN, FleetPool, Model, Workload
from planner.spec.forecast_demand import demand_from_forecast
from planner.spec.messages import Loc
from planner.spec.nearest import nearest
from planner.spec.pools import Report
from planner.spec.served import usable_blocks
from planner.spec.volume_demand import volume_of, volume_problems
from planner.spec.window_demand import demand_from_windows, forgotten_hours


@dataclass(frozen=True, slots=True)
class ClassDefaults:
    """Goals and priority of a latency class."""

    ttft_p95_s: float
    tpot_p95_s: float
    priority: int


# 50 ms per token are 20 tokens/s, four times reading speed (about 5 tokens/s); half a second is the limit below which an answer
# feels immediate to most people (Nielsen, Usability Engineering, 1993: 0.1 s instant, 1 s uninterrupted). The rest is ours.
CLASS_DEFAULTS: dict[LatencyClass, ClassDefaults] = {
    "interactive": ClassDefaults(0.5, 0.05, 100),
    "standard": ClassDefaults(2.0, 0.1, 50),
    "background": ClassDefaults(30.0, 0.5, 0),
}


# What a model with task: embed answers, in the formulas that count tokens.
ONE_ANSWER = fixed_length(1)


def resolve_workloads(
    declared: Mapping[str, DeclaredWorkload], models: Sequence[Model], recorded: Recorded, report: Report, warn: Report
) -> tuple[Workload, ...]:
    """The workloads whose demand is usable; everything else goes to report, what is only suspicious to warn."""
    by_name = {name: model for model in models for name in (model.name, *(adapter.name for adapter in model.adapters))}
    found: list[Workload] = []
    for name, workload in declared.items():
        model = by_name.get(workload.model)
        if model is None or recorded.lacks(workload.demand):
            continue  # what is wrong with those is reported already
        wrong = list(volume_problems(workload))
        for loc, message in wrong:
            report(("workloads", name, *loc), message)
        if wrong:
            continue
        try:
            asked = _asked(name, workload, model, recorded, warn)
        except RefusedDemandError as error:
            report(("workloads", name, "demand", *error.loc), str(error))
            continue
        if model.pooling and workload.slo.tpot_p95_s is not None:
            report(("workloads", name, "slo", "tpot_p95"), f"model {model.name} generates nothing (task: embed); leave it out")
            continue
        found.append(_workload(name, workload, model, asked))
    return tuple(found)


def resolve_neighbours(workloads: Sequence[Workload], report: Report) -> tuple[Workload, ...]:
    """Turn not_with into served names; report workloads that exclude the replicas they are served by."""
    by_workload = {workload.name: {workload.served_name} for workload in workloads}
    by_model: defaultdict[str, set[str]] = defaultdict(set)
    for workload in workloads:
        by_model[workload.model.name].add(workload.served_name)
        if workload.adapter is not None:
            by_model[workload.adapter].add(workload.served_name)
    resolved: list[Workload] = []
    for workload in workloads:
        excluded: set[str] = set()
        for index, name in enumerate(workload.not_with):
            targets = by_workload.get(name) or by_model[name]
            if workload.isolate and name == workload.model.name:
                targets = targets - {workload.served_name}
            if workload.served_name in targets:
                whom = "itself" if name == workload.name else f"{name}, which is served by the same replicas; write isolate: true"
                report(("workloads", workload.name, "not_with", index), f"a workload cannot be kept away from {whom}")
            excluded |= targets
        resolved.append(workload.model_copy(update={"not_with": tuple(sorted(excluded))}))
    return tuple(resolved)


def check_replicas(workloads: Sequence[Workload], report: Report) -> None:
    """Report numbers of replicas that contradict each other, in one workload or between those that share replicas."""
    fewest: dict[str, tuple[int, str]] = {}
    for workload in workloads:
        asked = max(workload.min_replicas, 1 + workload.tolerate_nodes if workload.tolerate_nodes else 0)
        reason = f"{workload.name} asks for {asked}" + (" (tolerate: 1 node)" if asked > workload.min_replicas else "")
        fewest[workload.served_name] = max(fewest.get(workload.served_name, (0, "")), (asked, reason))
    for workload in workloads:
        asked, reason = fewest[workload.served_name]
        if workload.max_replicas is not None and workload.max_replicas < asked:
            report(("workloads", workload.name, "max_replicas"), f"at most {workload.max_replicas} replicas, where {reason} at least")


def check_teams(workloads: Sequence[Workload], report: Report) -> None:
    """Report workloads of different teams that would share replicas although teams are kept apart."""
    owners: dict[str, Workload] = {}
    for workload in workloads:
        first = owners.setdefault(workload.served_name, workload)
        if first.team != workload.team:
            report(
                ("workloads", workload.name, "team"),
                f"{workload.team or 'no team'} would share the replicas of {workload.served_name} with {first.name} of "
                f"{first.team or 'no team'}, while policy.isolate_teams keeps teams apart; write isolate: true",
            )


def check_together(workloads: Sequence[Workload], pools: Sequence[FleetPool], model_names: Iterable[str], report: Report) -> None:
    """Report pins that contradict each other or the blocks of the pools, and isolated workloads named like a model."""
    taken, pinned = set(model_names), {pool.name: pool for pool in pools}
    agreed: dict[str, tuple[str, set[str]]] = {}
    for workload in workloads:
        here: Loc = ("workloads", workload.name)
        if workload.isolate and workload.name in taken:
            report(here, "is isolated and so served under its own name, which a model has already; rename one of them")
        if workload.isolate and workload.adapter is not None:
            report((*here, "isolate"), f"{workload.adapter} is an adapter and shares the replicas of {workload.model.name}; leave it out")
        if not workload.pin:
            continue
        sizes = {size for name in workload.pin if name in pinned for size in usable_blocks(pinned[name])}
        if sizes and not sizes & set(workload.model.tensor_parallel):
            report((*here, "pin"), f"none of these pools allows tensor_parallel {', '.join(map(str, workload.model.tensor_parallel))}")
        first, pools_left = agreed.setdefault(workload.served_name, (workload.name, set(workload.pin)))
        pools_left &= set(workload.pin)
        if not pools_left:
            report(
                (*here, "pin"),
                f"no pool suits both this and {first}, which share the replicas of {workload.served_name}; pin them to a common "
                "pool or write isolate: true",
            )


@dataclass(frozen=True, slots=True)
class _Asked:
    """The demand of a workload, the ways to divide it where that is asked for, and the volume that is yet to be poured."""

    demand: DemandProfile
    splits: tuple[SplitDemand, ...] = ()
    volume: Volume | None = None


def _workload(name: str, declared: DeclaredWorkload, model: Model, asked: _Asked) -> Workload:
    defaults = CLASS_DEFAULTS[declared.latency_class]
    return Workload(
        name=name,
        model=model,
        adapter=declared.model if declared.model != model.name else None,
        latency_class=declared.latency_class,
        priority=defaults.priority if declared.priority is None else declared.priority,
        ttft_p95_s=declared.slo.ttft_p95_s or defaults.ttft_p95_s,
        tpot_p95_s=math.inf if model.pooling else declared.slo.tpot_p95_s or defaults.tpot_p95_s,
        demand=asked.demand,
        prefix_hit_fraction=declared.prefix_hit_fraction,
        isolate=declared.isolate,
        team=declared.team,
        labels=dict(sorted(declared.labels.items())),
        min_replicas=declared.min_replicas,
        max_replicas=declared.max_replicas,
        tolerate_nodes=1 if declared.tolerate else 0,
        spread_nodes=declared.spread == "nodes",
        pin=tuple(sorted(set(declared.pin))),
        not_with=declared.not_with,
        may_split=declared.split == "prompt_length",
        splits=asked.splits,
        volume=asked.volume,
        bytes_per_token=declared.bytes_per_token or BYTES_PER_TOKEN,
        long_ttft_p95_s=declared.slo.long_ttft_p95_s,
    )


def _asked(name: str, declared: DeclaredWorkload, model: Model, recorded: Recorded, warn: Report) -> _Asked:
    demand, splits = declared.demand, declared.split == "prompt_length"
    if isinstance(demand, DeclaredTrace):
        requests, measured = _from_trace(name, demand, model, recorded.traces[demand.trace], warn)
        return _Asked(measured(requests), split_requests(requests, measured) if splits else ())
    if isinstance(demand, DeclaredVolume):
        volume = volume_of(declared, demand, _both(demand, (), model))
        return _Asked(constant_demand(volume.rate_rps, volume.input, volume.output), volume=volume)
    if isinstance(demand, DeclaredForecast):
        profile = demand_from_forecast(name, demand, model, recorded.forecasts[demand.forecast], ONE_ANSWER)
    elif isinstance(demand, DeclaredRate):
        profile = constant_demand(demand.rate_rps, *_both(demand, (), model))
    else:
        profile = demand_from_windows(demand, lambda window, here: _both(window, here, model))
        forgotten = forgotten_hours(profile)
        if forgotten is not None:
            warn(("workloads", name, "demand", "windows"), forgotten)
    return _Asked(profile, split_profile(profile, model.max_model_len - 1) if splits else ())


def _both(declared: DeclaredRate | DeclaredWindow | DeclaredVolume, here: Loc, model: Model) -> tuple[TokenLengths, TokenLengths]:
    inputs = _lengths(declared.input_tokens, (*here, "input_tokens"))
    if model.pooling:
        return _pooled(declared, inputs, here, model)
    if declared.output_tokens is None:
        raise RefusedDemandError((*here, "output_tokens"), f"missing or 0; model {model.name} generates at least 1 token for each request")
    outputs = _lengths(declared.output_tokens, (*here, "output_tokens"))
    for field, long_tokens, other_tokens, other in (
        ("input_tokens", inputs.p99_tokens, outputs.mean_tokens, "output"),
        ("output_tokens", outputs.p99_tokens, inputs.mean_tokens, "input"),
    ):
        if long_tokens + other_tokens > model.max_model_len:
            raise RefusedDemandError(
                (*here, field),
                f"requests of {long_tokens:g} tokens (p99) and {other_tokens:g} {other} tokens (mean) are longer than max_model_len "
                f"{model.max_model_len} of model {model.name} and can never be served; raise max_model_len or lower the lengths",
            )
    return inputs, outputs


def _pooled(
    declared: DeclaredRate | DeclaredWindow | DeclaredVolume, inputs: TokenLengths, here: Loc, model: Model
) -> tuple[TokenLengths, TokenLengths]:
    """Lengths of prompts that are embedded, and of their answers."""
    if declared.output_tokens is not None:
        raise RefusedDemandError((*here, "output_tokens"), f"model {model.name} generates nothing (task: embed); leave it out")
    if inputs.p99_tokens > model.max_model_len:
        raise RefusedDemandError(
            (*here, "input_tokens"),
            f"prompts of {inputs.p99_tokens:g} tokens (p99) are longer than max_model_len {model.max_model_len} of model {model.name} and "
            "can never be served; raise max_model_len or lower the lengths",
        )
    return inputs, ONE_ANSWER


def _lengths(declared: DeclaredLengths, here: Loc) -> TokenLengths:
    if declared.p99_tokens is None:
        return fixed_length(declared.mean_tokens)
    if declared.p99_tokens < declared.mean_tokens:
        raise RefusedDemandError((*here, "p99"), f"{declared.p99_tokens:g} is less than the mean {declared.mean_tokens:g}")
    return spread_length(declared.mean_tokens, declared.p99_tokens)


def _from_trace(
    name: str, demand: DeclaredTrace, model: Model, trace: Trace, warn: Report
) -> tuple[Sequence[TraceRequest], Callable[[Sequence[TraceRequest]], DemandProfile]]:
    """The requests of a trace that can be served, and what measures the demand of some of them."""
    requests = trace.requests
    if demand.tenant is not None:
        if demand.tenant not in trace.by_tenant:
            close = nearest(demand.tenant, trace.by_tenant)
            hint = f"; did you mean {close!r}?" if close else f" among its {len(trace.by_tenant)} tenants"
            raise RefusedDemandError(("tenant",), f"{demand.trace} has no tenant {demand.tenant!r}{hint}")
        requests = trace.by_tenant[demand.tenant]
    if len(requests) * demand.repeat_rate > MAX_REQUESTS:
        raise RefusedDemandError(
            ("repeat_rate",), f"{demand.repeat_rate} times {len(requests)} requests are more than the {MAX_REQUESTS} that are read"
        )
    try:
        edges = window_edges(trace.span_s, demand.window_s)
    except ValueError as error:
        raise RefusedDemandError(("window",), str(error)) from error
    if demand.window_s is not None and trace.span_s < demand.window_s:
        warn(
            ("workloads", name, "demand", "window"),
            f"{demand.trace} ends after {trace.span_s:g} s, which is less than one window of {demand.window_s:g} s: "
            f"its rate in these {trace.span_s:g} s counts as that of all time; give a longer trace or a shorter window",
        )
    return _servable(name, requests, model, warn), trace_demand(edges, demand.repeat_rate, demand.trace)


def _servable(name: str, requests: Sequence[TraceRequest], model: Model, warn: Report) -> Sequence[TraceRequest]:
    if model.pooling:
        requests = [replace(request, output_tokens=1) for request in requests]

    def needs(request: TraceRequest) -> int:
        # the answer of a model that generates nothing takes no token
        return request.input_tokens + (0 if model.pooling else request.output_tokens)

    fitting = [request for request in requests if needs(request) <= model.max_model_len]
    if len(fitting) == len(requests):
        return requests
    longest_tokens = max(map(needs, requests))
    message = (
        f"{len(requests) - len(fitting)} of {len(requests)} requests are longer than max_model_len {model.max_model_len} of model "
        f"{model.name} (the longest has {longest_tokens} tokens) and can never be served"
    )
    if not fitting:
        raise RefusedDemandError(("trace",), f"{message}; raise max_model_len")
    warn(("workloads", name, "demand", "trace"), f"{message}; they are left out of the demand")
    return fitting
