"""Plans on free ports, a backend of fake engines, and what is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from executor.applying.apply import apply_to
from executor.backends.launch_command import LaunchCommand
from executor.backends.local import Deadlines, LocalBackend
from executor.events import Event
from executor.processes import table as processes
from executor.state.folder import StateFolder
from executor.status import StatusReport, status
from executor.waiting import wait_until
from planner.plan import Plan, Prior, Replica, RouterPlan, State, state_hash
from planner.routes import routes_for
from planner.transitions.diff import diff
from tests import ports
from tests.plans import plan_of
from tests.plans import replica as sample_replica

free_ports = ports.free_ports

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")


def engine(name: str, port: int, mode: str = "ok", gpu: int = 0, served_name: str | None = None) -> Replica:
    """A replica that the fake engine plays; its mode travels as the model's name."""
    return sample_replica(name, served_name or name.rsplit("-", 1)[0], mode, gpus=(gpu,), args={"port": port})


def fake_launch(replica: Replica) -> LaunchCommand:
    """The fake engine in the mode that the model's name tells."""
    argv = (sys.executable, str(FAKE_ENGINE), replica.host, str(replica.args.port), replica.served_name, replica.args.model)
    limit = {"VLLM_ENGINE_READY_TIMEOUT_S": f"{replica.start_s:.0f}"}
    return LaunchCommand(argv, {"CUDA_VISIBLE_DEVICES": ",".join(map(str, replica.gpus)), **limit}, argv)


@dataclass
class World:
    """A state folder, fake engines, and one router's ports."""

    folder: StateFolder
    router: RouterPlan
    limits: Deadlines = field(default_factory=lambda: Deadlines(start_s=lambda _: 60.0, drain_s=60.0, stop_grace_s=2.0))
    events: list[Event] = field(default_factory=list)

    def backend(self) -> LocalBackend:
        return LocalBackend(self.folder, fake_launch, None, self.limits)

    def plan(self, replicas: Iterable[Replica], state: State | None = None) -> Plan:
        """A plan from the state (the folder's, if none is given) to these replicas."""
        state = state if state is not None else self.folder.load()
        wanted = tuple(sorted(replicas, key=lambda replica: replica.name))
        gpu_count = 1 + max((gpu for replica in wanted for gpu in replica.gpus), default=0)
        blank = plan_of(wanted, gpu_count=gpu_count)
        desired = blank.desired.model_copy(update={"routes": routes_for(wanted), "router": self.router})
        prior = Prior(serial=state.serial, state_hash=state_hash(state))
        return Plan(desired=desired, prior=prior, actions=diff(state, desired))

    async def apply(self, plan: Plan) -> State:
        return await apply_to(plan, self.folder, self.backend(), self.events.append)

    def status(self) -> StatusReport:
        """What `ullage status` would find on this backend."""
        return status(self.folder.root, lambda *_: self.backend())

    def living(self) -> dict[str, tuple[int, ...]]:
        """Processes that live, by record."""
        table = processes.ProcessTable(self.folder.processes, self.folder.logs)
        return {record.name: found for record in table.records() if (found := processes.members(record))}

    def kill(self, name: str) -> None:
        """As the OOM killer does it: the leader dies, what it forked lives on. Returns when the kernel has taken it away."""
        record = processes.ProcessTable(self.folder.processes, self.folder.logs).record(name)
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        assert until(lambda: not processes.alive(record))


# the first thread of this program ends, as a killed one's may, while another is still there
ENDED_FIRST_THREAD = (
    "import ctypes, threading\n"
    "threading.Thread(target=threading.Event().wait).start()\n"
    "print('up', flush=True)\n"
    "ctypes.CDLL(None).pthread_exit(None)\n"
)


def until(holds: Callable[[], bool], limit_s: float = 60.0) -> bool:
    """Whether it came to hold within the limit."""
    return asyncio.run(wait_until(holds, limit_s, every_s=0.01))
