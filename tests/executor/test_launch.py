"""What an emulated engine is started with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from executor.backends.launch_command import emulated
from executor.state.folder import StateFolder
from tests.plans import replica


def test_a_folder_called_executor_where_the_user_stands_does_not_hide_ours(tmp_path: Path) -> None:
    (tmp_path / "executor").mkdir()
    (tmp_path / "executor" / "__init__.py").write_text("raise SystemExit('wrong executor')\n")
    launch = emulated(StateFolder(tmp_path / ".ullage"), tmp_path)(replica("llama-8b-0"))
    start = launch.argv[: launch.argv.index("serve") + 1]
    run = subprocess.run([*start, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert launch.argv[0] == sys.executable
    assert "wrong executor" not in run.stderr
    assert "vllm serve, emulated" in run.stdout
