"""Apply a plan in a process of its own that kills itself after its N-th durable write: crash.py STATE PLAN N."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from executor.processes import table as processes
from executor.router import envoy as router
from executor.state import folder as state
from executor.state.folder import StateFolder
from executor.state.journal import Journal
from planner.plan import RouterPlan, plan_from_json
from profiles import regular_files
from tests.executor.worlds import World


def main() -> None:
    plan = plan_from_json(Path(sys.argv[2]).read_text(encoding="utf-8"), sys.argv[2])
    left = int(sys.argv[3])

    def counted(write: Callable[..., None]) -> Callable[..., None]:
        def counting(*args: Any) -> None:
            nonlocal left
            write(*args)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        return counting

    for module in (processes, router, state):
        vars(module)["write_atomic"] = counted(regular_files.write_atomic)
    Journal._append = counted(Journal._append)  # type: ignore[method-assign]
    world = World(StateFolder(Path(sys.argv[1])), RouterPlan(host="127.0.0.1", port=2001, admin_port=2002))
    asyncio.run(world.apply(plan))
    sys.stdout.write(f"{left}\n")


if __name__ == "__main__":
    main()
