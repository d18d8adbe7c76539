from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.emulator.devices import create_node, gpu_path, instance_uuid, open_gpu, read_node, repartition
from executor.emulator.gpu_file import SLOTS, DeviceError, GpuFile, Slot, create_gpu_file, process_start_ticks
from executor.emulator.pace import Pace
from executor.emulator.residence import OutOfMemoryError, Residence, visible_devices

OWN_TICKS = process_start_ticks(os.getpid()) or 0


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def new_gpu(tmp_path: Path, total_mib: int = 1000) -> GpuFile:
    path = gpu_path(tmp_path, 0)
    create_gpu_file(path, "H100-SXM-80GB", total_mib)
    return GpuFile(path)


def test_a_node_is_made_once_and_read(tmp_path: Path) -> None:
    create_node(tmp_path / "a" / "b", "h100", 2)
    create_node(tmp_path / "a" / "b", "H100-SXM-80GB", 2)
    reading = read_node(tmp_path / "a" / "b")
    assert [gpu.gpu_type for gpu in reading.gpus] == ["H100-SXM-80GB"] * 2
    assert reading.gpus[0].total_mib == reading.gpus[1].total_mib > 79 * 1024
    assert (reading.gpus[0].used_mib, reading.over_commits) == (0, 0)
    with pytest.raises(DeviceError, match="is a H100-SXM-80GB, not a"):
        create_node(tmp_path / "a" / "b", "L40S", 2)
    with pytest.raises(DeviceError, match="has 2 GPUs already, not 1"):
        create_node(tmp_path / "a" / "b", "h100", 1)


def test_what_is_no_node(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="not an emulated node"):
        read_node(tmp_path)
    gpu_path(tmp_path, 0).write_bytes(b"short")
    with pytest.raises(DeviceError, match="not an emulated GPU of this version"):
        read_node(tmp_path)
    with pytest.raises(DeviceError, match="1 MIG layouts for 2 GPUs"):
        create_node(tmp_path / "n", "h100", 2, [[("1g.10gb", 0)]])


def test_mig_layouts(tmp_path: Path) -> None:
    create_node(tmp_path, "h100", 2, [[("4g.40gb", 0), ("3g.40gb", 4)], []])
    mig, whole = read_node(tmp_path).gpus
    assert [(instance.profile, instance.start, instance.uuid) for instance in mig.instances] == [
        ("4g.40gb", 0, instance_uuid(0, 0)),
        ("3g.40gb", 4, instance_uuid(0, 4)),
    ]
    assert [instance.profile for instance in whole.instances] == [""]
    with pytest.raises(DeviceError, match="not a legal MIG layout"):
        repartition(tmp_path, 1, [("4g.40gb", 0), ("4g.40gb", 4)])
    repartition(tmp_path, 0, [])
    assert [instance.profile for instance in read_node(tmp_path).gpus[0].instances] == [""]
    with open_gpu(tmp_path, 1) as gpu:
        gpu.write_slot(0, 0, Slot(os.getpid(), OWN_TICKS, 1, False, 0.0, "me"))
    with pytest.raises(DeviceError, match=r"in use by me \(pid"):
        repartition(tmp_path, 1, [("1g.10gb", 0)])


def test_instances_that_stay_keep_their_residents_while_others_come_and_go(tmp_path: Path) -> None:
    create_node(tmp_path, "A100-SXM-80GB", 1, [[("1g.10gb", 0), ("1g.20gb", 6)]])
    with open_gpu(tmp_path, 0) as gpu:
        gpu.write_slot(2, 0, Slot(os.getpid(), OWN_TICKS, 7, False, 0.0, "stays"))
    with pytest.raises(DeviceError, match=r"in use by stays \(pid"):
        repartition(tmp_path, 0, [("1g.10gb", 0)])
    with pytest.raises(DeviceError, match=r"in use by stays \(pid"):
        repartition(tmp_path, 0, [])
    repartition(tmp_path, 0, [("2g.20gb", 0), ("1g.10gb", 2), ("1g.20gb", 6)])
    [reading] = read_node(tmp_path).gpus
    found = {(instance.profile, instance.start): [resident.name for resident in instance.residents] for instance in reading.instances}
    assert found == {("2g.20gb", 0): [], ("1g.10gb", 2): [], ("1g.20gb", 6): ["stays"]}
    with open_gpu(tmp_path, 0) as gpu:
        assert gpu.layout(2)[:2] == ("1g.20gb", 6)


