"""LiteLLM's proxy: one deployment for each backend of a route, picked at random by weight.

LiteLLM runs with the folder as its working directory (`command`). It reads its configuration once: every change is a restart.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Plan, Route, RouterPlan
from renderers.manifest import File, Manifest, RenderError
from renderers.names import file_name
from renderers.needs import NO_SPLIT_PROMPTS, NOBODY_APART
from renderers.render_target import RenderTarget, TargetSettings
from renderers.route_problems import socket_text, sorted_routes
from renderers.templates import template
from renderers.yaml_document import Document, yaml_text

# LiteLLM replaces a value that begins like this by an environment variable.
_VARIABLE = "os.environ/"
# A week: a stream may pause as long as an engine thinks.
_TIMEOUT_S = 7 * 24 * 3600


def render(plan: Plan, _: TargetSettings | None = None) -> Manifest:
    """Configuration of LiteLLM for a plan; raises RenderError for names that LiteLLM would read as something else."""
    return render_routes(plan.desired.routes, plan.desired.router)


def render_routes(routes: tuple[Route, ...], router: RouterPlan) -> Manifest:
    """Configuration of LiteLLM for these routes: `config.yaml` and `start.sh`."""
    routes = sorted_routes(routes)
    problems = [problem for route in routes if (problem := _problem(route.served_name))]
    if problems:
        raise RenderError("\n".join(problems))
    start = template("litellm", "start.sh.j2").render(command=command(router))
    return (File("config.yaml", yaml_text(_config(routes))), File("start.sh", start, executable=True))


def command(router: RouterPlan) -> tuple[str, ...]:
    """Arguments that run LiteLLM on a rendered folder, to be started with that folder as working directory."""
    return ("litellm", "--config", "config.yaml", "--host", router.host, "--port", str(router.port))


def _config(routes: tuple[Route, ...]) -> Document:
    return {
        "model_list": [deployment for route in routes for deployment in _deployments(route)],
        "router_settings": {
            "routing_strategy": "simple-shuffle",
            "num_retries": 3,
            "timeout": _TIMEOUT_S,
            # A deployment that fails is left out for so many seconds.
            "cooldown_time": 5,
        },
        "litellm_settings": {"request_timeout": _TIMEOUT_S},
        "general_settings": {"master_key": f"{_VARIABLE}LITELLM_MASTER_KEY"},
    }


def _deployments(route: Route) -> Iterator[Document]:
    for backend in route.backends:
        yield {
            "model_name": route.served_name,
            "litellm_params": {
                "model": f"hosted_vllm/{route.served_name}",
                "api_base": f"http://{socket_text(backend.host, backend.port)}/v1",
                "api_key": f"{_VARIABLE}VLLM_API_KEY",
                "weight": backend.weight,
            },
            # It stands in a header of each answer.
            "model_info": {"id": file_name(f"{backend.replica} as {route.served_name}")},
        }


def _problem(served_name: str) -> str | None:
    if "*" in served_name:
        return f"route {served_name!r}: LiteLLM reads * as any text; give the model another served name"
    if not all(character.isprintable() and ord(character) < 256 for character in served_name):
        return f"route {served_name!r}: LiteLLM puts the name into a header, which holds Latin-1 only; give the model another served name"
    if served_name.startswith(_VARIABLE):
        return f"route {served_name!r}: LiteLLM reads {_VARIABLE} as an environment variable; give the model another served name"
    return None


TARGET = RenderTarget(render, needs=(NO_SPLIT_PROMPTS, NOBODY_APART), is_router=True)
