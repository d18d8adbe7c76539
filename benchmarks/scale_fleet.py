"""Fleets of any size for benchmarks.scale: mixed pools of the catalogue, its models, and the rates and lengths of real clients.

servegen_clients.csv holds, for each of 331 clients of the ServeGen trace (github.com/alibaba/ServeGen, Apache-2.0; Xiang et al., "ServeGen:
Workload Characterization and Generation of Large Language Model Serving in Production"), the 99th percentile of its rate over 10-minute
windows and the median over 6-hour windows of the mean and of the 99th percentile of its token lengths.
"""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from planner.plan import State
from planner.sizing.blueprint import Blueprint, build
from planner.spec import Fleet, load_fleet
from profiles.catalogue import builtin

CLIENTS = Path(__file__).with_name("servegen_clients.csv")

LOAD_FRACTION = 0.6

# Constraint kinds that --constraints switches on; priorities and tensor parallelism are in every fleet, node billing and MIG from 64 GPUs.
KINDS = ("replicas", "not_with", "pins", "tolerate", "taken")
# Every so many models one has a constraint of a kind.
EVERY = 8

# Below this many GPUs nodes have four of them and there are two pools, so that even eight GPUs are a mixed fleet.
SMALL_FLEET_GPUS = 64


@dataclass(frozen=True, slots=True)
class PoolKind:
    """A pool's part of the fleet and what the fleet file says about it."""

    name: str
    part_fraction: float
    gpus_per_node: int
    written: Mapping[str, Any]


LARGE = (
    PoolKind("h100", 0.28, 8, {"gpu": "H100-SXM-80GB"}),
    PoolKind("h200", 0.17, 8, {"gpu": "H200-SXM-141GB", "ownership": "rentable"}),
    PoolKind("a100", 0.20, 8, {"gpu": "A100-SXM-80GB"}),
    PoolKind("l40s", 0.15, 4, {"gpu": "L40S", "ownership": "rentable"}),
    PoolKind("h100-mig", 0.10, 8, {"gpu": "H100-SXM-80GB", "mig": "repartition"}),
    PoolKind("a100-mig", 0.10, 8, {"gpu": "A100-SXM-80GB", "mig": "repartition", "ownership": "rentable"}),
)
SMALL = (
    PoolKind("h100", 0.5, 4, {"gpu": "H100-SXM-80GB"}),
    PoolKind("h200", 0.5, 4, {"gpu": "H200-SXM-141GB", "ownership": "rentable"}),
)

# Models by size, and the part of the load that each size carries: an assumption, chosen so that every size can be served.
SIZES: tuple[tuple[float, tuple[str, ...]], ...] = (
    (
        0.45,
        (
            "meta-llama/Llama-3.1-8B",
            "Qwen/Qwen3-0.6B",
            "Qwen/Qwen2.5-7B-Instruct",
            "meta-llama/Llama-3.2-3B",
            "google/gemma-2-9b",
            "Qwen/Qwen3-1.7B",
            "mistralai/Mistral-7B-Instruct-v0.3",
            "meta-llama/Llama-3.2-1B",
            "google/gemma-2-2b",
            "microsoft/Phi-4-mini-instruct",
        ),
    ),
    (0.30, ("Qwen/Qwen3-14B", "Qwen/Qwen3-32B-FP8", "google/gemma-2-27b", "Qwen/Qwen3-30B-A3B", "openai/gpt-oss-20b")),
    (0.25, ("meta-llama/Llama-3.1-70B", "Qwen/Qwen2.5-72B-Instruct", "mistralai/Mixtral-8x22B-v0.1", "Qwen/Qwen3-235B-A22B-FP8")),
)
# Of eight models five are small, two medium, one large.
SIZE_OF_TURN = (0, 0, 1, 0, 0, 1, 0, 2)

# Longest requests of the clients taken, so that every model can hold and serve them within the goals of some latency class.
MOST_INPUT_TOKENS, MOST_OUTPUT_TOKENS = 6144, 2048
LENGTH_STEP_TOKENS = 1024
CLASSES = ("interactive", "standard", "standard", "background")


@dataclass(frozen=True, slots=True)
class Client:
    """Rate and token lengths of one client."""

    peak_rps: float
    input_mean_tokens: int
    input_p99_tokens: int
    output_mean_tokens: int
    output_p99_tokens: int


