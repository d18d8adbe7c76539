"""A plan as tables of flat rows, one function per kind: gpus, replicas, workloads, moves, routes.

Every row of a table has the same columns in the same order, those of COLUMNS. Values are plain: text, numbers, booleans, None for what
there is not. Numbers end in their unit; counts, indices and vLLM's own flag names have none. Several names in one cell are joined by ", ".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from planner.plan import GpuPlan, GpuThroughput, MigPlace, Plan, Replica, WorkloadForecast, gpu_throughputs
from planner.spec.nearest import nearest
from ullage.views.tables.move_table import MOVE_COLUMNS, TableRow, move_rows

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gpus": (
            *("node", "gpu", "pool", "gpu_type", "mode", "mig_layout", "replicas", "memory_mib", "taken_mib", "headroom_mib"),
            *("weights_mib", "kv_mib", "kv_grown_mib", "overhead_mib", "free_mib", "busy_fraction", "interference"),
            *("planned_tokens_per_s", "capacity_tokens_per_s"),
        ),
        "replicas": (
            *("replica", "served_name", "model", "pool", "node", "gpus", "mig_profile", "mode", "engine_version", "asleep"),
            *("tensor_parallel_size", "max_model_len", "max_num_seqs", "planned_rps", "capacity_rps", "ttft_s", "tpot_s"),
            *("busy_fraction", "kv_fraction", "running_requests", "weights_mib", "activation_mib", "cuda_graphs_mib", "context_mib"),
            *("kv_mib", "kv_grown_mib", "total_mib", "start_peak_mib", "start_s"),
        ),
        "workloads": (
            *("workload", "served_name", "latency_class", "priority", "rate_rps", "unserved_rps", "unserved_reason", "replicas"),
            *("ttft_s", "ttft_slo_s", "tpot_s", "tpot_slo_s", "input_tokens", "output_tokens", "input_p99_tokens", "output_p99_tokens"),
            *("burstiness", "prefix_hit_fraction", "attainment_fraction", "kept_load_factor", "best_effort", "tolerate_nodes"),
        ),
        "moves": MOVE_COLUMNS,
        "routes": ("served_name", "replica", "host", "port", "weight", "share_fraction"),
    }
)
"""Kind of table -> its columns, in their order. ttft_s and tpot_s are at the quantile of the plan's risk; attainment_fraction is the least
of the simulated stresses."""


def plan_rows(plan: Plan, kind: str) -> list[TableRow]:
    """The rows of one kind of table, in the order of the plan; ValueError names the nearest kind for one that there is not."""
    return _ROWS[known_kind(kind, COLUMNS)](plan)


def known_kind(kind: str, kinds: Mapping[str, object]) -> str:
    """The kind itself; ValueError with the nearest spelling, and all there are, when it is none of them."""
    if kind in kinds:
        return kind
    near = nearest(kind, kinds)
    meant = f": did you mean {near!r}?" if near is not None else ";"
    raise ValueError(f"there is no table {kind!r}{meant} there are {', '.join(kinds)}")


def gpu_rows(plan: Plan) -> list[TableRow]:
    """One row per GPU of the fleet. kv_grown_mib is the part of kv_mib beyond what the plan needs."""
    replicas = {replica.name: replica for replica in plan.desired.replicas}
    throughputs = gpu_throughputs(plan.desired)
    return [_gpu(gpu, replicas, throughputs.get((gpu.node, gpu.index))) for gpu in plan.desired.gpus]


def _gpu(gpu: GpuPlan, replicas: Mapping[str, Replica], throughput: GpuThroughput | None) -> TableRow:
    return {
        "node": gpu.node,
        "gpu": gpu.index,
        "pool": gpu.pool,
        "gpu_type": gpu.gpu_type,
        "mode": gpu.mode,
        "mig_layout": ", ".join(map(_place, gpu.mig_layout)),
        "replicas": ", ".join(gpu.replicas),
        "memory_mib": gpu.memory_mib,
        "taken_mib": gpu.taken_mib,
        "headroom_mib": gpu.headroom_mib,
        "weights_mib": gpu.weights_mib,
        "kv_mib": gpu.kv_mib,
        "kv_grown_mib": sum(replicas[name].kv_grown_mib for name in gpu.replicas),
        "overhead_mib": gpu.overhead_mib,
        "free_mib": gpu.free_mib,
        "busy_fraction": gpu.busy_fraction,
        "interference": gpu.interference,
        "planned_tokens_per_s": throughput.planned_tokens_per_s if throughput else 0.0,
        "capacity_tokens_per_s": throughput.capacity_tokens_per_s if throughput else 0.0,
    }


def _place(place: MigPlace) -> str:
    return f"{place.profile}@{place.start}"


def replica_rows(plan: Plan) -> list[TableRow]:
    """One row per replica. Memory is per GPU; asleep is the level at which it sleeps, 0 for one that is awake."""
    levels = {item.name: int(item.level) for item in plan.desired.asleep}
    return [_replica(replica, levels.get(replica.name, 0)) for replica in plan.desired.replicas]


def _replica(replica: Replica, level: int) -> TableRow:
    ledger, forecast = replica.ledger, replica.forecast
    return {
        "replica": replica.name,
        "served_name": replica.served_name,
        "model": replica.catalogue_model,
        "pool": replica.pool,
        "node": replica.node,
        "gpus": ", ".join(map(str, replica.gpus)),
        "mig_profile": replica.mig.profile if replica.mig is not None else None,
        "mode": replica.mode,
        "engine_version": replica.engine_version,
        "asleep": level,
        "tensor_parallel_size": replica.args.tensor_parallel_size,
        "max_model_len": replica.args.max_model_len,
        "max_num_seqs": replica.args.max_num_seqs,
        "planned_rps": replica.planned_rps,
        "capacity_rps": replica.capacity_rps,
        "ttft_s": forecast.ttft_s,
        "tpot_s": None if replica.args.runner == "pooling" else forecast.tpot_s,
        "busy_fraction": forecast.busy_fraction,
        "kv_fraction": forecast.kv_fraction,
        "running_requests": forecast.running_requests,
        "weights_mib": ledger.weights_mib,
        "activation_mib": ledger.activation_mib,
        "cuda_graphs_mib": ledger.cuda_graphs_mib,
        "context_mib": ledger.context_mib,
        "kv_mib": ledger.kv_mib,
        "kv_grown_mib": replica.kv_grown_mib,
        "total_mib": ledger.total_mib,
        "start_peak_mib": ledger.start_peak_mib,
        "start_s": replica.start_s,
    }


def workload_rows(plan: Plan) -> list[TableRow]:
    """One row per declared workload. replicas counts those of its model, which its workloads share."""
    replicas = Counter(replica.served_name for replica in plan.desired.replicas)
    return [_workload(workload, replicas[workload.served_name]) for workload in plan.desired.workloads]


def _workload(workload: WorkloadForecast, replicas: int) -> TableRow:
    return {
        "workload": workload.name,
        "served_name": workload.served_name,
        "latency_class": workload.latency_class,
        "priority": workload.priority,
        "rate_rps": workload.rate_rps,
        "unserved_rps": workload.unserved_rps,
        "unserved_reason": workload.unserved_reason,
        "replicas": replicas,
        "ttft_s": workload.ttft_s,
        "ttft_slo_s": workload.ttft_slo_s,
        "tpot_s": workload.tpot_s if workload.generates else None,
        "tpot_slo_s": workload.tpot_slo_s,
        "input_tokens": workload.input_tokens,
        "output_tokens": workload.output_tokens,
        "input_p99_tokens": workload.input_p99_tokens,
        "output_p99_tokens": workload.output_p99_tokens,
        "burstiness": workload.burstiness,
        "prefix_hit_fraction": workload.prefix_hit_fraction,
        "attainment_fraction": min((item.fraction for item in workload.simulated), default=None),
        "kept_load_factor": workload.kept_load_factor,
        "best_effort": workload.best_effort,
        "tolerate_nodes": workload.tolerate_nodes,
    }


def route_rows(plan: Plan) -> list[TableRow]:
    """One row per replica of a route; a model without any has one row without a replica: its clients get a 503."""
    rows: list[TableRow] = []
    for route in plan.desired.routes:
        total = sum(backend.weight for backend in route.backends)
        rows.extend(
            {
                "served_name": route.served_name,
                "replica": backend.replica,
                "host": backend.host,
                "port": backend.port,
                "weight": backend.weight,
                "share_fraction": backend.weight / total,
            }
            for backend in route.backends
        )
        if not route.backends:
            rows.append({column: route.served_name if column == "served_name" else None for column in COLUMNS["routes"]})
    return rows


def plan_move_rows(plan: Plan) -> list[TableRow]:
    """One row per action of the plan, in the order in which apply executes them."""
    return move_rows(plan.actions, plan.started)


_ROWS: Mapping[str, Callable[[Plan], list[TableRow]]] = MappingProxyType(
    {"gpus": gpu_rows, "replicas": replica_rows, "workloads": workload_rows, "moves": plan_move_rows, "routes": route_rows}
)
