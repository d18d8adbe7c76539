"""Another MIG layout: what stays is left alone, what is used is not touched, and a failure gives the former layout back."""

from __future__ import annotations

import pynvml
import pytest

from executor.errors import ExecutorError
from executor.nvml.driver import GpuDriverError, session
from executor.nvml.gpu_readings import read_gpu
from executor.nvml.mig_change import WantedInstance, set_layout
from profiles.catalogue import builtin
from tests.executor.nvml.fake_driver import A100, H100, L4, Card, FakeDriver

Layout = list[tuple[str, int]]

# 3g.40gb at 4 and 1g.10gb at 0, each with a compute instance that takes all of it
TWO = ("instance 0 11 9 4", "compute 0 11 0 102", "instance 0 12 19 0", "compute 0 12 0 100")
AS_TWO: Layout = [("1g.10gb", 0), ("3g.40gb", 4)]


def change(*layout: tuple[str, int]) -> None:
    with session():
        set_layout(0, [WantedInstance(profile, start) for profile, start in layout])


def layout() -> Layout:
    """Of instances that a process can use."""
    with session():
        return [(instance.profile, instance.start) for instance in read_gpu(0).instances if instance.uuid is not None]


def fail(function: str, code: int, after: int = 0, times: int = 1) -> str:
    return f"error {function} 0 {code} {after} {times}"


@pytest.mark.parametrize("card", [A100, H100])
@pytest.mark.parametrize(
    "wanted",
    [
        [("4g.40gb", 0), ("3g.40gb", 4)],
        [("1g.10gb", start) for start in range(7)],
        [("2g.20gb", 0), ("1g.10gb", 3), ("1g.20gb", 6)],
        [("7g.80gb", 0)],
    ],
)
def test_a_gpu_is_divided_as_wanted_and_joined_again(card: Card, wanted: Layout, driver: FakeDriver) -> None:
    driver.machine([card])
    change(*wanted)
    assert (layout(), driver.modes()) == (wanted, ["1 1"])
    before = driver.lines("instance")
    change(*wanted)
    assert driver.lines("instance") == before
    change()
    assert (driver.lines("instance"), driver.lines("compute"), driver.modes()) == ([], [], ["0 0"])
    change()


def test_what_stays_is_the_same_instance_though_it_is_used(driver: FakeDriver) -> None:
    driver.machine([A100], *TWO, "process 0 11 4242 30000", mig=True)
    change(("2g.20gb", 0), ("1g.10gb", 3), ("3g.40gb", 4))
    assert layout() == [("2g.20gb", 0), ("1g.10gb", 3), ("3g.40gb", 4)]
    assert "0 11 9 4" in driver.lines("instance")


def test_an_instance_without_its_compute_instance_is_completed(driver: FakeDriver) -> None:
    # an apply that was cut off, and one that somebody divided again
    driver.machine([A100], "instance 0 11 9 4", "instance 0 12 14 0", "compute 0 12 0 100", mig=True)
    change(("2g.20gb", 0), ("3g.40gb", 4))
    assert layout() == [("2g.20gb", 0), ("3g.40gb", 4)]
    assert driver.lines("instance") == ["0 11 9 4", "0 12 14 0"]


def test_what_is_used_is_not_touched(driver: FakeDriver) -> None:
    driver.machine([A100], *TWO, "process 0 11 4242 30000", "process 0 11 77 1", mig=True)
    before = driver.path.read_text(encoding="utf-8")
    with pytest.raises(GpuDriverError, match=r"GPU 0: the MIG instance 3g.40gb at 4 cannot be taken away: processes 77, 4242 use it; end"):
        change(("1g.10gb", 0))
    assert driver.path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    "error",
    [
        # the second of the new instances cannot be made, nor its inside
        fail("nvmlDeviceCreateGpuInstanceWithPlacement", 23, after=1),
        fail("nvmlGpuInstanceCreateComputeInstance", 4, after=1),
        # the second of the old ones is in use by what no list shows: before and behind its inside
        fail("nvmlComputeInstanceDestroy", 19, after=1),
        fail("nvmlGpuInstanceDestroy", 19, after=1),
        fail("nvmlGpuInstanceDestroy", 19),
    ],
)
def test_a_failure_half_way_gives_the_former_layout_back(error: str, driver: FakeDriver) -> None:
    driver.machine([A100], *TWO, error, mig=True)
    with pytest.raises(GpuDriverError, match=r"GPU 0: NVML cannot (.|\n)*it has its former layout again: 1g.10gb at 0, 3g.40gb at 4"):
        change(("2g.20gb", 0), ("2g.20gb", 2), ("1g.10gb", 4))
    assert layout() == AS_TWO
    change(("2g.20gb", 0), ("2g.20gb", 2), ("1g.10gb", 4))
    assert layout() == [("2g.20gb", 0), ("2g.20gb", 2), ("1g.10gb", 4)]


