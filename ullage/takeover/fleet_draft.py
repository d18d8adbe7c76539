"""A fleet file from servers: what is known as fields, what is not as comments. It loads as it is, or says why it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.hand_started.found_servers import asked_gpus
from executor.nvml.machine_readings import MachineReading
from planner.spec import SpecError, load_fleet
from profiles.catalogue import Catalogue
from ullage.discovered import DiscoveredPool, discovered_pools
from ullage.takeover.model_entry import ModelEntry, differing, model_entry, name_for
from ullage.takeover.observed_demand import demand_of
from ullage.takeover.written_server import WrittenServer
from ullage.views.pools_yaml import comment_lines, field_lines, pool_lines
from ullage.views.servers_text import printable

_HEAD = (
    "Written from servers that were found. Comments that begin with `unknown` say what nobody could tell: look at each, then run "
    "`ullage validate` and `ullage plan`. Every field is described in docs/fleet.md."
)
_PLACEHOLDER_POOL = (
    "unknown: the GPUs. No NVIDIA driver answers here, so this pool is a placeholder: put that of `ullage discover` in its place"
)
_KEEP = (
    "so that plans keep what runs, however much cheaper another placement is; once the servers are adopted, take this line away to see "
    "what would be saved"
)
# policy.router and policy.ports where nobody says anything else
_ROUTER_PORT, _ADMIN_PORT, _FIRST_PORT, _LAST_PORT = 8080, 9901, 8100, 8999
_HIGHEST_PORT = 65_535


@dataclass(slots=True)
class _Served:
    """Servers of one name, which are replicas of one model."""

    entry: ModelEntry
    servers: list[WrittenServer] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FleetDraft:
    """The text, and what is wrong with it where it does not load."""

    text: str
    faults: tuple[str, ...]


def fleet_draft(servers: Sequence[WrittenServer], machine: MachineReading | None, catalogue: Catalogue, path: Path) -> FleetDraft:
    """The fleet file of these servers, to be written to path. Raises ValueError where none of their models is known here."""
    served = _by_name(servers, catalogue)
    if not any("source" in item.entry.fields for item in served):
        told = ((item.servers[0].origin, line) for item in served for line in item.entry.comments)
        lines = [
            f"{origin}: {line.removeprefix('unknown: ')}"
            for origin, line in told
            if line.startswith(("unknown: source", "unknown: model:"))
        ]
        raise ValueError("\n".join(["no model of these servers is known here, so there is nothing to plan", *lines]))
    pools = discovered_pools(machine, catalogue) if machine is not None else (_placeholder(servers),)
    while True:
        text = _text(served, pools, anything_read=machine is not None)
        try:
            load_fleet(path, text, catalogue)
        except SpecError as error:
            if not any(_leave_out(served, problem.path, problem.message) for problem in error.problems):
                return FleetDraft(text, tuple(map(str, error.problems)))
            continue
        return FleetDraft(text, ())


def _leave_out(served: Sequence[_Served], place: str, why: str) -> bool:
    """Take the field of a model away that the fleet file does not take; False for other places."""
    # names may hold dots
    for item in served:
        start = f"models.{item.entry.name}."
        if place.startswith(start):
            parts = re.sub(r"\[\d+\]", "", place.removeprefix(start)).split(".")
            return item.entry.leave_out(tuple(parts), why)
    return False


def _by_name(servers: Sequence[WrittenServer], catalogue: Catalogue) -> list[_Served]:
    """Servers of the same first name and model together; another model under a name that is taken gets a number."""
    found: dict[str, _Served] = {}
    for server in servers:
        wanted = name_for(server)
        names = (wanted, *(f"{wanted}-{number}" for number in range(2, len(servers) + 2)))
        name = next(word for word in names if word not in found or found[word].servers[0].command.model == server.command.model)
        if name not in found:
            found[name] = _Served(model_entry(server, name, catalogue))
        item = found[name]
        if item.servers:
            others = list(differing(item.servers[0].command, server.command))
            if others:
                item.entry.comments.append(f"unknown: whether this is meant: {server.origin} has other flags: {' '.join(others)}")
        item.servers.append(server)
    for item in found.values():
        item.entry.comments[:0] = list(_origins(item))
    return list(found.values())


def _origins(item: _Served) -> Iterator[str]:
    for server in item.servers:
        gpus = "GPU unknown" if server.gpus is None else f"GPU {', '.join(map(str, server.gpus))}"
        yield f"{server.origin}: port {server.command.port or 'unknown'}, {gpus}"
    names = dict.fromkeys(name for server in item.servers for name in server.names)
    others = [name for name in names if name != item.entry.name]
    if others:
        yield f"clients name it {', '.join(others)} now; a server that ullage starts is named {item.entry.name} only"


def _placeholder(servers: Sequence[WrittenServer]) -> DiscoveredPool:
    highest = max((gpu for server in servers for gpu in server.gpus or ()), default=0)
    widest = max(asked_gpus(server.command) for server in servers)
    fields: dict[str, Any] = {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": min(64, max(highest + 1, widest))}
    return DiscoveredPool("placeholder", fields, {}, (_PLACEHOLDER_POOL,))


def _text(served: Sequence[_Served], pools: Sequence[DiscoveredPool], *, anything_read: bool) -> str:
    lines = [*comment_lines(_HEAD, 0), "schema_version: 1", "", "pools:"]
    lines += [line for pool in pools for line in pool_lines(pool)]
    if anything_read:
        lines.insert(lines.index("pools:"), "# as the NVIDIA driver shows the GPUs of this machine")
    lines += ["", "models:"]
    known = [item for item in served if "source" in item.entry.fields]
    for item in known:
        lines += _entry(item.entry.name, item.entry.comments, item.entry.fields)
    for item in served:
        if item not in known:
            lines += comment_lines(f"unknown: {item.entry.name} is left out, and its workload with it:", 2)
            lines += [line for text in item.entry.comments for line in comment_lines(printable(text), 2)]
    lines += ["", "workloads:"]
    for item in known:
        comments, demand = demand_of(item.servers, embeds=item.entry.embeds)
        lines += _entry(item.entry.name, comments, {"model": item.entry.name, "class": "standard", "demand": demand})
    lines += _policy([server.command.port for item in served for server in item.servers], any(item.servers[0].runs for item in served))
    return "\n".join(lines) + "\n"


def _entry(name: str, comments: Sequence[str], fields: Mapping[str, Any]) -> Iterator[str]:
    # as JSON: a name like 1e5 or `on` must stay a text
    yield f"  {json.dumps(name)}:" if not re.fullmatch(r"[A-Za-z][\w.-]*", name) else f"  {name}:"
    for text in comments:
        yield from comment_lines(printable(text), 4)
    for key, value in fields.items():
        yield from (f"    {line}" for line in field_lines(key, value))


def _policy(ports: Sequence[int], running: bool) -> Iterator[str]:
    """What lets servers that run stay as they are; nothing where the defaults do."""
    fields = _ports(ports)
    if not fields and not running:
        return
    yield from ("", "policy:")
    if running:
        yield from comment_lines(_KEEP, 2)
        yield "  cost_slack_fraction: 1"
    if fields:
        yield "  # the ports that the servers have are among those for engines, so that they can stay as they are"
    for key, value in fields.items():
        yield from (f"  {line}" for line in field_lines(key, value))


def _ports(ports: Sequence[int]) -> dict[str, Any]:
    """Ports for engines that hold those of the servers, and a router outside of them; empty where the defaults do."""
    used = [port for port in ports if 1024 <= port <= _HIGHEST_PORT]
    if not used or all(_FIRST_PORT <= port <= _LAST_PORT for port in used):
        return {}
    # a hundred more, for replicas that start beside those that leave; but below the router, where they are
    start, highest = min(used), max(used)
    end = min(highest + 100, _ROUTER_PORT - 1 if highest < _ROUTER_PORT else _HIGHEST_PORT)
    free = [port for port in (_ROUTER_PORT, _ADMIN_PORT, *range(end + 1, end + 3), *range(start - 2, start)) if not start <= port <= end]
    router, admin = [port for port in free if 1024 <= port <= _HIGHEST_PORT][:2]
    return {"router": {"port": router, "admin_port": admin}, "ports": {"start": start, "end": end}}
