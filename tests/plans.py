"""Small plans that many tests share: GPUs time-shared, cut by MIG, under tensor parallelism, and split by the length of prompts."""

from __future__ import annotations

from typing import Any

from planner.plan import (
    Certificate,
    Desired,
    EngineArgs,
    GpuPlan,
    Ledger,
    LongPrompts,
    MigPlace,
    ModelRules,
    NodePlan,
    Plan,
    PoolRules,
    Prior,
    PromptSplit,
    Replica,
    ReplicaForecast,
    Route,
    RouteBackend,
    RouterPlan,
    Rules,
    SetRoutes,
    Start,
    State,
    TierResult,
    WorkloadForecast,
    state_hash,
)
from planner.risk import Risk

# What an 80 GB H100 gives a process: 79.19 GiB.
H100_USABLE_MIB = 81090
HEADROOM_MIB = 1024


def replica(name: str, served_name: str = "llama-8b", model: str = "meta-llama/Meta-Llama-3.1-8B", **changes: Any) -> Replica:
    """An 8B model in 16-bit with 8 GiB of KV cache on GPU 0; `changes` replaces fields, `args` fields of its arguments."""
    arguments: dict[str, Any] = {
        "model": model,
        "served_model_name": served_name,
        "host": "127.0.0.1",
        "port": 8100,
        "dtype": "bfloat16",
        "max_model_len": 8192,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 2048,
        "kv_cache_memory_bytes": 8 * 1024**3,
        "gpu_memory_utilization": 0.34,
    }
    arguments.update(changes.pop("args", {}))
    fields: dict[str, Any] = {
        "name": name,
        "served_name": served_name,
        "catalogue_model": model,
        "pool": "h100",
        "node": "h100-0",
        "host": "127.0.0.1",
        "gpus": (0,),
        "mode": "time_shared",
        "max_residents": 2,
        "active_limit": 2.0,
        "active_at_worst": 2,
        "engine_version": "0.32.0",
        "args": EngineArgs(**arguments),
        "ledger": Ledger(
            weights_mib=15317,
            activation_mib=1100,
            cuda_graphs_mib=1076,
            context_mib=523,
            kv_mib=8192,
            total_mib=26208,
            start_peak_mib=26208,
        ),
        "capacity_rps": 4.0,
        "planned_rps": 1.5,
        "forecast": ReplicaForecast(ttft_s=0.21, tpot_s=0.031, busy_fraction=0.3, running_requests=4.2, kv_fraction=0.12),
        "start_s": 62.0,
    }
    fields.update(changes)
    return Replica(**fields)


def route(served_name: str, *weighted: tuple[Replica, int]) -> Route:
    """A route over replicas with their weights in thousandths."""
    backends = tuple(RouteBackend(replica=item.name, host=item.host, port=item.args.port, weight=weight) for item, weight in weighted)
    return Route(served_name=served_name, backends=backends)


def plan_of(replicas: tuple[Replica, ...], gpu_count: int, mig_layouts: dict[int, tuple[MigPlace, ...]] | None = None) -> Plan:
    """A plan from nothing that holds these replicas on one node `h100-0`, traffic split evenly over a model's replicas."""
    layouts = mig_layouts or {}
    gpus = tuple(_gpu(index, replicas, layouts.get(index, ())) for index in range(gpu_count))
    served = sorted({item.served_name for item in replicas})
    routes = tuple(_even_route(name, tuple(item for item in replicas if item.served_name == name)) for name in served)
    desired = Desired(
        nodes=(
            NodePlan(
                name="h100-0",
                pool="h100",
                host="127.0.0.1",
                gpu_type="H100-SXM-80GB",
                gpu_count=gpu_count,
                host_cores=96,
                host_memory_mib=1 << 20,
            ),
        ),
        gpus=gpus,
        replicas=replicas,
        routes=routes,
        router=RouterPlan(host="127.0.0.1", port=8080, admin_port=9901),
        workloads=tuple(_workload(name) for name in served),
        cost_usd_per_h=2.95 * sum(gpu.mode != "free" for gpu in gpus),
        gpus_used=sum(gpu.mode != "free" for gpu in gpus),
        risk=Risk(),
        certificate=_certificate(),
        input_hashes={"fleet.yaml": "0" * 64},
        rules=Rules(
            models=tuple(ModelRules(served_name=name) for name in served),
            pools=(PoolRules(name="h100", price_usd_per_h=2.95, billing="gpu"),),
            headroom_mib=HEADROOM_MIB,
            max_active_residents=3,
        ),
    )
    starts = tuple(Start(replica=item.name, node=item.node, gpus=item.gpus, reason="new") for item in replicas)
    prior = Prior(serial=0, state_hash=state_hash(State()))
    return Plan(desired=desired, prior=prior, actions=(*starts, SetRoutes(routes=routes, reason="new replicas")))


def time_shared_plan() -> Plan:
    """Two GPUs: Llama on both, with Qwen beside it on GPU 0 and a quantised Mistral on GPU 1."""
    mistral = replica(
        "mistral-7b-0",
        "mistral-7b",
        "mistralai/Mistral-7B-v0.3",
        gpus=(1,),
        args={"port": 8103, "quantization": "fp8", "kv_cache_dtype": "fp8", "revision": "main"},
    )
    qwen = replica("qwen3-8b-0", "qwen3-8b", "Qwen/Qwen3-8B", args={"port": 8102, "enforce_eager": True, "stream_interval": 4})
    llamas = (replica("llama-8b-0"), replica("llama-8b-1", gpus=(1,), args={"port": 8101}))
    return plan_of((*llamas, mistral, qwen), gpu_count=2)


