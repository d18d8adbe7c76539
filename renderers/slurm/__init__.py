"""Slurm: per node one batch script for each replica, and `submit.sh`, which brings the queue to what is rendered.

Slurm chooses the GPUs of a node and tells the engine by CUDA_VISIBLE_DEVICES; docs/clusters.md says how to roll out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import Field

from planner.plan import Desired, Plan, Replica
from renderers.manifest import File, Manifest, RenderError
from renderers.names import file_name
from renderers.needs import HOSTS_KNOWN, NO_MPS, NO_TIME_SHARING, NOBODY_ASLEEP
from renderers.render_target import RenderTarget, TargetSettings
from renderers.templates import package_text, template
from renderers.vllm import command, environment, probe_url, ready_limit_s, replica_script
from renderers.vllm.replica_start import SHUTDOWN_TIMEOUT_S, START_LIMIT

# Between an engine that is told to stop and the end of its last process.
_GRACE_S = 2 * SHUTDOWN_TIMEOUT_S
# What a word behind #SBATCH may be made of: nothing that Slurm reads as a list, a quote or the end of a word.
_WORD = re.compile(r"[A-Za-z0-9._/%:@+-]+")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class SlurmSettings(TargetSettings):
    """Settings of the target slurm: where and how long, what a GPU and a node are called, and what an engine gets beside GPUs."""

    partition: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=60)] | None = None
    account: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=60)] | None = None
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=30)] = "ullage"
    nodes: Literal["hosts", "plan"] = "hosts"
    gres: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(:[A-Za-z0-9_.-]+)?$", max_length=60)] = "gpu"
    time_limit: Annotated[str, Field(pattern=r"^(UNLIMITED|[0-9]+(-[0-9]+)?(:[0-9]+){0,2})$", max_length=20)] = "UNLIMITED"
    cpus: Annotated[int, Field(ge=1, le=4096)] | None = None
    memory_gib: Annotated[int, Field(ge=1, le=65536)] | None = None
    log_folder: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$", max_length=200)] | None = None


def render(plan: Plan, settings: SlurmSettings) -> Manifest:
    """`NODE/REPLICA.sh` and `submit.sh`; RenderError for what neither vLLM, a shell nor Slurm takes."""
    desired = plan.desired
    scripts = []
    for replica in desired.replicas:
        options = tuple(_options(replica, desired, settings))
        path = f"{file_name(replica.node)}/{file_name(replica.name)}.sh"
        scripts.append((file_name(replica.name), path, _sha256(replica, options), _script(replica, options)))
    submit = template("slurm", "submit.sh.j2").render(prefix=settings.prefix, replicas=[each[:3] for each in scripts])
    files = [File(path, text, executable=True) for _, path, _, text in sorted(scripts, key=lambda each: each[1])]
    return (*files, File("submit.sh", submit, executable=True))


def _script(replica: Replica, options: tuple[str, ...]) -> str:
    engine, ready = replica_script(replica, pinned=False), package_text("vllm/ready.py")
    return template("slurm", "replica.sh.j2").render(
        replica=replica,
        options=(*options, f"--comment=ullage:{_sha256(replica, options)}"),
        engine=engine,
        # No text contains its own hash, so that none ends before its end.
        engine_end=_ending(engine),
        ready=ready,
        ready_end=_ending(ready),
        url=probe_url(replica),
        model=replica.args.served_model_name,
        limit_s=ready_limit_s(replica),
        grace_s=_GRACE_S,
    )


def _ending(text: str) -> str:
    return f"END_{hashlib.sha256(text.encode()).hexdigest()}"


def _sha256(replica: Replica, options: tuple[str, ...]) -> str:
    """Over what makes the running replica what it is; which GPUs of its node it has is Slurm's, and its start's limit is past."""
    variables = {name: value for name, value in environment(replica).items() if name not in {START_LIMIT, "CUDA_VISIBLE_DEVICES"}}
    return hashlib.sha256(json.dumps([command(replica), variables, options], sort_keys=True).encode()).hexdigest()


def _options(replica: Replica, desired: Desired, settings: SlurmSettings) -> Iterator[str]:
    """Options of sbatch, each one word."""
    values: dict[str, object] = {
        "job-name": f"{settings.prefix}-{file_name(replica.name)}",
        "partition": settings.partition,
        "account": settings.account,
        "nodes": 1,
        "nodelist": _node(replica, settings),
        "ntasks": 1,
        "cpus-per-task": settings.cpus,
        "mem": None if settings.memory_gib is None else f"{settings.memory_gib}G",
        "gres": _gres(replica, desired, settings),
        "time": settings.time_limit,
        "signal": f"B:TERM@{_GRACE_S}",
        "open-mode": "append",
        "output": f"{settings.log_folder}/%x-%j.log" if settings.log_folder else "%x-%j.log",
    }
    for name, value in values.items():
        if value is not None:
            if not _WORD.fullmatch(str(value)):
                raise RenderError(f"replica {replica.name!r}: {value!r} cannot be the value of --{name} in a batch script; rename it")
            yield f"--{name}={value}"
    yield "--requeue"


def _node(replica: Replica, settings: SlurmSettings) -> str:
    """The node as Slurm calls it: the pool's host where that is a name, else the plan's."""
    host = replica.host
    try:
        ip_address(host)
        is_name = False
    except ValueError:
        is_name = host != "localhost"
    node, field = (host, "host") if is_name and settings.nodes == "hosts" else (replica.node, "node")
    if not _NODE.fullmatch(node):
        raise RenderError(
            f"replicas.{replica.name}.{field}: {node!r} can be no name of a Slurm node; "
            "give the pool's hosts as the names that sinfo shows (pools.NAME.hosts), or rename the pool, and plan again"
        )
    return node


def _gres(replica: Replica, desired: Desired, settings: SlurmSettings) -> str:
    name, _, kind = settings.gres.partition(":")
    if replica.mig is not None:
        if not re.fullmatch(r"[a-z0-9.]+", replica.mig.profile):
            raise RenderError(
                f"replicas.{replica.name}.mig.profile: {replica.mig.profile!r} can be no type of a Slurm gres; "
                "leave the profile out of the pool's MIG layouts and plan again"
            )
        return f"{name}:{replica.mig.profile}:1"
    if not kind and any(gpu.node == replica.node and gpu.mig_layout for gpu in desired.gpus):
        raise RenderError(
            f"replicas.{replica.name}.gpus: {replica.node} has MIG instances beside whole GPUs, and {name}:{len(replica.gpus)} would take "
            f"either; name the type of the whole ones as gres.conf has it: --set gres={name}:TYPE"
        )
    return f"{settings.gres}:{len(replica.gpus)}"


TARGET = RenderTarget(render, needs=(HOSTS_KNOWN, NO_MPS, NO_TIME_SHARING, NOBODY_ASLEEP), settings=SlurmSettings)
