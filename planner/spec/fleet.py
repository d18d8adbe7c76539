"""The fleet as the planner sees it: numbers in fixed units, names resolved to catalogue entries, demand as profiles.

Built by `planner.spec.load_fleet` from what people write; nothing in it refers to the file any more.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, InstanceOf

from planner.demand.prompt_lengths import SplitDemand
from planner.demand.volumes import Volume
from planner.demand.windows import DemandProfile
from planner.disruption_budget import DisruptionBudget
from planner.latency_classes import LatencyClass
from planner.risk import Risk
from planner.rollout_rules import Rollout
from planner.spec.goals import GoalTier
from profiles.gpu_types import GpuType
from profiles.models import Architecture
from profiles.store.measurements import Measurements

Link = Literal["nvswitch", "pairs", "pcie"]
MigMode = Literal["off", "repartition", "fixed"]
Ownership = Literal["owned", "rentable"]
Sharing = Literal["exclusive", "time_shared", "mps", "mig"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Taken(_Part):
    """A GPU on which others hold memory: all that it gives when it is not ours at all."""

    node: int
    gpu: int
    memory_mib: int


class FleetPool(_Part):
    """Identical nodes of identical GPUs. Cores and memory are per node, the price is per GPU.

    An owned pool has min_nodes = max_nodes = nodes. hosts has one address per possible node (max_nodes). block_sizes are the
    tensor-parallel sizes the links allow, ascending. A node of a rentable pool can be used start_time_s after it was asked for, and costs
    start_price_usd each time beside its price. mig_layout holds (profile, start slot) pairs of a fixed layout.
    """

    name: str
    gpu: InstanceOf[GpuType]
    nodes: int
    gpus_per_node: int
    price_usd_per_h: float
    link: Link
    block_sizes: tuple[int, ...]
    host_cores: int
    host_memory_mib: int
    hosts: tuple[str, ...]
    mig: MigMode
    mig_layout: tuple[tuple[str, int], ...]
    sharing: tuple[Sharing, ...]
    ownership: Ownership
    min_nodes: int
    max_nodes: int
    taken: tuple[Taken, ...] = ()
    start_time_s: float = 0.0
    start_price_usd: float = 0.0
    numa_nodes: int = 1


class Adapter(_Part):
    """A LoRA adapter; engine_source is what vLLM loads it from."""

    name: str
    engine_source: str
    rank: int


class EngineChoice(_Part):
    """Engine settings that a replica may have, under vLLM's own names."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_dtype: str


class Model(_Part):
    """A model to serve, with vLLM's own names for its engine settings.

    sleep: its replicas may sleep. choices are settings that replicas may have instead. max_num_seqs_stated: somebody chose
    max_num_seqs; otherwise a replica may have fewer.
    extra_args are other flags of `vllm serve`, without dashes, and their values, sorted.
    engine_model is what `vllm serve` is given: a Hugging Face id, or a local folder (planner.plan.local_paths).
    """

    name: str
    source: str
    engine_model: str
    architecture: InstanceOf[Architecture]
    dtype: str
    quantization: str | None
    kv_cache_dtype: str
    max_model_len: int
    max_num_seqs: int
    max_num_seqs_stated: bool = True
    max_num_batched_tokens: int
    stream_interval: int
    enforce_eager: bool
    sleep: bool = False
    tensor_parallel: tuple[int, ...]
    engine_version: str
    revision: str | None
    adapters: tuple[Adapter, ...] = ()
    choices: tuple[EngineChoice, ...] = ()
    extra_args: tuple[tuple[str, str], ...] = ()

    @property
    def pooling(self) -> bool:
        """Whether it makes one vector or score of each prompt (task: embed) and generates nothing."""
        return self.architecture.pooling


# Of English text, by OpenAI's rule of thumb: "1 token ~= 4 chars" (help.openai.com, What are tokens and how to count them). Code has
# about 3, text in other scripts 2 to 6 bytes in UTF-8, and what is not ASCII may stand in JSON as six bytes a character.
BYTES_PER_TOKEN = 4.0

# What the name of the longer part of a workload, and of its model, ends in.
LONG = "-long"


def over_bytes(over_tokens: int, bytes_per_token: float) -> int:
    """The limit in bytes that stands for one in tokens."""
    return max(1, math.floor(over_tokens * bytes_per_token))


