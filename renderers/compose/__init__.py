"""Docker Compose: one file for each node, with a service for each of its replicas."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Plan, Replica, is_shared
from planner.plan.local_paths import local_paths
from renderers.engine_image import ImageRepository, image_of
from renderers.manifest import File, Manifest
from renderers.names import file_name
from renderers.needs import HOSTS_KNOWN, NO_MPS, NO_RELATIVE_PATHS, NOBODY_ASLEEP
from renderers.render_target import RenderTarget, TargetSettings
from renderers.templates import package_text
from renderers.vllm import command, environment, mig_variable, probe_url
from renderers.vllm.replica_start import SHUTDOWN_TIMEOUT_S, START_LIMIT, steady_limit_s, turns_limit_s
from renderers.yaml_document import Document, yaml_text


class ComposeSettings(TargetSettings):
    """Settings of the target compose: the image without its tag, which is the engine's version."""

    image: ImageRepository = "vllm/vllm-openai"


def render(plan: Plan, settings: ComposeSettings) -> Manifest:
    """`NODE/compose.yaml` and the scripts of starts and health checks; RenderError for what the engine does not take."""
    files: list[File] = []
    for node in sorted({replica.node for replica in plan.desired.replicas}):
        replicas = tuple(replica for replica in plan.desired.replicas if replica.node == node)
        folder = file_name(node)
        files += [File(f"{folder}/{name}", package_text(f"vllm/{name}"), executable=True) for name in ("ready.py", "start-in-turn.sh")]
        files.append(File(f"{folder}/compose.yaml", yaml_text(_node(replicas, settings))))
    return tuple(files)


def _node(replicas: tuple[Replica, ...], settings: ComposeSettings) -> Document:
    shared = any(is_shared(replica.mode) for replica in replicas)
    return {
        "services": {_service_name(replica): _service(replica, settings) for replica in replicas},
        "volumes": {"model-cache": {}, **({"turns": {}} if shared else {})},
    }


def _service_name(replica: Replica) -> str:
    return file_name(replica.name)


def _service(replica: Replica, settings: ComposeSettings) -> Document:
    shares = is_shared(replica.mode)
    words = list(command(replica))
    limit_s = steady_limit_s(replica)
    model, url = replica.args.served_model_name, probe_url(replica)
    if shares:
        words = ["bash", "/etc/ullage/start-in-turn.sh", f"gpu-{replica.gpus[0]}", url, model, str(limit_s), *words]
    return {
        "image": image_of(settings.image, replica),
        "entrypoint": [_as_it_is(word) for word in words],
        # Address and port are the plan's.
        "network_mode": "host",
        "ipc": "private",
        "shm_size": "8gb",
        "environment": list(_variables(replica)),
        "volumes": list(_volumes(replica, shares=shares)),
        "deploy": {"resources": {"reservations": {"devices": [_devices(replica)]}}},
        "healthcheck": {
            "test": ["CMD", *map(_as_it_is, ("python3", "/etc/ullage/ready.py", "--url", url, "--model", model, "--names-only"))],
            "interval": "10s",
            "timeout": "10s",
            "retries": 3,
            "start_period": f"{turns_limit_s(replica, limit_s)}s",
        },
        "restart": "unless-stopped",
        "stop_grace_period": f"{2 * SHUTDOWN_TIMEOUT_S}s",
        "security_opt": ["no-new-privileges:true"],
        "cap_drop": ["ALL"],
    }


def _as_it_is(word: str) -> str:
    """A word in which Compose replaces nothing."""
    return word.replace("$", "$$")


def _variables(replica: Replica) -> Iterator[str]:
    """Variables of the engine. Which GPUs there are says the runtime; secrets come from whoever calls Compose, by their names."""
    for name, value in {**environment(replica), START_LIMIT: str(steady_limit_s(replica))}.items():
        if name != "CUDA_VISIBLE_DEVICES":
            yield f"{name}={_as_it_is(value)}"
    yield from ("HF_TOKEN", "VLLM_API_KEY")


def _volumes(replica: Replica, *, shares: bool) -> Iterator[Document]:
    for name in ("ready.py", "start-in-turn.sh"):
        yield _bind(f"./{name}", f"/etc/ullage/{name}")
    yield {"type": "volume", "source": "model-cache", "target": "/root/.cache/huggingface"}
    if shares:
        yield {"type": "volume", "source": "turns", "target": "/run/ullage"}
    for path in dict.fromkeys(path for _, path in local_paths(replica.args)):
        yield _bind(_as_it_is(path), _as_it_is(path))


def _bind(source: str, target: str) -> Document:
    return {"type": "bind", "source": source, "target": target, "read_only": True}


def _devices(replica: Replica) -> Document:
    variable = mig_variable(replica)
    ids = [str(gpu) for gpu in replica.gpus]
    if variable is not None and replica.mig is not None:
        # Compose stops with this text where the variable is not set.
        ids = [f"${{{variable}:?the UUID of the MIG instance at start slot {replica.mig.start} of GPU {replica.gpus[0]}}}"]
    return {"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}


TARGET = RenderTarget(render, needs=(HOSTS_KNOWN, NO_MPS, NO_RELATIVE_PATHS, NOBODY_ASLEEP), settings=ComposeSettings)
