"""How many GPUs sharing saves on a trace of many tenants, at which SLO attainment.

    python -m benchmarks.consolidation TRACE.csv.gz [--mix MODEL,MODEL,...] [--class standard] [--gpu H100-SXM-80GB]

Every tenant of the trace becomes a workload with a model of its own (as tenants with fine-tuned models have), taken in turn from the mix.
The plan is compared in the same run with one model per GPU ("exclusive") and simulated under the very trace it was made from.
With --ways it is also compared with sharing sized on the sum of peaks, and with plans in time: sleepers on owned GPUs, and GPUs that are
rented by the hour. The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.consolidation_picture import curve_svg, waterfall_svg
from benchmarks.consolidation_steps import ConsolidationStep, other_ways, whole
from planner.demand.scaled import scaled
from planner.demand.traces import TraceRequest
from planner.plan import State
from planner.simulation.traffic_metrics import WorkloadRow
from planner.spec import Fleet, load_fleet
from planner.spec.fleet import FleetPool
from profiles.catalogue import builtin
from ullage.inputs import read_trace
from ullage.planning.plan import Planned, plan_fleet
from ullage.traffic.requests import tagged, window_of
from ullage.traffic.simulate import simulated

# A dozen dense models from 0.6B to 32B: what many tenants with small models run, busiest family first.
DEFAULT_MIX = (
    "meta-llama/Meta-Llama-3.1-8B",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen2.5-7B-Instruct",
    "meta-llama/Llama-3.2-3B",
    "Qwen/Qwen3-14B",
    "google/gemma-2-9b",
    "Qwen/Qwen3-1.7B",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "meta-llama/Llama-3.2-1B",
    "Qwen/Qwen3-32B-FP8",
    "google/gemma-2-2b",
    "microsoft/Phi-4-mini-instruct",
)
GPUS_PER_NODE = 8
# Room for four GPUs per tenant and two nodes more: the pool must never be what limits a plan here.
GPUS_PER_TENANT = 4
SPARE_NODES = 2
LENGTH_STEP_TOKENS = 1024
# Multiples of the demand for the curve, and how long the solver may take for each.
CURVE_FACTORS = (0.5, 1.0, 4.0, 16.0, 64.0, 256.0)
CURVE_LIMIT_S = 20.0
# One H100 prefills 25,000 tokens of an 8B model in a second: much longer prompts cannot meet the 2 s of the standard class.
LONG_TOKENS = 16384


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its figures."""
    options = _parser().parse_args(arguments)
    started_s = perf_counter()
    requests = _renamed(read_trace(options.trace))
    if options.repeat_rate > 1 or options.seconds:
        requests, _ = window_of(requests, options.seconds, None, options.repeat_rate)
    fleet = _fleet(options, requests)
    planned = plan_fleet(fleet, State(), verify=options.verify)
    summary = simulated(planned.plan, tagged(planned.plan, requests, {}), seed=options.seed).summary
    ways = []
    if options.ways:
        joint = whole("joint_windows", planned.plan, requests, options.seed)
        others = list(other_ways(fleet, requests, verify=options.verify, seed=options.seed, shortest_s=options.shortest))
        ways = [*others[:2], joint, *others[2:]]
    figures = _figures(planned, len(fleet.workloads), summary.total, perf_counter() - started_s)
    figures |= {"ways": {way.name: _way_figures(way, ways[0]) for way in ways}} if ways else {}
    figures["exclusive_busy_fraction"] = _exclusive_busy_fraction(planned, fleet)
    if options.svg is not None:
        options.svg.write_text(waterfall_svg(ways), encoding="utf-8")
    if options.curve is not None:
        points = list(_curve(fleet))
        figures["curve"] = [{"exclusive_busy_fraction": busy, "ratio": ratio} for busy, ratio in points]
        options.curve.write_text(curve_svg(points), encoding="utf-8")
    print(json.dumps(figures, sort_keys=True))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consolidation", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("trace", type=Path, help="csv, csv.gz or parquet: arrival_s, input_tokens, output_tokens, optional tenant")
    parser.add_argument("--mix", default=",".join(DEFAULT_MIX), help="catalogue models, taken in turn by tenants in order of name")
    parser.add_argument(
        "--class",
        dest="latency_class",
        default="auto",
        choices=("auto", "interactive", "standard", "background"),
        help="auto: standard, but background for tenants with prompts longer than 16384 tokens",
    )
    parser.add_argument("--gpu", default="H100-SXM-80GB", help="GPU type of the pool")
    parser.add_argument("--window", default="60s", help="width of a demand window")
    parser.add_argument("--repeat-rate", type=int, default=1, help="repeat every request so many times")
    parser.add_argument("--seconds", type=float, default=None, help="use only the busiest stretch of this length")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulated step times")
    parser.add_argument("--ways", action="store_true", help="compare with other ways of serving, plans in time among them")
    parser.add_argument("--shortest", type=float, default=900.0, help="with --ways: shortest phase of a schedule, in seconds")
    parser.add_argument("--svg", type=Path, default=None, help="with --ways: draw them into this file")
    parser.add_argument("--curve", type=Path, default=None, help="plan multiples of the demand too, and draw what sharing saves of each")
    parser.add_argument("--verify", action=argparse.BooleanOptionalAction, default=True, help="plan as `ullage plan` does")
    return parser


def _renamed(requests: Sequence[TraceRequest]) -> tuple[TraceRequest, ...]:
    """Tenants as names that a fleet file allows, numbered in order of their names."""
    numbers = {tenant: f"tenant-{i:03d}" for i, tenant in enumerate(sorted({item.tenant for item in requests}))}
    return tuple(replace(item, tenant=numbers[item.tenant]) for item in requests)