def test_the_dead_and_those_whose_pid_was_taken_over_are_swept(tmp_path: Path) -> None:
    gpu = new_gpu(tmp_path)
    gpu.write_slot(0, 0, Slot(os.getpid(), OWN_TICKS, 5, True, 0.0, "alive"))
    gpu.write_slot(0, 1, Slot(os.getpid(), OWN_TICKS + 1, 5, True, 0.0, "other process"))
    gpu.write_slot(0, 2, Slot(2**22 + 1, 7, 5, True, 0.0, "dead"))
    gpu.recount(0, 1.0)
    assert gpu.clock(0, 1.0)[1] == 3
    gpu.sweep(0, 2.0)
    assert [slot.name for _, slot in gpu.slots(0)] == ["alive"]
    assert gpu.clock(0, 2.0)[1] == 1
    gpu.close()


def test_a_clock_whose_writer_died_is_read_under_the_lock(tmp_path: Path) -> None:
    gpu = new_gpu(tmp_path)
    gpu.write_slot(0, 0, Slot(os.getpid(), OWN_TICKS, 5, True, 0.0, "alive"))
    gpu.recount(0, 1.0)
    at = gpu._at(0) + 44
    gpu._map[at : at + 8] = (99).to_bytes(8, "little")
    assert gpu.clock(0, 3.0) == (2.0, 1)
    gpu.close()


@given(st.lists(st.tuples(st.floats(0.001, 5), st.integers(0, 3)), min_size=1, max_size=20))
def test_gpu_seconds_of_all_residents_add_up_to_the_busy_time(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]]
) -> None:
    """However residents come and go, each gets an equal share, and the shares sum to the time with work."""
    gpu = new_gpu(tmp_path_factory.mktemp("gpu"))
    now_s, shared_s, active = 0.0, 0.0, set[int]()
    last_s = gpu.clock(0, now_s)[0]
    for elapsed_s, who in changes:
        now_s += elapsed_s
        gpu_s, count = gpu.clock(0, now_s)
        assert count == len(active)
        shared_s += (gpu_s - last_s) * len(active)
        active ^= {who}
        gpu.write_slot(0, who, Slot(1, 1, 1, who in active, 0.0, "x"))
        gpu.recount(0, now_s)
        last_s = gpu.clock(0, now_s)[0]
    assert math.isclose(shared_s, gpu.totals(0)[0], abs_tol=1e-6)
    gpu.close()


def test_claims_beyond_the_memory_are_recorded_and_refused(tmp_path: Path) -> None:
    gpu = new_gpu(tmp_path)
    one, two = (Residence([(gpu, 0)], name) for name in ("one", "two"))
    one.claim(600)
    assert two.memory() == ((400, 1000),)
    two.claim(400)
    two.claim(100)
    assert gpu.totals(0)[1:] == (0, 1000)
    with pytest.raises(OutOfMemoryError, match=r"Tried to allocate 0\.49 GiB\. GPU 0 has a total capacity of 0\.98 GiB of which 0\.39"):
        two.claim(500)
    assert gpu.totals(0)[1:] == (1, 1100)
    assert [slot.memory_mib for _, slot in gpu.slots(0)] == [600, 100]
    one.release()
    two.claim(500)
    two.release()
    assert gpu.slots(0) == ()
    gpu.close()


def test_places_for_residents_end(tmp_path: Path) -> None:
    gpu = new_gpu(tmp_path)
    for index in range(SLOTS):
        Residence([(gpu, 0)], f"r{index}").claim(1)
    with pytest.raises(DeviceError, match="places for residents are taken"):
        Residence([(gpu, 0)], "late").claim(1)
    gpu.close()


