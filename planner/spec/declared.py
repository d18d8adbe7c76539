"""The fleet file as people write it: every field with its default and its meaning.

Python names end in the unit a value is read into, aliases are the names in the file. Checks that need more than one
field are made where the fleet is put together (pools.py, served.py, workloads.py), so that all of them are reported at once.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from planner.latency_classes import LatencyClass
from planner.spec.declared_demand import DeclaredDemand
from planner.spec.declared_gpu import DeclaredGpu
from planner.spec.declared_model import DeclaredModel
from planner.spec.field_types import (
    Count,
    CountOrNone,
    DeclaredPrice,
    Duration,
    Host,
    ModelName,
    Name,
    Neighbour,
    Number,
    PoolName,
    Priority,
    Reserve,
    Room,
    Size,
    Text,
    Whole,
    mig_word,
    sharing_word,
    version,
)
from planner.spec.fleet import Link, MigMode, Ownership, Sharing
from planner.spec.goals import TIER_PATTERN
from planner.spec.part import Declared


class DeclaredTaken(Declared):
    """GPUs of one node that others use."""

    node: CountOrNone = Field(description="Number of the node, from 0.")
    gpus: Annotated[tuple[CountOrNone, ...], Field(min_length=1)] = Field(
        description="Numbers of the GPUs on it, from 0.", examples=[[0, 1]]
    )
    memory_mib: Room | None = Field(
        None,
        alias="memory",
        description="Memory that something with little work to do holds on each of them; the plan uses the rest. "
        "Default: all of it, the GPUs are not used.",
        examples=["20GiB"],
    )


class DeclaredPool(Declared):
    """Identical nodes of identical GPUs."""

    gpu: DeclaredGpu = Field(
        description="GPU type: a catalogue name or one of its aliases; a YAML file in the catalogue's form, written ./like/this.yaml; "
        "or its facts, see pools.NAME.gpu.",
        examples=["H100-SXM-80GB"],
    )
    nodes: Count = Field(description="Number of nodes.", examples=[1])
    gpus_per_node: Size = Field(description="GPUs in each node.", examples=[8])
    price_usd_per_h: DeclaredPrice | None = Field(
        None, alias="price", description="Price per GPU-hour. Default: the catalogue's median for this GPU; required when it lists none."
    )
    link: Link | None = Field(
        None,
        description="How the GPUs of a node are connected, which decides the tensor-parallel sizes: nvswitch and pcie (every power of "
        "two; over PCIe all-reduces are slow, and step times count that), pairs (1 and 2). Default: as the catalogue has the GPU type.",
    )
    host_cores: Count | None = Field(None, description="CPU cores of a node. Default: 12 per GPU.")
    host_memory_mib: Room | None = Field(
        None,
        alias="host_memory",
        description="Main memory of a node. Default: 128GiB per GPU.",
        examples=["1000GiB"],
    )
    hosts: tuple[Host, ...] | None = Field(
        None,
        description="Addresses of the nodes, one per node (per max_nodes when rentable), without ports. A machine may be a node of several "
        "pools, for example where some of its GPUs are in MIG mode: then each pool lists the GPUs of the others under taken. "
        "Default: 127.0.0.1 for each, which suits emulated engines.",
        examples=[["10.0.0.1", "10.0.0.2"]],
    )
    mig: Annotated[MigMode, mig_word] = Field(
        "off",
        description="off; repartition: the plan chooses the MIG layout of each GPU; fixed: every GPU keeps mig_layout. "
        "A pool in MIG mode runs MIG slices only.",
    )
    mig_layout: tuple[Text, ...] | None = Field(
        None,
        description="The MIG profiles on every GPU when mig is fixed, in any order. Default: none; required with mig: fixed.",
        examples=[["3g.40gb", "4g.40gb"]],
    )
    sharing: Annotated[tuple[Annotated[Sharing, sharing_word], ...], Field(min_length=1)] | None = Field(
        None,
        description="Sharing modes the plan may choose: exclusive, time_shared, mig. Default: [exclusive, time_shared], "
        "[mig] when the pool is in MIG mode.",
    )
    ownership: Ownership = Field(
        "owned", description="owned: each GPU that is used costs its price; rentable: each node that is used is paid whole."
    )
    min_nodes: CountOrNone | None = Field(None, description="Nodes of a rentable pool that are paid in any case. Default: 0.")
    max_nodes: Count | None = Field(None, description="Most nodes of a rentable pool. Default: nodes.")
    taken: tuple[DeclaredTaken, ...] = Field(
        (), description="GPUs of an owned pool that others use, in full or some memory. Default: none."
    )


Task = Literal["embed", "generate"]


class DeclaredSlo(Declared):
    """Latency goals; attainment is the share of requests that meet both."""

    ttft_p95_s: Duration | None = Field(
        None, alias="ttft_p95", description="Time to first token that 95 % of requests stay under. Default: by class."
    )
    tpot_p95_s: Duration | None = Field(
        None,
        alias="tpot_p95",
        examples=["50ms"],
        description="Time per output token after the first that 95 % of requests stay under. Default: by class.",
    )


class DeclaredWorkload(Declared):
    """Demand for a model in one latency class."""

    later = frozenset({"spread", "deadline"})

    model: ModelName = Field(description="Name of an entry under models, or of an adapter of one.", examples=["llama-8b"])
    latency_class: LatencyClass = Field(
        "standard",
        alias="class",
        description="Gives the defaults of slo and priority. interactive: ttft_p95 500ms, tpot_p95 50ms, priority 100; "
        "standard: 2s, 100ms, 50; background: 30s, 500ms, 0.",
    )
    priority: Priority | None = Field(None, description="When capacity is short, higher is served first. Default: by class.")
    slo: DeclaredSlo = Field(
        default_factory=DeclaredSlo,
        description="Latency goals. Default: by class, each on its own.",
        examples=[{"ttft_p95": "500ms", "tpot_p95": "50ms"}],
    )
    demand: DeclaredDemand = Field(description="Exactly one of three forms: a rate, windows or a trace.")
    prefix_hit_fraction: Number = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of every prompt's tokens that replicas are counted on to find in their prefix cache: they are not computed, but "
        "hold KV cache. A trace's cached_prefix_tokens are not counted on.",
        examples=[0.5],
    )
    isolate: bool = Field(default=False, description="Give this workload replicas of its own, served under the workload's name.")
    team: Text | None = Field(None, description="Whom it belongs to, for reports. Default: none.")
    labels: dict[Text, Text] = Field(default_factory=dict, max_length=64, description="Free key-value pairs, for reports. Default: none.")
    min_replicas: Whole = Field(1, ge=0, le=10_000, description="Fewest replicas.")
    max_replicas: Count | None = Field(None, description="Most replicas. Default: as many as the demand needs.")
    tolerate: Literal["1 node"] | None = Field(
        None,
        description="1 node: after the loss of any one node the replicas on the others still carry the whole demand within its goals, "
        "at once, without starting anything. Default: none.",
        examples=["1 node"],
    )
    pin: tuple[PoolName, ...] = Field((), description="Pools its replicas may live in. Default: any.", examples=[["h100"]])
    not_with: tuple[Neighbour, ...] = Field(
        (), description="Workloads or models that may not share a GPU with it. Default: none.", examples=[["batch"]]
    )


class DeclaredRouter(Declared):
    """Where the router listens."""

    host: Host = Field("127.0.0.1", description="Address the router listens on; 0.0.0.0 or :: for every interface.")
    port: Whole = Field(8080, ge=1024, le=65_535, description="Port for requests.")
    admin_port: Whole = Field(9901, ge=1024, le=65_535, description="Port of the router's own admin page.")


class DeclaredPorts(Declared):
    """Ports for engines."""

    start: Whole = Field(8100, ge=1024, le=65_535, description="First port for engines on each host.")
    end: Whole = Field(8999, ge=1024, le=65_535, description="Last port for engines on each host.")


class DeclaredPolicy(Declared):
    """Rules for the whole plan."""

    later = frozenset({"disruption_budget", "risk"})

    headroom_mib: Reserve = Field(
        1024, alias="headroom", description="Memory that stays free on every GPU.", examples=["1GiB"], json_schema_extra={"default": "1GiB"}
    )
    sizing_quantile: Number = Field(
        0.99,
        ge=0.5,
        lt=1,
        description="Replicas are sized so that this share of requests is predicted to meet the goals: above the p95 of the goals, "
        "the difference is the safety margin.",
    )
    max_active_residents: Whole = Field(3, ge=1, le=16, description="Most engines on one time-shared GPU that can be active together.")
    isolate_teams: bool = Field(
        default=False,
        description="Workloads of different teams never share a GPU, not even in MIG slices; those without a team are one more team.",
    )
    cost_slack_fraction: Number = Field(
        0.01, ge=0, le=1, description="What runs stays as it is unless another placement is cheaper by more than this part of the cost."
    )
    goals: Annotated[tuple[Annotated[str, Field(pattern=TIER_PATTERN)], ...], Field(max_length=3)] = Field(
        (),
        description="Order of the goals after unserved demand, each of them cost, churn or fragmentation, or a weighted sum of them. "
        "Default: cost, churn, fragmentation.",
        examples=[["cost + 0.01 churn", "fragmentation"]],
    )
    router: DeclaredRouter = Field(default_factory=DeclaredRouter, description="Where the router listens. Default: as below.")
    ports: DeclaredPorts = Field(default_factory=DeclaredPorts, description="Ports for engines. Default: as below.")


class DeclaredFleet(Declared):
    """A fleet file: what there is (pools), what can be served (models), what is asked for (workloads), and rules (policy)."""

    schema_version: Annotated[Literal[1], version] = Field(description="Version of this format: 1.")
    pools: dict[Name, DeclaredPool] = Field(min_length=1, description="GPUs there are, by pool name.")
    models: dict[Name, DeclaredModel] = Field(min_length=1, description="Models to serve, by the name requests use.")
    workloads: dict[Name, DeclaredWorkload] = Field(min_length=1, description="What is asked for, by workload name.")
    policy: DeclaredPolicy = Field(default_factory=DeclaredPolicy, description="Rules for the whole plan. Default: as below.")
    measurements: Text | None = Field(
        None,
        description="Folder of measurements, as `ullage profile import` fills it: times, memory and interference rest on them. "
        "Default: none, everything is predicted from the catalogue.",
        examples=["./measurements"],
    )
