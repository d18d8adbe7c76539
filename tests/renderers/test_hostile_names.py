"""No name, path or value of a plan leaves its place in a rendered file: every target, every kind of file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.plan import Plan
from renderers.files import write
from renderers.manifest import File, RenderError
from renderers.render_target import rendered
from tests.plans import plan_of, replica
from ullage.plugins import RENDERERS, load

# Pieces that mean something in some language that is rendered.
_SHELL = ["$(touch pwned)", "`touch pwned`", "${HOME}", "$$", "'", '"', "\\", ";", "|", "~", "touch pwned"]
_LINES = ["\n", "\r\n", "\t", "\u2028", "\x85", "\x1b[31m", "---\n", "[x]\n", "#SBATCH --x", "/", ".."]
_YAML = [": ", " #", "- ", "*", "&a", "!!python/object", "{{", "}}", "{%", "%h", "%%", "a", "é", "😀"]
PIECES = st.sampled_from([*_SHELL, *_LINES, *_YAML])
NAMES = st.lists(PIECES, min_size=1, max_size=6).map("".join)


def _plan(name: str, model: str, node: str) -> Plan:
    alone: dict[str, Any] = {"mode": "exclusive", "max_residents": 1, "active_limit": 1.0, "active_at_worst": 1}
    first = replica(name, model, node="h100-0", args={"model": f"x{model}"}, **alone)
    plan = plan_of((first,), gpu_count=1)
    desired = plan.desired
    moved = (desired.replicas[0].model_copy(update={"node": node}),)
    nodes = (desired.nodes[0].model_copy(update={"name": node}),)
    gpus = tuple(gpu.model_copy(update={"node": node}) for gpu in desired.gpus)
    return plan.model_copy(update={"desired": desired.model_copy(update={"replicas": moved, "nodes": nodes, "gpus": gpus})})


def _files(target: str, plan: Plan) -> tuple[File, ...]:
    """The files of a target, none where it refuses the plan, which is as good."""
    try:
        return rendered(target, load("renderers", RENDERERS, target), plan)
    except RenderError:
        return ()


@pytest.mark.parametrize("target", sorted(RENDERERS))
@given(name=NAMES, model=NAMES, node=NAMES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_files_stay_what_they_are(target: str, name: str, model: str, node: str) -> None:
    """Invariant 33."""
    for file in _files(target, _plan(name, model, node)):
        assert Path(file.path).name == file.path.rsplit("/", maxsplit=1)[-1]
        assert all(part not in {"", ".", ".."} and part.isascii() and part.isprintable() for part in file.path.split("/"))
        if target != "helm" and file.path.endswith((".yaml", ".yml")):
            assert all(found is not None for found in yaml.safe_load_all(file.text))
        if file.path.endswith(".json"):
            json.loads(file.text)
        # Slurm reads such a line wherever it stands.
        assert target != "slurm" or not any(line.startswith("#SBATCH --x") for line in file.text.split("\n"))


@pytest.mark.parametrize("target", sorted(RENDERERS))
def test_scripts_are_read_by_the_shell_as_one_program(target: str, tmp_path: Path) -> None:
    hostile = "a'\"$(touch pwned)`touch pwned`\n#SBATCH --x\ntouch pwned ; ${HOME} \\"
    write(_files(target, _plan(hostile, hostile, hostile)), tmp_path / "out")
    for script in sorted(tmp_path.rglob("*.sh")):
        done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), script
    assert not (tmp_path / "pwned").exists()
