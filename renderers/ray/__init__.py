"""Ray Serve LLM: `serve.yaml` for `serve deploy`, and a script for each node that joins Ray with what pins replicas to it.

A resource of Ray of the node's name (`ullage-node-NODE`) holds the replicas of a model on their node. A model on several nodes has a
resource of its own (`ullage-model-MODEL`), of which each node has as much as the plan puts replicas there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from planner.plan import EngineArgs, Plan, Replica
from planner.plan.extra_args import ExtraArg
from renderers.manifest import File, Manifest, RenderError
from renderers.names import file_name
from renderers.needs import NO_MIG, NO_MPS, NO_RELATIVE_PATHS, NO_SLEEP_MODE, NO_SPLIT_PROMPTS, NO_TIME_SHARING, NOBODY_APART, NOBODY_ASLEEP
from renderers.render_target import RenderTarget, TargetSettings
from renderers.templates import template
from renderers.vllm import command, environment, extra_flags
from renderers.vllm.option_table import table_for
from renderers.vllm.replica_start import SHUTDOWN_TIMEOUT_S
from renderers.yaml_document import Document, yaml_text

# What Ray says itself: names and places of its servers.
_OF_RAY = frozenset({"model", "served_model_name", "host", "port"})
# As much as no plan takes: it only says which node it is.
_PLENTY = 1000


def render(plan: Plan, _: TargetSettings | None = None) -> Manifest:
    """`serve.yaml` and `nodes/NODE.sh`; RenderError for what vLLM does not take and for replicas that Ray cannot keep apart."""
    models: dict[str, list[Replica]] = {}
    for replica in plan.desired.replicas:
        models.setdefault(replica.args.served_model_name, []).append(replica)
    problems = [problem for replicas in models.values() for problem in _problems(replicas)]
    if problems:
        raise RenderError("\n".join(problems))
    router = plan.desired.router
    serve = {
        # The router of the plan is one, where Ray's head is.
        "proxy_location": "HeadOnly",
        "http_options": {"host": router.host, "port": router.port},
        "applications": [
            {
                "name": "ullage",
                "route_prefix": "/",
                "import_path": "ray.serve.llm:build_openai_app",
                "args": {"llm_configs": [_model(replicas) for replicas in models.values()]},
            }
        ],
    }
    return (*_nodes(models), File("serve.yaml", yaml_text(serve)))


def _problems(replicas: list[Replica]) -> Iterator[str]:
    """What differs between replicas of a model, which Ray starts alike, and what Ray has another way for."""
    first = replicas[0]
    for replica in replicas:
        if replica.args.lora_modules:
            yield (
                f"replicas.{replica.name}.args.lora_modules: Ray loads adapters from a bucket and by itself; take them off the model, "
                "or choose a target that starts vLLM"
            )
        for field, mine, other in (
            ("engine_version", replica.engine_version, first.engine_version),
            *((f"args.{name}", value, getattr(first.args, name)) for name, value in replica.args if name not in _OF_RAY - {"model"}),
        ):
            if mine != other:
                yield (
                    f"replicas.{replica.name}.{field}: {mine!r}, but {other!r} for {first.name}, and Ray starts the replicas of a model "
                    "alike; plan with one pool or one choice for the model, or choose a target that starts each replica"
                )


def _model(replicas: list[Replica]) -> Document:
    first = replicas[0]
    variables = {name: value for name, value in environment(first).items() if not name.startswith("CUDA_")}
    bundles: list[dict[str, float]] = [{"GPU": 1} for _ in first.gpus]
    bundles[0] = {"GPU": 1, _resource(replicas): 1}
    return {
        "model_loading_config": {"model_id": first.args.served_model_name, "model_source": first.args.model},
        "engine_kwargs": _engine_arguments(first),
        "placement_group_config": {"bundles": bundles, "strategy": "STRICT_PACK"},
        "deployment_config": {
            "name": file_name(first.args.served_model_name),
            "num_replicas": len(replicas),
            "graceful_shutdown_timeout_s": SHUTDOWN_TIMEOUT_S,
        },
        "runtime_env": {"env_vars": variables},
    }


def _resource(replicas: list[Replica]) -> str:
    """What a replica takes one of, and only its planned nodes have."""
    nodes = {replica.node for replica in replicas}
    if len(nodes) == 1:
        return f"ullage-node-{file_name(nodes.pop())}"
    return f"ullage-model-{file_name(replicas[0].args.served_model_name)}"


def _engine_arguments(replica: Replica) -> dict[str, Any]:
    """Arguments of vLLM's engine by the names of Python; what its server is told beside them is Ray's."""
    given = [word.removeprefix("--").replace("-", "_") for word in command(replica) if word.startswith("--")]
    own = {name: getattr(replica.args, name) for name in given if name in EngineArgs.model_fields and name not in _OF_RAY}
    if replica.args.hf_overrides is not None:
        own["hf_overrides"] = json.loads(replica.args.hf_overrides)
    return own | dict(_added(replica, extra) for extra in replica.args.extra_args)


def _added(replica: Replica, extra: ExtraArg) -> tuple[str, Any]:
    ((flag, value),) = extra_flags(replica.engine_version, (extra,))
    option = table_for(replica.engine_version).table.options[flag]
    name = option.name.replace("-", "_")
    if value is None:
        return name, not flag.startswith("--no-")
    if option.nargs is None and option.kind in {"str", "int", "float"}:
        return name, {"str": str, "int": int, "float": float}[option.kind](value)
    if option.nargs is None and value.startswith("{"):
        return name, json.loads(value)
    raise RenderError(
        f"replica {replica.name!r}, args.extra_args: Ray wants the value of {flag} as Python has it, and vLLM's parser does not say "
        "of what type that is; leave it out, or choose a target that starts vLLM"
    )


def _nodes(models: dict[str, list[Replica]]) -> Iterator[File]:
    resources: dict[str, Counter[str]] = {}
    gpus: dict[str, set[int]] = {}
    for replicas in models.values():
        resource = _resource(replicas)
        for replica in replicas:
            own = f"ullage-node-{file_name(replica.node)}"
            amounts = resources.setdefault(replica.node, Counter({own: _PLENTY}))
            if resource != own:
                amounts[resource] += 1
            gpus.setdefault(replica.node, set()).update(replica.gpus)
    for node, amounts in sorted(resources.items()):
        numbers = sorted(gpus[node])
        text = template("ray", "node.sh.j2").render(
            node=node, gpus=",".join(map(str, numbers)), count=len(numbers), resources=json.dumps(dict(sorted(amounts.items())))
        )
        yield File(f"nodes/{file_name(node)}.sh", text, executable=True)


TARGET = RenderTarget(
    render, needs=(NO_TIME_SHARING, NO_MPS, NO_MIG, NOBODY_ASLEEP, NO_SLEEP_MODE, NO_RELATIVE_PATHS, NO_SPLIT_PROMPTS, NOBODY_APART)
)
