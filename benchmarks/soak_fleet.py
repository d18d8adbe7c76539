"""The fleet of the soak: 24 emulated H100 with a dozen models, of which four are never touched, and plans that differ a little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from planner.plan import Plan, Replica, State
from planner.plan.applied import as_applied
from planner.spec import Fleet, load_fleet
from profiles.catalogue import builtin
from ullage.demo import on_free_ports
from ullage.planning.plan import plan_fleet

QUIET = ("quiet-0", "quiet-1", "quiet-2", "quiet-3")
MOVED = tuple(f"moved-{number}" for number in range(8))
_SOURCES = ("Qwen/Qwen3-14B", "meta-llama/Meta-Llama-3.1-8B", "Qwen/Qwen2.5-7B-Instruct", "meta-llama/Llama-3.2-3B")
_RATE = "6/s"

# Half of the models have their GPUs alone, half share some.
_POOLS = {
    "whole": {"gpu": "H100-SXM-80GB", "nodes": 2, "gpus_per_node": 8, "price": "3 USD/h", "sharing": ["exclusive"]},
    "shared": {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 8, "price": "3 USD/h"},
}


def plans() -> tuple[Plan, ...]:
    """The first one, and others from it: a replica more or less, a model gone, an engine with other arguments. On ports that are free now.

    The replicas of the quiet models are the same in all.
    """
    fleet = on_free_ports(_fleet())
    first = plan_fleet(fleet, State()).plan
    there = as_applied(first)
    found = [first]
    for changed in _changes():
        other = _fleet(**changed).model_copy(update={"policy": fleet.policy})
        plan = plan_fleet(other, there).plan
        if quiet_replicas(plan) == quiet_replicas(first):
            found.append(plan)
    return tuple(found)


def quiet_replicas(plan: Plan) -> tuple[Replica, ...]:
    """Those that nobody touches."""
    return tuple(replica for replica in plan.desired.replicas if replica.served_name in QUIET)


def _changes() -> Iterator[dict[str, Any]]:
    yield {"replicas": {"moved-0": 3}}
    yield {"sequences": {"moved-2": 32}}
    yield {"without": ("moved-3",)}
    yield {"without": ("moved-7",), "replicas": {"moved-1": 3}}


def _fleet(replicas: dict[str, int] | None = None, sequences: dict[str, int] | None = None, without: tuple[str, ...] = ()) -> Fleet:
    """Two replicas of each model, unless said otherwise."""
    names = [name for name in (*QUIET, *MOVED) if name not in without]
    written = {
        "schema_version": 1,
        "pools": _POOLS,
        "models": {
            name: {
                "source": _SOURCES[int(name[-1]) % len(_SOURCES)],
                "max_model_len": 2048,
                "max_num_seqs": (sequences or {}).get(name, 64),
            }
            for name in names
        },
        "workloads": {
            name: {
                "model": name,
                "class": "standard",
                "pin": ["whole" if int(name[-1]) % 2 else "shared"],
                "min_replicas": (replicas or {}).get(name, 2),
                "demand": {"rate": _RATE, "input_tokens": 300, "output_tokens": 50},
            }
            for name in names
        },
    }
    return load_fleet(Path("fleet.yaml"), yaml.safe_dump(written), builtin())
