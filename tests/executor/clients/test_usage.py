"""Use of GPUs observed from outside."""

from __future__ import annotations

import pytest

from executor.backends.emulated_devices import gpu_busy_s
from executor.clients.usage import increase
from executor.emulator.devices import GpuReading, InstanceReading
from profiles.catalogue import builtin

A100 = builtin().gpu("A100-SXM-80GB")


def instance(profile: str, start: int, busy_s: float) -> InstanceReading:
    return InstanceReading(profile, start, "", 1000, 0, 0, 0, busy_s, ())


@pytest.mark.parametrize(("readings", "grown"), [([], 0), ([7], 0), ([7, 7, 9], 2), ([10, 15, 3, 4], 9)])
def test_a_restarted_engine_counts_from_zero(readings: list[int], grown: int) -> None:
    assert increase(readings) == grown


def test_a_whole_gpu_is_busy_as_long_as_it_worked() -> None:
    assert gpu_busy_s(GpuReading(0, "A100-SXM-80GB", 0, (instance("", 0, 8.0),)), A100) == 8.0


def test_mig_instances_count_by_their_share_of_the_compute() -> None:
    # as the simulation counts: of the seven compute slices one was busy for 7 s and two for 14 s
    parts = (instance("1g.10gb", 0, 7.0), instance("2g.20gb", 4, 14.0))
    assert gpu_busy_s(GpuReading(0, "A100-SXM-80GB", 0, parts), A100) == pytest.approx(1.0 + 4.0)
