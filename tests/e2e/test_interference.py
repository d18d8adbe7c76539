"""The kernels of benchmarks.interference run on one CPU core, in the engine's Python. What they find there belongs to the machine."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.interference_shapes import pairs

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.vllm


def test_two_processes_make_steps_alone_and_together(vllm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = vllm.with_name("python")
    command = [str(python), "-m", "benchmarks.interference", "--device", "cpu", "--seconds", "0.3", "--rounds", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    with capsys.disabled():
        sys.stdout.write(f"\n{run.stdout}")
    assert not found["on_gpu"]
    assert len(found["pairs"]) == len(pairs("cpu"))
    for row in found["pairs"]:
        assert all(0 < value < math.inf for key in ("alone_s", "together_s", "factors") for value in row[key])


def test_without_a_gpu_it_says_so(vllm: Path) -> None:
    command = [str(vllm.with_name("python")), "-m", "benchmarks.interference", "--device", "cuda"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "python -m benchmarks.interference: torch sees no CUDA device; run it on a GPU, or give --device cpu\n"
