"""vLLM without anything around it: one script per replica, one to start and one to stop each node.

Files per node, in a folder of the node's name: `replicas/REPLICA.sh`, `start.sh`, `stop.sh`, and what they use: `processes.sh`,
`rolling.sh` and `ready.py`, and `mps.sh` where replicas share a GPU by MPS. Needs bash 4.4 or newer, python3, and flock and setsid of
util-linux on the node.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.plan import Plan, Replica
from planner.plan.local_paths import is_relative, local_paths, with_relative_paths
from renderers.manifest import File, Manifest, RenderError
from renderers.names import file_name
from renderers.render_target import RenderTarget, TargetSettings
from renderers.templates import package_text, shell_word, template
from renderers.vllm.option_table import table_for
from renderers.vllm.replica_start import (
    SHUTDOWN_TIMEOUT_S,
    arguments_sha256,
    command,
    environment,
    extra_flags,
    mig_variable,
    probe_url,
    ready_limit_s,
)

__all__ = [
    "TARGET",
    "arguments_sha256",
    "command",
    "environment",
    "extra_flags",
    "mig_variable",
    "mps_files",
    "probe_url",
    "ready_limit_s",
    "render",
    "replica_script",
]

# Our choice: the engine's own grace period, and as long again for its processes to end.
_GRACE_S = 2 * SHUTDOWN_TIMEOUT_S
# Stands for the folder of the fleet file until words are quoted; no word of a command can hold a NUL byte.
_FLEET_FOLDER = "\0fleet folder\0"


@dataclass(frozen=True, slots=True)
class _Group:
    """Replicas that share GPUs, directly or through others: they start one after another. `members` count in the plan's order."""

    gpus: tuple[int, ...]
    members: tuple[int, ...]


def render(plan: Plan, _: TargetSettings | None = None) -> Manifest:
    """Scripts for every node that holds a replica; RenderError for a plan that vLLM or a shell cannot take."""
    files: list[File] = []
    for node in sorted({replica.node for replica in plan.desired.replicas}):
        files += _node_files(node, tuple(replica for replica in plan.desired.replicas if replica.node == node))
    return tuple(files)


def _node_files(node: str, replicas: tuple[Replica, ...]) -> list[File]:
    folder = file_name(node)
    warnings = sorted({warning for replica in replicas if (warning := table_for(replica.engine_version).warning)})
    start = template("vllm", "start.sh.j2").render(
        node=node,
        starts=[(_start(replica), _local_paths(replica)) for replica in replicas],
        groups=_groups(replicas),
        local=any(map(_local_paths, replicas)),
        mps=bool(mps_files(replicas)),
        warnings=warnings,
        grace_s=_GRACE_S,
    )
    stop = template("vllm", "stop.sh.j2").render(node=node, grace_s=_GRACE_S)
    return [
        *(File(f"{folder}/replicas/{file_name(replica.name)}.sh", replica_script(replica), executable=True) for replica in replicas),
        *(File(f"{folder}/{name}", package_text(f"vllm/{name}")) for name in mps_files(replicas)),
        File(f"{folder}/processes.sh", package_text("vllm/processes.sh")),
        File(f"{folder}/rolling.sh", package_text("vllm/rolling.sh")),
        File(f"{folder}/ready.py", package_text("vllm/ready.py"), executable=True),
        File(f"{folder}/start.sh", start, executable=True),
        File(f"{folder}/stop.sh", stop, executable=True),
    ]


def mps_files(replicas: tuple[Replica, ...]) -> tuple[str, ...]:
    """Names of the shipped files that the scripts of these replicas use for MPS, beside their folder; none where nobody shares by MPS."""
    return ("mps.sh",) if any(replica.mode == "mps" for replica in replicas) else ()


def replica_script(replica: Replica, *, pinned: bool = True) -> str:
    """The script that runs a replica in the foreground, wherever the fleet file is; RenderError as `command`.

    It expects `mps_files` in the folder above its own.
    pinned: it runs on the GPUs of the plan; otherwise on those that whoever starts it lets it see.
    """
    variables = environment(replica)
    if not pinned:
        variables.pop("CUDA_VISIBLE_DEVICES", None)
    return template("vllm", "replica.sh.j2").render(
        replica=replica,
        warning=table_for(replica.engine_version).warning,
        environment=variables,
        command=[[_shell(word) for word in line] for line in _lines(command(_from_anywhere(replica)))],
        local_paths=_local_paths(replica),
        pinned=pinned,
        arguments_sha256=arguments_sha256(replica),
        mig_variable=mig_variable(replica) if pinned else None,
        mig_help=_mig_help(replica),
    )


def _local_paths(replica: Replica) -> tuple[str, ...]:
    """Files that its engine opens, from the folder of the fleet file."""
    return tuple(dict.fromkeys(path for _, path in local_paths(replica.args) if is_relative(path)))


def _from_anywhere(replica: Replica) -> Replica:
    """The replica with paths that start from wherever the fleet file is where the script runs."""
    args = with_relative_paths(replica.args, lambda path: f"{_FLEET_FOLDER}{path.removeprefix('./')}")
    return replica.model_copy(update={"args": args})


def _shell(word: str) -> str:
    """A word quoted for the shell; the folder of the fleet file is the script's variable."""
    before, folder, path = word.partition(_FLEET_FOLDER)
    if not folder:
        return shell_word(word)
    return f'{shell_word(before) if before else ""}"$fleet_folder"/{shell_word(path) if path else ""}'


def _lines(words: tuple[str, ...]) -> list[list[str]]:
    """The command's words, a flag and its value to a line."""
    lines = [list(words[:3])]
    for word in words[3:]:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(word)
    return lines


def _mig_help(replica: Replica) -> str:
    if replica.mig is None:
        return ""
    return (
        f"{mig_variable(replica)} must hold the UUID (MIG-...) of the MIG instance {replica.mig.profile} at start slot "
        f"{replica.mig.start} of GPU {replica.gpus[0]}; list the instances and their start slots with: nvidia-smi mig -lgi; "
        "and their UUIDs with: nvidia-smi -L"
    )


def _groups(replicas: tuple[Replica, ...]) -> list[_Group]:
    """Connected components of replicas by shared GPUs, by lowest GPU; inside a group in the plan's order."""
    parts: list[set[int]] = []
    for replica in replicas:
        if not replica.gpus:
            raise RenderError(f"replica {replica.name!r}: has no GPU; plan again")
        touching = [part for part in parts if part & set(replica.gpus)]
        parts = [part for part in parts if part not in touching] + [set(replica.gpus).union(*touching)]
    return [
        _Group(tuple(sorted(part)), tuple(index for index, replica in enumerate(replicas) if set(replica.gpus) <= part))
        for part in sorted(parts, key=min)
    ]


def _start(replica: Replica) -> tuple[str, ...]:
    slot = "" if replica.mig is None else f"@{replica.mig.profile}@{replica.mig.start}"
    return (
        replica.name,
        file_name(replica.name),
        probe_url(replica),
        replica.args.served_model_name,
        file_name(replica.args.served_model_name),
        " ".join(f"{gpu}{slot}" for gpu in replica.gpus),
        str(replica.ledger.total_mib),
        str(ready_limit_s(replica)),
    )


TARGET = RenderTarget(render)