def _fleet(options: argparse.Namespace, requests: Sequence[TraceRequest]) -> Fleet:
    tenants = sorted({item.tenant for item in requests})
    longest = dict.fromkeys(tenants, 0)
    for item in requests:
        longest[item.tenant] = max(longest[item.tenant], item.input_tokens + item.output_tokens)
    mix = options.mix.split(",")
    nodes = math.ceil(GPUS_PER_TENANT * len(tenants) / GPUS_PER_NODE) + SPARE_NODES
    written: dict[str, Any] = {
        "schema_version": 1,
        "pools": {"pool": {"gpu": options.gpu, "nodes": nodes, "gpus_per_node": GPUS_PER_NODE, "price": "1 USD/h"}},
        "models": {tenant: _model(mix, i, longest[tenant]) for i, tenant in enumerate(tenants)},
        "workloads": {
            tenant: {
                "model": tenant,
                "class": _latency_class(options.latency_class, longest[tenant]),
                "demand": {"trace": "trace.csv", "tenant": tenant, "window": options.window},
            }
            for tenant in tenants
        },
    }
    return load_fleet(Path("fleet.yaml"), json.dumps(written), builtin(), read=lambda _: _csv(requests))


def _latency_class(chosen: str, longest_tokens: int) -> str:
    if chosen != "auto":
        return chosen
    return "background" if longest_tokens > LONG_TOKENS else "standard"


def _model(mix: Sequence[str], turn: int, longest_tokens: int) -> dict[str, Any]:
    """The next model of the mix whose context holds the tenant's longest request."""
    length = math.ceil(max(longest_tokens, 1) / LENGTH_STEP_TOKENS) * LENGTH_STEP_TOKENS
    for offset in range(len(mix)):
        name = mix[(turn + offset) % len(mix)]
        if builtin().model(name).max_position >= longest_tokens:
            return {"source": name, "max_model_len": min(length, builtin().model(name).max_position)}
    raise SystemExit(f"no model of the mix has a context of {longest_tokens} tokens; give another --mix")


def _csv(requests: Sequence[TraceRequest]) -> bytes:
    lines = ["arrival_s,input_tokens,output_tokens,tenant,cached_prefix_tokens"]
    lines += [f"{i.arrival_s!r},{i.input_tokens},{i.output_tokens},{i.tenant},{i.cached_prefix_tokens}" for i in requests]
    return "\n".join(lines).encode()


def _figures(planned: Planned, tenants: int, total: WorkloadRow, seconds: float) -> dict[str, Any]:
    desired = planned.plan.desired
    exclusive = desired.certificate.baselines["exclusive"]
    return {
        "tenants": tenants,
        "gpus_exclusive": exclusive.gpus,
        "gpus_planned": desired.gpus_used,
        "ratio": round(exclusive.gpus / desired.gpus_used, 3) if desired.gpus_used else None,
        "slo_attainment": total.attainment_fraction,
        "slo_attainment_low": total.attainment_low_fraction,
        "requests": total.requests,
        "errors": total.errors,
        "unserved_rps": sum(workload.unserved_rps for workload in desired.workloads),
        "baselines": {name: item.gpus for name, item in desired.certificate.baselines.items()},
        "status": desired.certificate.status,
        "solve_s": round(planned.solve_s, 3),
        "seconds": round(seconds, 3),
    }


def _way_figures(way: ConsolidationStep, exclusive: ConsolidationStep) -> dict[str, Any]:
    return {
        "gpus_mean": round(way.gpus_mean, 3),
        "gpus_most": way.gpus_most,
        "ratio": round(exclusive.gpus_mean / way.gpus_mean, 3) if way.gpus_mean else None,
        "attainment": round(way.attainment_fraction, 5),
    }


def _curve(fleet: Fleet) -> Iterator[tuple[float, float]]:
    """How busy GPUs with one model on each are, and how many times more of them there are than with sharing, by multiples of the demand."""
    for factor in CURVE_FACTORS:
        larger = scaled(fleet, dict.fromkeys((item.name for item in fleet.workloads), factor))
        pools = tuple(item.model_copy(update=_larger(item, factor)) for item in larger.pools)
        planned = plan_fleet(larger.model_copy(update={"pools": pools}), State(), time_limit_s=CURVE_LIMIT_S)
        desired = planned.plan.desired
        if desired.gpus_used and not any(row.unserved_rps for row in desired.workloads):
            gpus = desired.certificate.baselines["exclusive"].gpus
            yield _exclusive_busy_fraction(planned, larger), round(gpus / desired.gpus_used, 3)


def _larger(pool: FleetPool, factor: float) -> dict[str, Any]:
    nodes = math.ceil(pool.nodes * max(1.0, factor / 4))
    return {"nodes": nodes, "max_nodes": nodes, "min_nodes": nodes, "hosts": ("127.0.0.1",) * nodes}


def _exclusive_busy_fraction(planned: Planned, fleet: Fleet) -> float:
    """How busy the GPUs of the exclusive fleet are in the mean: busy GPU-seconds of the plan's replicas alone, over those GPUs."""
    gpus = planned.plan.desired.certificate.baselines["exclusive"].gpus
    mean_part = {item.served_name: item.demand.mean_rps / item.demand.peak_rps for item in fleet.workloads}
    busy = sum(replica.forecast.busy_fraction * mean_part[replica.served_name] for replica in planned.plan.desired.replicas)
    return round(busy / gpus, 4) if gpus else 0.0


if __name__ == "__main__":
    sys.exit(main())
