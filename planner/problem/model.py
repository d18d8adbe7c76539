"""Problem and Solution as frozen data, and what an engine is.

Units: MiB, micro-requests/s, micro-dollars/h, per-mille of one GPU. What must fit is rounded up and what
offers room is rounded down before it gets here, so integer arithmetic on these fields is always on the safe side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

# micro-units in one unit: of requests/s, and of dollars/h
MICRO = 1_000_000

Mode = Literal["exclusive", "time_shared", "mps", "mig"]
Billing = Literal["gpu", "node"]
Status = Literal["optimal", "feasible"]

# node and GPUs of one aligned block
Spot = tuple[int, tuple[int, ...]]
# pool and residents of a GPU in use
Holding = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class MigSlot:
    """One instance of a MIG profile at a legal start slot."""

    profile: str
    start: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Identical nodes of identical GPUs.

    memory_mib is what one GPU offers our engines, headroom already taken off. price_microusd_per_h is per GPU.
    With billing "node" a node is paid whole as soon as one of its GPUs is used; min_nodes of them are paid always.
    block_sizes are the tensor-parallel sizes the links allow: aligned power-of-two blocks inside one node.
    mig_layouts are the maximal legal layouts; it is empty when the pool is not in MIG mode. max_active_residents bounds the sum of
    activities on a time-shared GPU, in whole residents, and the number of residents under MPS. compute_limit_permille
    bounds the sum of busy fractions on a time-shared GPU, resident_cost_permille is added for each resident beyond
    the first. host_cores_per_gpu and host_memory_mib_per_gpu are the fair share of the node that a GPU's engines may use.
    machines numbers the machine of each node where one machine's GPUs are nodes of several pools; empty: every node is its own.
    """

    name: str
    nodes: int
    gpus_per_node: int
    memory_mib: int
    price_microusd_per_h: int
    billing: Billing = "gpu"
    min_nodes: int = 0
    max_active_residents: int = 3
    compute_limit_permille: int = 1000
    resident_cost_permille: int = 0
    block_sizes: tuple[int, ...] = (1,)
    mig_layouts: tuple[tuple[MigSlot, ...], ...] = ()
    host_cores_per_gpu: int = 1_000_000
    host_memory_mib_per_gpu: int = 1_000_000_000
    machines: tuple[int, ...] = ()

    @property
    def gpus(self) -> int:
        """Number of GPUs in the pool."""
        return self.nodes * self.gpus_per_node


@dataclass(frozen=True, slots=True)
class Demand:
    """What one served model must carry: a rate per window, sized for the tightest SLO among its workloads.

    A higher priority is served first. A demand with fewer than min_replicas replicas counts as unserved in proportion,
    however large they are. not_with holds the indexes of demands whose
    replicas may not sit on the same GPU (on the same MIG-partitioned GPU either). tolerate_nodes is 0 or 1: with 1, what is
    left after the loss of any one node must still carry the peak. A Solution names no nodes, so it counts the optimistic form:
    the capacity of all replicas but the largest; which node holds which is settled when places are named.
    spread_nodes: no two replicas on one machine. A Solution is judged by what its counts tell: at most one replica on a GPU, and in a pool
    no more than it has machines; where nodes are paid whole, as many are paid as there are replicas. Engines are asked the counted form
    (see `counted`).
    """

    name: str
    rate_microrps: tuple[int, ...]
    priority: int = 0
    min_replicas: int = 0
    max_replicas: int = 1_000_000
    not_with: frozenset[int] = frozenset()
    tolerate_nodes: int = 0
    spread_nodes: bool = False

    @property
    def peak_microrps(self) -> int:
        """The largest rate over the windows."""
        return max(self.rate_microrps, default=0)


