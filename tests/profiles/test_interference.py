"""What measured pairs say: factors beyond the equal share, and when a pair counts as measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.latency.interference import GRID, factor_of, group_factor, measured_factor
from profiles.store.measurements import Measurements, PairPoint, PairSharing, PairSide, Phase, Provenance

GPU = "H100-SXM-80GB"


def pair(
    first: str, second: str, phases: tuple[Phase, Phase], slowdowns: tuple[float, float], sharing: PairSharing = "time_shared"
) -> PairPoint:
    sides = [
        PairSide(model=model, phase=phase, concurrency=4, input_tokens=64, output_tokens=8, slowdown=slowdown)
        for model, phase, slowdown in zip((first, second), phases, slowdowns, strict=True)
    ]
    provenance = Provenance(kind="measured", source="test", engine_version="0.32.0")
    return PairPoint(first=sides[0], second=sides[1], gpu=GPU, sharing=sharing, provenance=provenance)


def grid(first: str, second: str, slowdowns: tuple[float, float], sharing: PairSharing = "time_shared") -> Measurements:
    return Measurements(pairs=tuple(pair(first, second, phases, slowdowns, sharing) for phases in GRID))


def test_the_share_is_not_the_neighbours_fault() -> None:
    assert factor_of(2.2, "time_shared") == pytest.approx(1.1)
    assert factor_of(1.2, "mps") == pytest.approx(1.2)
    # slices that the neighbour left unused are no promise
    assert factor_of(1.5, "time_shared") == 1.0


def test_each_side_has_its_own_factor_and_the_worst_phase_counts() -> None:
    store = grid("a", "b", (2.1, 2.4)) + Measurements(pairs=(pair("b", "a", ("decode", "prefill"), (2.2, 2.6)),))
    assert measured_factor(store, "a", "b", GPU, "time_shared") == pytest.approx(1.3)
    assert measured_factor(store, "b", "a", GPU, "time_shared") == pytest.approx(1.2)
    assert measured_factor(store, "a", "b", GPU, "mps") is None
    assert measured_factor(store, "a", "b", "A100-SXM-80GB", "time_shared") is None


def test_a_pair_is_measured_when_every_phase_is() -> None:
    whole = grid("a", "b", (2.2, 2.2))
    part = Measurements(pairs=whole.pairs[1:])
    assert measured_factor(part, "a", "b", GPU, "time_shared") is None
    mixed = Measurements(pairs=(pair("a", "b", ("mixed", "mixed"), (2.4, 2.0)),))
    assert measured_factor(part + mixed, "a", "b", GPU, "time_shared") == pytest.approx(1.2)


@given(slowdown=st.floats(0.8, 10.0), assumed=st.floats(1.0, 2.0))
def test_a_group_is_as_slow_as_its_worst_pair(slowdown: float, assumed: float) -> None:
    store = grid("a", "b", (slowdown, 2.0))
    factor, measured = group_factor(store, "a", ["b"], GPU, "time_shared", assumed)
    assert (factor, measured) == (factor_of(slowdown, "time_shared"), True)
    assert group_factor(store, "a", ["b", "c"], GPU, "time_shared", assumed) == (max(factor, assumed), False)
    assert group_factor(store, "a", [], GPU, "time_shared", assumed) == (assumed, False)
