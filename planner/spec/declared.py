"""The fleet file as people write it: every field with its default and its meaning.

Python names end in the unit a value is read into, aliases are the names in the file. Checks that need more than one
field are made where the fleet is put together (pools.py, served.py, workloads.py), so that all of them are reported at once.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from planner.spec.declared_budget import DeclaredBudget, DeclaredRollout
from planner.spec.declared_gpu import DeclaredGpu
from planner.spec.declared_model import DeclaredModel
from planner.spec.declared_workload import DeclaredWorkload
from planner.spec.field_types import (
    BurstTimes,
    Count,
    CountOrNone,
    DeclaredAmount,
    DeclaredPrice,
    Duration,
    Host,
    Name,
    Number,
    Reserve,
    Room,
    Size,
    Text,
    Whole,
    mig_word,
    version,
)
from planner.spec.fleet import Link, MigMode, Ownership, Sharing
from planner.spec.goals import TIER_PATTERN
from planner.spec.part import Declared


class DeclaredTaken(Declared):
    """GPUs of one node that others use."""

    node: CountOrNone = Field(description="Index of the node, from 0.")
    gpus: Annotated[tuple[CountOrNone, ...], Field(min_length=1)] = Field(
        description="Indexes of the GPUs on this node, from 0.", examples=[[0, 1]]
    )
    memory_mib: Room | None = Field(
        None,
        alias="memory",
        description="Memory that others hold on each of these GPUs while they hardly compute; the plan uses the rest. "
        "Default: all of it, the plan does not use these GPUs.",
        examples=["20GiB"],
    )


class DeclaredPool(Declared):
    """Identical nodes of identical GPUs."""

    gpu: DeclaredGpu = Field(
        description="GPU type: a catalogue name or one of its aliases; a YAML file in the catalogue's form, written ./like/this.yaml; "
        "or the facts of the GPU type, see pools.NAME.gpu.",
        examples=["H100-SXM-80GB"],
    )
    nodes: Count = Field(description="Number of nodes.", examples=[1])
    gpus_per_node: Size = Field(description="GPUs in each node.", examples=[8])
    price_usd_per_h: DeclaredPrice | None = Field(
        None,
        alias="price",
        description="Price per GPU-hour. Default: the median price in the catalogue; "
        "required when the catalogue lists no price for this GPU.",
    )
    link: Link | None = Field(
        None,
        description="How the GPUs of a node are connected. This decides the possible tensor-parallel sizes. nvswitch and pcie: every power "
        "of two (all-reduces over PCIe are slow; step times include this). pairs: 1 and 2. Default: the link of the GPU type in the "
        "catalogue.",
    )
    host_cores: Count | None = Field(None, description="CPU cores of a node. Default: 12 per GPU.")
    host_memory_mib: Room | None = Field(
        None,
        alias="host_memory",
        description="Main memory of a node. Default: 128GiB per GPU.",
        examples=["1000GiB"],
    )
    numa_nodes: Count = Field(
        1,
        description="NUMA nodes of a node. Its GPUs, in their order, and its main memory are divided evenly among them: weights of "
        "replicas that sleep lie in the part of their GPUs.",
    )
    hosts: tuple[Host, ...] | None = Field(
        None,
        description="Addresses of the nodes without ports: one per node, in a rentable pool as many as max_nodes. A machine may be a node "
        "of several pools, for example if only some of its GPUs are in MIG mode. Each of these pools then lists the GPUs of the others "
        "under taken. Default: 127.0.0.1 for each node, for emulated engines.",
        examples=[["10.0.0.1", "10.0.0.2"]],
    )
    mig: Annotated[MigMode, mig_word] = Field(
        "off",
        description="off: no MIG. repartition: the plan chooses the MIG layout of each GPU. fixed: every GPU keeps mig_layout. "
        "With repartition or fixed, the pool runs replicas in MIG slices only.",
    )
    mig_layout: tuple[Text, ...] | None = Field(
        None,
        description="The MIG profiles on every GPU when mig is fixed, in any order. Default: none; required with mig: fixed.",
        examples=[["3g.40gb", "4g.40gb"]],
    )
    sharing: Annotated[tuple[Sharing, ...], Field(min_length=1)] | None = Field(
        None,
        description="Sharing modes that the plan may choose: exclusive, time_shared, mps, mig. mps: engines of one team share a GPU by "
        "NVIDIA MPS, each with a part of the threads. Default: [exclusive, time_shared]; [mig] if mig is not off.",
    )
    ownership: Ownership = Field(
        "owned", description="owned: each used GPU costs its price. rentable: each used node costs the price of all its GPUs."
    )
    min_nodes: CountOrNone | None = Field(None, description="Nodes of a rentable pool that are always paid. Default: 0.")
    max_nodes: Count | None = Field(None, description="Largest number of nodes of a rentable pool. Default: the value of nodes.")
    start_time_s: Duration | None = Field(
        None,
        alias="start_time",
        description="Only for rentable pools: time from asking for a node until engines can start on it. A schedule asks for it so much "
        "earlier, and pays for it. Default: 0s.",
        examples=["5min"],
    )
    start_price_usd: DeclaredAmount | None = Field(
        None,
        alias="start_price",
        description="Only for rentable pools: what it costs each time to rent one more node, beside its price per hour. Default: 0 USD.",
        examples=["0.50 USD"],
    )
    taken: tuple[DeclaredTaken, ...] = Field((), description="GPUs of an owned pool that others use, completely or in part. Default: none.")


Task = Literal["embed", "generate"]


class DeclaredRouter(Declared):
    """Where the router listens."""

    host: Host = Field("127.0.0.1", description="Address on which the router listens; 0.0.0.0 or :: for every interface.")
    port: Whole = Field(8080, ge=1024, le=65_535, description="Port for requests.")
    admin_port: Whole = Field(9901, ge=1024, le=65_535, description="Port of the router's own admin page.")


class DeclaredPorts(Declared):
    """Ports for engines."""

    start: Whole = Field(8100, ge=1024, le=65_535, description="First port for engines on each host.")
    end: Whole = Field(8999, ge=1024, le=65_535, description="Last port for engines on each host.")


class DeclaredRisk(Declared):
    """How sure the plan is to be: what is promised, and under which stress."""

    attainment_fraction: Number = Field(
        0.99,
        alias="attainment",
        ge=0.5,
        lt=1,
        description="Part of each model's requests that meets both goals, under every stress below. Goals that are stated for p95 are met "
        "at p95 from 0.95 on.",
    )
    step_quantile: Number = Field(
        0.9,
        ge=0.5,
        le=1,
        description="Stress: how slow engines may turn out. All steps take the time at this quantile of their predicted spread.",
    )
    interference_factor: Number = Field(
        1.3,
        alias="interference",
        ge=1,
        le=10,
        description="Stress: neighbours on a time-shared GPU cost this many times their equal share. Where it was measured what they cost, "
        "that counts instead.",
    )
    spare_load_factor: Number = Field(
        1.1,
        alias="spare_load",
        ge=1,
        le=10,
        description="A plan with less room than closed formulas ask for keeps its goals in the simulation with so many times its load.",
    )


class DeclaredPolicy(Declared):
    """Rules for the whole plan."""

    moved = MappingProxyType({"sizing_quantile": "policy.risk.attainment", "step_quantile": "policy.risk.step_quantile"})

    headroom_mib: Reserve = Field(
        1024, alias="headroom", description="Memory that stays free on every GPU.", examples=["1GiB"], json_schema_extra={"default": "1GiB"}
    )
    risk: DeclaredRisk = Field(default_factory=DeclaredRisk, description="How sure the plan is to be. Default: as below.")
    burst_factor: Number = Field(
        2.0,
        ge=1,
        le=1000,
        description="KV caches grow into memory that nothing else in the plan uses. First each gets what a burst of this many times its "
        "planned rate can use; the rest goes to more requests, up to max_num_seqs.",
    )
    max_active_residents: Whole = Field(
        4,
        ge=1,
        le=16,
        description="Largest sum of activities (parts of time with work) of the engines on one time-shared GPU, and the most engines on "
        "one that is shared by MPS. 1: no sharing.",
    )
    strict: bool = Field(
        default=False,
        description="Leave demand unserved where sizing finds no room for it. Default: it is served as best effort where the simulation of "
        "the plan loses least by that.",
    )
    isolate_teams: bool = Field(
        default=False,
        description="Workloads of different teams never share a GPU, not even in MIG slices; those without a team count as one more team.",
    )
    cost_slack_fraction: Number = Field(
        0.01, ge=0, le=1, description="The running placement is kept unless another one is cheaper by more than this part of the cost."
    )
    goals: Annotated[tuple[Annotated[str, Field(pattern=TIER_PATTERN)], ...], Field(max_length=3)] = Field(
        (),
        description="Order of the goals after unserved demand. Each goal is cost, churn or fragmentation, or a weighted sum of them. "
        "Default: cost, churn, fragmentation.",
        examples=[["cost + 0.01 churn", "fragmentation"]],
    )
    bursts: Annotated[tuple[BurstTimes, ...], Field(max_length=4)] = Field(
        (),
        description="Multiples of a workload's load for which the plan says who is refused, in which order, so that it keeps its goals "
        "(`docs/bursts.md`). Default: none.",
        examples=[[1.5, 2, 4]],
    )
    disruption_budget: DeclaredBudget = Field(
        default_factory=DeclaredBudget, description="How much changes may disturb. Default: as below, no limit."
    )
    rollout: DeclaredRollout = Field(
        default_factory=DeclaredRollout, description="How changed replicas are let in. Default: as below, at once."
    )
    router: DeclaredRouter = Field(default_factory=DeclaredRouter, description="Where the router listens. Default: as below.")
    ports: DeclaredPorts = Field(default_factory=DeclaredPorts, description="Ports for engines. Default: as below.")


class DeclaredFleet(Declared):
    """A fleet file: what there is (pools), what can be served (models), what is asked for (workloads), and rules (policy)."""

    schema_version: Annotated[Literal[1], version] = Field(description="Version of this format: 1.")
    pools: dict[Name, DeclaredPool] = Field(min_length=1, description="The GPUs, by pool name.")
    models: dict[Name, DeclaredModel] = Field(min_length=1, description="The models, by the name that requests use.")
    workloads: dict[Name, DeclaredWorkload] = Field(min_length=1, description="The demand, by workload name.")
    policy: DeclaredPolicy = Field(default_factory=DeclaredPolicy, description="Rules for the whole plan. Default: as below.")
    measurements: Text | None = Field(
        None,
        description="Folder of measurements that `ullage profile` fills; the plan uses them for times, memory and interference. "
        "Default: none, everything is predicted from the catalogue.",
        examples=["./measurements"],
    )
