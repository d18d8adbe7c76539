"""A plan in which a replica of a chat's model sleeps beside a background model that has its GPU by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.plan import Asleep, Desired, Replica, RouterPlan
from planner.routes import routes_for
from planner.sleep_costs import as_asleep
from tests.plans import plan_of, replica

# With it a replica takes 58,976 of the 81,090 MiB of its GPU: two of them do not fit.
LARGE_KV_MIB = 40 * 1024


def resident(name: str, model: str, port: int, gpu: int, *, kv_mib: int = LARGE_KV_MIB, sleeps: bool = True, **changes: Any) -> Replica:
    """Its served name is its name without the number."""
    blank = replica(name, name.rsplit("-", 1)[0], model)
    total_mib = blank.ledger.total_mib - blank.ledger.kv_mib + kv_mib
    ledger = blank.ledger.model_copy(update={"kv_mib": kv_mib, "total_mib": total_mib, "start_peak_mib": total_mib})
    arguments = {"port": port, "enable_sleep_mode": sleeps, "kv_cache_memory_bytes": kv_mib << 20, "gpu_memory_utilization": 0.74}
    return replica(name, blank.served_name, model, gpus=(gpu,), ledger=ledger, args=arguments, **changes)


def with_asleep(replicas: Sequence[Replica], names: tuple[str, ...], gpu_count: int) -> Desired:
    """A world with these replicas, of which some are asleep at level 1; nothing is asked of them."""
    wanted = sorted(replicas, key=lambda item: item.name)
    desired = plan_of(tuple(as_asleep(item) if item.name in names else item for item in wanted), gpu_count).desired
    return desired.model_copy(
        update={
            "replicas": tuple(item.model_copy(update={"planned_rps": 0.0}) if item.name in names else item for item in wanted),
            "asleep": tuple(Asleep(name=name, level=1) for name in sorted(names)),
            "routes": routes_for([item for item in wanted if item.name not in names], sorted({item.served_name for item in wanted})),
        }
    )


def chat_beside_batch(
    chat_rps: float = 12.0,
    kv_mib: int = LARGE_KV_MIB,
    *,
    batch_rps: float = 0.5,
    sleeps: bool = True,
    spare: bool = False,
    router: RouterPlan | None = None,
    ports: Sequence[int] = (8100, 8101, 8102, 8103),
) -> Desired:
    """chat-0 on GPU 0, batch-0 awake and chat-1 asleep on GPU 1; with a spare one, batch-1 on GPU 2."""
    llama, qwen = "meta-llama/Meta-Llama-3.1-8B", "Qwen/Qwen3-8B"
    replicas = [
        resident("chat-0", llama, ports[0], 0, planned_rps=chat_rps),
        resident("chat-1", llama, ports[1], 1, kv_mib=kv_mib),
        resident("batch-0", qwen, ports[2], 1, kv_mib=kv_mib, sleeps=sleeps, planned_rps=batch_rps),
    ]
    if spare:
        replicas.append(resident("batch-1", qwen, ports[3], 2, planned_rps=batch_rps))
    desired = with_asleep(replicas, ("chat-1",), gpu_count=3)
    goals = {"ttft_slo_s": 1.0, "tpot_slo_s": 0.06}
    changes = {
        "chat": {"name": "chat", "priority": 100, "rate_rps": chat_rps, **goals},
        "batch": {"name": "batch", "priority": 10, "rate_rps": batch_rps * (1 + spare), "ttft_slo_s": 60.0, "tpot_slo_s": 1.0},
    }
    workloads = tuple(item.model_copy(update=changes[item.served_name]) for item in desired.workloads)
    return desired.model_copy(update={"workloads": workloads, "router": router or desired.router})


def before_and_after(desired: Desired) -> tuple[Desired, Desired]:
    """Two worlds to apply one after the other: at first the models with sleepers alone, all awake, then the one that is meant."""
    asleep = {item.name for item in desired.asleep}
    models = {item.served_name for item in desired.replicas if item.name in asleep}
    early = tuple(item for item in desired.replicas if item.served_name in models)
    return desired.model_copy(update={"replicas": early, "asleep": (), "routes": routes_for(early)}), desired
