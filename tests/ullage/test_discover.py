"""discover: what it prints is a pools section that loads and plans, whatever the machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from executor.nvml.host_readings import HostReading
from planner.plan import State
from planner.spec import Fleet, load_fleet
from profiles.catalogue import builtin
from tests.executor.nvml.fake_driver import A100, H100, L4, Card, FakeDriver, built, pretend
from tests.fleets import fleet_dict, workload
from tests.ullage.commands import PROGRAM, ullage
from ullage.planning.plan import plan_fleet

V100 = Card("Tesla V100-SXM2-16GB", 16384, 224, "7 0")
# clocks and widths of the SXM2 card, general knowledge, not re-checked here
V100_SPEED = "4096 1530 877 5120"
FOUR_TO_FOUR = [f"link {gpu} {number} {peer}" for gpu in range(4) for number, peer in enumerate(set(range(4)) - {gpu})]

HOST = HostReading(host_cores=96, memory_mib=1 << 20)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeDriver:
    # the host of whoever runs the tests may be too small for any plan
    monkeypatch.setattr("executor.nvml.machine_readings.read_host", lambda: HOST)
    return pretend(monkeypatch, tmp_path)


def discovered(*arguments: str) -> str:
    result = ullage("discover", *arguments)
    assert (result.code, result.err) == (0, "")
    return result.out


def fleet_with(text: str, model: str = "small") -> Fleet:
    """A fleet file with these pools, and one small workload."""
    rest = fleet_dict(workloads={model: workload(model, "0.2/s")})
    del rest["pools"]
    return load_fleet(Path("fleet.yaml"), text + yaml.safe_dump(rest), builtin())


def pools_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(text, yaml.BaseLoader)["pools"]
    return found


@pytest.mark.parametrize(
    ("card", "links", "mig", "gpu", "link", "mode"),
    [
        (H100, [f"link {gpu} 0 -1" for gpu in range(4)], False, "H100-SXM-80GB", "nvswitch", "off"),
        (A100, FOUR_TO_FOUR, False, "A100-SXM-80GB", "nvswitch", "off"),
        (A100, ["link 0 0 1", "link 1 0 0", "link 2 0 3", "link 3 0 2"], False, "A100-SXM-80GB", "pairs", "off"),
        (A100, ["link 0 0 2", "link 2 0 0", "link 1 0 3", "link 3 0 1"], False, "A100-SXM-80GB", "pcie", "off"),
        (H100, [], True, "H100-SXM-80GB", None, "repartition"),
        (L4, [], False, "L4", "pcie", None),
    ],
)
def test_a_machine_of_the_catalogue(
    card: Card, links: list[str], mig: bool, gpu: str, link: str | None, mode: str | None, driver: FakeDriver
) -> None:
    driver.machine([card] * 4, *links, mig=mig)
    text = discovered("--name", "here")
    pool = pools_of(text)["here"]
    assert (pool["gpu"], pool["gpus_per_node"], pool.get("link"), pool.get("mig")) == (gpu, "4", link, mode)
    fleet = fleet_with(text)
    [found] = fleet.pools
    assert (found.gpu.name, found.gpus_per_node, found.mig) == (gpu, 4, mode or "off")
    assert (found.host_cores, found.host_memory_mib) == (96, 1 << 20)
    plan = plan_fleet(fleet, State()).plan
    assert len(plan.desired.gpus) == 4
    assert plan.desired.replicas


def test_a_divided_machine_keeps_its_layout(driver: FakeDriver) -> None:
    driver.machine([A100], "instance 0 11 9 4", "compute 0 11 0 102", "instance 0 12 5 0", "compute 0 12 0 103", mig=True)
    [pool] = fleet_with(discovered()).pools
    assert (pool.name, pool.mig, pool.mig_layout) == ("a100-sxm-80gb", "fixed", (("4g.40gb", 0), ("3g.40gb", 4)))


def test_gpus_of_several_kinds_are_pools_that_divide_the_machine(driver: FakeDriver) -> None:
    driver.machine([A100, L4, A100], "process 1 -1 42 100", "process 1 -1 43 5")
    # MIG is on for one of the two
    driver.path.write_text(
        driver.path.read_text(encoding="utf-8").replace(" 7 0 0 0 NVIDIA A100", " 7 1 1 0 NVIDIA A100", 1), encoding="utf-8"
    )
    text = discovered()
    assert "# GPU 1: processes 42, 43 hold 105 MiB; if that stays, list it under taken" in text
    fleet = fleet_with(text)
    own = {pool.name: set(range(3)) - {taken.gpu for taken in pool.taken} for pool in fleet.pools}
    assert own == {"a100-sxm-80gb": {0}, "l4": {1}, "a100-sxm-80gb-2": {2}}
    assert {pool.name: pool.mig for pool in fleet.pools} == {"a100-sxm-80gb": "repartition", "l4": "off", "a100-sxm-80gb-2": "off"}
    assert plan_fleet(fleet, State()).plan.desired.replicas


def test_a_type_that_the_catalogue_does_not_have_is_declared(driver: FakeDriver) -> None:
    driver.machine([V100], f"speed 0 {V100_SPEED}")
    text = discovered()
    assert "# a placeholder: no price is listed for it" in text
    [pool] = fleet_with(text).pools
    assert (pool.name, pool.gpu.name, pool.gpu.memory_usable_mib, pool.gpu.sm_count) == (
        "tesla-v100-sxm2-16gb",
        "Tesla-V100-SXM2-16GB",
        16160,
        80,
    )
    # the data sheet: 900 GB/s, 125 TFLOP/s
    assert pool.gpu.memory_bandwidth_gb_per_s == pytest.approx(900, rel=0.01)
    assert pool.gpu.bf16_tflops == pytest.approx(125, rel=0.01)


def test_what_the_driver_does_not_tell_is_said(driver: FakeDriver) -> None:
    driver.machine([V100], "error nvmlDeviceGetMemoryInfo_v2 -1 3 0 -1")
    text = " ".join(discovered().replace("#", " ").split())
    assert "the driver does not tell memory_bandwidth_gb_per_s, bf16_tflops, memory_usable_mib, and the least of the catalogue" in text
    [pool] = fleet_with(discovered()).pools
    assert pool.gpu.memory_usable_mib == min(gpu.memory_usable_mib for gpu in builtin().gpus() if gpu.engine is None)


@pytest.mark.parametrize("mig", [False, True])
def test_live_facts_come_before_the_catalogues(mig: bool, driver: FakeDriver) -> None:
    less = Card(H100.name, H100.total_mib - 2000, H100.reserved_mib, H100.capability, H100.slices, H100.profiles)
    driver.machine([less], mig=mig)
    text = discovered()
    assert "79090 MiB usable, the catalogue has 81090" in " ".join(text.replace("#", " ").split())
    [pool] = fleet_with(text).pools
    assert (pool.gpu.name, pool.gpu.memory_usable_mib) == ("H100-SXM-80GB-live", 79090)
    assert pool.gpu.bf16_tflops == builtin().gpu("H100").bf16_tflops
    assert len(pool.gpu.mig_profiles) == (6 if mig else 0)
    assert pool.price_usd_per_h == builtin().gpu("H100").price_usd_per_h


def test_another_card_of_the_same_name_is_not_taken_for_the_catalogues(driver: FakeDriver) -> None:
    driver.machine([Card(L4.name, 48_000, 400, "8 9")], "speed 0 192 2040 6251 7424")
    [pool] = fleet_with(discovered()).pools
    assert (pool.gpu.name, pool.gpu.memory_usable_mib) == ("L4-live", 47_600)
    assert pool.gpu.bf16_tflops == pytest.approx(121, rel=0.01)


def test_a_divided_type_of_its_own_brings_its_profiles(driver: FakeDriver) -> None:
    driver.machine([Card("NVIDIA X900", A100.total_mib, 900, "8 0", 7, A100.profiles)], mig=True)
    [pool] = fleet_with(discovered()).pools
    assert (pool.mig, pool.gpu.mig_compute_slices, pool.gpu.mig_memory_slices) == ("repartition", 7, 8)
    assert [profile.name for profile in pool.gpu.mig_profiles] == ["1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"]


def test_into_a_file_and_as_json(driver: FakeDriver, tmp_path: Path) -> None:
    driver.machine([A100, A100])
    target = tmp_path / "pools.yaml"
    assert discovered("-o", str(target), "--name", "here") == f"wrote {target}; put it into the fleet file in place of its pools\n"
    assert target.read_text(encoding="utf-8") == discovered("--name", "here")
    again = ullage("discover", "-o", target)
    assert (again.code, again.err) == (1, f"error: {target} exists; give the name of a new file\n")
    facts = json.loads(discovered("--json"))
    assert facts["pools"]["a100-sxm-80gb"]["gpus_per_node"] == 2
    assert [gpu["uuid"] for gpu in facts["gpus"]] == ["GPU-fake-0", "GPU-fake-1"]
    assert (facts["link"], facts["host"]["host_cores"]) == ("pcie", 96)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["error nvmlInitWithFlags -1 9 0 -1"], "the NVIDIA driver is not loaded"),
        (["error nvmlDeviceGetHandleByIndex_v2 0 15 0 -1"], "GPU 0: NVML cannot find it"),
        (["error nvmlDeviceGetCount_v2 -1 999 0 -1"], "NVML cannot count the GPUs"),
    ],
)
def test_what_cannot_be_read_is_said(lines: list[str], said: str, driver: FakeDriver) -> None:
    driver.machine([L4], *lines)
    result = ullage("discover")
    assert (result.code, result.out) == (1, "")
    assert said in result.err
    assert "`ullage catalogue gpus` lists the names" in result.err


def test_a_driver_without_a_gpu_and_a_bad_name(driver: FakeDriver) -> None:
    assert "shows no GPU" in ullage("discover").err
    assert "--name 'a/b': up to 63 letters" in ullage("discover", "--name", "a/b").err


def test_the_drivers_library_is_found_as_programs_find_it(tmp_path: Path, driver: FakeDriver) -> None:
    driver.machine([H100])
    environment = {**os.environ, "LD_LIBRARY_PATH": str(built().parent)}
    done = subprocess.run([*PROGRAM, "discover"], env=environment, capture_output=True, text=True, check=True)
    assert pools_of(done.stdout)["h100-sxm-80gb"]["gpu"] == "H100-SXM-80GB"
    environment["FAKE_NVML_STATE"] = str(tmp_path / "absent")
    broken = subprocess.run([*PROGRAM, "discover"], check=False, env=environment, capture_output=True, text=True)
    assert (broken.returncode, broken.stdout) == (1, "")
    assert broken.stderr.startswith("error: NVML cannot open the driver's library")
