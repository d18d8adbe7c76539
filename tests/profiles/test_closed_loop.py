"""The closed loop in closed form: its limits and its monotony; tests/planner judges it by the step core."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.latency.closed_loop import ClosedLoop, ClosedLoopLatency, closed_loop_latency
from profiles.latency.fits import fit_for
from profiles.latency.steptime import attended_pairs, step_time
from profiles.settings import EngineSettings

COEFFICIENTS = fit_for().coefficients
STEP = step_time(builtin().model("meta-llama/Llama-3.1-8B"), builtin().gpu("H100"), EngineSettings())


def latency(
    clients: float, inputs: float = 1000, outputs: float = 200, most: float = math.inf, *, constant: bool = True
) -> ClosedLoopLatency:
    return closed_loop_latency(STEP, ClosedLoop(inputs, outputs, clients, constant), COEFFICIENTS, 8192, most)


def test_one_client_decodes_alone() -> None:
    found = latency(1)
    decode_s = STEP.step_s(1, 1100, 1)
    assert found.tpot_s == pytest.approx(decode_s, rel=0.2)
    assert found.ttft_s >= STEP.frontend_s + STEP.step_s(1000, 0, 1, attended_pairs(1000))
    assert found.running_requests == 1


def test_clients_beyond_the_kv_pool_wait_for_others() -> None:
    free, tight = latency(64), latency(64, most=16)
    assert tight.tpot_s < free.tpot_s
    assert tight.tpot_s == pytest.approx(latency(16).tpot_s)
    # Little's law: 48 wait while 16 are served
    served_s = latency(16).ttft_s + 199 * tight.tpot_s
    assert tight.ttft_s == pytest.approx(latency(16).ttft_s + 3 * served_s)


def test_equal_lengths_keep_clients_together() -> None:
    assert latency(64, constant=True).ttft_s > latency(64, constant=False).ttft_s


@pytest.mark.parametrize("field", ["input_tokens", "output_tokens", "concurrency"])
def test_senseless_loads_are_refused(field: str) -> None:
    for value in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=field):
            replace(ClosedLoop(10.0, 10.0, 1.0), **dict[str, Any]({field: value}))


@given(clients=st.floats(1, 500), more=st.floats(1, 4), inputs=st.floats(1, 30_000), outputs=st.floats(1, 3000))
def test_more_clients_are_never_faster(clients: float, more: float, inputs: float, outputs: float) -> None:
    few, many = latency(clients, inputs, outputs), latency(clients * more, inputs, outputs)
    assert many.tpot_s >= few.tpot_s * (1 - 1e-4)
    assert many.ttft_s >= few.ttft_s * (1 - 1e-4)
    assert few.tpot_s >= STEP.step_s(0, 0)


@given(clients=st.floats(1, 300), inputs=st.floats(10, 10_000), outputs=st.floats(2, 2000))
def test_what_is_returned_solves_its_own_equations(clients: float, inputs: float, outputs: float) -> None:
    """The prompts that arrive per step are those of the requests in the engine; a second evaluation gives the same."""
    found = latency(clients, inputs, outputs)
    assert math.isfinite(found.ttft_s)
    assert found == latency(clients, inputs, outputs)
    in_engine_s = found.ttft_s + max(outputs - 1, 1) * found.tpot_s
    busy_s = clients / in_engine_s * (STEP.per_token_s * inputs + STEP.per_pair_s * attended_pairs(inputs))
    assert busy_s <= 1.0
