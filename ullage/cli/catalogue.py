"""catalogue: what ullage knows of GPU types and models, with sources."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ullage.cli import completion

HELP = """List what is known of GPU types and models, or everything about one of them, with sources.

Example: ullage catalogue gpus H100
"""
GPU_ARGUMENT = typer.Argument(help="A GPU type or alias; print everything about it.", autocompletion=completion.gpu_types)
MODEL_ARGUMENT = typer.Argument(help="A model or alias; print everything about it.", autocompletion=completion.models)
JSON_OPTION = typer.Option("--json", help="Print JSON instead of text: a list, or one object with NAME.")


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the command tree."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)
    group.command()(gpus)
    group.command()(models)
    app.add_typer(group, name="catalogue")


def gpus(name: Annotated[str | None, GPU_ARGUMENT] = None, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """List GPU types with memory and listed price, or print everything about one.

    Example: ullage catalogue gpus H100
    """
    from profiles.catalogue import builtin
    from ullage.views import catalogue_text as view

    if name is not None:
        gpu, ambiguity = builtin().gpu(name), builtin().gpu_ambiguity(name)
        if ambiguity is not None:
            typer.echo(f"warning: {ambiguity}", err=True)
        typer.echo(json.dumps(view.gpu_facts(gpu), indent=2) if as_json else view.gpu_text(gpu), nl=as_json)
        return
    found = sorted(builtin().gpus(), key=lambda gpu: gpu.name)
    typer.echo(json.dumps([view.gpu_facts(gpu) for gpu in found], indent=2) if as_json else view.gpus_text(found), nl=as_json)


def models(name: Annotated[str | None, MODEL_ARGUMENT] = None, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """List models with layers and parameters, or print everything about one.

    Example: ullage catalogue models Qwen/Qwen3-8B
    """
    from profiles.catalogue import builtin
    from ullage.views import catalogue_text as view

    if name is not None:
        model = builtin().model(name)
        typer.echo(json.dumps(view.model_facts(model), indent=2) if as_json else view.model_text(model), nl=as_json)
        return
    found = sorted(builtin().models(), key=lambda model: model.name)
    typer.echo(json.dumps([view.model_facts(model) for model in found], indent=2) if as_json else view.models_text(found), nl=as_json)
