"""The real engine: made by `make e2e`, which names its executable in ULLAGE_VLLM."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.engines import ENVIRONMENT, Engine, guarded, running
from tests.e2e.tiny_fleet import living
from tests.ullage.commands import PROGRAM, ullage

MAKE_MODELS = Path(__file__).with_name("make_models.py")


@pytest.fixture(scope="session")
def vllm() -> Path:
    """The engine's executable."""
    named = os.environ.get("ULLAGE_VLLM")
    if not named:
        pytest.fail("ULLAGE_VLLM does not name a vLLM executable; run these tests with: make e2e", pytrace=False)
    return Path(named).absolute()


@pytest.fixture(scope="session")
def models(vllm: Path) -> Path:
    """The folder of the four tiny models, made once beside the engine."""
    folder = vllm.parents[1] / "models"
    made = folder / f"made-{MAKE_MODELS.stat().st_mtime_ns}"
    if not made.exists():
        subprocess.run([vllm.with_name("python"), MAKE_MODELS, folder], check=True, env={**os.environ, **ENVIRONMENT})
        made.touch()
    return folder


@pytest.fixture(scope="session")
def engine(vllm: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all tests that leave it as it was: tiny-llama with a KV pool of tests.e2e.engines.KV_BYTES.

    It has the paths of sleep mode, and says that GPU 0 is its own, as engines on GPUs do.
    """
    environment = {"VLLM_SERVER_DEV_MODE": "1", "CUDA_VISIBLE_DEVICES": "0"}
    with running(vllm, models / "tiny-llama", tmp_path_factory.mktemp("engine"), "tiny-llama", environment) as server:
        yield server


@pytest.fixture
def place(vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with what the engines need in the environment; in the end nothing that was applied from it runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{vllm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "cache"))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with guarded((*PROGRAM, "destroy", "-y", "--state", str(tmp_path / ".ullage"))):
        try:
            yield tmp_path
        finally:
            ullage("destroy", "-y")
            assert living(tmp_path / ".ullage") == {}
