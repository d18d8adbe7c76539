"""Reading and writing the user's files: the edge where paths become values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from executor.state.folder import StateFolder
from planner.demand.traces import TraceRequest, parse_trace
from planner.plan import Desired, DocumentError, ExtraArg, Plan, State, plan_from_json
from planner.schedule.timetable import SCHEDULE_FILE
from planner.spec import Fleet, Model, load_fleet
from profiles.catalogue import builtin
from profiles.regular_files import read_regular, write_atomic
from renderers.manifest import RenderError
from renderers.vllm import extra_flags
from renderers.vllm.option_table import table_for

STATE_FOLDER = ".ullage"


def read_fleet(path: Path) -> Fleet:
    """The fleet of a fleet.yaml; SpecError lists every fault with its position."""
    fleet = load_fleet(path, read_bytes(path, "`ullage init` writes a starter"), builtin())
    refuse_unknown_flags(path, fleet)
    return fleet


def refuse_unknown_flags(path: Path, fleet: Fleet) -> None:
    """ValueError for added flags, and settings of models, that engines of these versions would refuse."""
    problems = [problem for model in fleet.models for problem in (*_refused_settings(path, model), *_unknown_flags(path, model))]
    if problems:
        raise ValueError("\n".join(problems))


def _refused_settings(path: Path, model: Model) -> Iterator[str]:
    """Settings with a flag or a value that the engine's version does not have."""
    table = table_for(model.engine_version).table
    others = sorted({choice.kv_cache_dtype for choice in model.choices} - {model.kv_cache_dtype})
    settings = [("dtype", "--dtype", model.dtype), ("kv_cache_dtype", "--kv-cache-dtype", model.kv_cache_dtype)]
    settings += [("choices.kv_cache_dtype", "--kv-cache-dtype", dtype) for dtype in others]
    if model.pooling:
        settings.append(("task", "--runner", "pooling"))
    for field, flag, value in settings:
        try:
            table.check(flag, value)
        except RenderError as error:
            yield f"{path}: models.{model.name}.{field}: {error}"


def _unknown_flags(path: Path, model: Model) -> Iterator[str]:
    """Added flags that the engine's version does not have, or whose values it refuses."""
    for flag, value in model.extra_args:
        try:
            list(extra_flags(model.engine_version, (ExtraArg(flag=flag, value=value),)))
        except RenderError as error:
            yield f"{path}: models.{model.name}.extra_args.{flag}: {error}"


def read_plan(path: Path) -> Plan:
    """The plan of a plan.json, complete in itself; DocumentError names the field that is wrong."""
    if (path / SCHEDULE_FILE).is_file():
        raise ValueError(f"{path}: is the folder of a schedule; name one of its plans, such as {path / 'phase-1.json'}")
    raw = read_bytes(path, "`ullage plan fleet.yaml -o plan.json` makes a plan")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); is it a plan?") from error
    plan = plan_from_json(text, str(path))
    faults = tuple(_faults(plan.desired))
    if faults:
        raise DocumentError("\n".join(f"{path}: {fault}" for fault in faults))
    return plan


def read_state(folder: Path) -> State:
    """What apply left in a state folder; an empty state when nothing was ever applied there. StateError when it is damaged."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: not a folder; --state names the folder that apply keeps its state in")
    return StateFolder(folder).load()


def read_trace(path: Path) -> tuple[TraceRequest, ...]:
    """The requests of a csv, csv.gz or parquet trace; TraceError names the row and column that is wrong."""
    return parse_trace(path.name, read_bytes(path, "give a csv, csv.gz or parquet file"))


def state_folder(beside: Path, chosen: Path | None) -> Path:
    """The state folder: the chosen one, else .ullage beside a fleet file or plan."""
    return chosen if chosen is not None else beside.resolve().parent / STATE_FOLDER


def check_target(path: Path, source: Path | None = None) -> None:
    """Raises ValueError when a file cannot be written there, or would replace the file it is made from."""
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is a pipe, a socket or a device, which would be replaced by a file; name a file")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}; make it first")
    if source is not None and path.resolve() == source.resolve():
        raise ValueError(f"{path}: would replace the file that is read; name another one")


def write_text(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash leaves the old or the new one, never half."""
    try:
        write_atomic(path, content)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_bytes(path: Path, hint: str) -> bytes:
    """Bytes of a user's file; ValueError naming it, with the hint where there is none."""
    try:
        return read_regular(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file; {hint}") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error


def _faults(desired: Desired) -> Iterator[str]:
    """What every reader of a plan relies on and types do not say; whether the plan is a good one is the checker's question."""
    names = {replica.name for replica in desired.replicas}
    for place, gpu in enumerate(desired.gpus):
        if gpu.memory_mib < 1:
            yield f"desired.gpus.{place}.memory_mib: {gpu.memory_mib} MiB is no memory of a GPU"
        for name in sorted(set(gpu.replicas) - names):
            yield f"desired.gpus.{place}.replicas: {name!r} is not among desired.replicas"
    for place, replica in enumerate(desired.replicas):
        if not replica.gpus:
            yield f"desired.replicas.{place}.gpus: is empty"


def fleet_of(plan_file: Path, names: Sequence[str]) -> Path:
    """The fleet file beside a plan, by the names of the files that the plan was made from; ValueError where that is not one file."""
    found = sorted(plan_file.parent / name for name in names if "/" not in name and Path(name).suffix in {".yaml", ".yml"})
    if len(found) != 1 or not found[0].is_file():
        raise ValueError(
            f"{plan_file}: its fleet file ({', '.join(map(str, found)) or 'none is named'}) is not beside it; give the fleet file"
        )
    return found[0]
