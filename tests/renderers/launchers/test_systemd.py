from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan import Plan
from renderers import systemd
from renderers.files import write
from renderers.manifest import Manifest, RenderError
from renderers.render_target import rendered
from renderers.templates import unit_text, unit_word
from renderers.vllm import ready_limit_s
from tests.conftest import Golden
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from tests.renderers.conftest import ShellCheck
from tests.renderers.fake_mps import FakeMps
from tests.renderers.mps_plans import mps_plan
from tests.tools import program

GOLDEN = Path(__file__).parents[1] / "golden" / "systemd"
HOSTILE = "a b\"c' $(touch pwned) `touch pwned` ;touch pwned\n[Service]\nExecStart=/bin/true \\ %h ${HOME} ü #"


def render(plan: Plan, folder: Path | str = "/etc/ullage") -> Manifest:
    return rendered("systemd", systemd.TARGET, plan, {"folder": str(folder), "user": "root"})


def verify(folder: Path) -> None:
    """Fails unless systemd has nothing to say about the units; it only warns of what it does not know."""
    analyze = program("systemd-analyze", "the package systemd")
    done = subprocess.run(
        [analyze, "verify", *sorted(map(str, folder.glob("*")))], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.golden
def test_units_are_as_reviewed(golden: Golden) -> None:
    for file in render(time_shared_plan()):
        if "/units/" in file.path:
            golden(GOLDEN / file.path, file.text)
    for file in render(mps_plan()):
        if "/units/" in file.path:
            golden(GOLDEN / "mps" / file.path, file.text)


@pytest.mark.parametrize(
    "plan", [time_shared_plan(), mps_plan(), mig_plan(), tensor_parallel_plan()], ids=["time-shared", "mps", "mig", "tensor-parallel"]
)
def test_systemd_finds_nothing_wrong(plan: Plan, tmp_path: Path, shellcheck: ShellCheck) -> None:
    # It looks for the programs, so they must be where the units say.
    write(render(plan, tmp_path / "h100-0"), tmp_path)
    verify(tmp_path / "h100-0" / "units")
    shellcheck(*sorted(tmp_path.rglob("*.sh")))


def test_an_unknown_key_is_found(tmp_path: Path) -> None:
    write(render(mig_plan(), tmp_path / "h100-0"), tmp_path)
    unit = tmp_path / "h100-0" / "units" / "ullage-llama-8b-0.service"
    unit.write_text(unit.read_text().replace("KillMode", "KilMode"))
    with pytest.raises(AssertionError, match="KilMode"):
        verify(unit.parent)


def test_hostile_names_stay_in_their_place(tmp_path: Path) -> None:
    hostile = replica(HOSTILE, HOSTILE, node="h100-0", args={"model": HOSTILE})
    files = render(plan_of((hostile, replica("b", args={"port": 8101})), gpu_count=1), tmp_path / "h100-0")
    write(files, tmp_path)
    verify(tmp_path / "h100-0" / "units")
    (text,) = [file.text for file in files if file.path.endswith(".service") and "touch" in file.text]
    assert [line.partition("=")[0] for line in text.splitlines() if line.startswith("Exec")] == ["ExecStart", "ExecStartPost"]


def _read(word: str) -> str:
    """A word as systemd reads it: quotes, escapes, then specifiers and variables, of which there must be none."""
    assert word.startswith('"')
    assert word.endswith('"')
    inner = word[1:-1]
    assert not re.search(r'(?<!\\)(\\\\)*"', inner)
    raw = re.sub(r"\\(x([0-9a-f]{2})|.)", lambda found: chr(int(found[2], 16)) if found[2] else found[1], inner)
    assert not re.search(r"(?<!%)(%%)*%(?!%)", raw)
    assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", raw)
    # What is escaped byte by byte are the bytes of UTF-8.
    text = re.sub(r"[\x80-\xff]+", lambda found: found[0].encode("latin-1").decode(errors="ignore") or found[0], raw)
    return text.replace("%%", "%").replace("$$", "$")


@given(value=st.text(alphabet=st.characters(max_codepoint=0x7F, exclude_characters="\0"), max_size=30))
def test_words_are_read_again_as_they_were(value: str) -> None:
    written = unit_word(value)
    assert "\n" not in written
    assert _read(written) == value


@given(value=st.text(max_size=30))
def test_a_text_stays_on_its_line(value: str) -> None:
    written = unit_text(value)
    assert len(f"{written}x".splitlines()) == 1
    assert not written.endswith("\\")


def test_starts_on_a_shared_gpu_take_turns_and_wait_for_each_other() -> None:
    plan = time_shared_plan()
    texts = {file.path.rpartition("/")[2]: file.text for file in render(plan)}
    shared = texts["ullage-llama-8b-0.service"]
    assert 'ExecStart="/usr/bin/bash" "/etc/ullage/start-in-turn.sh" "gpu-0"' in shared
    # 212 s for a start, and up to four of them on one GPU: the steps keep a unit as it is when forecasts or neighbours change a little.
    assert ready_limit_s(plan.desired.replicas[0]) == 212
    assert '"--limit-s" "1200" --pid ${MAINPID}' in shared
    assert "TimeoutStartSec=1230\n" in shared
    alone = {file.path.rpartition("/")[2]: file.text for file in render(tensor_parallel_plan())}["ullage-llama-8b-0.service"]
    assert 'ExecStart="/etc/ullage/replicas/llama-8b-0.sh"\n' in alone


@pytest.mark.parametrize("folder", ["etc", "/etc/../x y", "/etc/ullage/", "/%h"])
def test_a_folder_that_units_cannot_name_is_refused(folder: str) -> None:
    with pytest.raises(RenderError, match="--set folder="):
        render(mig_plan(), folder)


def _installed(folder: Path, plan: Plan) -> tuple[str, list[str]]:
    """What install.sh prints and what it asks of systemd, on a machine where every unit starts at once."""
    write(render(plan, folder / "etc"), folder / "out", target="systemd")
    (folder / "calls").unlink(missing_ok=True)
    (folder / "systemd").mkdir(exist_ok=True)
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "systemctl").write_text('#!/bin/sh\necho "$*" >>"$CALLS"\n')
    (folder / "bin" / "systemctl").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
        "ULLAGE_UNITS": str(folder / "systemd"),
    }
    done = subprocess.run(
        ["bash", folder / "out" / "h100-0" / "install.sh"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, (folder / "calls").read_text().splitlines()


def test_a_plan_replaces_the_one_before_and_leaves_alone_what_did_not_change(tmp_path: Path) -> None:
    first = plan_of((replica("a"), replica("b", args={"port": 8101})), gpu_count=1)
    said, _ = _installed(tmp_path, first)
    assert said.splitlines() == ["started: ullage-a.service", "started: ullage-b.service"]
    verify(tmp_path / "systemd")
    assert _installed(tmp_path, first)[0] == ""
    # b goes, a gets another port, c comes to their GPU.
    second = plan_of((replica("a", args={"port": 8105}), replica("c", args={"port": 8106})), gpu_count=1)
    said, calls = _installed(tmp_path, second)
    assert said.splitlines() == ["stopped: ullage-b.service", "started: ullage-a.service", "started: ullage-c.service"]
    assert calls[0] == "disable --now ullage-b.service"
    assert calls.index("daemon-reload") < calls.index("restart ullage-a.service") < calls.index("restart ullage-c.service")
    # c moves to another GPU under another name: it stays until the new one is ready.
    third = plan_of((replica("a", args={"port": 8105}), replica("d", gpus=(1,), args={"port": 8107})), gpu_count=2)
    said, calls = _installed(tmp_path, third)
    assert said.splitlines() == ["started: ullage-d.service", "stopped: ullage-c.service"]
    # Another forecast of its start replaces no engine.
    slower = plan_of((replica("a", start_s=600.0, args={"port": 8105}), replica("d", gpus=(1,), args={"port": 8107})), gpu_count=2)
    assert _installed(tmp_path, slower)[0] == ""
    # e wants the port of d.
    fourth = plan_of((replica("a", args={"port": 8105}), replica("e", args={"port": 8107})), gpu_count=2)
    assert _installed(tmp_path, fourth)[0].splitlines() == ["stopped: ullage-d.service", "started: ullage-e.service"]
    assert sorted(path.name for path in (tmp_path / "systemd").iterdir()) == [
        "ullage-a.service",
        "ullage-e.service",
        "ullage-engines.target",
    ]


def test_engines_that_share_by_mps_need_the_daemon_of_their_gpu() -> None:
    texts = {file.path.rpartition("/")[2]: file.text for file in render(mps_plan())}
    for name, gpu in (("llama-8b-0", 0), ("qwen3-8b-0", 0), ("mistral-7b-0", 1)):
        unit = texts[f"ullage-{name}.service"].splitlines()
        for line in (
            f"Requires=ullage-mps-gpu{gpu}.service",
            f"After=ullage-mps-gpu{gpu}.service",
            f"Environment=ULLAGE_MPS_PIPES=/run/ullage/mps-gpu{gpu}",
        ):
            assert line in unit
        assert f'"/etc/ullage/start-in-turn.sh" "gpu-{gpu}"' in texts[f"ullage-{name}.service"]
        daemon = texts[f"ullage-mps-gpu{gpu}.service"]
        assert f'ExecStart="/usr/bin/bash" "/etc/ullage/mps-daemon.sh" "{gpu}"\n' in daemon
        assert f"Environment=CUDA_MPS_PIPE_DIRECTORY=/run/ullage/mps-gpu{gpu} " in daemon
        assert "StopWhenUnneeded=yes\n" in daemon
        assert "User=root\n" in daemon
    assert "mps" not in texts["ullage-engines.target"]
    assert not any("mps" in file.path for file in render(time_shared_plan()))


def test_the_daemon_of_a_unit_sees_its_gpu_alone(tmp_path: Path) -> None:
    write(render(mps_plan(), tmp_path / "h100-0"), tmp_path)
    (tmp_path / "bin").mkdir()
    mps = FakeMps(tmp_path)
    environment = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "FAKE_DIR": str(tmp_path),
        "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path),
    }
    words = ["bash", str(tmp_path / "h100-0" / "mps-daemon.sh"), "1"]
    try:
        subprocess.run(words, env=environment, check=True, timeout=60)
        assert mps.events() == [f"start -f {tmp_path} GPU-00000001 all"]
    finally:
        mps.end()
    (tmp_path / "mps-odd").touch()
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, len(mps.events())) == (1, 1)
    assert "nvidia-smi does not name the UUID of GPU 1" in done.stderr


