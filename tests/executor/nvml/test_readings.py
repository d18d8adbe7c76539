"""What is read of this machine's GPUs, and what is said where that is not possible."""

from __future__ import annotations

import pynvml
import pytest

from executor.nvml.driver import GpuDriverError, driver_answers, session
from executor.nvml.gpu_readings import GpuProcess, NvmlGpu, read_gpu
from profiles.catalogue import builtin
from profiles.gpu_types import GpuType
from tests.executor.nvml.fake_driver import A100, H100, L4, Card, FakeDriver


def read(index: int = 0) -> NvmlGpu:
    with session():
        return read_gpu(index)


@pytest.mark.parametrize(("card", "name"), [(A100, "A100"), (H100, "H100")])
def test_a_divided_gpu_offers_what_the_catalogue_has(card: Card, name: str, driver: FakeDriver) -> None:
    driver.machine([card], mig=True)
    gpu, known = read(), builtin().gpu(name)
    assert (gpu.name, gpu.uuid, gpu.compute_capability, gpu.mig) == (card.name, "GPU-fake-0", known.compute_capability, "on")
    assert gpu.memory_total_mib == card.total_mib
    assert gpu.memory_usable_mib is not None
    assert abs(gpu.memory_usable_mib - known.memory_usable_mib) < 8
    plain = {offer.name: (offer.compute_slices, offer.memory_slices, offer.max_count, offer.starts) for offer in gpu.offers if offer.plain}
    assert plain == _slices(known)
    assert [offer.name for offer in gpu.offers if not offer.plain] == ["1g.10gb+me"]


def _slices(gpu: GpuType) -> dict[str, tuple[int, int, int, tuple[int, ...]]]:
    return {kind.name: (kind.compute_slices, kind.memory_slices, kind.max_count, kind.placement_starts) for kind in gpu.mig_profiles}


def test_instances_are_read_with_their_place_and_the_name_that_processes_know(driver: FakeDriver) -> None:
    # the second has no compute instance, the third only one that takes a part of it: nothing can be started there
    lines = ["instance 0 11 9 4", "compute 0 11 0 102", "instance 0 12 19 1", "instance 0 13 14 2", "compute 0 13 0 100"]
    driver.machine([H100], *lines, "process 0 11 4242 1000", mig=True)
    gpu = read()
    found = [(instance.profile, instance.start, instance.memory_slices, instance.uuid) for instance in gpu.instances]
    assert found == [("1g.10gb", 1, 1, None), ("2g.20gb", 2, 2, None), ("3g.40gb", 4, 4, "MIG-0-11")]
    assert gpu.processes == (GpuProcess(4242, 1000, 11),)


def test_gpus_without_mig_and_with_mig_off(driver: FakeDriver) -> None:
    driver.machine([L4, A100], "process 0 -1 7 100", "process 0 -1 5 50")
    assert (read(0).mig, read(0).offers, read(0).processes) == ("unsupported", (), (GpuProcess(5, 50, None), GpuProcess(7, 100, None)))
    assert (read(1).mig, read(1).instances) == ("off", ())
    # places are told only once MIG is on
    assert {offer.starts for offer in read(1).offers} == {()}


def test_clients_of_mps_are_read_and_each_process_once(driver: FakeDriver) -> None:
    driver.machine([L4], "process 0 -1 7 100", "client 0 7 100", "client 0 9 50")
    assert read().processes == (GpuProcess(7, 100, None), GpuProcess(9, 50, None))


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND])
def test_older_drivers_list_clients_of_mps_with_all_others(code: int, driver: FakeDriver) -> None:
    driver.machine([L4], "process 0 -1 7 100", "client 0 9 50", f"error nvmlDeviceGetMPSComputeRunningProcesses_v3 0 {code} 0 -1")
    assert read().processes == (GpuProcess(7, 100, None),)


def test_who_may_not_see_the_whole_gpu_sees_the_own_instances(driver: FakeDriver) -> None:
    lines = ["instance 0 11 9 4", "compute 0 11 0 102", "process 0 11 4242 1000"]
    driver.machine([A100], *lines, "error nvmlDeviceGetComputeRunningProcesses_v3 0 4 0 -1", mig=True)
    assert read().processes == (GpuProcess(4242, 1000, 11),)


def test_older_drivers_tell_less(driver: FakeDriver) -> None:
    missing = ["error nvmlDeviceGetMemoryInfo_v2 -1 13 0 -1", "error nvmlDeviceGetGpuInstanceProfileInfoV -1 13 0 -1"]
    driver.machine([H100], *missing, mig=True)
    gpu = read()
    assert gpu.memory_usable_mib == gpu.memory_total_mib == H100.total_mib
    assert {(offer.compute_slices, offer.memory_slices) for offer in gpu.offers} == {(1, 1), (1, 2), (2, 2), (3, 4), (4, 4), (7, 8)}
    assert len({offer.name for offer in gpu.offers}) == len(H100.profiles)


def test_a_gpu_without_memory_of_its_own(driver: FakeDriver) -> None:
    driver.machine([L4], "error nvmlDeviceGetMemoryInfo_v2 -1 3 0 -1")
    assert (read().memory_total_mib, read().memory_usable_mib) == (None, None)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("nvmlDeviceGetHandleByIndex_v2 1 15", r"GPU 1: NVML cannot find it \(.*\); the GPU does not answer any more: .*dmesg"),
        ("nvmlDeviceGetName 1 28", r"GPU 1: NVML cannot read its name \(.*\); the GPU is not there any more"),
        ("nvmlDeviceGetMigMode 1 4", r"GPU 1: NVML cannot read its MIG mode \(.*\); this user may not do it: run it as root"),
        ("nvmlDeviceGetMemoryInfo_v2 1 999", r"GPU 1: NVML cannot read its memory \(.*\); look into the kernel's log"),
        ("nvmlInitWithFlags -1 9", r"NVML cannot open the driver's library \(.*\); the NVIDIA driver is not loaded: load it"),
        ("nvmlInitWithFlags -1 18", r"the driver was changed while its older part is loaded: restart"),
    ],
)
def test_every_error_says_what_failed_where_and_what_to_do(error: str, said: str, driver: FakeDriver) -> None:
    driver.machine([L4, L4], f"error {error} 0 -1")
    with pytest.raises(GpuDriverError, match=said):
        read(1)


def test_a_machine_without_a_driver(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not driver_answers()
    driver.machine([L4])
    assert driver_answers()
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr("ctypes.CDLL.__init__", _no_library)
    with pytest.raises(GpuDriverError, match="there is no NVIDIA driver here: install it"):
        read()
    assert not driver_answers()


def _no_library(*_: object) -> None:
    raise OSError
