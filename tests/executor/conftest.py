"""A world per test; whatever the test does, nothing it started stays."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from executor.state.folder import StateFolder
from planner.plan import RouterPlan
from tests.executor.worlds import World, free_ports


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    port, admin_port = free_ports(2)
    made = World(StateFolder(tmp_path / "state"), RouterPlan(host="127.0.0.1", port=port, admin_port=admin_port))
    try:
        yield made
    finally:
        for pids in made.living().values():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
