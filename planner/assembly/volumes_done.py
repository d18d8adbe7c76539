"""What a plan says of volumes with a deadline: when they are worked on, and how many requests miss it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from planner.demand.joint import Stretch, offered, stretches
from planner.plan.planned_volume import PlannedVolume, VolumeWindow
from planner.spec.fleet import Workload


def planned_volume(workload: Workload, sharing: Sequence[Workload], missing_fraction: float) -> PlannedVolume | None:
    """The volume of a workload, if it has one; sharing are all workloads of its replicas, which lack missing_fraction of their peak."""
    volume, demand = workload.volume, workload.demand
    if volume is None:
        return None
    assert demand.every_s is not None
    missed = _missed_requests(workload, sharing, missing_fraction) if missing_fraction else 0.0
    return PlannedVolume(
        requests=volume.requests,
        every_s=volume.every_s,
        released_s=volume.released_s,
        deadline_s=volume.deadline_s,
        done_s=volume.done_s,
        cycle_s=demand.every_s,
        windows=tuple(VolumeWindow(start_s=item.start_s, end_s=item.end_s, rate_rps=item.rate_rps) for item in demand.windows),
        # a cycle may hold several of its days: what is missed in one of them on average
        missed_requests=min(volume.requests, missed * volume.every_s / demand.every_s),
    )


def _missed_requests(workload: Workload, sharing: Sequence[Workload], missing_fraction: float) -> float:
    """Requests of a cycle that the replicas do not get to in its windows: all others of their model come first.

    Load is counted in tokens, and what the replicas can carry is what they can of the largest load of any window.
    """
    assert workload.demand.every_s is not None
    others = [item for item in sharing if item is not workload]
    times = [item for item in stretches(item.demand for item in sharing) if item.timeline == workload.demand.timeline]
    asked = {stretch: _tokens_per_s(workload, stretch) for stretch in times}
    first = {stretch: sum(_tokens_per_s(item, stretch) for item in others) for stretch in times}
    most = (1 - missing_fraction) * max(asked[stretch] + first[stretch] for stretch in times)
    request_tokens = workload.demand.windows[0].input.mean_tokens + workload.demand.windows[0].output.mean_tokens
    late_tokens = sum(max(0.0, asked[stretch] - max(0.0, most - first[stretch])) * (stretch.end_s - stretch.start_s) for stretch in times)
    # windows of others that go on for longer repeat those of the volume
    return late_tokens / request_tokens / math.ceil(times[-1].end_s / workload.demand.every_s)


def _tokens_per_s(workload: Workload, stretch: Stretch) -> float:
    part = offered(workload.demand, stretch)
    return part.input_tokens_per_s + part.output_tokens_per_s
