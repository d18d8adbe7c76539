"""A loop per test over two replicas that were applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.executor.reconcile.loops import Loop
from tests.executor.worlds import engine


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    made = Loop(tmp_path / "state")
    made.apply(engine("llama-0", 3000), engine("qwen-0", 3001, gpu=1))
    return made
