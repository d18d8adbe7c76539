"""systemd: per node one unit for each replica and each MPS daemon, and a target that holds the replicas, with the scripts they run.

`install.sh` of a node puts its scripts into `folder` and its units into /etc/systemd/system.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from planner.plan import Plan, Replica, is_shared
from renderers.manifest import File, Manifest, RenderError
from renderers.names import file_name
from renderers.needs import HOSTS_KNOWN, NOBODY_ASLEEP
from renderers.render_target import RenderTarget, TargetSettings
from renderers.templates import package_text, template
from renderers.vllm import mps_files, probe_url, replica_script
from renderers.vllm.replica_start import SHUTDOWN_TIMEOUT_S, steady_limit_s, turns_limit_s


class SystemdSettings(TargetSettings):
    """Settings of the target systemd: where the scripts lie on each node, and whose processes the engines are."""

    folder: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$", max_length=200)] = "/etc/ullage"
    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]*$", max_length=31)] = "ullage"


def render(plan: Plan, settings: SystemdSettings) -> Manifest:
    """Units and scripts of every node with a replica; RenderError for a plan that vLLM, a shell or systemd cannot take."""
    files: list[File] = []
    for node in sorted({replica.node for replica in plan.desired.replicas}):
        replicas = tuple(replica for replica in plan.desired.replicas if replica.node == node)
        folder = file_name(node)
        files += [File(f"{folder}/replicas/{file_name(each.name)}.sh", replica_script(each), executable=True) for each in replicas]
        files += [File(f"{folder}/{name}", package_text(f"vllm/{name}"), executable=True) for name in ("ready.py", "start-in-turn.sh")]
        files += [File(f"{folder}/units/{_unit(each)}", _service(each, settings)) for each in replicas]
        files += _daemons(folder, replicas, settings)
        target = template("systemd", "ullage-engines.target.j2").render(node=node, units=[_unit(each) for each in replicas])
        files.append(File(f"{folder}/units/ullage-engines.target", target))
        install = template("systemd", "install.sh.j2").render(node=node, folder=settings.folder)
        files.append(File(f"{folder}/install.sh", install, executable=True))
    return tuple(files)


def _daemons(folder: str, replicas: tuple[Replica, ...], settings: SystemdSettings) -> Iterator[File]:
    """The units of the MPS daemons, one for each GPU that replicas share by it, and the scripts that they and their engines run."""
    names = {_unit(each): each for each in replicas}
    for gpu in sorted({each.gpus[0] for each in replicas if each.mode == "mps"}):
        unit = f"ullage-{_mps_name(gpu)}.service"
        if unit in names:
            raise RenderError(f"replica {names[unit].name!r}: {unit} is the unit of the MPS daemon of GPU {gpu}; rename the model")
        start = ["/usr/bin/bash", f"{settings.folder}/mps-daemon.sh", str(gpu)]
        text = template("systemd", "mps.service.j2").render(gpu=gpu, user=settings.user, name=_mps_name(gpu), start=start)
        yield File(f"{folder}/units/{unit}", text)
    for name in mps_files(replicas):
        yield File(f"{folder}/{name}", package_text(f"vllm/{name}"))
        yield File(f"{folder}/mps-daemon.sh", package_text("systemd/mps-daemon.sh"), executable=True)


def _mps_name(gpu: int) -> str:
    return f"mps-gpu{gpu}"


def _unit(replica: Replica) -> str:
    return f"ullage-{file_name(replica.name)}.service"


def _service(replica: Replica, settings: SystemdSettings) -> str:
    limit_s = steady_limit_s(replica)
    wait_s = turns_limit_s(replica, limit_s)
    model, url = replica.args.served_model_name, probe_url(replica)
    start = [f"{settings.folder}/replicas/{file_name(replica.name)}.sh"]
    if is_shared(replica.mode):
        gpu = f"gpu-{replica.gpus[0]}"
        start = ["/usr/bin/bash", f"{settings.folder}/start-in-turn.sh", gpu, url, model, str(limit_s), *start]
    ready = ["/usr/bin/python3", f"{settings.folder}/ready.py", "--url", url, "--model", model, "--limit-s", str(wait_s)]
    try:
        return template("systemd", "replica.service.j2").render(
            replica=replica,
            mps=_mps_name(replica.gpus[0]) if replica.mode == "mps" else None,
            user=settings.user,
            folder=settings.folder,
            place=" ".join([*(f"gpu-{gpu}" for gpu in replica.gpus), f"port-{replica.args.port}"]),
            start=start,
            ready=ready,
            # Systemd gives up a little after the wait has, so that the wait says why.
            start_limit_s=wait_s + 30,
            stop_limit_s=2 * SHUTDOWN_TIMEOUT_S,
        )
    except RenderError as error:
        raise RenderError(f"replica {replica.name!r}: {error}") from error


TARGET = RenderTarget(render, needs=(HOSTS_KNOWN, NOBODY_ASLEEP), settings=SystemdSettings)
