"""What shared GPUs save against one GPU for each replica, those apart whose neighbours nobody measured together."""

from __future__ import annotations

from collections.abc import Sequence

from planner.plan import GpuPlan, PoolRules, Rules, SharingSaving, is_shared


def sharing_saving(gpus: Sequence[GpuPlan], rules: Rules) -> SharingSaving:
    """GPUs and USD/h saved, counted from the GPUs of a plan and the prices of its pools: nothing is solved again.

    A GPU that n replicas share saves n - 1; they rest on the assumption unless every pair on it was measured. Of a rentable pool only
    whole nodes that would be rented beyond those paid now are money, of others every GPU is.
    """
    measured_gpus = assumed_gpus = 0
    measured_usd_per_h = assumed_usd_per_h = 0.0
    for pool in rules.pools:
        own = [gpu for gpu in gpus if gpu.pool == pool.name]
        shared = [(gpu.interference, len(gpu.replicas) - 1) for gpu in own if is_shared(gpu.mode) and len(gpu.replicas) > 1]
        measured = sum(count for known, count in shared if known == "measured")
        both = sum(count for _, count in shared)
        measured_gpus += measured
        assumed_gpus += both - measured
        measured_usd_per_h += _usd_per_h(own, pool, measured)
        assumed_usd_per_h += _usd_per_h(own, pool, both) - _usd_per_h(own, pool, measured)
    return SharingSaving(
        measured_gpus=measured_gpus,
        assumed_gpus=assumed_gpus,
        measured_usd_per_h=measured_usd_per_h,
        assumed_usd_per_h=assumed_usd_per_h,
    )


def _usd_per_h(gpus: Sequence[GpuPlan], pool: PoolRules, more: int) -> float:
    """What so many more GPUs of a pool would cost; gpus are all of it."""
    if pool.billing == "gpu" or not more:
        return more * pool.price_usd_per_h
    used = [gpu for gpu in gpus if gpu.replicas]
    per_node = 1 + max(gpu.index for gpu in gpus)
    paid = max(len({gpu.node for gpu in used}), pool.min_nodes)
    nodes = -(-max(0, len(used) + more - paid * per_node) // per_node)
    return nodes * per_node * pool.price_usd_per_h
