"""llama-swap: `config.yaml` with one server for each model of a node, which models fit together, and the scripts that run them.

What is written goes to `folder` on the node; docs/hosts.md says how.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Annotated

from pydantic import Field

from planner.plan import Desired, Plan, Replica, is_shared
from renderers.manifest import File, Manifest, RenderError
from renderers.names import file_name
from renderers.needs import NO_SPLIT_PROMPTS, NOBODY_APART, NOBODY_ASLEEP, ONE_NODE, Need
from renderers.render_target import RenderTarget, TargetSettings
from renderers.templates import package_text
from renderers.vllm import mps_files, probe_url, ready_limit_s, replica_script
from renderers.vllm.replica_start import SHUTDOWN_TIMEOUT_S
from renderers.yaml_document import Document, yaml_text


class LlamaSwapSettings(TargetSettings):
    """Settings of the target llama-swap: where the scripts and the locks of GPUs lie, and when an idle model is unloaded."""

    folder: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$", max_length=200)] = "/etc/ullage"
    turns: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$", max_length=200)] = "/var/lib/ullage"
    ttl: Annotated[int, Field(ge=0, le=10**9)] = 0


def _several_servers(desired: Desired) -> Iterator[str]:
    for route in desired.routes:
        if len(route.backends) > 1:
            yield f"routes.{route.served_name}.backends: there are {len(route.backends)}, and llama-swap runs one server for a model"


_ONE_SERVER_EACH = Need(_several_servers, "write max_replicas: 1 at the model's workloads and plan again, or choose a target that routes")


def render(plan: Plan, settings: LlamaSwapSettings) -> Manifest:
    """`config.yaml` and scripts; RenderError for what neither vLLM, a shell nor llama-swap takes."""
    replicas = plan.desired.replicas
    models = {replica.args.served_model_name: _model(replica, plan.desired, settings) for replica in replicas}
    if len(models) < len(replicas):
        raise RenderError("replicas: two of them serve one name; plan again")
    config = {
        # The least that it takes is 15 s.
        "healthCheckTimeout": max([15, *(_wait_s(replica, replicas) for replica in replicas)]),
        "unloadTimeout": 2 * SHUTDOWN_TIMEOUT_S,
        "models": models,
        **_together(replicas),
        "hooks": {"on_startup": {"preload": list(models)}},
    }
    return (
        *(File(f"replicas/{file_name(each.name)}.sh", replica_script(each), executable=True) for each in replicas),
        *(File(name, package_text(f"vllm/{name}"), executable=True) for name in ("ready.py", "start-in-turn.sh")),
        *(File(name, package_text(f"vllm/{name}")) for name in mps_files(replicas)),
        File("config.yaml", yaml_text(config)),
    )


def _model(replica: Replica, desired: Desired, settings: LlamaSwapSettings) -> Document:
    name, url, limit_s = replica.args.served_model_name, probe_url(replica), ready_limit_s(replica)
    words = [f"{settings.folder}/replicas/{file_name(replica.name)}.sh"]
    if is_shared(replica.mode):
        words = [f"{settings.folder}/start-in-turn.sh", f"gpu-{replica.gpus[0]}", url, name, str(limit_s), *words]
    names = [route.served_name for route in desired.routes if any(backend.replica == replica.name for backend in route.backends)]
    for text in (name, *names):
        _plain(text, replica)
    return {
        "cmd": " ".join(["bash", *words]),
        "proxy": url,
        "checkEndpoint": "/health",
        "ttl": settings.ttl,
        **({"env": list(_variables(replica, settings))} if is_shared(replica.mode) else {}),
        **({"aliases": aliases} if (aliases := [each for each in names if each != name]) else {}),
    }


def _variables(replica: Replica, settings: LlamaSwapSettings) -> Iterator[str]:
    """Where a replica that shares its GPU finds what it shares with its neighbours."""
    yield f"ULLAGE_TURNS={settings.turns}"
    if replica.mode == "mps":
        yield f"ULLAGE_RUN_DIR={settings.turns}"


def _plain(text: str, replica: Replica) -> None:
    """Raise RenderError for a name in which llama-swap would replace or split something."""
    if not text or not all(character.isalnum() or character in "._/:@+-" for character in text):
        raise RenderError(
            f"replicas.{replica.name}.args.served_model_name: {text!r} has more than letters, digits and ._/:@+-, and llama-swap gives "
            "some of the rest a meaning of its own; rename the model"
        )


def _wait_s(replica: Replica, replicas: tuple[Replica, ...]) -> int:
    """How long a start may take: who shares a GPU waits until the others have started."""
    beside = [each for each in replicas if each == replica or (is_shared(replica.mode) and set(each.gpus) & set(replica.gpus))]
    return sum(map(ready_limit_s, beside))


def _together(replicas: tuple[Replica, ...]) -> Document:
    """The plan as what may be loaded at once: all of it, since its residents fit on every GPU; a model that starts longer stays longer."""
    short = {f"m{index}": replica for index, replica in enumerate(replicas)}
    if not short:
        return {}
    return {
        "matrix": {
            "vars": {name: replica.args.served_model_name for name, replica in short.items()},
            "evict_costs": {name: max(1, ceil(replica.start_s)) for name, replica in short.items()},
            "sets": {"plan": " & ".join(short)},
        }
    }


TARGET = RenderTarget(render, needs=(ONE_NODE, NOBODY_ASLEEP, _ONE_SERVER_EACH, NO_SPLIT_PROMPTS, NOBODY_APART), settings=LlamaSwapSettings)
