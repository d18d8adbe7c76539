"""Plans for the tests of HTML: of every kind, with hostile names, and large ones."""

from __future__ import annotations

from typing import Any

from planner.plan import (
    Attainment,
    Baseline,
    Breaking,
    CostBand,
    Explanation,
    Ledger,
    ModelReasons,
    NodeLoss,
    OneMore,
    Outage,
    Plan,
    PlannedWindow,
    Refusal,
    Replica,
    SharingSaving,
    Stop,
    Way,
)
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan

HOSTILE = ("<script>alert(1)</script>", '"><img onerror=alert(1)>', "'; --", "a&b</style></title>", "\x00\ud800-x")


def plans() -> dict[str, Plan]:
    """One of each kind."""
    return {
        "time-shared": time_shared_plan(),
        "mig": mig_plan(),
        "tensor-parallel": tensor_parallel_plan(),
        "nothing": plan_of((), gpu_count=3),
        "told": told_plan("llama-8b"),
        "large": repeated_plan(400),
    }


def changed(plan: Plan, **changes: Any) -> Plan:
    """The plan with other fields of what it desires."""
    return plan.model_copy(update={"desired": plan.desired.model_copy(update=changes)})


def told_plan(name: str) -> Plan:
    """Every part of a plan that may be absent is there, under this name: unserved, simulated, windows, reasons, losses, saving, outages."""
    plan = plan_of((replica(f"{name}-0", name, kv_floor_mib=4096), replica(f"{name}-1", name, gpus=(1,), args={"port": 8101})), gpu_count=3)
    [workload] = plan.desired.workloads
    ways = tuple(
        Way(pool=name, mode=mode, gpus=1, capacity_rps=4.0, replicas=2, gpu_fraction=part, usd_per_h=usd, chosen=mode == "time_shared")
        for mode, part, usd in (("exclusive", 2.0, 5.9), ("time_shared", 0.9, 2.7))
    )
    model = ModelReasons(
        served_name=name,
        limit="tpot",
        limit_reason=f"because of {name}",
        ways=ways,
        refusals=(Refusal(pool=name, mode="mig", gpus=1, reason=f"no room for {name}"),),
    )
    attained = Attainment(stress=f"slow {name}", requests=500, fraction=0.97, low_fraction=0.95, high_fraction=0.98)
    told = workload.model_copy(
        update={
            "name": name,
            "unserved_rps": 0.5,
            "unserved_reason": f"{name} is too large",
            "simulated": (attained,),
            "kept_load_factor": 1.0,
            "best_effort": True,
            "breaking": Breaking(demand_factor=1.2, demand_limit="tpot", nodes=("h100-0",)),
        }
    )
    bought = OneMore(pool=name, unit="gpu", gpus=1, served_rps={name: 0.5}, cost_usd_per_h=8.85, proven=True)
    window = {"timeline": name, "stands_for": 1}
    gpus = [gpu.model_copy(update={"taken_mib": 4000, "free_mib": gpu.free_mib - 4000}) for gpu in plan.desired.gpus]
    baselines = {
        "exclusive": Baseline(cost_usd_per_h=11.8, unserved_rps=0.0, gpus=4, fits=False),
        "first-fit-decreasing": Baseline(cost_usd_per_h=8.85, unserved_rps=0.0, gpus=3, fits=True),
    }
    certificate = plan.desired.certificate.model_copy(
        update={"baselines": baselines, "cost_band": CostBand(p10_usd_per_h=2.95, p90_usd_per_h=8.85)}
    )
    plan = changed(
        plan,
        gpus=tuple(gpus),
        workloads=(told,),
        certificate=certificate,
        explanation=Explanation(models=(model,), gpus=(), one_more=(bought,)),
        node_losses=(NodeLoss(served_name=name, node=name, unserved_rps=1.5),),
        sharing_saving=SharingSaving(measured_gpus=1, assumed_gpus=1, measured_usd_per_h=2.95, assumed_usd_per_h=2.95),
        warnings=(f"warning of {name}",),
        windows=(
            PlannedWindow(**window, start_s=0, end_s=3600, rates_rps={name: 3.0}),
            PlannedWindow(**window, start_s=3600, end_s=7200, rates_rps={name: 0.0}),
        ),
    )
    outage = Outage(served_name=name, unavailable_s=60, short_s=90, fewest_replicas=0, least_replicas=2, reason=f"why {name}")
    return plan.model_copy(update={"actions": (*plan.actions, Stop(replica=f"{name}-old", reason=f"old {name}")), "outages": (outage,)})


def repeated_plan(gpu_count: int, *, alike: bool = True, residents: int = 3) -> Plan:
    """A plan of so many GPUs, each with so many residents: all alike, or each with sizes and models of its own."""
    first = plan_of(tuple(_resident(0, place, alike=alike) for place in range(residents)), gpu_count=1)
    contents = [tuple(_resident(gpu, place, alike=alike) for place in range(residents)) for gpu in range(gpu_count)]
    [only] = first.desired.gpus
    gpus = tuple(
        only.model_copy(
            update={
                "index": index,
                "replicas": tuple(item.name for item in here),
                "kv_mib": sum(item.ledger.kv_mib for item in here),
                "free_mib": only.memory_mib - sum(item.ledger.total_mib for item in here),
            }
        )
        for index, here in enumerate(contents)
    )
    replicas = tuple(item for here in contents for item in here)
    nodes = tuple(node.model_copy(update={"gpu_count": gpu_count}) for node in first.desired.nodes)
    return changed(first, nodes=nodes, gpus=gpus, replicas=replicas, gpus_used=gpu_count)


def _resident(gpu: int, place: int, *, alike: bool) -> Replica:
    kv_mib = 2500 if alike else 2500 + gpu
    ledger = Ledger(
        weights_mib=12000,
        activation_mib=500,
        cuda_graphs_mib=500,
        context_mib=500,
        kv_mib=kv_mib,
        total_mib=13500 + kv_mib,
        start_peak_mib=13500 + kv_mib,
    )
    model = f"model-{place}" if alike else f"model-{gpu}-{place}"
    return replica(f"{model}-{gpu}", model, gpus=(gpu,), ledger=ledger, kv_floor_mib=2000)
