"""Live replay of requests against what apply started, with the use of engines and GPUs measured meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from executor import credentials
from executor.clients.replay import OnReplayProgress, ReplayRequest, replay
from executor.clients.usage import UsageWatch
from executor.state.folder import StateFolder
from planner.plan import Plan, RouterPlan
from planner.simulation.plan_input import workload_slos
from planner.simulation.simulation_input import SimulatedRequest
from planner.simulation.traffic_metrics import GpuUse, RequestRecord, Summary, summarise
from ullage.engine_of_state import backend_of

# a router of this machine accepts at once; one across a network may need some round trips
_CONNECT_LIMIT_S = 5.0


def replay_plan(
    plan: Plan, requests: Sequence[SimulatedRequest], length_s: float, state_dir: Path, on_progress: OnReplayProgress | None = None
) -> tuple[Summary, tuple[GpuUse, ...]]:
    """Send the requests to the plan's router and wait for their ends; results per workload, and per GPU as far as it can be observed.

    Raises as replayed_records().
    """
    with UsageWatch(plan, backend_of(state_dir)(StateFolder(state_dir), Path())) as watch:
        records = replayed_records(plan, requests, length_s, on_progress)
    return summarise(records, workload_slos(plan)), watch.result()


def replayed_records(
    plan: Plan, requests: Sequence[SimulatedRequest], length_s: float, on_progress: OnReplayProgress | None = None
) -> tuple[RequestRecord, ...]:
    """Send the requests that arrive within length_s to the plan's router and wait for their ends; what each experienced, by arrival.

    Raises ConnectionError when no router answers there, PermissionError when engines demand an API key that ours is not.
    """
    router = plan.desired.router
    _require(router)
    pooling = {workload.name for workload in plan.desired.workloads if not workload.generates}
    live = [
        ReplayRequest(item.arrival_s, item.workload, item.served_name, item.input_tokens, item.output_tokens, item.workload in pooling)
        for item in requests
    ]
    records = replay(router.host, router.port, live, length_s, on_progress)
    denied = sum(record.error in credentials.DENIED_ERRORS for record in records)
    if denied:
        raise PermissionError(f"{denied} of {len(records)} requests were denied: {credentials.DEMAND}")
    return records


def _require(router: RouterPlan) -> None:
    try:
        socket.create_connection((router.host, router.port), timeout=_CONNECT_LIMIT_S).close()
    except OSError as error:
        where = f"{router.host}:{router.port}"
        raise ConnectionError(
            f"no router answers at {where} ({error.strerror or error}); apply the plan first, `ullage status` shows what runs"
        ) from error
