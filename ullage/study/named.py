"""Scenarios by name: a node lost, a pool gone, other prices, more demand, another quantisation, no MIG, tighter goals, a newcomer ..."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.spec.edits import node_of, node_of_text
from planner.spec.nearest import nearest
from planner.spec.paths import resolve
from ullage.fleet_spec import FleetSpec
from ullage.planning.joining import Newcomer, joined_edits
from ullage.study.lost import Lost, lost_node, lost_pool
from ullage.study.scenarios import Scenario
from ullage.study.values import shown, split

# What no name of a pool may hold.
_NO_NAME = re.compile(r"[^a-z0-9.-]+")

# What stands behind the name of a kind, as a fleet file says it.
Plain = str | list[Any] | dict[str, Any]

# GPUs per node and nodes of an offered pool, unless somebody says otherwise: a usual server, and more of them than most fleets have.
OFFERED_GPUS_PER_NODE, OFFERED_NODES = "8", "16"


def scenario(spec: FleetSpec, said: Mapping[str, object], name: str | None = None) -> Scenario:
    """A scenario of its kinds and what they apply to, done one after the other. ValueError names what is wrong.

    Without a name it is called by what it says.
    """
    if not said:
        raise ValueError(f"a scenario says nothing; it has one or more of {', '.join(KINDS)}")
    settings: list[tuple[str, str]] = []
    edits: list[tuple[str, Any]] = []
    lost: list[str] = []
    changed = spec
    for kind, argument in said.items():
        found, nodes = _of_kind(changed, kind, argument)
        for path, value in found:
            changed = changed.set(path, value)
        settings.append((kind, shown(argument)))
        edits += found
        lost += nodes
    called = name or " ".join(f"{kind}={text}" for kind, text in settings)
    return Scenario(called, tuple(settings), tuple(edits), tuple(lost))


def said_in(text: str) -> dict[str, object]:
    """What a scenario of the command line says: KIND=VALUE, several between spaces.

    >>> said_in("demand=x1.5 offer=L40S")
    {'demand': 'x1.5', 'offer': 'L40S'}
    """
    said: dict[str, object] = {}
    for part in filter(None, split(text, " ")):
        kind, equals, argument = part.partition("=")
        if not (kind and equals and argument):
            raise ValueError(f"--scenario {text!r:.80}: write KIND=VALUE, for example node_lost=h100-0; kinds: {', '.join(KINDS)}")
        if kind in said:
            raise ValueError(f"--scenario {text!r:.80}: {kind} stands there twice; give a mapping, for example {kind}={{a: x2, b: x3}}")
        try:
            said[kind] = node_of_text(argument).plain()
        except ValueError as error:
            raise ValueError(f"--scenario {kind}: {error}") from error
    return said


def _of_kind(spec: FleetSpec, kind: str, argument: object) -> Lost:
    """What a kind changes, and the nodes that are lost by it."""
    if kind not in KINDS:
        close = nearest(kind, KINDS)
        hint = f"did you mean {close!r}? " if close else ""
        raise ValueError(f"no kind of scenario is called {kind[:60]!r}; {hint}there are: {', '.join(KINDS)}")
    plain = node_of(argument).plain()
    if not plain:
        raise ValueError(f"{kind}: has no value; it takes {KINDS[kind].takes}")
    return tuple(KINDS[kind].edits(spec, plain)), tuple(name for lost in KINDS[kind].lost for name in lost(spec, plain)[1])


def _node_lost(spec: FleetSpec, plain: Plain) -> Lost:
    return lost_node(spec, _name("node_lost", plain))


def _pool_gone(spec: FleetSpec, plain: Plain) -> Lost:
    return lost_pool(spec, _name("pool_gone", plain))


def _name(kind: str, plain: Plain) -> str:
    if isinstance(plain, str):
        return plain
    raise ValueError(f"{kind}: {shown(plain):.60} is not one name; it takes {KINDS[kind].takes}")


def _set(spec: FleetSpec, plain: Plain) -> Iterator[tuple[str, Any]]:
    for path, value in _pairs("set", plain).items():
        resolve(spec.root, path)
        yield path, value


def _price(spec: FleetSpec, plain: Plain) -> Iterator[tuple[str, Any]]:
    del spec
    for pool, value in _pairs("price", plain).items():
        yield f"pools.{pool}.price", value


def _demand(spec: FleetSpec, plain: Plain) -> Iterator[tuple[str, Any]]:
    for workload, value in _for_all(plain, spec.names("workloads")).items():
        yield f"workloads.{workload}.rate", value


def _goal(field: str) -> Callable[[FleetSpec, Any], Iterator[tuple[str, Any]]]:
    def tighter(spec: FleetSpec, plain: Plain) -> Iterator[tuple[str, Any]]:
        # what makes vectors has no time per output token
        having = [item.name for item in spec.resolved().workloads if field != "tpot_p95" or not item.model.pooling]
        for workload, value in _for_all(plain, having).items():
            yield f"workloads.{workload}.{field}", value

    return tighter


def _quantization(spec: FleetSpec, plain: Plain) -> Iterator[tuple[str, Any]]:
    for model, value in _for_all(plain, spec.names("models")).items():
        yield f"models.{model}.quantization", value


def _mig_off(spec: FleetSpec, plain: Plain) -> Iterator[tuple[str, Any]]:
    del spec
    for pool in plain if isinstance(plain, list) else [plain]:
        yield from ((f"pools.{pool}.{field}", None) for field in ("mig", "mig_layout", "sharing"))


def _gpu(spec: FleetSpec, plain: Plain) -> Iterator[tuple[str, Any]]:
    """Another GPU in the same nodes, at its own price and with its own links; MIG layouts are those of the old one."""
    for pool, gpu in _for_all(plain, spec.names("pools")).items():
        yield f"pools.{pool}.gpu", gpu
        yield from ((f"pools.{pool}.{field}", None) for field in ("price", "link", "mig", "mig_layout"))
        if "mig" in (spec.get(f"pools.{pool}.sharing") or ()):
            yield f"pools.{pool}.sharing", None


def _offer(spec: FleetSpec, plain: Plain) -> Iterator[tuple[str, Any]]:
    """Pools beside those there are, whose nodes are paid when they are used."""
    for offered in plain if isinstance(plain, list) else [plain]:
        fields = dict(offered) if isinstance(offered, dict) else {"gpu": offered}
        gpu = str(fields.get("gpu") or "")
        if not gpu:
            raise ValueError(f"offer: {shown(offered):.60} names no GPU type; it takes {KINDS['offer'].takes}")
        nodes = {"nodes": OFFERED_NODES, "gpus_per_node": OFFERED_GPUS_PER_NODE}
        # a type that is not known has no plan, and its row says so
        name = _pool_name(spec, f"offered-{_NO_NAME.sub('-', Path(gpu).stem.lower()).strip('-.')[:40] or 'gpu'}")
        yield f"pools.{name}", {**nodes, "ownership": "rentable", **fields}


def _all_on(spec: FleetSpec, plain: Plain) -> Iterator[tuple[str, Any]]:
    """Every pool gone, and as many of other GPUs as it takes, each paid when it is used."""
    for pool in spec.names("pools"):
        yield from lost_pool(spec, pool)[0]
    for workload in spec.names("workloads"):
        if spec.get(f"workloads.{workload}.pin"):
            yield f"workloads.{workload}.pin", None
    for path, fields in _offer(spec, plain):
        yield path, {**fields, "ownership": "owned"}


def _joins(spec: FleetSpec, plain: Plain) -> Iterator[tuple[str, Any]]:
    fields = _pairs("joins", plain)
    model, demand = fields.pop("model", None), fields.pop("demand", {})
    for field in ("rate", "input_tokens", "output_tokens", "windows", "requests", "every", "trace", "tenant", "window", "repeat_rate"):
        if field in fields and isinstance(demand, dict):
            demand = {**demand, field: fields.pop(field)}
    if not isinstance(model, str) or not isinstance(demand, dict) or not demand:
        raise ValueError(f"joins: needs a model and a rate; it takes {KINDS['joins'].takes}")
    if "rate" in demand:
        demand.setdefault("input_tokens", "500")
    yield from joined_edits(spec, Newcomer(model, {**fields, "demand": demand}), "newcomer")[0]


def _pool_name(spec: FleetSpec, wanted: str) -> str:
    return wanted if wanted not in spec.names("pools") else _pool_name(spec, f"{wanted}-more")


def _pairs(kind: str, plain: Plain) -> dict[str, Any]:
    if isinstance(plain, dict):
        return dict(plain)
    raise ValueError(f"{kind}: {shown(plain):.60} is not a mapping; it takes {KINDS[kind].takes}")


def _for_all(plain: Plain, names: Sequence[str]) -> dict[str, Any]:
    """A value for each name that is given, or the same for all."""
    return dict(plain) if isinstance(plain, dict) else dict.fromkeys(names, plain)


@dataclass(frozen=True, slots=True)
class ScenarioKind:
    """A kind of scenario: what it takes, what it changes, and how the nodes are found that are lost by it."""

    takes: str
    edits: Callable[[FleetSpec, Plain], Iterable[tuple[str, Any]]]
    lost: tuple[Callable[[FleetSpec, Plain], Lost], ...] = ()


KINDS: Mapping[str, ScenarioKind] = {
    "node_lost": ScenarioKind("the name of a node, for example h100-0", lambda spec, plain: _node_lost(spec, plain)[0], (_node_lost,)),
    "pool_gone": ScenarioKind("the name of a pool", lambda spec, plain: _pool_gone(spec, plain)[0], (_pool_gone,)),
    "price": ScenarioKind("prices by pool, for example {h100: x1.2}", _price),
    "demand": ScenarioKind("x2 for all workloads, or {chat: x2}", _demand),
    "quantization": ScenarioKind("a weight format for all models, or {llama-8b: fp8}", _quantization),
    "mig_off": ScenarioKind("the name of a pool, or a list of them", _mig_off),
    "ttft": ScenarioKind("a goal for all workloads, for example x0.5 or 300ms, or {chat: 300ms}", _goal("ttft_p95")),
    "tpot": ScenarioKind("a goal for all workloads, for example x0.5 or 30ms, or {chat: 30ms}", _goal("tpot_p95")),
    "joins": ScenarioKind("a workload, for example {model: qwen3-8b, rate: 2/s, input_tokens: 500, output_tokens: 200}", _joins),
    "gpu": ScenarioKind("a GPU type for all pools, or {h100: L40S}", _gpu),
    "offer": ScenarioKind("a GPU type, a list of them, or {gpu: L40S, gpus_per_node: 4, nodes: 8}", _offer),
    "all_on": ScenarioKind("a GPU type, or {gpu: L40S, gpus_per_node: 4, nodes: 8}", _all_on),
    "set": ScenarioKind("values by path, for example {pools.h100.nodes: 3}", _set),
}
