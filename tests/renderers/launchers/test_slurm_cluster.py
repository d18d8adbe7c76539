"""Rendered scripts in a real Slurm on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.plan import Plan
from renderers.files import write
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan
from tests.ports import free_ports
from tests.renderers.launchers.slurm_cluster import Slurm, slurm_cluster
from tests.renderers.launchers.test_slurm import fake, render


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    nodes = {"h100-0": "gpu:h100:2", "h100-1": "gpu:4g.40gb:1,gpu:3g.40gb:1", "h100-2": "gpu:3"}
    with slurm_cluster(tmp_path_factory.mktemp("slurm"), nodes) as cluster:
        yield cluster


def on(node: str, plan: Plan) -> Plan:
    """The plan with its one node under another name."""
    text = plan.model_dump_json().replace('"h100-0"', json.dumps(node))
    return Plan.model_validate_json(text)


def two_replicas(node: str) -> Plan:
    plan = plan_of(
        (replica("a", mode="exclusive"), replica("b", mode="exclusive", gpus=(1,), args={"port": 8101})),
        gpu_count=2,
    )
    return on(node, plan)


@pytest.mark.parametrize(
    "plan",
    [two_replicas("h100-0"), on("h100-1", mig_plan()), on("h100-2", tensor_parallel_plan())],
    ids=["exclusive", "mig", "tensor-parallel"],
)
def test_slurm_takes_every_script(slurm: Slurm, plan: Plan, tmp_path: Path) -> None:
    write(render(plan), tmp_path)
    for each in plan.desired.replicas:
        done = slurm.call("sbatch", "--test-only", tmp_path / each.node / f"{each.name}.sh")
        assert done.returncode == 0, done.stderr
        assert f"on nodes {each.node} " in done.stderr


def too_many() -> Plan:
    wide = replica("r", mode="tensor_parallel", gpus=(0, 1, 2), args={"tensor_parallel_size": 3})
    return plan_of((wide,), gpu_count=3)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (two_replicas("nowhere"), "Invalid node name specified"),
        (too_many(), "Requested node configuration is not available"),
        (on("h100-0", mig_plan()), "Requested node configuration is not available"),
    ],
    ids=["unknown node", "more GPUs than there are", "no such instances"],
)
def test_slurm_refuses_what_it_does_not_have(slurm: Slurm, plan: Plan, says: str, tmp_path: Path) -> None:
    write(render(plan), tmp_path)
    first = plan.desired.replicas[0]
    done = slurm.call("sbatch", "--test-only", tmp_path / first.node / f"{first.name}.sh")
    assert done.returncode != 0
    assert says in done.stderr


def engines(folder: Path, ports: list[int], **second: object) -> Path:
    """Two replicas on node h100-0, rendered; returns submit.sh."""
    args = {"port": ports[1], **second}
    both = (replica("a", mode="exclusive", args={"port": ports[0]}), replica("b", mode="exclusive", gpus=(1,), args=args))
    write(render(plan_of(both, gpu_count=2), log_folder=str(folder / "logs")), folder / "scripts")
    return folder / "scripts" / "submit.sh"


def submitted(slurm: Slurm, script: Path, environment: dict[str, str], *names: str) -> str:
    path = f"{environment['PATH']}:{slurm.environment['PATH']}"
    done = slurm.call("bash", script, *names, variables={**environment, "PATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_queue_follows_what_is_rendered(slurm: Slurm, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "logs").mkdir()
    ports = free_ports(2)
    environment = fake(tmp_path)
    script = engines(tmp_path, ports)
    assert [line.partition(",")[0] for line in submitted(slurm, script, environment).splitlines()] == ["a: submitted", "b: submitted"]
    for port in ports:
        slurm.until(f"token {port}", "cat", str(tmp_path / "events"))
    calls = [json.loads((tmp_path / f"call-{port}.json").read_text())["environment"] for port in ports]
    assert [call["SLURMD_NODENAME"] for call in calls] == ["h100-0", "h100-0"]
    assert sorted(call["CUDA_VISIBLE_DEVICES"] for call in calls) == ["0", "1"]
    # Nothing to do; then another argument of one; then that one alone.
    assert [line.partition(",")[0] for line in submitted(slurm, script, environment).splitlines()] == ["a: unchanged", "b: unchanged"]
    (tmp_path / f"call-{ports[1]}.json").unlink()
    engines(tmp_path, ports, max_num_seqs=32)
    assert submitted(slurm, script, environment, "a").startswith("a: unchanged")
    said = submitted(slurm, script, environment)
    assert [line.partition(" number")[0] for line in said.splitlines()] == ["a: unchanged,", "b: ending", "b: submitted,"]
    slurm.until('"32"', "cat", str(tmp_path / f"call-{ports[1]}.json"))
    events = (tmp_path / "events").read_text()
    assert events.index(f"stop {ports[1]}") < events.rindex(f"begin {ports[1]}")
    # One that is no longer rendered ends, as one that was asked to.
    alone = plan_of((replica("a", mode="exclusive", args={"port": ports[0]}),), gpu_count=2)
    write(render(alone, log_folder=str(tmp_path / "logs")), script.parent)
    assert "b: ending" in submitted(slurm, script, environment)
    slurm.until("done", "sh", "-c", "squeue --noheader --format=%j | grep -q ullage-b || echo done")
    assert "ullage-a" in slurm.call("squeue", "--noheader", "--format=%j").stdout
    assert slurm.call("bash", script, "c").returncode == 1


def test_one_that_waits_for_a_gpu_can_be_taken_back(slurm: Slurm, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ports = free_ports(4)
    four = tuple(
        replica(name, mode="exclusive", node="h100-2", gpus=(gpu,), args={"port": ports[gpu]})
        for gpu, name in enumerate(("d", "e", "f", "g"))
    )
    environment = fake(tmp_path)
    script = tmp_path / "scripts" / "submit.sh"
    settings = {"prefix": "waiting", "log_folder": str(tmp_path)}
    write(render(plan_of(four, gpu_count=4), **settings), script.parent)
    submitted(slurm, script, environment)
    for port in ports[:3]:
        slurm.until(f"token {port}", "cat", str(tmp_path / "events"))
    # Node h100-2 has three GPUs.
    assert slurm.call("squeue", "--noheader", "--states=PENDING", "--format=%j").stdout.split() == ["waiting-g"]
    write(render(plan_of(four[:3], gpu_count=4), **settings), script.parent)
    said = submitted(slurm, script, environment).splitlines()
    assert [line.partition(" number")[0] for line in said if "unchanged" not in line] == ["g: ending"]
    slurm.until("done", "sh", "-c", "squeue --noheader --format=%j | grep -q waiting-g || echo done")
    assert f"begin {ports[3]}" not in (tmp_path / "events").read_text()
    write(render(plan_of((four[0],), gpu_count=4), **settings), script.parent)
    assert submitted(slurm, script, environment, "f").startswith("f: ending")