def test_where_not_even_that_succeeds_the_layout_is_told(driver: FakeDriver) -> None:
    driver.machine([A100], *TWO, fail("nvmlDeviceCreateGpuInstanceWithPlacement", 23, times=-1), mig=True)
    with pytest.raises(GpuDriverError) as caught:
        change(("4g.40gb", 0), ("3g.40gb", 4))
    said = str(caught.value)
    assert "NVML cannot make the MIG instance 4g.40gb at start slot 0" in said
    assert "its former layout (1g.10gb at 0, 3g.40gb at 4) could not be given back either" in said
    assert said.endswith("it has now: 3g.40gb at 4")


def test_instances_that_were_divided_again_come_back_divided(driver: FakeDriver) -> None:
    halves = ("compute 0 13 0 100", "compute 0 13 1 101")
    error = fail("nvmlDeviceCreateGpuInstanceWithPlacement", 23)
    driver.machine([A100], "instance 0 13 9 0", *halves, error, mig=True)
    with pytest.raises(GpuDriverError, match="former layout again"):
        change(("7g.80gb", 0))
    [instance] = driver.lines("instance")
    assert instance.split()[2:] == ["9", "0"]
    assert [line.split()[3] for line in driver.lines("compute")] == ["100", "101"]


@pytest.mark.parametrize("mig", [False, True])
def test_the_mode_is_not_switched_while_something_runs(mig: bool, driver: FakeDriver) -> None:
    driver.machine([A100], "process 0 -1 4242 30000", mig=mig)
    word = "off" if mig else "on"
    with pytest.raises(GpuDriverError, match=f"GPU 0: MIG cannot be switched {word} while process 4242 uses the GPU; end that first"):
        change(*([] if mig else AS_TWO))
    assert driver.modes() == ["1 1" if mig else "0 0"]


@pytest.mark.parametrize("mig", [False, True])
def test_a_mode_that_needs_a_reset_is_left_as_it_was(mig: bool, driver: FakeDriver) -> None:
    driver.machine([A100], *(TWO if mig else ()), mig=mig, needs_reset=True)
    with pytest.raises(GpuDriverError, match=r"only by a reset of the GPU: .* nvidia-smi -i 0 -mig ., and nvidia-smi --gpu-reset -i 0"):
        change(*([] if mig else AS_TWO))
    assert driver.modes() == ["1 1" if mig else "0 0"]
    assert layout() == (AS_TWO if mig else [])


def test_a_layout_that_cannot_be_made_leaves_the_mode_off(driver: FakeDriver) -> None:
    driver.machine([A100], fail("nvmlDeviceCreateGpuInstanceWithPlacement", 23, after=1))
    with pytest.raises(GpuDriverError, match="it has its former layout again: no MIG instance"):
        change(*AS_TWO)
    assert (driver.lines("instance"), driver.modes()) == ([], ["0 0"])


def test_only_what_the_driver_offers(driver: FakeDriver) -> None:
    driver.machine([A100, L4], mig=True)
    with pytest.raises(ExecutorError, match=r"GPU 0: the driver has no MIG profile 1g.5gb; it offers 1g.10gb, 1g.10gb\+me, 1g.20gb, 2g"):
        change(("1g.5gb", 0))
    with pytest.raises(ExecutorError, match=r"GPU 0: 3g.40gb cannot begin at start slot 1; the driver allows 0, 4"):
        change(("3g.40gb", 1))
    with session(), pytest.raises(ExecutorError, match="GPU 1: has no MIG, or its driver knows none"):
        set_layout(1, [WantedInstance("1g.10gb", 0)])


def test_names_move_with_the_driver(driver: FakeDriver) -> None:
    driver.machine([A100], mig=True)
    driver.path.write_text(driver.path.read_text(encoding="utf-8").replace(" 1g.10gb\n", " 1g.11gb\n"), encoding="utf-8")
    [kind] = [profile for profile in builtin().gpu("A100").mig_profiles if profile.name == "1g.10gb"]
    with session():
        set_layout(0, [WantedInstance("1g.10gb", 2, kind)])
    assert layout() == [("1g.11gb", 2)]


def test_a_gpu_that_is_lost_half_way(driver: FakeDriver) -> None:
    driver.machine([A100], *TWO, fail("nvmlDeviceCreateGpuInstanceWithPlacement", pynvml.NVML_ERROR_GPU_IS_LOST), mig=True)
    driver.add(fail("nvmlDeviceGetHandleByIndex_v2", pynvml.NVML_ERROR_GPU_IS_LOST, after=1, times=-1))
    with pytest.raises(GpuDriverError, match=r"does not answer any more(.|\n)*could not be given back either(.|\n)*it has now: unknown"):
        change(("7g.80gb", 0))
