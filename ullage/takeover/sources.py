"""Where servers to import come from: units, compose files, and what runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from executor.errors import ExecutorError
from executor.hand_started.found_servers import find_servers
from executor.nvml.machine_readings import MachineReading, read_machine
from ullage.inputs import read_bytes
from ullage.takeover.compose_file import read_compose
from ullage.takeover.unit_file import read_unit
from ullage.takeover.written_server import WrittenServer, from_running


@dataclass(frozen=True, slots=True)
class ServersFound:
    """Servers in the order of their sources; machine is None where no NVIDIA driver answers."""

    servers: tuple[WrittenServer, ...]
    machine: MachineReading | None


def servers_from(units: Sequence[Path], composes: Sequence[Path], only_ports: Collection[int], *, running: bool) -> ServersFound:
    """All servers of the sources; those that run where no other source is named. Raises ValueError where there is none."""
    found = [read_unit(path.name, _text(path)) for path in units]
    found += [server for path in composes for server in read_compose(path.name, _text(path))]
    if (not units and not composes) or running:
        seen = find_servers(only_ports)
        found += map(from_running, seen.servers)
        machine = seen.machine
    else:
        machine = _machine()
    if not found:
        where = f" on port {', '.join(map(str, sorted(only_ports)))}" if only_ports else ""
        raise ValueError(f"no vLLM server runs on this machine{where}, as far as its processes can be seen; `ullage discover --engines`")
    return ServersFound(tuple(found), machine)


def _text(path: Path) -> str:
    try:
        return read_bytes(path, "give a systemd unit or a compose file").decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start})") from error


def _machine() -> MachineReading | None:
    try:
        return read_machine()
    except ExecutorError:
        return None
