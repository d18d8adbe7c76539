from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.plan import MigPlace, Plan
from renderers import mig_parted
from renderers.files import write
from renderers.render_target import rendered
from tests.conftest import Golden
from tests.plans import mig_plan, plan_of, replica, time_shared_plan
from tests.renderers.conftest import ShellCheck

GOLDEN = Path(__file__).parent / "golden" / "mig-parted"

# A driver that keeps the layout of each GPU in a file of its own and lists it as nvidia-smi does.
NVIDIA_SMI = """#!/usr/bin/env bash
set -eu
printf '%s\\n' "$*" >>calls
case "$*" in
  "mig -i "*" -lgi")
    [[ -s "layout-$3" ]] || { echo "No GPU instances found"; exit 6; }
    echo "| GPU instances:                                        |"
    echo "| GPU   Name             Profile  Instance   Placement  |"
    while IFS=: read -r profile start; do
      printf '|   %s  MIG %s          19        7          %s:1     |\\n' "$3" "$profile" "$start"
    done <"layout-$3" ;;
  "mig -i "*" -dci") grep -q . "layout-$3" && [[ ! -e no-compute-instances ]] ;;
  "mig -i "*" -dgi") : >"layout-$3" ;;
  "-i "*" -mig "?) [[ "$4" == 1 ]] && echo Enabled >"mode-$2" || echo Disabled >"mode-$2" ;;
  "-i "*" --query-gpu=mig.mode.current "*) cat "mode-$2" ;;
  "mig -i "*" -cgi "*) printf '%s\\n' "${5//,/$'\\n'}" >"layout-$3" ;;
esac
"""


def _config(plan: Plan) -> dict[str, Any]:
    texts = {file.path: file.text for file in rendered("mig-parted", mig_parted.TARGET, plan)}
    found: dict[str, Any] = yaml.safe_load(texts["config.yaml"])
    return found


def _divided(*profiles: tuple[str, int]) -> Plan:
    places = tuple(MigPlace(profile=profile, start=start) for profile, start in profiles)
    first = replica("r", mode="mig", mig=places[0], max_residents=1, active_limit=1.0, active_at_worst=1)
    return plan_of((first,), gpu_count=2, mig_layouts={0: places})


@pytest.mark.golden
def test_files_are_as_reviewed(golden: Golden) -> None:
    for file in rendered("mig-parted", mig_parted.TARGET, mig_plan()):
        golden(GOLDEN / file.path, file.text)


def test_the_configuration_counts_what_the_plan_places() -> None:
    plan = _divided(("3g.40gb", 0), ("3g.40gb", 4))
    assert _config(plan) == {
        "version": "v1",
        "mig-configs": {
            "h100-0": [
                {"devices": [0], "mig-enabled": True, "mig-devices": {"3g.40gb": 2}},
                {"devices": [1], "mig-enabled": False},
            ]
        },
    }


def test_a_layout_that_counts_may_not_reach_is_left_to_its_script() -> None:
    # Three of 1g.10gb fit wherever they are put; with four, one may stand in the half that 3g.40gb needs, whoever comes first.
    plan = _divided(("3g.40gb", 0), *(("1g.10gb", start) for start in (4, 5, 6)))
    assert "config.yaml" in {file.path for file in rendered("mig-parted", mig_parted.TARGET, plan)}
    uncertain = _divided(*(("1g.10gb", start) for start in (0, 1, 2, 3)), ("3g.40gb", 4))
    assert [file.path for file in rendered("mig-parted", mig_parted.TARGET, uncertain)] == ["exact/h100-0.sh"]


def test_a_node_that_is_not_divided_any_more_is_told_so() -> None:
    assert _config(time_shared_plan())["mig-configs"] == {"h100-0": [{"devices": [0, 1], "mig-enabled": False}]}


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "exact/h100-0.sh"], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_script_reaches_the_layout_and_then_leaves_it_alone(tmp_path: Path, shellcheck: ShellCheck) -> None:
    write(rendered("mig-parted", mig_parted.TARGET, mig_plan()), tmp_path)
    shellcheck(*sorted(tmp_path.rglob("*.sh")))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    (tmp_path / "layout-0").write_text("7g.80gb:0\n")
    done = _run(tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "GPU 0: 4g.40gb:0 3g.40gb:4"), done.stderr
    assert (tmp_path / "layout-0").read_text() == "4g.40gb:0\n3g.40gb:4\n"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls.index("mig -i 0 -dci") < calls.index("mig -i 0 -dgi") < calls.index("mig -i 0 -cgi 4g.40gb:0,3g.40gb:4 -C")
    (tmp_path / "calls").unlink()
    assert "unchanged" in _run(tmp_path).stdout
    assert (tmp_path / "calls").read_text().splitlines() == ["mig -i 0 -lgi"]


def test_a_gpu_that_is_not_divided_any_more_is_a_device_again(tmp_path: Path) -> None:
    write(rendered("mig-parted", mig_parted.TARGET, time_shared_plan()), tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    # One with GPU instances that have no compute instances, one with the mode alone.
    (tmp_path / "no-compute-instances").touch()
    (tmp_path / "layout-0").write_text("3g.40gb:0\n")
    for gpu in (0, 1):
        (tmp_path / f"mode-{gpu}").write_text("Enabled\n")
    done = _run(tmp_path)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["GPU 0: undivided", "GPU 1: undivided"]), done.stderr
    assert [(tmp_path / f"mode-{gpu}").read_text() for gpu in (0, 1)] == ["Disabled\n"] * 2
    assert _run(tmp_path).stdout.splitlines() == ["GPU 0: unchanged (undivided)", "GPU 1: unchanged (undivided)"]
