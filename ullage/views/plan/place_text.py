"""Why a GPU holds what it holds, or nothing, and what a node carries: in sentences with numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from planner.plan import Desired, Explanation, GpuPlan, GpuRows, Replica
from ullage.study.rows import lost_at_once
from ullage.views.plan.model_text import LIMIT_WORDS, kept_out, replica_line
from ullage.views.words import MIB_PER_GIB, MODE_WORDS

# Other models that are named with what keeps them out.
_MOST_OTHERS = 8

_GPU = re.compile(r"(.+?)(?:\s+GPU\s+|[/:]gpu|[/:])(\d{1,6})", re.IGNORECASE)


def gpu_of(desired: Desired, subject: str) -> GpuPlan | None:
    """The GPU that a subject names ("h100-0 GPU 3", "h100-0/3", "h100-0:3"); None when it names none of the plan's."""
    found = _GPU.fullmatch(subject.strip())
    if found is None:
        return None
    return next((gpu for gpu in desired.gpus if gpu.node == found[1] and gpu.index == int(found[2])), None)


def place_named(subject: str) -> str:
    """The node in the name of a GPU; any other subject as it is."""
    found = _GPU.fullmatch(subject.strip())
    return found[1] if found else subject


def gpu_lines(desired: Desired, reasons: Explanation, gpu: GpuPlan) -> Iterator[str]:
    """Why a GPU holds what it does, who could not come too, and what would change it."""
    yield f"{gpu.node} GPU {gpu.index}, {gpu.gpu_type}: {_use(desired, gpu)}"
    if not gpu.replicas:
        yield from (f"  {line}" for line in _empty(desired, reasons, gpu))
        return
    replicas = {replica.name: replica for replica in desired.replicas}
    yield from (f"  {replica_line(desired, replicas[name])}" for name in gpu.replicas)
    row = next((row for row in reasons.gpus if row.node == gpu.node and gpu.index in _block(row, gpu, replicas)), None)
    if row is not None:
        yield (
            f"  what binds: {row.fullest}; memory {row.memory_fraction:.0%}, active residents {row.active_fraction:.0%}, "
            f"compute {row.compute_fraction:.0%} used; {_gib(gpu.free_mib)} GiB are free, {_gib(gpu.headroom_mib)} GiB of it headroom"
        )
        yield from _others(desired, gpu, row, replicas)
    yield from (f"  what would change it: {line}" for line in _changes(desired, [replicas[name] for name in gpu.replicas]))


def node_lines(desired: Desired, reasons: Explanation, node: str) -> Iterator[str]:
    """What a node carries, and what is lost at once when it dies."""
    gpus = [gpu for gpu in desired.gpus if gpu.node == node]
    used = [gpu for gpu in gpus if gpu.replicas]
    paid = len(gpus) if used and _by_node(desired, gpus[0].pool) else len(used)
    yield f"{node}: {len(used)} of {len(gpus)} GPUs in use, {_price(desired, gpus[0].pool) * paid:.2f} USD/h"
    yield from (f"  {replica_line(desired, replica)}" for replica in desired.replicas if replica.node == node)
    lost_rps = lost_at_once(desired, (node,))
    if lost_rps:
        shown = ", ".join(f"{name} {rate_rps:.3g}" for name, rate_rps in lost_rps.items())
        yield f"  when it dies: {shown} requests/s have no replica with room elsewhere, until they are planned and started anew"
    elif used:
        yield "  when it dies: the replicas elsewhere carry all of it"
    if not used and gpus:
        yield from (f"  {line}" for line in _empty(desired, reasons, gpus[0]))
    breaks = [row.name for row in desired.workloads if row.breaking is not None and node in row.breaking.nodes]
    if breaks:
        yield f"  workloads that then miss their goals: {', '.join(breaks)}"
    yield f"  what would be planned without it: ullage whatif FLEET --scenario node_lost={node}"


