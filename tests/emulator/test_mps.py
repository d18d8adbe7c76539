"""Emulated engines as clients of MPS, and the stand-in for its daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executor.emulator.devices import gpu_path
from executor.emulator.gpu_file import GpuFile, create_gpu_file
from executor.emulator.launch import LaunchError, engine_settings, mps_threads
from executor.emulator.options import parse_serve
from executor.emulator.pace import Pace
from executor.emulator.residence import Residence
from profiles.catalogue import builtin
from profiles.sources.vllm_failures import root_cause
from tests.emulator.processes import MODEL, SMALL_SHARE, make_node, refused, running

CONTROL = (sys.executable, "-P", "-m", "executor.emulator.mps_control", "-f")


def meeting(folder: Path, percentage: str = "40") -> dict[str, str]:
    return {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": percentage}


@contextmanager
def daemon(folder: Path) -> Iterator[subprocess.Popen[str]]:
    folder.mkdir()
    process = subprocess.Popen(CONTROL, env={**os.environ, **meeting(folder)}, text=True)
    try:
        end_s = time.monotonic() + 60.0
        while not (folder / "control").exists() and process.poll() is None and time.monotonic() < end_s:
            time.sleep(0.01)
        assert (folder / "control").exists()
        yield process
    finally:
        process.kill()
        process.wait(60)


def test_the_door_is_open_as_long_as_the_daemon_lives(tmp_path: Path) -> None:
    folder = tmp_path / "pipes"
    with daemon(folder) as process:
        second = subprocess.run(CONTROL, env={**os.environ, **meeting(folder)}, capture_output=True, text=True, timeout=60, check=False)
        assert (second.returncode, second.stderr) == (1, "An instance of this daemon is already running\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not (folder / "control").exists()


@pytest.mark.parametrize(("arguments", "folder"), [((), "."), (("-d",), "."), (("-f",), "")])
def test_the_stand_in_knows_one_way_of_use(arguments: tuple[str, ...], folder: str) -> None:
    environment = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": folder}
    run = subprocess.run([*CONTROL[:-1], *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr.startswith("usage: ")) == (2, True)


def test_an_engine_without_its_daemon_is_refused_as_cuda_does_it(tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    code, log = refused(node, MODEL, *SMALL_SHARE, environment=meeting(tmp_path / "nobody"))
    assert code == 1
    assert "MPS client failed to connect to the MPS control daemon or the MPS server" in log
    found = root_cause(log)
    assert found is not None
    assert found.cause.name == "mps"


def test_an_engine_with_its_daemon_answers(tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    with daemon(tmp_path / "pipes"), running(node, MODEL, *SMALL_SHARE, environment=meeting(tmp_path / "pipes")) as engine:
        answer = engine.post("/v1/completions", {"model": MODEL, "prompt": [1] * 20, "max_tokens": 5})
        assert answer.json["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize(("text", "threads"), [("40", 40), ("100", 100), (None, 100)])
def test_its_part_of_the_threads_is_a_setting(text: str | None, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.delenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", raising=False)
    assert mps_threads() is None
    (tmp_path / "control").touch()
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    if text is not None:
        monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", text)
    assert mps_threads() == threads
    settings = engine_settings(parse_serve([MODEL], {}), builtin().model(MODEL), builtin().gpu("H100"))
    assert settings.active_thread_percentage == threads


@pytest.mark.parametrize("text", ["0", "101", "-5", "half", " "])
def test_a_percentage_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", text)
    with pytest.raises(LaunchError, match=r"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE is '.*'; it must be a whole number from 1 to 100"):
        mps_threads()


def test_neighbours_at_work_take_none_of_the_time_of_an_engine_with_threads_of_its_own(tmp_path: Path) -> None:
    path = gpu_path(tmp_path, 0)
    create_gpu_file(path, "H100-SXM-80GB", 1000)
    gpu, now_s = GpuFile(path), [100.0]
    one, two = (Residence([(gpu, 0)], name, lambda: now_s[0], own_threads=True) for name in ("one", "two"))
    plain = Residence([(gpu, 0)], "plain", lambda: now_s[0])
    for item in (one, two, plain):
        item.claim(1)
    one.set_active(True)
    pace = Pace(one)
    pace.begin(0.010, now_s[0])
    now_s[0] += 0.004
    two.set_active(True)
    assert pace.wait_s(now_s[0]) == pytest.approx(0.006)
    now_s[0] += 0.004
    pace_of_two = Pace(two)
    pace_of_two.begin(0.003, now_s[0])
    assert [pace.wait_s(now_s[0]), pace_of_two.wait_s(now_s[0])] == pytest.approx([0.002, 0.003])
    now_s[0] += 0.003
    assert (pace.wait_s(now_s[0]), pace_of_two.wait_s(now_s[0])) == (None, None)
    # a step that was found late begins where the one before should have ended
    pace.follow(0.010, now_s[0])
    assert pace.wait_s(now_s[0]) == pytest.approx(0.009)
    # the GPU is busy once, however many work at a time; and who has no threads of its own sees all of them
    gpu.recount(0, now_s[0])
    assert gpu.totals(0)[0] == pytest.approx(0.011)
    assert plain.clocks(now_s[0])[0][1] == 2
    gpu.close()