def test_a_step_takes_as_many_times_as_long_as_there_are_active_residents(tmp_path: Path) -> None:
    clock, gpu = Clock(), new_gpu(tmp_path)
    one, two = (Residence([(gpu, 0)], name, clock) for name in ("one", "two"))
    one.claim(1)
    two.claim(1)
    one.set_active(True)
    pace = Pace(one)
    pace.begin(0.010, clock.now_s)
    assert pace.wait_s(clock.now_s) == pytest.approx(0.010)
    clock.now_s += 0.004
    two.set_active(True)
    # 6 ms of work are left and two share.
    assert pace.wait_s(clock.now_s) == pytest.approx(0.012)
    clock.now_s += 0.006
    two.set_active(False)
    assert pace.wait_s(clock.now_s) == pytest.approx(0.003)
    clock.now_s += 0.003
    assert pace.wait_s(clock.now_s) is None
    gpu.close()


def test_a_neighbour_that_died_at_work_slows_nobody_for_long(tmp_path: Path) -> None:
    clock, gpu = Clock(), new_gpu(tmp_path)
    one = Residence([(gpu, 0)], "one", clock)
    one.claim(1)
    one.set_active(True)
    one.clocks(clock.now_s)
    gpu.write_slot(0, 1, Slot(2**22 + 1, 7, 5, True, 0.0, "dead"))
    gpu.recount(0, clock.now_s)
    assert one.clocks(clock.now_s)[0][1] == 2
    clock.now_s += 0.3
    one.clocks(clock.now_s)
    assert one.clocks(clock.now_s)[0][1] == 1
    gpu.close()


def test_a_late_wake_up_does_not_add_up(tmp_path: Path) -> None:
    clock, gpu = Clock(), new_gpu(tmp_path)
    one = Residence([(gpu, 0)], "one", clock)
    one.claim(1)
    one.set_active(True)
    pace = Pace(one)
    pace.begin(0.010, clock.now_s)
    clock.now_s += 0.025
    assert pace.wait_s(clock.now_s) is None
    pace.follow(0.010, clock.now_s)
    assert pace.wait_s(clock.now_s) is None
    pace.follow(0.010, clock.now_s)
    # Three steps of 10 ms end 30 ms after the first began, however late we looked.
    assert pace.wait_s(clock.now_s) == pytest.approx(0.005)
    gpu.close()


def test_an_engine_on_two_gpus_goes_at_the_pace_of_the_slower(tmp_path: Path) -> None:
    clock = Clock()
    create_node(tmp_path, "h100", 2)
    gpus = [GpuFile(gpu_path(tmp_path, index)) for index in (0, 1)]
    both = Residence([(gpus[0], 0), (gpus[1], 0)], "both", clock)
    other = Residence([(gpus[1], 0)], "other", clock)
    both.claim(1)
    other.claim(1)
    both.set_active(True)
    other.set_active(True)
    pace = Pace(both)
    pace.begin(0.008, clock.now_s)
    clock.now_s += 0.008
    assert pace.wait_s(clock.now_s) == pytest.approx(0.008)
    clock.now_s += 0.008
    assert pace.wait_s(clock.now_s) is None
    other.set_active(False)
    # The time that the first GPU waited for the second is not credited to the next step.
    pace.follow(0.008, clock.now_s)
    assert pace.wait_s(clock.now_s) == pytest.approx(0.008)
    for gpu in gpus:
        gpu.close()


@pytest.mark.parametrize(
    ("visible", "count", "says"),
    [("0", 2, "needs 2 GPUs"), ("0,0", 2, "twice"), ("7", 1, "no device '7'"), ("x", 1, "no device 'x'"), ("MIG-x", 1, "no MIG instance")],
)
def test_devices_that_are_not_there(tmp_path: Path, visible: str, count: int, says: str) -> None:
    create_node(tmp_path, "h100", 2)
    with pytest.raises(DeviceError, match=says):
        visible_devices(tmp_path, visible, count)
    with pytest.raises(DeviceError, match="does not cross MIG"):
        visible_devices(tmp_path, f"{instance_uuid(0, 0)},{instance_uuid(0, 4)}", 2)


def test_without_a_choice_the_first_gpus_are_used(tmp_path: Path) -> None:
    create_node(tmp_path, "h100", 3)
    devices = visible_devices(tmp_path, None, 2)
    assert [gpu.path.name for gpu, _ in devices] == ["gpu0.state", "gpu1.state"]
    for gpu, _ in devices:
        gpu.close()
