"""Replicas as processes of this machine: real vLLM, or the emulator on emulated devices."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from executor import credentials, ports, start_causes
from executor.backends import probes, sleep_mode
from executor.backends.launch_command import LaunchCommand, Launcher
from executor.backends.mps_daemon import NVIDIA_CONTROL, MpsDaemons
from executor.backends.protocol import Answer, Capabilities, Devices, Latencies, Observed, ObservedGpu, Say
from executor.backends.readiness import await_ready
from executor.errors import ExecutorError, ProcessError, StartError
from executor.events import OnEvent
from executor.processes import table as processes
from executor.processes.ending import end_processes
from executor.processes.mps_pipes import PIPES_VARIABLE
from executor.router.envoy import NAME as ROUTER_RECORD
from executor.router.envoy import EnvoyRouter
from executor.state.folder import StateFolder
from executor.waiting import finish, wait_until
from planner.plan import Plan, Repartition, Replica, SleepLevel, State
from planner.transitions.outages import DRAIN_LIMIT_S
from renderers.manifest import RenderError
from renderers.vllm import replica_start

# Processes of other parts share the folder of records; replicas carry this prefix
PREFIX = "replica-"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Deadlines of one local backend, in seconds."""

    start_s: Callable[[Replica], float] = replica_start.ready_limit_s
    # the plan has told its readers of these
    drain_s: float = DRAIN_LIMIT_S
    # what the rendered command line grants requests after SIGTERM, and 5 s to close the engine core; then the group is killed
    stop_grace_s: float = replica_start.SHUTDOWN_TIMEOUT_S + 5.0
    # a driver gives memory back once the last process of the group is gone
    memory_s: float = 10.0
    # an engine that neither answers nor makes a step for so long will not end its requests
    still_s: float = 20.0
    # what a hung engine gets between SIGTERM and SIGKILL
    hung_grace_s: float = 2.0
    # its requests have ended; at level 1 the weights go into host memory that is made for them
    sleep_s: float = 120.0


