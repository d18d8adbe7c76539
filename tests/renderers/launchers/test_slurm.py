from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan import Plan
from renderers import slurm
from renderers.files import write
from renderers.manifest import Manifest, RenderError
from renderers.render_target import rendered
from renderers.templates import package_text
from renderers.vllm import command
from renderers.vllm.ready import alive
from tests.conftest import Golden
from tests.executor.worlds import until
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from tests.ports import free_port
from tests.renderers.conftest import ShellCheck

GOLDEN = Path(__file__).parents[1] / "golden" / "slurm"
HOSTILE = "a b\"c' $(touch pwned) `touch pwned` ;touch pwned\n#SBATCH --uid=0\n\\ ü #"
OPTIONS = {"job-name", "nodes", "nodelist", "ntasks", "gres", "time", "signal", "open-mode", "output", "requeue", "comment"}
# Generous: a busy machine is no fault of the code.
LIMIT_S = 60.0


def render(plan: Plan, **settings: str) -> Manifest:
    return rendered("slurm", slurm.TARGET, plan, settings)


def options(script: str) -> dict[str, str]:
    """What sbatch reads: lines up to the first that is neither empty nor a comment."""
    found = {}
    for line in script.split("\n"):
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            name, _, value = line.removeprefix("#SBATCH --").partition("=")
            found[name] = value
    return found


def scripts(plan: Plan, **settings: str) -> dict[str, str]:
    return {file.path: file.text for file in render(plan, **settings) if "/" in file.path}


@pytest.mark.golden
def test_scripts_are_as_reviewed(golden: Golden) -> None:
    ready = package_text("vllm/ready.py")
    for file in render(tensor_parallel_plan(), partition="gpu", cpus="8", memory_gib="64", log_folder="/var/log/ullage"):
        text = file.text.replace(ready, "(ready.py)\n").replace(slurm._ending(ready), "END_OF_READY")
        golden(GOLDEN / file.path, text)


@pytest.mark.parametrize("plan", [mig_plan(), tensor_parallel_plan()], ids=["mig", "tensor-parallel"])
def test_shellcheck_finds_nothing(plan: Plan, tmp_path: Path, shellcheck: ShellCheck) -> None:
    write(render(plan), tmp_path)
    shellcheck(*sorted(tmp_path.rglob("*.sh")))


def test_gpus_are_asked_for_by_number_and_kind_and_left_to_slurm() -> None:
    found = scripts(tensor_parallel_plan())
    assert options(found["h100-0/llama-70b-0.sh"])["gres"] == "gpu:2"
    assert options(scripts(tensor_parallel_plan(), gres="gpu:h100")["h100-0/llama-8b-0.sh"])["gres"] == "gpu:h100:1"
    assert options(scripts(mig_plan())["h100-0/qwen3-8b-0.sh"])["gres"] == "gpu:3g.40gb:1"
    assert [path for path, text in found.items() if "CUDA_VISIBLE_DEVICES" in text or "ULLAGE_MIG" in text] == []
    assert "ULLAGE_MIG" not in scripts(mig_plan())["h100-0/qwen3-8b-0.sh"]


def test_another_gpu_of_the_node_restarts_nothing() -> None:
    one, other = (scripts(plan_of((replica("r", mode="exclusive", gpus=gpus),), gpu_count=2))["h100-0/r.sh"] for gpus in ((0,), (1,)))
    assert one == other


def test_whole_gpus_beside_instances_need_their_type() -> None:
    plan = mig_plan()
    whole = replica("whole", mode="exclusive", gpus=(1,), args={"port": 8105})
    mixed = plan_of((*plan.desired.replicas, whole), gpu_count=2, mig_layouts={0: plan.desired.gpus[0].mig_layout})
    with pytest.raises(RenderError, match=r"replicas\.whole\.gpus: h100-0 has MIG instances beside whole GPUs.*--set gres=gpu:TYPE"):
        render(mixed)
    assert options(scripts(mixed, gres="gpu:h100")["h100-0/whole.sh"])["gres"] == "gpu:h100:1"