@dataclass(frozen=True, slots=True)
class Service:
    """A model of the fleet with its client's demand; size is its index in SIZES."""

    name: str
    source: str
    size: int
    client: Client
    latency_class: str
    rate_rps: float = 1.0


def read_clients(path: Path = CLIENTS) -> tuple[Client, ...]:
    """The clients whose longest requests are within the limits, in the order of the file."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            Client(
                float(row["peak_rps"]),
                *(int(row[f"{side}_{what}_tokens"]) for side in ("input", "output") for what in ("mean", "p99")),
            )
            for row in csv.DictReader(file)
        ]
    return tuple(row for row in rows if row.input_p99_tokens <= MOST_INPUT_TOKENS and row.output_p99_tokens <= MOST_OUTPUT_TOKENS)


def scale_fleet(gpus: int, models: int, seed: int, kinds: Sequence[str] = ()) -> Fleet:
    """A fleet of so many GPUs (a multiple of 4, at least 8) and models at 0.6 of its capacity; the same arguments give the same fleet.

    Capacity of a model is its best on whole GPUs, per GPU, in the mean over all GPUs of the fleet; rates are the clients' own,
    scaled within each size of models to the size's part of the load.
    """
    if gpus < 8 or gpus % 4 or models < 1:
        raise ValueError(f"--gpus {gpus} --models {models}: give a multiple of 4 GPUs, at least 8, and at least one model")
    rng = Random(seed)  # noqa: S311 -- the same fleet for the same seed, no secret
    pools = _pools(gpus)
    drawn = _services(models, rng, large=gpus >= SMALL_FLEET_GPUS)
    drawn, work_gpu_s = _servable(drawn, pools)
    services = _loaded(drawn, work_gpu_s, gpus)
    return _loaded_fleet(_constrained_pools(pools, kinds), services, _constraints(services, pools, kinds, rng))


def _pools(gpus: int) -> dict[str, dict[str, Any]]:
    kinds = SMALL if gpus < SMALL_FLEET_GPUS else LARGE
    exact = {kind.name: kind.part_fraction * gpus / kind.gpus_per_node for kind in kinds}
    nodes = {name: math.floor(count) for name, count in exact.items()}
    left = gpus - sum(nodes[kind.name] * kind.gpus_per_node for kind in kinds)
    # what rounding left over goes to those that lost most by it, and the last four GPUs to the pool whose nodes are small
    for kind in sorted(kinds, key=lambda kind: (nodes[kind.name] - exact[kind.name], kind.name)):
        more = min(1, left // kind.gpus_per_node)
        nodes[kind.name] += more
        left -= more * kind.gpus_per_node
    if left:
        nodes["l40s"] += left // 4
    return {
        kind.name: {**kind.written, "nodes": nodes[kind.name], "gpus_per_node": kind.gpus_per_node} for kind in kinds if nodes[kind.name]
    }


def _services(models: int, rng: Random, *, large: bool) -> tuple[Service, ...]:
    clients = read_clients()
    order: list[Client] = []
    while len(order) < models:
        order += rng.sample(clients, len(clients))
    found: list[Service] = []
    turns: defaultdict[int, int] = defaultdict(int)
    for i in range(models):
        # in a fleet of a few GPUs one large model would be all of the load
        size = min(SIZE_OF_TURN[i % len(SIZE_OF_TURN)], 2 if large else 1)
        names = SIZES[size][1]
        found.append(Service(f"m{i:04d}", names[turns[size] % len(names)], size, order[i], rng.choice(CLASSES)))
        turns[size] += 1
    return tuple(found)


def _servable(services: tuple[Service, ...], pools: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[Service, ...], dict[str, float]]:
    """The services, in a slower class where theirs cannot be met on whole GPUs, and the GPU seconds of one request of each."""
    whole = {
        name: {**{key: value for key, value in pool.items() if key != "mig"}, "sharing": ["exclusive"]} for name, pool in pools.items()
    }
    sizes = {name: pool["nodes"] * pool["gpus_per_node"] for name, pool in pools.items()}
    work_gpu_s: dict[str, float] = {}
    for latency_class in ("", "standard", "background"):
        services = tuple(
            service if service.name in work_gpu_s or not latency_class else replace(service, latency_class=latency_class)
            for service in services
        )
        missing = [service for service in services if service.name not in work_gpu_s]
        if missing:
            work_gpu_s |= _work(build(_loaded_fleet(whole, missing, {}), State()), sizes)
    served = tuple(service for service in services if service.name in work_gpu_s)
    if not served:
        raise ValueError("no model of the fleet can be served on any of its pools")
    return served, work_gpu_s


def _work(blueprint: Blueprint, sizes: Mapping[str, int]) -> dict[str, float]:
    best_rps: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for candidate in blueprint.candidates:
        of_group, pool = best_rps[candidate.group.name], candidate.site.pool
        of_group[pool] = max(of_group.get(pool, 0.0), candidate.capacity_rps / candidate.gpus)
    total = sum(sizes.values())
    return {name: total / sum(sizes[pool] * rps for pool, rps in rates.items()) for name, rates in best_rps.items()}


def _loaded(services: Sequence[Service], work_gpu_s: Mapping[str, float], gpus: int) -> tuple[Service, ...]:
    busy_gpus = [0.0] * len(SIZES)
    for service in services:
        busy_gpus[service.size] += service.client.peak_rps * work_gpu_s[service.name]
    there = sum(part for (part, _), busy in zip(SIZES, busy_gpus, strict=True) if busy)
    scale = [LOAD_FRACTION * gpus * part / there / busy if busy else 0.0 for (part, _), busy in zip(SIZES, busy_gpus, strict=True)]
    return tuple(replace(service, rate_rps=service.client.peak_rps * scale[service.size]) for service in services)


def _constraints(
    services: Sequence[Service], pools: Mapping[str, Mapping[str, Any]], kinds: Sequence[str], rng: Random
) -> dict[str, dict[str, Any]]:
    """What each workload's entry says beyond its demand: every kind on one model in EVERY, each kind on others."""
    found: dict[str, dict[str, Any]] = {service.name: {} for service in services}
    whole = [name for name, pool in pools.items() if "mig" not in pool]
    for i, service in enumerate(services):
        entry = found[service.name]
        turn = i % EVERY
        if "replicas" in kinds and turn in {0, 4}:
            # ample: a limit that binds on size alone would leave demand unserved
            entry |= {"min_replicas": 2} if turn == 0 else {"max_replicas": max(2, math.ceil(service.rate_rps))}
        if "not_with" in kinds and turn == 1 and len(services) > 1:
            entry["not_with"] = [rng.choice([other.name for other in services if other is not service])]
        if "pins" in kinds and turn == 2:
            entry["pin"] = whole
        if "tolerate" in kinds and turn == 3:
            entry["tolerate"] = "1 node"
    return found


