"""What GPUs of an emulated node are: of the catalogue, or a type that the fleet declared, whose facts lie in the node's folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from executor.emulator.gpu_file import DeviceError
from planner.plan import GpuFacts
from profiles.catalogue import builtin
from profiles.gpu_types import GpuType
from profiles.regular_files import read_regular, write_atomic

FACTS_FILE = "gpu_type.json"


def record_facts(node_dir: Path, facts: GpuFacts | None) -> None:
    """Write down the declared type of a node's GPUs; None: they are of the catalogue."""
    path = node_dir / FACTS_FILE
    if facts is None:
        path.unlink(missing_ok=True)
    else:
        write_atomic(path, facts.model_dump_json())


def recorded_facts(node_dir: Path) -> GpuFacts | None:
    """The declared type of a node's GPUs, None when they are of the catalogue; DeviceError when it cannot be read."""
    path = node_dir / FACTS_FILE
    try:
        return GpuFacts.model_validate_json(read_regular(path))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise DeviceError(f"{path}: cannot be read as the facts of a GPU type; remove the node's folder to start anew") from error


def node_gpu_type(node_dir: Path, name: str) -> GpuType:
    """The GPU type of that name on a node."""
    facts = recorded_facts(node_dir)
    return facts.gpu_type() if facts is not None and facts.name == name else builtin().gpu(name)
