from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.plan import MigPlace, Plan, Replica
from renderers import vllm
from renderers.files import write
from renderers.manifest import RenderError
from renderers.templates import package_text
from renderers.vllm.option_table import OptionTable, shipped_versions, table_for
from renderers.vllm.replica_start import command, environment, mig_variable, probe_url, ready_limit_s
from tests.conftest import Golden
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from tests.renderers.conftest import ShellCheck
from tests.renderers.mps_plans import mps_plan

GOLDEN = Path(__file__).parents[1] / "golden" / "vllm"
PLANS = {"time-shared": time_shared_plan(), "mig": mig_plan(), "tensor-parallel": tensor_parallel_plan()}
HOSTILE = "a b\"c' $(touch pwned) `touch pwned` ;touch pwned\n-- \\ ü & | > #"


@pytest.fixture(params=tuple(PLANS.values()), ids=tuple(PLANS))
def plan(request: pytest.FixtureRequest) -> Plan:
    chosen: Plan = request.param
    return chosen


@pytest.mark.golden
def test_rendered_scripts_are_as_reviewed(golden: Golden) -> None:
    for name, plan in {**PLANS, "mps": mps_plan()}.items():
        for file in vllm.render(plan):
            if not file.path.endswith(("mps.sh", "processes.sh", "rolling.sh", "ready.py")):
                golden(GOLDEN / name / file.path, file.text)


def test_same_plan_same_bytes(plan: Plan) -> None:
    assert vllm.render(plan) == vllm.render(plan)


def test_scripts_pass_shellcheck(tmp_path: Path, plan: Plan, shellcheck: ShellCheck) -> None:
    write(vllm.render(plan), tmp_path)
    shellcheck(*sorted(tmp_path.rglob("*.sh")))


def test_hostile_names_pass_shellcheck(tmp_path: Path, shellcheck: ShellCheck) -> None:
    args = {"model": HOSTILE, "revision": HOSTILE, "quantization": HOSTILE}
    hostile = replica(HOSTILE, HOSTILE, node=HOSTILE, engine_version=HOSTILE, mig=MigPlace(profile=HOSTILE, start=0), args=args)
    write(vllm.render(plan_of((hostile,), gpu_count=1)), tmp_path)
    # SC2016 points out that $(...) in single quotes is not run, which is what we want.
    shellcheck(*sorted(tmp_path.rglob("*.sh")), exclude="SC2016")


def test_every_flag_stands_in_the_table_with_the_plan_s_value(plan: Plan) -> None:
    for item in plan.desired.replicas:
        words = command(item)
        assert words[:3] == ("vllm", "serve", item.args.model)
        table = {flag: row for row in json.loads(package_text("vllm/options/0.32.0.json"))["options"] for flag in row["flags"]}
        given: dict[str, Any] = {}
        rest = list(words[3:])
        while rest:
            row = table[rest.pop(0)]
            given[row["dest"]] = True if row["nargs"] == 0 else rest.pop(0)
            assert row["choices"] is None or given[row["dest"]] in row["choices"]
        assert given.pop("shutdown_timeout") == "30"
        wished = item.args.model_dump(exclude={"model"}, exclude_none=True)
        assert given == {
            name: value if value is True else str(value) for name, value in wished.items() if value is not False and value != ()
        }


def test_environment_names_the_gpus_and_keeps_credentials_out() -> None:
    large, _ = tensor_parallel_plan().desired.replicas
    assert environment(large) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(ready_limit_s(large)),
        "VLLM_NO_USAGE_STATS": "1",
    }


def test_a_mig_replica_gets_its_device_from_the_machine() -> None:
    first, second = mig_plan().desired.replicas
    assert "CUDA_VISIBLE_DEVICES" not in environment(first)
    assert (mig_variable(first), mig_variable(second)) == ("ULLAGE_MIG_GPU0_START0", "ULLAGE_MIG_GPU0_START4")
    assert mig_variable(replica("r")) is None


def test_the_time_limit_grows_with_weights_and_expected_start() -> None:
    item = replica("r", start_s=60.5)
    # 15317 MiB at 512 MiB/s, 120 s of reserve, 60.5 s expected.
    assert ready_limit_s(item) == 211
    assert ready_limit_s(item.model_copy(update={"start_s": 160.5})) == 311