class LocalBackend:
    """Implements executor.backends.protocol.Backend on this machine."""

    def __init__(
        self,
        folder: StateFolder,
        launch: Launcher,
        devices: Devices | None,
        limits: Deadlines | None = None,
        inspect: Callable[[Plan, str], None] | None = None,
        mps_control: tuple[str, ...] = NVIDIA_CONTROL,
    ) -> None:
        """Launch gives each replica's command; devices is None for GPUs that are left as they are.

        inspect refuses a plan that this machine cannot run; it is told where programs are looked for. mps_control starts an MPS daemon.
        """
        self.capabilities = Capabilities(mig_layouts=devices is not None, reads_gpus=devices is not None)
        self.router = EnvoyRouter(folder)
        self._folder = folder
        self._inspect = inspect
        self._table = processes.ProcessTable(folder.processes, folder.logs, folder.log_limits)
        self._mps = MpsDaemons(folder, self._table, mps_control)
        self._launch = launch
        # replicas that did not move while they were drained
        self._hung: set[str] = set()
        self._devices = devices
        self._limits = limits or Deadlines()
        # imports and weights compete for the cores of this machine; more starts at once only make each of them slower
        self._starting = asyncio.Semaphore(2 * len(os.sched_getaffinity(0)))

    def preflight(self, plan: Plan, state: State) -> None:
        """Refuse what cannot be done; make emulated devices.

        That is MIG without devices, commands that cannot be rendered, hosts of other machines, taken ports, and an API key that cannot
        be sent to the engines that would inherit it.
        """
        credentials.authorization(os.environ)
        if not self.capabilities.mig_layouts:
            self._refuse_mig(plan)
        if self._devices is not None:
            self._devices.create(plan.desired.nodes, plan.desired.gpu_types)
        try:
            for replica in plan.started:
                self._launch(replica)
        except RenderError as error:
            raise ExecutorError(f"the plan cannot be run: {error}") from error
        for host in sorted({replica.host for replica in plan.started}):
            trouble = ports.obstacle(host, 0)
            if trouble is not None:
                raise ExecutorError(f"{trouble} (desired.replicas with host {host})")
        if self._inspect is not None:
            self._inspect(plan, _program_path())
        self._mps.preflight(plan, _program_path())
        self._refuse_taken_ports(plan, state)

    def observe(self) -> dict[str, Observed]:
        """Recorded replicas by name; one whose MPS daemon is gone does not live, whatever its processes say."""
        found = {}
        for record in self._table.records():
            if record.name.startswith(PREFIX):
                name = record.name[len(PREFIX) :]
                found[name] = Observed(name, record.pid, self._mps.serves(record), processes.members(record), record.command_hash)
        return found

    async def ask(self, replica: Replica) -> Answer:
        """Over its HTTP surface."""
        return await probes.ask(replica)

    async def latencies(self, replica: Replica) -> Latencies | None:
        """From its metrics."""
        return await probes.latencies(replica)

    async def try_out(self, replica: Replica, limit_s: float) -> str | None:
        """Over its HTTP surface."""
        return await probes.try_out(replica, limit_s)

    def gpus(self) -> tuple[ObservedGpu, ...]:
        """Those of its devices; none where GPUs are left as they are."""
        return () if self._devices is None else self._devices.gpus()

    def over_commits(self) -> int | None:
        """Those of its devices."""
        return None if self._devices is None else self._devices.over_commits()

    def wanted_hash(self, replica: Replica) -> str:
        """Hash over the command line, with local paths as the plan has them, and the rendered environment without the start's limit."""
        return _hash(self._launch(replica))

    async def start(self, replica: Replica, say: Say) -> None:
        """Start or adopt, then wait until it is ready; on failure its processes are gone again."""
        async with self._starting:
            try:
                record = await self._adopt(replica, say) or await self._spawn(replica)
                log = Path(record.log)
                async with aiohttp.ClientSession() as session:
                    await await_ready(session, replica, lambda: processes.alive(record), log, self._limits.start_s(replica))
            except ProcessError as error:
                await finish(self._mps.end_unused())
                raise StartError(replica.name, start_causes.EXITED, str(error)) from error
            except (StartError, asyncio.CancelledError):
                await finish(self.stop(replica.name))
                raise

    async def drain(self, replica: Replica) -> str:
        """Two readings without a request, one poll apart: a request on its way from the router is seen by the second.

        An engine that stands still is not waited for.
        """
        clock = asyncio.get_running_loop().time
        deadline_s = clock() + self._limits.drain_s
        quiet, last, moved_s = 0, None, clock()
        self._hung.discard(replica.name)
        async with aiohttp.ClientSession() as session:
            while quiet < 2:
                record = self._table.record(PREFIX + replica.name)
                if record is None or not processes.alive(record):
                    return "does not run"
                load = await probes.load(session, replica.host, replica.args.port)
                quiet = quiet + 1 if load is not None and load.running + load.waiting == 0 else 0
                left = "its metrics do not answer" if load is None else f"{load.running + load.waiting} requests are left"
                if load is not None and load != last:
                    last, moved_s = load, clock()
                if not quiet and clock() - moved_s >= self._limits.still_s:
                    self._hung.add(replica.name)
                    return f"it hangs: no step for {clock() - moved_s:.0f} s, and {left}"
                if clock() >= deadline_s:
                    return f"not at rest after {self._limits.drain_s:.0f} s: {left}"
                await asyncio.sleep(0.1)
        return ""

    async def stop(self, name: str) -> None:
        """End the group, wait until its device memory is free, forget it; the last one of an MPS daemon takes it along."""
        record = self._table.record(PREFIX + name)
        if record is not None:
            await self._end(name, record)
        await self._mps.end_unused()

    async def _end(self, name: str, record: processes.ProcessRecord) -> None:
        pids = frozenset(processes.members(record))
        await processes.stop(record, self._limits.hung_grace_s if name in self._hung else self._limits.stop_grace_s)
        self._hung.discard(name)
        if self._devices is not None:
            await self._memory_free(self._devices, name, pids)
        self._table.forget(PREFIX + name)

    async def sleep(self, replica: Replica, level: SleepLevel) -> None:
        """Over its development paths, on loopback only."""
        record = self._living(replica)
        await sleep_mode.put_to_sleep(replica, level, self._limits.sleep_s)
        if self._devices is not None:
            await sleep_mode.memory_given_back(replica, frozenset(processes.members(record)), self._devices.gpus, self._limits.memory_s)

    async def wake(self, replica: Replica) -> None:
        """Over its development paths, on loopback only; it gets as long as a start."""
        record = self._living(replica)
        if self._devices is not None:
            sleep_mode.require_room(replica, frozenset(processes.members(record)), self._devices.gpus())
        await sleep_mode.wake(replica, self._limits.start_s(replica))

    def tidy(self) -> tuple[str, ...]:
        """The logs of everything that was started here."""
        return self._table.rotate_logs()

    async def end_all(self, on_event: OnEvent) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Every process group on record."""
        return await end_processes(self._folder, ROUTER_RECORD, on_event)

    async def repartition(self, action: Repartition) -> None:
        """Only devices that this backend can set reach this point (see preflight)."""
        if self._devices is None:
            raise ExecutorError(f"GPU {action.gpu} of {action.node}: {_NO_MIG}")
        self._devices.repartition(action)

    async def _memory_free(self, devices: Devices, name: str, pids: frozenset[int]) -> None:
        def holding() -> frozenset[int]:
            return pids & {holder.pid for gpu in devices.gpus() for holder in gpu.holders}

        if not await wait_until(lambda: not holding(), self._limits.memory_s):
            held = ", ".join(map(str, sorted(holding())))
            raise ProcessError(f"replica {name}: its processes are gone but device memory is still held for {held}")

    def _living(self, replica: Replica) -> processes.ProcessRecord:
        record = self._table.record(PREFIX + replica.name)
        if record is None or not processes.alive(record):
            raise ProcessError(f"replica {replica.name}: does not run; apply again, which starts it")
        return record

    async def _adopt(self, replica: Replica, say: Say) -> processes.ProcessRecord | None:
        record = self._table.record(PREFIX + replica.name)
        if record is None:
            return None
        if not self._mps.serves(record):
            # the leader died and may have left processes behind that hold its memory; or its MPS daemon did, and it computes nothing more
            await self.stop(replica.name)
            return None
        if record.command_hash != self.wanted_hash(replica):
            raise ProcessError("runs already with another command, and the plan did not stop it; destroy, or plan again")
        say(f"runs already as process {record.pid}")
        return record

    async def _spawn(self, replica: Replica) -> processes.ProcessRecord:
        trouble = ports.obstacle(replica.host, replica.args.port)
        if trouble is not None:
            raise StartError(replica.name, start_causes.PORT, trouble)
        launch = self._launch(replica)
        try:
            found = launch.at_start()
        except ExecutorError as error:
            raise StartError(replica.name, start_causes.DEVICE, str(error)) from error
        environment = {**os.environ, "PATH": _program_path(), **launch.environment, **found}
        async with self._mps.joined(replica, environment) as pipes:
            environment |= {PIPES_VARIABLE: pipes} if pipes else {}
            return self._table.start(PREFIX + replica.name, launch.argv, environment, _hash(launch), Path.cwd(), mps_pipes=pipes)

    def _refuse_taken_ports(self, plan: Plan, state: State) -> None:
        """Otherwise a replica could be stopped for one that cannot start."""
        observed = self.observe()
        named = {replica.name for replica in state.replicas}
        if any(seen.pids for name, seen in observed.items() if name not in named):
            # left behind by an interrupted apply on ports nobody knows; adopted or stopped before the first start
            return
        own = {(item.host, item.args.port) for item in state.replicas if item.name in observed and observed[item.name].leads}
        found = [
            f"replica {replica.name}: {trouble}"
            for replica in plan.started
            if (replica.host, replica.args.port) not in own and (trouble := ports.obstacle(replica.host, replica.args.port))
        ]
        if found:
            raise ExecutorError("\n".join(found))

    def _refuse_mig(self, plan: Plan) -> None:
        for gpu in plan.desired.gpus:
            if gpu.mig_layout:
                raise ExecutorError(f"GPU {gpu.index} of {gpu.node}: {_NO_MIG}")


_NO_MIG = "MIG layouts need the NVIDIA driver, and it does not answer on this machine; install it, or set `mig: off` for the pool"


def _program_path() -> str:
    """Programs installed beside this Python are found without activating its environment."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


def _hash(launch: LaunchCommand) -> str:
    """Of what makes a running engine what it is: the limit of its start is no part of it."""
    lasting = {name: value for name, value in launch.environment.items() if name != replica_start.START_LIMIT}
    return processes.command_hash(launch.planned, lasting)