def mig_plan() -> Plan:
    """One GPU cut into 4g.40gb at start slot 0 and 3g.40gb at start slot 4, one replica in each."""
    places = (MigPlace(profile="4g.40gb", start=0), MigPlace(profile="3g.40gb", start=4))
    arguments = {"gpu_memory_utilization": 0.65}
    first = replica("llama-8b-0", mode="mig", mig=places[0], max_residents=1, active_limit=1.0, active_at_worst=1, args=arguments)
    second = replica(
        "qwen3-8b-0",
        "qwen3-8b",
        "Qwen/Qwen3-8B",
        mode="mig",
        mig=places[1],
        max_residents=1,
        active_limit=1.0,
        active_at_worst=1,
        args={**arguments, "port": 8101},
    )
    return plan_of((first, second), gpu_count=1, mig_layouts={0: places})


def split_plan() -> Plan:
    """Two GPUs of one model: one for prompts of at most 1000 tokens, the other for longer ones."""
    alone: dict[str, Any] = {"mode": "exclusive", "max_residents": 1, "active_limit": 1.0, "active_at_worst": 1}
    rule = LongPrompts(served_name="llama-8b", over_tokens=1000, bytes_per_token=4.0, over_bytes=4000)
    short = replica("llama-8b-0", **alone)
    names = {"port": 8101, "also_served_as": ("llama-8b",)}
    long = replica("llama-8b-long-0", "llama-8b-long", gpus=(1,), longer_of=rule, args=names, **alone)
    plan = plan_of((short, long), gpu_count=2)
    routes = tuple(
        item.model_copy(update={"longer": rule.model_copy(update={"served_name": "llama-8b-long"})})
        if item.served_name == "llama-8b"
        else item
        for item in plan.desired.routes
    )
    split = PromptSplit(
        workload="llama-8b",
        served_name="llama-8b",
        longer=routes[0].longer,
        long_workload="llama-8b-long",
        unsplit_usd_per_h=9.0,
        unsplit_lost_rps=0.0,
        split_usd_per_h=5.9,
        split_lost_rps=0.0,
        reason="prompts of more than 1000 tokens get replicas of their own",
    )
    desired = plan.desired.model_copy(update={"routes": routes, "prompt_splits": (split,)})
    actions = tuple(action.model_copy(update={"routes": routes}) if isinstance(action, SetRoutes) else action for action in plan.actions)
    return plan.model_copy(update={"desired": desired, "actions": actions})


def tensor_parallel_plan() -> Plan:
    """Three GPUs: Llama 70B over GPUs 0 and 1, an 8B model alone on GPU 2."""
    large = replica(
        "llama-70b-0",
        "llama-70b",
        "meta-llama/Meta-Llama-3.1-70B",
        gpus=(0, 1),
        mode="tensor_parallel",
        max_residents=1,
        active_limit=1.0,
        active_at_worst=1,
        start_s=180.0,
        ledger=Ledger(
            weights_mib=67290,
            activation_mib=1200,
            cuda_graphs_mib=1076,
            context_mib=1843,
            kv_mib=6144,
            total_mib=77553,
            start_peak_mib=77553,
        ),
        args={"tensor_parallel_size": 2, "kv_cache_memory_bytes": 6 * 1024**3, "gpu_memory_utilization": 0.94},
    )
    small = replica("llama-8b-0", gpus=(2,), mode="exclusive", max_residents=1, active_limit=1.0, active_at_worst=1, args={"port": 8101})
    return plan_of((large, small), gpu_count=3)


def _even_route(served_name: str, replicas: tuple[Replica, ...]) -> Route:
    each, left = divmod(1000, len(replicas))
    return route(served_name, *((item, each + (index < left)) for index, item in enumerate(replicas)))


def _gpu(index: int, replicas: tuple[Replica, ...], layout: tuple[MigPlace, ...]) -> GpuPlan:
    here = tuple(item for item in replicas if index in item.gpus)
    weights_mib, kv_mib = sum(item.ledger.weights_mib for item in here), sum(item.ledger.kv_mib for item in here)
    total_mib = sum(item.ledger.total_mib for item in here)
    return GpuPlan(
        node="h100-0",
        index=index,
        pool="h100",
        gpu_type="H100-SXM-80GB",
        mode=here[0].mode if here else "free",
        mig_layout=layout,
        replicas=tuple(item.name for item in here),
        memory_mib=H100_USABLE_MIB,
        headroom_mib=HEADROOM_MIB,
        weights_mib=weights_mib,
        kv_mib=kv_mib,
        overhead_mib=total_mib - weights_mib - kv_mib,
        free_mib=H100_USABLE_MIB - HEADROOM_MIB - total_mib,
        busy_fraction=sum(item.forecast.busy_fraction for item in here),
        interference="assumed" if len(here) > 1 and not layout else "none",
    )


def _workload(served_name: str) -> WorkloadForecast:
    return WorkloadForecast(
        name=f"{served_name}-chat",
        served_name=served_name,
        latency_class="interactive",
        priority=10,
        ttft_slo_s=0.5,
        tpot_slo_s=0.05,
        rate_rps=1.5,
        input_tokens=500.0,
        output_tokens=200.0,
        ttft_s=0.21,
        tpot_s=0.031,
        unserved_rps=0.0,
    )


def _certificate() -> Certificate:
    tier = TierResult(goal="cost_usd_per_h", value=5.9, bound=5.9, gap_fraction=0.0)
    return Certificate(solver="test", status="optimal", tiers=(tier,), baselines={}, engines=())