@dataclass(frozen=True, slots=True)
class Shape:
    """A candidate replica.

    gpus > 1 is tensor parallelism over an aligned block, which is always exclusive. On a time-shared GPU
    capacity_microrps holds while at most max_residents sit there, itself counted, whose active_permille add up to at most
    active_limit_permille in every window. active_permille is the part of time in which it has work: once per window of the Problem, or
    one number for all of them. Memory is the same in all windows. Under MPS compute_permille is its percentage of active threads and
    max_residents the number of residents that it was sized for.
    memory_mib, compute_permille and bandwidth_permille are per GPU (for a MIG shape: memory of its slice).
    start_extra_mib is what it takes beyond memory_mib for a while as it starts: what is resident and the largest of these must fit,
    so that any one may start again beside the others. Each start loads weights_mib per GPU. Shapes of different colocation classes never
    share a GPU.
    """

    name: str
    demand: int
    pool: int
    mode: Mode
    memory_mib: int
    capacity_microrps: int
    gpus: int = 1
    mig_profile: str | None = None
    compute_permille: int = 1000
    bandwidth_permille: int = 0
    active_permille: tuple[int, ...] = (1000,)
    max_residents: int = 1
    active_limit_permille: int = 1000
    host_cores: int = 0
    host_memory_mib: int = 0
    colocation_class: str = ""
    start_extra_mib: int = 0
    weights_mib: int = 0


@dataclass(frozen=True, slots=True)
class Placed:
    """A replica of a shape on named GPUs of one node; mig_start is its start slot on a GPU in MIG mode."""

    shape: int
    node: int
    gpus: tuple[int, ...]
    mig_start: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Pools, demands and candidate shapes, with the placement that runs now.

    start is an answer that somebody has already, to a problem much like this one: engines that search may begin with it where it is legal.
    """

    pools: tuple[Pool, ...]
    demands: tuple[Demand, ...]
    shapes: tuple[Shape, ...]
    current: tuple[Placed, ...] = ()
    start: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class Pattern:
    """A legal set of shapes on one GPU (or one block when the only resident has gpus > 1), used count times.

    residents are shape indexes in ascending order; all have the pattern's pool and mode.
    """

    pool: int
    residents: tuple[int, ...]
    count: int = 1


@dataclass(frozen=True, slots=True)
class Solution:
    """How many GPUs hold which pattern, and what is known about how good that is.

    unserved_microrps is per demand, at its peak. bound_microusd_per_h is a valid lower bound on the cost of every solution
    that leaves at no priority more unserved than this one. bound_unserved_microrps (per priority, highest first) bounds what
    stays unserved lexicographically: no solution's vector is smaller. status is "optimal" when both bounds are met exactly.
    """

    engine: str
    patterns: tuple[Pattern, ...]
    unserved_microrps: tuple[int, ...]
    cost_microusd_per_h: int
    bound_microusd_per_h: int
    bound_unserved_microrps: tuple[int, ...]
    status: Status


@dataclass(frozen=True, slots=True)
class SolveProgress:
    """Where an engine stands on the goal it works on; value (the incumbent's) and bound are in micro-units of that goal.

    priority names the goal: unserved demand of that priority, or with None the cost.
    """

    engine: str
    priority: int | None
    value: int
    bound: int


@dataclass(frozen=True, slots=True)
class Watch:
    """Somebody waits for an engine: it reports progress when there is some, and asks often whether to stop.

    An engine that is told to stop returns the best it has, with valid bounds.
    """

    report: Callable[[SolveProgress], None]
    stop: Callable[[], bool]


class Solve(Protocol):
    """An engine that answers a Problem; deterministic, never raises for want of capacity (it reports unserved demand).

    time_limit_s of None means the engine's own deterministic limits on work. An engine that ends in a moment may ignore watch.
    """

    def __call__(self, problem: Problem, *, time_limit_s: float | None = None, watch: Watch | None = None) -> Solution:
        """Answer the problem."""
        ...


class Place(Protocol):
    """Names nodes, GPUs and start slots for a Solution, keeping as many of problem.current as it can."""

    def __call__(self, problem: Problem, solution: Solution) -> tuple[Placed, ...]:
        """Name the places."""
        ...


# Solves a variant of a problem again, for what-if questions.
Resolve = Callable[[Problem], Solution]
