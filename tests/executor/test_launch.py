"""What an emulated engine is started with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from executor.backends.launch_command import emulated
from executor.emulator.mps_client import thread_percentage
from executor.state.folder import StateFolder
from tests.plans import replica


def test_a_real_mps_daemon_of_the_users_shell_is_nothing_to_emulated_engines(tmp_path: Path) -> None:
    launch = emulated(StateFolder(tmp_path / ".ullage"), tmp_path)
    found = launch(replica("llama-8b-0")).at_start()
    assert found == {"CUDA_MPS_PIPE_DIRECTORY": "", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": ""}
    assert thread_percentage(found) is None
    assert launch(replica("llama-8b-0", mode="mps", args={"active_thread_percentage": 50})).at_start() == {}


def test_a_folder_called_executor_where_the_user_stands_does_not_hide_ours(tmp_path: Path) -> None:
    (tmp_path / "executor").mkdir()
    (tmp_path / "executor" / "__init__.py").write_text("raise SystemExit('wrong executor')\n")
    launch = emulated(StateFolder(tmp_path / ".ullage"), tmp_path)(replica("llama-8b-0"))
    start = launch.argv[: launch.argv.index("serve") + 1]
    run = subprocess.run([*start, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert launch.argv[0] == sys.executable
    assert "wrong executor" not in run.stderr
    assert "vllm serve, emulated" in run.stdout
