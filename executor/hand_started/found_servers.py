"""Servers that were found, with what they answered and the GPUs they are on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod

from executor.errors import ExecutorError
from executor.hand_started.serve_command import ServeCommand, arguments_of
from executor.hand_started.server_answers import EngineAnswers, ask_all
from executor.hand_started.server_search import EngineProcess, Recognise, search
from executor.nvml.gpu_readings import NvmlGpu
from executor.nvml.machine_readings import MachineReading, read_machine
from executor.processes import proc
from profiles.engine_versions import KNOWN_FLAGS


@dataclass(frozen=True, slots=True)
class FoundServer:
    """One server. gpus are indices as NVML counts them, None where they are not known; unknown is what could not be found out, and why."""

    engine: EngineProcess
    answers: EngineAnswers
    gpus: tuple[int, ...] | None
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundServers:
    """All of them. machine is None where no NVIDIA driver answers; orphans are engine processes without their server."""

    servers: tuple[FoundServer, ...]
    orphans: tuple[int, ...]
    machine: MachineReading | None


def find_servers(only_ports: Collection[int] = (), recognise: Recognise = arguments_of) -> FoundServers:
    """The vLLM servers of this machine, asked on their ports; only_ports leaves out all that listen on others."""
    found = search(recognise)
    engines = tuple(engine for engine in found.servers if not only_ports or engine.command.port in only_ports)
    answers = ask_all(engines, {engine.pid: proc.age_s(engine.process) for engine in engines})
    machine = _machine()
    servers = tuple(_server(engine, answers[engine.pid], machine) for engine in engines)
    return FoundServers(servers, () if only_ports else found.orphans, machine)


def _machine() -> MachineReading | None:
    try:
        return read_machine()
    except ExecutorError:
        return None


def _server(engine: EngineProcess, answers: EngineAnswers, machine: MachineReading | None) -> FoundServer:
    gpus, why = _gpus(engine, machine)
    unknown = [] if gpus is not None else [f"GPUs: {why}"]
    if engine.environment is None:
        unknown.append(f"environment: it belongs to {engine.user} and cannot be read")
    if answers.trouble is not None:
        unknown.append(f"answers: {answers.trouble}")
    else:
        unknown += ["KV blocks: its /metrics does not tell"] * (answers.kv_blocks is None)
        unknown += ["requests: its /metrics does not tell"] * (answers.traffic is None)
    if engine.command.model is None:
        unknown.append("model: its command line does not name one; the engine has its own default, or a --config file")
    if engine.command.value("config") is not None:
        unknown.append("flags: more of them stand in its --config file, which is not read")
    unknown += [f"flag {word}: not in the option table of vLLM {KNOWN_FLAGS}" for word in engine.command.not_understood]
    return FoundServer(engine, answers, gpus, tuple(unknown))


def _gpus(engine: EngineProcess, machine: MachineReading | None) -> tuple[tuple[int, ...] | None, str]:
    """What its environment says, cut to as many as it uses, else where the driver lists its processes."""
    told = None if engine.environment is None else engine.environment.get("CUDA_VISIBLE_DEVICES")
    if told:
        return named_gpus(told, asked_gpus(engine.command), machine.gpus if machine else ())
    if machine is not None:
        pids = set(engine.family)
        held = tuple(gpu.index for gpu in machine.gpus if any(process.pid in pids for process in gpu.processes))
        if held:
            return held, ""
    said = "its environment cannot be read" if engine.environment is None else "CUDA_VISIBLE_DEVICES is not set"
    return None, f"{said}, and the NVIDIA driver {'lists none of its processes' if machine else 'does not answer'}"


def asked_gpus(command: ServeCommand) -> int:
    """How many GPUs the flags ask for."""
    sizes = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")
    return prod(command.number(name) or 1 for name in sizes)


def named_gpus(told: str, count: int, gpus: tuple[NvmlGpu, ...]) -> tuple[tuple[int, ...] | None, str]:
    """The first `count` GPUs that CUDA_VISIBLE_DEVICES names, by index or UUID; None and why where one cannot be told."""
    by_uuid: Mapping[str, int] = {gpu.uuid: gpu.index for gpu in gpus}
    found: list[int] = []
    for name in [word.strip() for word in told.split(",")][:count]:
        if name.isdecimal() and len(name) < 5:
            found.append(int(name))
        elif name.startswith("MIG-"):
            return None, "it runs in a MIG instance"
        else:
            # CUDA takes any beginning of a UUID that names one GPU only
            alike = [index for uuid, index in by_uuid.items() if name and uuid.startswith(name)]
            if len(alike) != 1:
                return (
                    None,
                    f"CUDA_VISIBLE_DEVICES names {name!r}, and the NVIDIA driver {'has no such GPU' if gpus else 'does not answer'}",
                )
            found += alike
    return tuple(found), ""
