from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from planner.schedule.horizon import Horizon, during, horizon
from planner.schedule.phases import MOST_PHASES, Outlay, PhaseRules, PhaseSegments, changes, hours, phases
from planner.spec import Fleet
from tests.fleets import fleet
from tests.planner.schedule.test_horizon import windowed


def _fleet(rates: list[int]) -> Fleet:
    """A model whose rate changes from hour to hour."""
    windows = [(f"{hour:02}:00-{hour + 1:02}:00", f"{rate}/s") for hour, rate in enumerate(rates) if rate]
    return fleet(workloads={"w": windowed("small", *windows)})


def _outlay(spec: Fleet, time: Horizon) -> Callable[[PhaseSegments], Outlay]:
    """A dollar for each request/s of the peak, by a node each."""

    def outlay(segments: PhaseSegments) -> Outlay:
        peak_rps = max((item.demand.peak_rps for item in during(spec, time, segments).workloads), default=0.0)
        return Outlay(0.0, peak_rps, {"pool": round(peak_rps)})

    return outlay


def _rules(switch_usd: float = 0.0, shortest_s: float = 0.0) -> PhaseRules:
    return PhaseRules(lambda one, other: switch_usd * max(0, other.rented["pool"] - one.rented["pool"]), shortest_s, 0.01)


def _peaks(spec: Fleet, time: Horizon, found: list[PhaseSegments]) -> list[float]:
    return [_outlay(spec, time)(phase).usd_per_h for phase in found]


def test_where_changes_are_free_each_rate_has_its_phase() -> None:
    spec = _fleet([1] * 8 + [4] * 12 + [1] * 3 + [1])
    time = horizon(spec)
    found = phases(time, spec.workloads, _outlay(spec, time), _rules())
    assert _peaks(spec, time, found) == [1.0, 4.0]
    assert [hours(time, phase) for phase in found] == [12.0, 12.0]
    # from night to day and back: the night goes past midnight
    assert len(changes(time, found)) == 2


def test_a_change_that_costs_more_than_it_saves_is_not_made() -> None:
    spec = _fleet([1] * 8 + [4] * 12 + [1] * 4)
    time = horizon(spec)
    # a day at 4 instead of 1 in half of it: 36 dollars
    assert len(phases(time, spec.workloads, _outlay(spec, time), _rules(switch_usd=11.0))) == 2
    assert len(phases(time, spec.workloads, _outlay(spec, time), _rules(switch_usd=12.1))) == 1


def test_no_phase_is_shorter_than_wanted() -> None:
    spec = _fleet([1] * 8 + [4] + [1] * 8 + [3] * 7)
    time = horizon(spec)
    found = phases(time, spec.workloads, _outlay(spec, time), _rules(shortest_s=7200.0))
    assert _peaks(spec, time, found) in ([4.0, 3.0], [4.0])
    assert len(phases(time, spec.workloads, _outlay(spec, time), _rules(shortest_s=3600.0))) == 3


def test_lost_demand_counts_before_money() -> None:
    spec = _fleet([1] * 12 + [4] * 12)
    time = horizon(spec)

    def outlay(segments: PhaseSegments) -> Outlay:
        # together something is left unserved, and all is cheaper
        return Outlay(*((1.0, 1.0) if len(segments) == 24 else (0.0, 5.0)), {"pool": 1})

    assert len(phases(time, spec.workloads, outlay, _rules())) == 2


@given(st.lists(st.integers(0, 6), min_size=24, max_size=24), st.floats(0.0, 20.0), st.sampled_from([0.0, 3600.0, 7200.0]))
def test_phases_cover_all_time_once_and_never_cost_more_than_one_plan(rates: list[int], switch_usd: float, shortest_s: float) -> None:
    """Invariant 39."""
    if not any(rates):
        rates[0] = 1
    spec = _fleet(rates)
    time = horizon(spec)
    outlay, rules = _outlay(spec, time), _rules(switch_usd, shortest_s)
    found = phases(time, spec.workloads, outlay, rules)
    assert sorted(number for phase in found for number in phase) == list(range(len(time.segments)))
    assert len(found) <= MOST_PHASES
    usd = sum(outlay(phase).usd_per_h * hours(time, phase) for phase in found)
    usd += sum(rules.switch_usd(outlay(one), outlay(other)) for one, other in changes(time, found))
    if not shortest_s:
        # each of the joins may have cost one percent of the two
        single = max(rates) * time.end_s / 3600
        assert usd <= single * 1.01**MOST_PHASES + 1e-9