class LongerOf(_Part):
    """Which requests a workload is of: those for served_name, of a workload, with prompts of more than over_tokens tokens."""

    served_name: str
    workload: str
    over_tokens: int
    bytes_per_token: float

    @property
    def over_bytes(self) -> int:
        """So many bytes a body may have at most to count as shorter."""
        return over_bytes(self.over_tokens, self.bytes_per_token)


class Workload(_Part):
    """Demand for a model in one latency class. pin names pools; not_with names served models (see served_name).

    adapter names the one its requests ask for; None is the model itself.
    tolerate_nodes is how many nodes may be lost while the demand is still served: 0 or 1. spread_nodes: no two of its replicas are on one
    machine. max_replicas of None is no limit. Where nothing is generated tpot_p95_s is infinite, and lengths of outputs are 1: the answer.
    splits are the ways to divide its demand by the length of prompts, where that is asked for (may_split); its longer part has the goal
    long_ttft_p95_s (None: the same). longer_of: it is the longer part of another.
    apart: it has replicas of its own with those of its priority, though it asks for a model that others share. by_priority: its engines
    look at priorities, also where nobody of another priority is left. volume: its demand is made
    of that, so that it fills what others leave idle (planner.spec.pouring).
    """

    name: str
    model: Model
    adapter: str | None
    latency_class: LatencyClass
    priority: int
    ttft_p95_s: float
    tpot_p95_s: float
    demand: DemandProfile
    prefix_hit_fraction: float
    isolate: bool
    team: str | None
    labels: dict[str, str]
    min_replicas: int
    max_replicas: int | None
    tolerate_nodes: int
    pin: tuple[str, ...]
    not_with: tuple[str, ...]
    spread_nodes: bool = False
    may_split: bool = False
    splits: tuple[SplitDemand, ...] = ()
    bytes_per_token: float = BYTES_PER_TOKEN
    long_ttft_p95_s: float | None = None
    longer_of: LongerOf | None = None
    apart: bool = False
    by_priority: bool = False
    volume: Volume | None = None

    @property
    def served_name(self) -> str:
        """The model name that requests carry: the workload's own when isolated, else the model's, shared with its other workloads."""
        if self.longer_of is not None:
            return f"{self.longer_of.served_name}{LONG}"
        if self.apart:
            return self.apart_name
        return self.name if self.isolate else self.model.name

    @property
    def apart_name(self) -> str:
        """What the replicas of its priority alone are called."""
        return f"{self.model.name}-priority-{self.priority}"

    @property
    def long_names(self) -> tuple[str, str]:
        """What its longer part would be called, as a workload and as a model."""
        return f"{self.name}{LONG}", f"{self.served_name}{LONG}"


class RouterAddress(_Part):
    """Where the router listens."""

    host: str
    port: int
    admin_port: int


class Ports(_Part):
    """Ports for engines on every node, both ends included."""

    start: int
    end: int


class Policy(_Part):
    """Rules for the whole plan. headroom_mib stays free on every GPU. goals are the tiers after unserved demand, in order.

    bursts are the multiples of a workload's load for which there is a playbook, ascending.

    The disruption budget names workloads. KV pools do not grow into spared_mib of a time-shared GPU, which a schedule keeps for sleepers.
    """

    headroom_mib: int
    risk: Risk
    burst_factor: float
    max_active_residents: int
    strict: bool = False
    isolate_teams: bool
    cost_slack_fraction: float
    goals: tuple[GoalTier, ...]
    router: RouterAddress
    ports: Ports
    disruption_budget: DisruptionBudget = DisruptionBudget()
    rollout: Rollout = Rollout()
    spared_mib: int = 0
    bursts: tuple[float, ...] = ()


class Fleet(_Part):
    """Everything that was declared, in the order of the file.

    hashes maps each input file, as the fleet file names it, to its SHA-256. warnings are sentences for people. measurements are under the
    catalogue's names, empty when the file names no folder of them. own_gpu_types are those that the catalogue does not have, by name.
    """

    pools: tuple[FleetPool, ...]
    models: tuple[Model, ...]
    workloads: tuple[Workload, ...]
    policy: Policy
    measurements: InstanceOf[Measurements]
    hashes: dict[str, str]
    warnings: tuple[str, ...]
    own_gpu_types: tuple[InstanceOf[GpuType], ...] = ()
