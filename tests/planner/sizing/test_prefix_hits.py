"""The declared hit rate of the prefix cache reaches the mix that shapes are sized for, and has the physically right effect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan import State
from planner.sizing.blueprint import build
from planner.sizing.groups import service_groups
from planner.spec import SpecError
from planner.spec.fleet import Fleet
from tests.fleets import fleet, workload

LONG = {"rate": "1/s", "input_tokens": 3000, "output_tokens": 20}


def with_hits(*fractions: float) -> Fleet:
    workloads = {f"w{place}": workload("middle", demand=LONG, prefix_hit_fraction=found) for place, found in enumerate(fractions)}
    return fleet(workloads=workloads)


def capacity_rps(asked: Fleet) -> float:
    return next(item.capacity_rps for item in build(asked, State()).candidates if (item.mode, item.gpus) == ("exclusive", 1))


def test_hits_spare_prefill_and_nothing_else() -> None:
    none, half, most = (capacity_rps(with_hits(found)) for found in (0.0, 0.5, 0.9))
    assert none < half < most
    # the answers are decoded and the KV cache is read as before
    assert most < 10 * none


@given(st.lists(st.integers(0, 100).map(lambda percent: percent / 100), min_size=1, max_size=4))
def test_workloads_that_share_replicas_mix_by_their_tokens(fractions: list[float]) -> None:
    (group,) = service_groups(with_hits(*fractions))
    assert group.mix.prefix_hit_fraction == pytest.approx(sum(fractions) / len(fractions), abs=1e-9)
    assert group.mix.input_tokens == pytest.approx(3000)


@pytest.mark.parametrize("wrong", [-0.1, 1.5, "half"])
def test_what_is_no_share_is_refused(wrong: object) -> None:
    with pytest.raises(SpecError, match="prefix_hit_fraction"):
        fleet(workloads={"w": workload("middle", prefix_hit_fraction=wrong)})
