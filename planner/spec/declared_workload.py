"""Workloads as people write them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from planner.latency_classes import LatencyClass
from planner.spec.declared_demand import DeclaredDemand
from planner.spec.field_types import (
    BytesPerToken,
    Count,
    Duration,
    ModelName,
    Neighbour,
    Number,
    PoolName,
    Priority,
    Text,
    TimeOfDay,
    Whole,
)
from planner.spec.part import Declared


class DeclaredSlo(Declared):
    """Latency goals; attainment is the share of requests that meet both."""

    ttft_p95_s: Duration | None = Field(
        None, alias="ttft_p95", description="95 % of requests must get their first token within this time. Default: by class."
    )
    long_ttft_p95_s: Duration | None = Field(
        None,
        alias="long_ttft_p95",
        description="With split: the same for the longer prompts, where they have replicas of their own. Default: ttft_p95.",
    )
    tpot_p95_s: Duration | None = Field(
        None,
        alias="tpot_p95",
        examples=["50ms"],
        description="For 95 % of requests, the time per output token after the first must be below this. Default: by class.",
    )


class DeclaredWorkload(Declared):
    """Demand for a model in one latency class."""

    model: ModelName = Field(description="Name of an entry under models, or of an adapter of such an entry.", examples=["llama-8b"])
    latency_class: LatencyClass = Field(
        "standard",
        alias="class",
        description="Sets the defaults of slo and priority. interactive: ttft_p95 500ms, tpot_p95 50ms, priority 100; "
        "standard: 2s, 100ms, 50; background: 30s, 500ms, 0.",
    )
    priority: Priority | None = Field(
        None, description="If capacity is short, workloads with a higher priority are served first. Default: by class."
    )
    slo: DeclaredSlo = Field(
        default_factory=DeclaredSlo,
        description="Latency goals. Default: by class, each on its own.",
        examples=[{"ttft_p95": "500ms", "tpot_p95": "50ms"}],
    )
    demand: DeclaredDemand = Field(description="Exactly one of five forms: a rate, windows, a trace, a forecast, or a volume of requests.")
    deadline: TimeOfDay | None = Field(
        None,
        description="With a volume of requests: by when those of each day must be done, in UTC; with every: week a day and a time, as "
        "sun 06:00. Default: none; a volume needs one.",
        examples=["06:00", "sun 06:00"],
    )
    released: TimeOfDay | None = Field(
        None,
        description="With a volume of requests: from when they may be worked on, in UTC. Default: the deadline before.",
        examples=["20:00"],
    )
    prefix_hit_fraction: Number = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the tokens of every prompt that the plan expects in the prefix cache. These tokens are not computed, but "
        "they take KV cache. The plan does not use cached_prefix_tokens of a trace.",
        examples=[0.5],
    )
    isolate: bool = Field(default=False, description="Give this workload replicas of its own, served under the workload's name.")
    team: Text | None = Field(None, description="Team that owns the workload, for reports and for policy.isolate_teams. Default: none.")
    labels: dict[Text, Text] = Field(default_factory=dict, max_length=64, description="Free key-value pairs, for reports. Default: none.")
    min_replicas: Whole = Field(1, ge=0, le=10_000, description="Smallest number of replicas.")
    max_replicas: Count | None = Field(None, description="Largest number of replicas. Default: as many as the demand needs.")
    tolerate: Literal["1 node"] | None = Field(
        None,
        description="1 node: after the loss of any one node, the replicas on the other nodes still carry the whole demand within its "
        "goals, at once and without new starts. Default: none.",
        examples=["1 node"],
    )
    spread: Literal["any", "nodes"] = Field("any", description="nodes: no two replicas are on one machine. any: no such rule.")
    split: Literal["none", "prompt_length"] = Field(
        "none",
        description="prompt_length: short and long prompts may get replicas of their own, where that is cheaper or serves more; the plan "
        "says at which length and what it saves. It needs replicas that no other workload shares, and no adapters. min_replicas then holds "
        "for each of the two.",
    )
    bytes_per_token: BytesPerToken | None = Field(
        None,
        description="With split: bytes of a request's body for each token of its prompt, by which the router tells long from short. "
        "Default: 4.",
        examples=[3.5],
    )
    pin: tuple[PoolName, ...] = Field((), description="Pools in which its replicas may run. Default: any.", examples=[["h100"]])
    not_with: tuple[Neighbour, ...] = Field(
        (), description="Workloads or models that may not share a GPU with this workload. Default: none.", examples=[["batch"]]
    )
