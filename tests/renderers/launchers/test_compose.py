from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.plan import Plan, Replica
from renderers import compose
from renderers.files import write
from renderers.manifest import Manifest, RenderError
from renderers.render_target import rendered
from tests.conftest import Golden
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from tests.tools import program

GOLDEN = Path(__file__).parents[1] / "golden" / "compose"
MIG = {"ULLAGE_MIG_GPU0_START0": "MIG-a", "ULLAGE_MIG_GPU0_START4": "MIG-b"}
HOSTILE = "a b\"c' $(touch pwned) ${HOME} $$ `x`\nservices: {}\n\\ # ü"


def render(plan: Plan, **settings: str) -> Manifest:
    return rendered("compose", compose.TARGET, plan, settings)


def config(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What Compose makes of the file of a node."""
    return subprocess.run(
        [program("docker-compose", "docker-compose"), "-f", "compose.yaml", "config"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def services(plan: Plan, folder: Path, **variables: str) -> dict[str, Any]:
    write(render(plan), folder)
    done = config(folder / "h100-0", **variables)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


@pytest.mark.golden
def test_the_file_is_as_reviewed(golden: Golden) -> None:
    for file in render(time_shared_plan()):
        if file.path.endswith(".yaml"):
            golden(GOLDEN / file.path, file.text)


@pytest.mark.parametrize("plan", [time_shared_plan(), mig_plan(), tensor_parallel_plan()], ids=["time-shared", "mig", "tensor-parallel"])
def test_compose_takes_the_file(plan: Plan, tmp_path: Path) -> None:
    assert sorted(services(plan, tmp_path, **MIG)) == sorted(each.name for each in plan.desired.replicas)


def test_each_replica_gets_its_gpus(tmp_path: Path) -> None:
    found = services(tensor_parallel_plan(), tmp_path / "tp")
    devices = found["llama-70b-0"]["deploy"]["resources"]["reservations"]["devices"]
    assert [each["device_ids"] for each in devices] == [["0", "1"]]
    found = services(mig_plan(), tmp_path / "mig", **MIG)
    devices = found["qwen3-8b-0"]["deploy"]["resources"]["reservations"]["devices"]
    assert [each["device_ids"] for each in devices] == [["MIG-b"]]


def test_a_mig_instance_without_its_uuid_is_asked_for(tmp_path: Path) -> None:
    write(render(mig_plan()), tmp_path)
    done = config(tmp_path / "h100-0")
    assert done.returncode != 0
    assert "the UUID of the MIG instance at start slot" in done.stderr


def test_hostile_values_reach_the_engine_as_they_are(tmp_path: Path) -> None:
    plan = plan_of((replica("r", args={"model": f"/models/{HOSTILE}", "revision": HOSTILE}),), gpu_count=1)
    found = services(plan, tmp_path)
    words = found["r"]["entrypoint"]
    assert words[words.index("--revision") + 1].replace("$$", "$") == HOSTILE
    assert f"/models/{HOSTILE}" in [word.replace("$$", "$") for word in words]


def test_secrets_are_passed_by_name(tmp_path: Path) -> None:
    written = next(file.text for file in render(mig_plan()) if file.path.endswith("compose.yaml"))
    assert {"HF_TOKEN", "VLLM_API_KEY"} <= set(yaml.safe_load(written)["services"]["llama-8b-0"]["environment"])
    environment = services(mig_plan(), tmp_path, **MIG, HF_TOKEN="secret")["llama-8b-0"]["environment"]
    assert environment["HF_TOKEN"] == "secret"


def test_who_shares_a_gpu_starts_in_turn() -> None:
    written = yaml.safe_load(next(file.text for file in render(time_shared_plan()) if file.path.endswith("compose.yaml")))
    assert written["services"]["qwen3-8b-0"]["entrypoint"][:3] == ["bash", "/etc/ullage/start-in-turn.sh", "gpu-0"]
    assert "turns" in written["volumes"]


def test_what_a_container_does_not_have_is_refused() -> None:
    with pytest.raises(RenderError, match=r"replicas\.r\.args\.model: '\./models/own' starts from the folder of the fleet file"):
        render(plan_of((replica("r", args={"model": "./models/own"}),), gpu_count=1))
    with pytest.raises(RenderError, match="--set image='A b'"):
        render(mig_plan(), image="A b")


def test_a_neighbour_more_or_another_forecast_changes_no_service() -> None:
    def written(*replicas: Replica) -> dict[str, Any]:
        text = next(file.text for file in render(plan_of(replicas, gpu_count=1)) if file.path.endswith("compose.yaml"))
        found: dict[str, Any] = yaml.safe_load(text)["services"]
        return found

    one, two = replica("a"), replica("b", args={"port": 8101})
    assert written(one)["a"] == written(one, two)["a"] == written(one.model_copy(update={"start_s": 80.0}))["a"]