def _use(desired: Desired, gpu: GpuPlan) -> str:
    if gpu.replicas:
        price = _price(desired, gpu.pool)
        of_node = ", its node is paid whole" if _by_node(desired, gpu.pool) else ""
        return f"{MODE_WORDS[gpu.mode]} by {', '.join(gpu.replicas)}, busy {gpu.busy_fraction:.0%}, {price:.2f} USD/h{of_node}"
    if gpu.taken_mib >= gpu.memory_mib:
        return "taken by others"
    return f"empty, of {_gib(gpu.memory_mib)} GiB"


def _empty(desired: Desired, reasons: Explanation, gpu: GpuPlan) -> Iterator[str]:
    if gpu.taken_mib >= gpu.memory_mib:
        yield "why it is empty: the fleet file says that others use all of it (pools.NAME.taken)"
        return
    short = [row for row in desired.workloads if row.unserved_rps > 0]
    on_node = [other for other in desired.gpus if other.node == gpu.node]
    price = _price(desired, gpu.pool)
    if _by_node(desired, gpu.pool):
        price = 0.0 if any(other.replicas for other in on_node) else price * len(on_node)
    if not short:
        yield (
            f"why it is empty: all demand is served on {desired.gpus_used} of {len(desired.gpus)} GPUs; "
            f"one more would cost {price:.2f} USD/h and serve nothing more"
        )
    for row in short:
        refusals = [item for model in reasons.models if model.served_name == row.served_name for item in model.refusals]
        here = [item.reason for item in refusals if item.pool.split(" ")[0] == gpu.pool]
        yield f"why it does not help {row.name} ({row.unserved_rps:.3g} requests/s unserved): {here[0] if here else row.unserved_reason}"
    yield from (f"what would change it: {line}" for line in _changes(desired, desired.replicas))


def _changes(desired: Desired, replicas: Sequence[Replica]) -> Iterator[str]:
    """The growth of demand that the models of these replicas do not bear, the nearest first."""
    names = {replica.served_name for replica in replicas}
    points = [
        (row.breaking.demand_factor, row.name, LIMIT_WORDS[row.breaking.demand_limit or "nothing"])
        for row in desired.workloads
        if row.served_name in names and row.breaking is not None and row.breaking.demand_factor is not None
    ]
    if points:
        factor, name, limit = min(points)
        yield f"demand of {name} times {factor:.2f} breaks its goals first ({limit}); then its model needs more room or one more replica"
    elif all(row.unserved_rps == 0 for row in desired.workloads if row.served_name in names) and names:
        yield "no demand up to 32 times breaks a goal here"


def _others(desired: Desired, gpu: GpuPlan, row: GpuRows, replicas: dict[str, Replica]) -> Iterator[str]:
    """Why the other models of the pool are not here too."""
    here = {replicas[name].served_name for name in gpu.replicas}
    least_mib: dict[str, int] = {}
    for replica in desired.replicas:
        if replica.served_name not in here and replica.pool == gpu.pool:
            least_mib[replica.served_name] = min(least_mib.get(replica.served_name, replica.ledger.total_mib), replica.ledger.total_mib)
    for name, need_mib in sorted(least_mib.items())[:_MOST_OTHERS]:
        yield f"  not {name} too: {kept_out(gpu, row, need_mib, replicas)}"
    if len(least_mib) > _MOST_OTHERS:
        yield f"  and {len(least_mib) - _MOST_OTHERS} other models, for such reasons"


def _block(row: GpuRows, gpu: GpuPlan, replicas: dict[str, Replica]) -> set[int]:
    """GPUs that a row stands for: a block is named by its first GPU."""
    return {row.gpu, *(index for name in gpu.replicas for index in replicas[name].gpus if row.gpu in replicas[name].gpus)}


def _by_node(desired: Desired, pool: str) -> bool:
    """Whether whole nodes of a pool are paid."""
    return any(item.name == pool and item.billing == "node" for item in desired.rules.pools)


def _price(desired: Desired, pool: str) -> float:
    return next((item.price_usd_per_h for item in desired.rules.pools if item.name == pool), 0.0)


def _gib(mib: int) -> str:
    return f"{mib / MIB_PER_GIB:.1f}"
