"""Why a plan is as it is: parts of a plan that people and `ullage explain` read, and nothing else does."""

from __future__ import annotations

from typing import Literal

from planner.plan.bounds import PlanPart

# What a growing load meets first: a goal for latency, KV cache, or a load without steady state (throughput, max_num_seqs).
Limit = Literal["ttft", "tpot", "kv_cache", "throughput"]


class Breaking(PlanPart):
    """The smallest changes that break a workload's goals (stated for p95) with the replicas as planned.

    demand_factor multiplies the demand of its model, interference_factor every step beyond what is planned for neighbours; None says that
    32 times is still within the goals. nodes are those whose loss leaves too little; with all of them up nothing is lost.
    """

    demand_factor: float | None = None
    demand_limit: Limit | None = None
    interference_factor: float | None = None
    interference_limit: Limit | None = None
    nodes: tuple[str, ...] = ()


class Way(PlanPart):
    """A way of running a model that is possible: that many equal replicas carry its demand.

    gpu_fraction is how many GPUs they fill together, each by its fullest row (memory, active residents, compute); usd_per_h its price.
    """

    pool: str
    mode: str
    gpus: int
    mig_profile: str | None = None
    capacity_rps: float
    replicas: int
    gpu_fraction: float
    usd_per_h: float
    chosen: bool


class Refusal(PlanPart):
    """A way of running a model that is impossible, with the numbers."""

    pool: str
    mode: str
    gpus: int
    reason: str


class ModelReasons(PlanPart):
    """What limits the replicas of a served model, the ways there are of running it, cheapest first, and those there are not."""

    served_name: str
    limit: Limit | Literal["memory", "nothing"]
    limit_reason: str
    ways: tuple[Way, ...]
    refusals: tuple[Refusal, ...]


class GpuRows(PlanPart):
    """How full the rows of one GPU (or block, named by its first GPU) are; the fullest keeps others out."""

    node: str
    gpu: int
    memory_fraction: float
    active_fraction: float
    compute_fraction: float

    @property
    def fullest(self) -> str:
        """The row that is fullest, in words."""
        rows = {"memory": self.memory_fraction, "active residents": self.active_fraction, "compute": self.compute_fraction}
        return max(rows, key=lambda row: rows[row])


class Conflict(PlanPart):
    """An irreducible set of demands and rules that cannot all be met: without any one of members the rest can.

    proven is False when the search for it ended at its limit, so that a smaller set may exist.
    """

    served_name: str
    members: tuple[str, ...]
    proven: bool


class OneMore(PlanPart):
    """What one more GPU of a pool (a whole node where nodes are paid) would buy, by solving again.

    served_rps is what would be served beyond the plan, by served name; cost_usd_per_h the whole cost then. proven says whether both
    solutions are optimal, so that the difference is exact.
    """

    pool: str
    unit: Literal["gpu", "node"]
    gpus: int
    served_rps: dict[str, float]
    cost_usd_per_h: float
    proven: bool


class CostBand(PlanPart):
    """The cost of this fleet if all engines turn out as fast, or as slow, as the 10th and 90th percentile of what is known of them."""

    p10_usd_per_h: float
    p90_usd_per_h: float
    p10_unserved_rps: float = 0.0
    p90_unserved_rps: float = 0.0


class Explanation(PlanPart):
    """Everything above for one plan; conflicts and one_more are empty where nothing is unserved and they were not asked for."""

    models: tuple[ModelReasons, ...]
    gpus: tuple[GpuRows, ...]
    conflicts: tuple[Conflict, ...] = ()
    one_more: tuple[OneMore, ...] = ()