@pytest.mark.parametrize(
    ("host", "setting", "node"),
    [("127.0.0.1", "hosts", "h100-0"), ("10.0.0.1", "hosts", "h100-0"), ("gpu01", "hosts", "gpu01"), ("gpu01", "plan", "h100-0")],
)
def test_nodes_are_called_as_slurm_calls_them(host: str, setting: str, node: str) -> None:
    plan = plan_of((replica("r", mode="exclusive", host=host),), gpu_count=1)
    assert options(scripts(plan, nodes=setting)["h100-0/r.sh"])["nodelist"] == node


@pytest.mark.parametrize("node", ["a[0-9]", "a,b", "a b", "-x", "a\n#SBATCH --uid=0"])
def test_a_node_that_slurm_would_read_as_several_is_refused(node: str) -> None:
    with pytest.raises(RenderError, match=r"replicas\.r\.node: .* can be no name of a Slurm node"):
        render(plan_of((replica("r", mode="exclusive", node=node),), gpu_count=1))


def test_who_shares_a_gpu_is_refused() -> None:
    with pytest.raises(RenderError, match=r"replicas\.mistral-7b-0\.mode: it shares GPU 1 of h100-0"):
        render(time_shared_plan())


@pytest.mark.parametrize("setting", ["partition=a b", "account=x\n--uid", "gres=gpu:1:2", "time_limit=soon", "log_folder=logs", "cpus=0"])
def test_settings_are_checked(setting: str) -> None:
    name, _, value = setting.partition("=")
    with pytest.raises(RenderError, match=f"--set {name}="):
        render(mig_plan(), **{name: value})


@given(name=st.text(min_size=1, max_size=40), model=st.text(min_size=1, max_size=40))
def test_no_name_adds_an_option(name: str, model: str) -> None:
    plan = plan_of((replica(name, model, mode="exclusive", args={"revision": f"r{model}"}),), gpu_count=1)
    try:
        (text,) = scripts(plan).values()
    except RenderError:
        return
    assert set(options(text)) == OPTIONS
    assert all(len(value.split()) <= 1 for value in options(text).values())


def fake(folder: Path) -> dict[str, str]:
    """An environment with the stand-in for vllm on PATH."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "vllm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).parents[1] / "fake_vllm.py"} "$@"\n')
    program.chmod(0o755)
    (folder / "events").touch()
    return {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "FAKE_DIR": str(folder), "VLLM_API_KEY": "secret"}


def until_said(path: Path, what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while what not in (path.read_text() if path.exists() else ""):
        assert time.monotonic() < end, f"{path.name} never said {what!r}"
        time.sleep(0.02)


def test_hostile_values_reach_the_engine_as_they_are_and_a_signal_ends_everything(tmp_path: Path) -> None:
    port = free_port()
    one = replica(HOSTILE, HOSTILE, mode="exclusive", args={"model": HOSTILE, "port": port})
    write(render(plan_of((one,), gpu_count=1)), tmp_path / "scripts")
    (script,) = (tmp_path / "scripts" / "h100-0").glob("*.sh")
    environment = fake(tmp_path)
    log = (tmp_path / "log").open("wb")
    running = subprocess.Popen(
        ["bash", script], cwd=tmp_path, env={**environment, "CUDA_VISIBLE_DEVICES": "7"}, stdout=log, stderr=log, start_new_session=True
    )
    try:
        until_said(tmp_path / "log", ": ready")
        running.send_signal(signal.SIGTERM)
        assert running.wait(LIMIT_S) == 0
    finally:
        log.close()
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    call = json.loads((tmp_path / f"call-{port}.json").read_text())
    assert call["argv"] == list(command(one)[1:])
    assert call["environment"]["CUDA_VISIBLE_DEVICES"] == "7"
    assert not list(tmp_path.rglob("pwned"))
    assert f"stop {port}" in (tmp_path / "events").read_text()
    assert not alive(call["pid"])
    # the script does not wait for what it kills last
    worker = int((tmp_path / f"worker-{port}").read_text())
    assert until(lambda: not alive(worker))


def test_an_engine_that_ends_by_itself_has_failed(tmp_path: Path) -> None:
    port = free_port()
    write(render(plan_of((replica("r", mode="exclusive", args={"port": port}),), gpu_count=1)), tmp_path / "scripts")
    environment = fake(tmp_path)
    (tmp_path / f"fail-{port}").touch()
    done = subprocess.run(
        ["bash", tmp_path / "scripts" / "h100-0" / "r.sh"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 1
    assert "larger than the available KV cache memory" in done.stderr
    assert "r: the engine ended with status 1" in done.stderr