def _constrained_pools(pools: Mapping[str, Mapping[str, Any]], kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The pools with a node that is paid in any case, and with memory on two GPUs that others use."""
    found = {name: dict(pool) for name, pool in pools.items()}
    if "replicas" in kinds and "h200" in found:
        found["h200"]["min_nodes"] = 1
    if "taken" in kinds and "h100" in found:
        found["h100"]["taken"] = [{"node": 0, "gpus": [0, 1], "memory": "10GiB"}]
    return found


def _loaded_fleet(
    pools: Mapping[str, Mapping[str, Any]], services: Sequence[Service], constraints: Mapping[str, Mapping[str, Any]]
) -> Fleet:
    written: dict[str, Any] = {
        "schema_version": 1,
        "pools": pools,
        "models": {
            service.name: {"source": service.source, "max_model_len": _model_len(service.client), "max_num_seqs": 256}
            for service in services
        },
        "workloads": {service.name: {**_workload(service), **constraints.get(service.name, {})} for service in services},
    }
    return load_fleet(Path("fleet.yaml"), json.dumps(written), builtin(), read=lambda path: Path(path).read_bytes())


def _model_len(client: Client) -> int:
    return math.ceil((client.input_p99_tokens + client.output_p99_tokens) / LENGTH_STEP_TOKENS) * LENGTH_STEP_TOKENS


def _workload(service: Service) -> dict[str, Any]:
    client = service.client
    return {
        "model": service.name,
        "class": service.latency_class,
        "demand": {
            "rate": f"{service.rate_rps:.6f}/s",
            "input_tokens": {"mean": client.input_mean_tokens, "p99": client.input_p99_tokens},
            "output_tokens": {"mean": client.output_mean_tokens, "p99": client.output_p99_tokens},
        },
    }