def test_units_of_daemons_come_and_go_with_their_engines(tmp_path: Path) -> None:
    first, port = replica("a", mode="mps", args={"active_thread_percentage": 60}), {"port": 8101}
    second = replica("z", mode="mps", args={**port, "active_thread_percentage": 40})
    said, calls = _installed(tmp_path, plan_of((first, second), gpu_count=1))
    # An engine starts its daemon, so that nobody else does.
    assert said.splitlines() == ["started: ullage-a.service", "started: ullage-z.service"]
    assert not any("mps" in call for call in calls)
    verify(tmp_path / "systemd")
    assert sorted(path.name for path in (tmp_path / "etc").iterdir()) == [
        "mps-daemon.sh",
        "mps.sh",
        "ready.py",
        "replicas",
        "start-in-turn.sh",
    ]
    assert _installed(tmp_path, plan_of((first, second), gpu_count=1))[0] == ""
    # The daemon goes after the last engine that used it.
    alone = replica("b", gpus=(1,), mode="exclusive", args={"port": 8102})
    said, _ = _installed(tmp_path, plan_of((alone,), gpu_count=2))
    assert said.splitlines() == [
        "started: ullage-b.service",
        "stopped: ullage-a.service",
        "stopped: ullage-z.service",
        "stopped: ullage-mps-gpu0.service",
    ]
    assert sorted(path.name for path in (tmp_path / "systemd").iterdir()) == ["ullage-b.service", "ullage-engines.target"]


def test_a_replica_with_the_name_of_a_daemon_is_refused() -> None:
    one = replica("mps-gpu0", mode="mps", args={"active_thread_percentage": 60})
    with pytest.raises(RenderError, match=r"replica 'mps-gpu0': ullage-mps-gpu0\.service is the unit of the MPS daemon of GPU 0"):
        render(plan_of((one,), gpu_count=1))
