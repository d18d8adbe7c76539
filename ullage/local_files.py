"""The local files that a plan names: which folder they start from, and whether they are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from executor.ports import obstacle
from planner.plan import Plan
from planner.plan.local_paths import is_relative, local_paths, located


def fleet_folder(plan_file: Path, chosen: Path | None) -> Path:
    """The folder that the local paths of a plan start from: the chosen one, else the plan file's; ValueError where there is none."""
    if chosen is not None and not chosen.is_dir():
        raise ValueError(f"--fleet-folder {chosen}: there is no such folder; name the one that the fleet file is in")
    return chosen if chosen is not None else plan_file.parent


def has_relative_paths(plan: Plan) -> bool:
    """Whether opening the plan's files depends on a folder."""
    return any(is_relative(path) for replica in plan.started for _, path in local_paths(replica.args))


def require_files(plan: Plan, plan_file: Path, folder: Path) -> tuple[str, ...]:
    """Raises ValueError naming each local file that a replica on this machine lacks, and where it was looked for.

    Returns the other hosts whose replicas need files: they cannot be looked for from here.
    """
    needy = sorted({replica.host for replica in plan.started if any(local_paths(replica.args))})
    elsewhere = tuple(host for host in needy if obstacle(host, 0) is not None)
    missing = list(_missing(plan, plan_file, folder, elsewhere))
    if missing:
        raise ValueError("\n".join((*missing, "bring what is missing there, or name the folder of the fleet file: --fleet-folder FOLDER")))
    return elsewhere


def _missing(plan: Plan, plan_file: Path, folder: Path, elsewhere: tuple[str, ...]) -> Iterator[str]:
    places = [f"desired.replicas.{number}" for number in range(len(plan.desired.replicas))]
    places += [f"temporary.{number}" for number in range(len(plan.temporary))]
    for place, replica in zip(places, plan.started, strict=True):
        if replica.host in elsewhere:
            continue
        for field, path in local_paths(replica.args):
            where = located(path, folder)
            a_folder = not field.startswith("extra_args.")
            if not (where.is_dir() if a_folder else where.exists()):
                kind = "folder" if a_folder else "file or folder"
                yield f"{plan_file}: {place}.args.{field}: {path}: there is no {kind} {where}"
