"""The simulation is compared with emulated engines request by request. How close they are is for the benchmark to print."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.simulate_agreement import agreement, compared
from planner.simulation.traffic_metrics import RequestRecord

SLOS = {"chat": (0.5, 0.05)}


def record(arrival_s: float, ttft_s: float, tpot_s: float | None, error: str | None = None) -> RequestRecord:
    return RequestRecord("chat", "model", None, arrival_s, 100, 1 if tpot_s is None else 10, ttft_s, tpot_s, error)


LIVE = (record(0.0, 0.1, 0.02), record(1.0, 0.6, 0.04), record(2.0, 0.1, None), record(3.0, 0.1, 0.06))


def test_the_differences_are_those_of_attainment_and_of_mean_tpot() -> None:
    simulated = [replace(item, tpot_s=item.tpot_s and item.tpot_s * 1.1) for item in LIVE]
    simulated[1] = replace(simulated[1], ttft_s=0.3)
    found = compared(LIVE, simulated, SLOS)
    assert (found["live_attainment_fraction"], found["simulated_attainment_fraction"]) == (0.5, 0.75)
    assert found["attainment_difference_points"] == 25.0
    assert (found["live_tpot_s"], found["simulated_tpot_s"]) == (0.04, 0.044)
    assert found["tpot_difference_fraction"] == pytest.approx(0.1)


def test_order_does_not_matter_and_what_failed_is_no_time() -> None:
    failed = (replace(LIVE[3], error="reset"), *LIVE[:3])
    found = compared(failed, LIVE, SLOS)
    assert (found["requests"], found["live_errors"]) == (4, 1)
    assert found["live_tpot_s"] == found["simulated_tpot_s"] == 0.03
    assert found["tpot_difference_fraction"] == 0.0


def test_without_a_second_token_there_is_no_tpot() -> None:
    found = compared(LIVE[2:3], LIVE[2:3], SLOS)
    assert (found["live_tpot_s"], found["tpot_difference_fraction"]) == (None, None)
    assert found["live_ttft_s"] == 0.1


@pytest.mark.parametrize("other", [(), LIVE[:3], (*LIVE[:3], replace(LIVE[3], input_tokens=101))])
def test_records_of_other_requests_are_refused(other: tuple[RequestRecord, ...]) -> None:
    with pytest.raises(ValueError, match=r"same requests|shorter"):
        compared(LIVE, other, SLOS)


@pytest.mark.slow
def test_emulated_engines_and_the_simulation_get_the_same_requests() -> None:
    (found,) = agreement(3.0, (4,))
    assert found["requests"]
    assert found["live_errors"] == 0
    assert found["live_tpot_s"] is not None
    assert found["simulated_tpot_s"] is not None
    assert found["replicas"] is not None
