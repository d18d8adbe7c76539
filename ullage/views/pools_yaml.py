"""Discovered pools as the section of a fleet file, with remarks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import Any

import yaml

from executor.nvml.machine_readings import MachineReading
from ullage.discovered import DiscoveredPool

# Columns of a fleet file.
_WIDTH = 120
_HEAD = "GPUs of this machine, as the NVIDIA driver shows them now. Every field is described in docs/fleet.md."


def pools_yaml(pools: Sequence[DiscoveredPool]) -> str:
    """The `pools:` section; it loads as it is."""
    return "\n".join([*comment_lines(_HEAD, 0), "pools:", *(line for pool in pools for line in pool_lines(pool))]) + "\n"


def machine_facts(machine: MachineReading, pools: Sequence[DiscoveredPool]) -> dict[str, Any]:
    """The pools, what people should know of them, and everything that was read."""
    return {
        "pools": {pool.name: dict(pool.fields) for pool in pools},
        "remarks": {pool.name: {"notes": list(pool.notes), **pool.remarks} for pool in pools},
        "gpus": [{**asdict(gpu), **asdict(speeds)} for gpu, speeds in zip(machine.gpus, machine.speeds, strict=True)],
        "link": machine.link,
        "host": asdict(machine.host),
    }


def pool_lines(pool: DiscoveredPool) -> Iterator[str]:
    """One pool of the section, with its remarks."""
    yield f"  {pool.name}:"
    for note in pool.notes:
        yield from comment_lines(note, 4)
    for field, value in pool.fields.items():
        yield from comment_lines(pool.remarks.get(field, ""), 4)
        yield from (f"    {line}" for line in field_lines(field, value))


def field_lines(field: str, value: Any) -> Iterator[str]:  # noqa: ANN401 -- whatever a field of the fleet file holds
    """A field and its value, without indentation."""
    if isinstance(value, dict):
        yield f"{field}:"
        for name, inner in value.items():
            yield from (f"  {line}" for line in field_lines(name, inner))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield f"{field}:"
        yield from (f"  - {_flow(item)}" for item in value)
    else:
        yield f"{field}: {_flow(value)}"


def _flow(value: Any) -> str:  # noqa: ANN401 -- as above
    """On one line. Plain words stay plain: the fleet file knows no other words for true and false than its own."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z]\w*", value):
        return value
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


def comment_lines(text: str, columns: int) -> list[str]:
    """A comment behind so many spaces, in as many lines as it needs."""
    return [f"{' ' * columns}# {line}" for line in wrap(text, _WIDTH - columns - 2)]
