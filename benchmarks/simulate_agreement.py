"""The simulation against emulated engines: the same plan and the same requests, in virtual time and in real time.

The plan is the demo's: 27 tenants with 13 models on shared H100. Each of its engines is a process that answers over HTTP behind Envoy, as
`ullage apply --backend emulated` starts them; a client sends the busiest stretch of the demo's trace. The simulation gets the same
requests with the same times of arrival, but draws its step times from another seed than the engines do.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from time import process_time

from planner.plan import Plan, State
from planner.simulation.plan_input import planned_world, workload_slos
from planner.simulation.simulation_input import SimulatedRequest
from planner.simulation.traffic_metrics import RequestRecord, summarise
from planner.simulation.virtual_time import simulate
from profiles.catalogue import builtin
from ullage.checking import architecture_of
from ullage.demo import EXAMPLE, REPEAT_RATE, TRACE, emulated, example_folder, on_free_ports
from ullage.inputs import read_fleet, read_trace
from ullage.planning.plan import plan_fleet
from ullage.traffic.replayed import replayed_records
from ullage.traffic.requests import tagged, window_of

# How close both should be: attainment in percentage points, mean TPOT relative to that of the engines.
ATTAINMENT_TARGET_POINTS, TPOT_TARGET_FRACTION = 2.0, 0.05
# Times the rate of the trace: what the demo is planned for, where every goal is met, and half as much again, where many are missed.
REPEAT_RATES = (REPEAT_RATE, REPEAT_RATE * 3 // 2)


def agreement(seconds: float, repeat_rates: Sequence[int] = REPEAT_RATES) -> list[dict[str, float | None]]:
    """Both on the busiest stretch of that length of the demo's trace, at each multiple of its rate; figures as compared().

    Takes that many stretches in real time, and about half a minute to plan, to start the engines and to stop them.
    """
    folder = example_folder(EXAMPLE)
    plan = plan_fleet(on_free_ports(read_fleet(folder / "fleet.yaml")), State()).plan
    rows: list[dict[str, float | None]] = []
    with tempfile.TemporaryDirectory(prefix="ullage-agreement-") as work, emulated(plan, Path(work) / ".ullage", _quiet):
        for repeat_rate in repeat_rates:
            stretch, length_s = window_of(read_trace(folder / TRACE), seconds, None, repeat_rate)
            requests = tagged(plan, stretch, {})
            live = replayed_records(plan, requests, length_s)
            simulated, real_time_ratio = _simulated(plan, requests)
            found = compared(live, simulated, workload_slos(plan))
            about = {"repeat_rate": repeat_rate, "replicas": len(plan.desired.replicas), "stretch_s": length_s}
            rows.append({**about, **found, "real_time_ratio": real_time_ratio})
    return rows


def _quiet(line: str) -> None:
    """Standard output is for figures."""
    print(line, file=sys.stderr)


def _simulated(plan: Plan, requests: Sequence[SimulatedRequest]) -> tuple[tuple[RequestRecord, ...], float]:
    """Records, and simulated seconds per processor second."""
    world = planned_world(plan, builtin().gpu, architecture_of)
    begun_s = process_time()
    result = simulate(world.engines, world.gpus, requests, world.routes)
    return result.records, round(result.end_s / (process_time() - begun_s), 1)


def compared(
    live: Sequence[RequestRecord], simulated: Sequence[RequestRecord], slos: dict[str, tuple[float, float]]
) -> dict[str, float | None]:
    """Attainment, mean TPOT and mean TTFT of both, and how far the simulation is from the engines.

    Means are over the requests that both served in full, None where there are none; goals as summarise() takes them. Raises ValueError for
    records of different requests.
    """
    pairs = list(zip(*(sorted(records, key=_identity) for records in (live, simulated)), strict=True))
    if not pairs or any(_identity(one) != _identity(other) for one, other in pairs):
        raise ValueError("the records are not of the same requests")
    attained = [summarise(records, slos).total.attainment_fraction or 0.0 for records in (live, simulated)]
    served = [(one, other) for one, other in pairs if one.error is None and other.error is None]
    tpots = [(one.tpot_s, other.tpot_s) for one, other in served if one.tpot_s is not None and other.tpot_s is not None]
    ttfts = [(one.ttft_s, other.ttft_s) for one, other in served if one.ttft_s is not None and other.ttft_s is not None]
    live_tpot_s, simulated_tpot_s = _means(tpots)
    live_ttft_s, simulated_ttft_s = _means(ttfts)
    return {
        "requests": len(pairs),
        "live_errors": sum(one.error is not None for one, _ in pairs),
        "live_attainment_fraction": round(attained[0], 5),
        "simulated_attainment_fraction": round(attained[1], 5),
        "attainment_difference_points": round(100 * (attained[1] - attained[0]), 3),
        "attainment_target_points": ATTAINMENT_TARGET_POINTS,
        "live_tpot_s": live_tpot_s,
        "simulated_tpot_s": simulated_tpot_s,
        "tpot_difference_fraction": round(simulated_tpot_s / live_tpot_s - 1, 4) if live_tpot_s and simulated_tpot_s else None,
        "tpot_target_fraction": TPOT_TARGET_FRACTION,
        "live_ttft_s": live_ttft_s,
        "simulated_ttft_s": simulated_ttft_s,
    }


def _identity(record: RequestRecord) -> tuple[float, str, int, int]:
    return record.arrival_s, record.workload, record.input_tokens, record.output_tokens


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float | None, float | None]:
    if not pairs:
        return None, None
    return round(fmean(one for one, _ in pairs), 6), round(fmean(other for _, other in pairs), 6)
