"""Points refuse what no engine shows; one of several answers is preferred, always the same one."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from profiles.store.measurements import Measurements, Provenance, preferred
from profiles.store.plausible import MeasurementError
from profiles.store.versions import version_key
from tests.profiles.points import measured, pair, point, side, start


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"tpot_s": 9.5}, "tpot_s"),
        ({"tpot_s": 9.5e-6}, "tpot_s"),
        ({"tpot_s": float("nan")}, "tpot_s"),
        ({"ttft_s": 9000.0}, "ttft_s"),
        ({"ttft_s": -0.1}, "ttft_s"),
        ({"ttft_s": float("inf")}, "ttft_s"),
        ({"request_s": 0.0}, "request_s"),
        ({"rate_rps": 0.0}, "rate_rps"),
        ({"rate_rps": 6000.0}, "rate_rps"),
        ({"rate_rps": 0.006}, "rate_rps"),
        ({"concurrency": 0}, "concurrency"),
        ({"input_tokens": 0}, "input_tokens"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size"),
        ({"statistic": "mode"}, "statistic"),
        ({"model": " x"}, "model"),
        ({"gpu": "a\nb"}, "gpu"),
        ({"ttft_s": None, "tpot_s": None}, "ttft_s"),
    ],
)
def test_latency_that_cannot_be(values: dict[str, Any], field: str) -> None:
    with pytest.raises(MeasurementError) as caught:
        point(**values)
    assert caught.value.field == field


def test_a_thousandfold_time_does_not_fit_the_rate_and_the_clients() -> None:
    assert point(rate_rps=6.0).rate_rps == 6.0
    with pytest.raises(MeasurementError, match=r"6 requests/s that take 91.2065 s each are 547 at a time, but concurrency is 8"):
        point(rate_rps=6.0, ttft_s=90.0)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"weights_mib": -1.0}, "weights_mib"),
        ({"weights_mib": None}, "weights_mib"),
        ({"kv_tokens": 0}, "kv_tokens"),
        ({"activation_mib": -0.5}, "activation_mib"),
        ({"load_s": float("nan")}, "load_s"),
        ({"gpu_memory_utilization_fraction": 92.0}, "gpu_memory_utilization_fraction"),
    ],
)
def test_start_that_cannot_be(values: dict[str, Any], field: str) -> None:
    with pytest.raises(MeasurementError) as caught:
        start(**values)
    assert caught.value.field == field


@pytest.mark.parametrize("values", [{"slowdown": 0.1}, {"slowdown": float("nan")}, {"phase": "idle"}, {"active_thread_fraction": 50.0}])
def test_pair_that_cannot_be(values: dict[str, Any]) -> None:
    with pytest.raises(MeasurementError):
        side(**values)


@pytest.mark.parametrize("date", ["2026-13-01", "1.5.2026", "20260501", "today", ""])
def test_days_that_do_not_exist(date: str) -> None:
    with pytest.raises(MeasurementError, match="date"):
        measured(date=date)


def test_versions_in_order() -> None:
    versions = [None, "0.5.1", "0.5.1.post1", "0.9", "0.19.0rc1", "0.19.0", "0.19.0.post1", "v0.20", "0.32.0+cpu", "1.0.0rc3", "1.0.0"]
    assert sorted([*versions[5:], *versions[:5]], key=version_key) == versions
    assert version_key("0.19") == version_key("0.19.0")
    assert version_key("nightly") == version_key(None)
    assert version_key("9" * 5000) > version_key("1.0")


RANKED = [
    Provenance(kind="measured", source="b", engine_version="0.32.0", date="2026-05-02"),
    Provenance(kind="measured", source="b", engine_version="0.32.0", date="2026-05-01"),
    Provenance(kind="measured", source="a", engine_version="0.32.0", date="2026-05-01"),
    Provenance(kind="measured", source="b", engine_version="0.32.0"),
    Provenance(kind="measured", source="b", engine_version="0.9.0", date="2026-06-01"),
    Provenance(kind="measured", source="b", date="2026-06-01"),
    Provenance(kind="fitted", source="b", engine_version="0.33.0", date="2026-06-01"),
    Provenance(kind="estimated", source="b", engine_version="0.33.0", date="2026-06-01"),
]


def test_preferred_follows_the_rule_and_not_the_order() -> None:
    left = [point(provenance=provenance) for provenance in RANKED]
    while left:
        assert preferred(left) == preferred(reversed(left)) == left[0]
        left = left[1:]
    assert preferred([]) is None


def test_the_version_in_use_beats_a_newer_one_but_not_a_measurement() -> None:
    points = [point(provenance=provenance) for provenance in RANKED]
    assert preferred(points, "0.9.0") == points[4]
    assert preferred(points, "0.33.0") == points[0]


def test_equal_provenance_is_decided_by_content() -> None:
    points = [point(tpot_s=tpot_s) for tpot_s in (0.0095, 0.01, 0.0105)]
    assert len({preferred(order) for order in permutations(points)}) == 1


def test_look_ups() -> None:
    mine = point()
    others = (point(gpu="x"), point(mig_profile="1g.10gb"), point(tensor_parallel_size=2), point(pipeline_parallel_size=2))
    found = Measurements(latency=(mine, *others, point(provenance=measured(engine="sglang"))))
    assert found.latency_of(mine.model, mine.gpu, None, 1) == (mine,)
    assert not found.latency_of("other", mine.gpu, None, 1)


def test_pairs_are_found_from_either_side() -> None:
    found = Measurements(pairs=(pair(),))
    (seen,) = found.pairs_of("b", "a", "H100-SXM-80GB", "mps")
    assert (seen.first.model, seen.first.slowdown, seen.second.slowdown) == ("b", 1.7, 1.4)
    assert found.pairs_of("a", "b", "H100-SXM-80GB", "mps") == (pair(),)
    assert not found.pairs_of("a", "b", "H100-SXM-80GB", "time_shared")


def test_sums_keep_each_point_once() -> None:
    both = Measurements(latency=(point(),)) + Measurements(latency=(point(), point(concurrency=9)))
    assert len(both.latency) == 2
    assert both
    assert not Measurements()
