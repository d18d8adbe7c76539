"""A pass in a process of its own that kills itself after its N-th durable write: killed_pass.py STATE PLAN N."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from executor.state.folder import StateFolder
from planner.plan import RouterPlan, plan_from_json
from tests.executor.faults.keeping import Keeper
from tests.executor.faults.killing import CALLS
from tests.executor.worlds import World


def main() -> None:
    plan = plan_from_json(Path(sys.argv[2]).read_text(encoding="utf-8"), sys.argv[2])
    left = int(sys.argv[3])

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **words: Any) -> Any:
            nonlocal left
            result = write(*args, **words)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counting

    world = World(StateFolder(Path(sys.argv[1])), RouterPlan(host="127.0.0.1", port=2001, admin_port=2002))
    keeper = Keeper(world)
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    keeper.once(plan)
    sys.stdout.write(f"{left}\n")


if __name__ == "__main__":
    main()