def test_sleep_mode_opens_its_surface_on_loopback_only() -> None:
    sleeper = replica("r", args={"enable_sleep_mode": True})
    assert "--enable-sleep-mode" in command(sleeper)
    assert environment(sleeper)["VLLM_SERVER_DEV_MODE"] == "1"
    assert "VLLM_SERVER_DEV_MODE" not in environment(replica("r"))
    for host in ("0.0.0.0", "10.0.0.1", "node-1"):
        with pytest.raises(RenderError, match="sleep"):
            environment(replica("r", args={"enable_sleep_mode": True, "host": host}))


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8100"), ("0.0.0.0", "http://127.0.0.1:8100"), ("::", "http://[::1]:8100"), ("n1", "http://n1:8100")],
)
def test_a_server_is_probed_where_it_can_be_reached(host: str, url: str) -> None:
    assert probe_url(replica("r", args={"host": host})) == url


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"dtype": "bf16"}, ["replica 'r'", "0.32.0", "--dtype", "'bf16'", "bfloat16"]),
        ({"kv_cache_dtype": "fp4"}, ["--kv-cache-dtype", "'fp4'"]),
        ({"served_model_name": "--port"}, ["--served-model-name", "looks like a flag"]),
        ({"model": "-x"}, ["model", "looks like a flag"]),
        ({"model": ""}, ["empty"]),
        ({"model": "hf_" + "x" * 34}, ["HF_TOKEN"]),
    ],
)
def test_what_the_engine_would_refuse_is_refused_here(args: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RenderError) as refused:
        command(replica("r", args=args))
    assert [word for word in words if word not in str(refused.value)] == []


def test_a_flag_the_version_lacks_is_refused() -> None:
    with pytest.raises(RenderError, match=r"vLLM 0\.1\.0, --port: no such flag"):
        OptionTable("0.1.0", {}).check("--port", "1")
    table = table_for("0.32.0").table
    with pytest.raises(RenderError, match="takes no value"):
        table.check("--enforce-eager", "1")
    with pytest.raises(RenderError, match="takes a value"):
        table.check("--port", None)


@pytest.mark.parametrize("version", ["0.32.0", "0.32", "v0.32.0", "0.32.0+cpu", "0.32.0.post1"])
def test_builds_of_a_known_release_give_no_warning(version: str) -> None:
    assert table_for(version).table.version == "0.32.0"
    assert table_for(version).warning is None


@pytest.mark.parametrize("version", ["0.33.1", "1.0.0", "0.15.1", "0.32.0rc1", "nightly", ""])
def test_an_unknown_version_is_checked_against_the_nearest_table_and_says_so(version: str) -> None:
    choice = table_for(version)
    assert choice.table.version in shipped_versions()
    assert choice.warning is not None
    assert version in choice.warning
    for file in vllm.render(plan_of((replica("r", engine_version=version),), gpu_count=1)):
        if file.path.endswith(("start.sh", "r.sh")):
            assert f"# WARNING: {choice.warning}\n" in file.text


def _groups(replicas: tuple[Replica, ...]) -> list[tuple[tuple[int, ...], list[str]]]:
    return [(group.gpus, [replicas[index].name for index in group.members]) for group in vllm._groups(replicas)]


def test_replicas_that_share_a_gpu_start_one_after_another() -> None:
    chain = (replica("a", gpus=(0, 1)), replica("b", gpus=(3,)), replica("c", gpus=(2,)), replica("d", gpus=(1, 2)))
    assert _groups(chain) == [((0, 1, 2), ["a", "c", "d"]), ((3,), ["b"])]
    with pytest.raises(RenderError, match="has no GPU"):
        _groups((replica("a", gpus=()),))


def test_every_node_has_a_folder_of_its_own() -> None:
    plan = plan_of((replica("a"), replica("b", node="h100-1")), gpu_count=1)
    starts = [file.path for file in vllm.render(plan) if file.path.endswith("start.sh")]
    assert starts == ["h100-0/start.sh", "h100-1/start.sh"]
