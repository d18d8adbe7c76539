"""Local files that a plan names: written from the folder of the fleet file, so that two checkouts of one repository give one plan."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path

from planner.plan.vllm_args import EngineArgs

_RELATIVE = ("./", "../")


def is_local(source: str) -> bool:
    """Whether a source or value is a path (starts with ./, ../ or /) and no name.

    >>> is_local("./models/own"), is_local("org/name")
    (True, False)
    """
    return source.startswith((*_RELATIVE, "/"))


def is_relative(source: str) -> bool:
    """Whether it is a path from the folder of the fleet file."""
    return source.startswith(_RELATIVE)


def plan_path(written: str, folder: Path) -> str:
    """A local path of a fleet file as its plan has it: normalised, and beginning with ./ or ../ unless it was written absolute.

    folder is the fleet file's. What stands before a .. is left out unless it is a link, behind which .. leads elsewhere.
    """
    plain = posixpath.normpath(written)
    if os.path.realpath(folder / plain) != os.path.realpath(folder / written):
        plain = "/" * written.startswith("/") + "/".join(part for part in written.split("/") if part not in {"", "."})
    if plain.startswith("/"):
        return f"/{plain.lstrip('/')}"
    if plain in {".", ".."} or plain.endswith("/.."):
        plain += "/"
    return plain if is_relative(plain) else f"./{plain}"


def located(path: str, folder: Path) -> Path:
    """Where a local path of a plan leads when the fleet file is in this folder; absolute."""
    return (folder / path).resolve() if is_relative(path) else Path(path)


def local_paths(args: EngineArgs) -> Iterator[tuple[str, str]]:
    """Field and path of every local file that an engine with these arguments opens."""
    fields = (
        ("model", args.model),
        *((f"lora_modules.{place}.path", module.path) for place, module in enumerate(args.lora_modules)),
        *((f"extra_args.{place}.value", extra.value) for place, extra in enumerate(args.extra_args)),
    )
    return ((field, path) for field, path in fields if is_local(path))


def with_relative_paths(args: EngineArgs, change: Callable[[str], str]) -> EngineArgs:
    """The arguments with every path from the folder of the fleet file changed."""

    def changed(text: str) -> str:
        return change(text) if is_relative(text) else text

    return args.model_copy(
        update={
            "model": changed(args.model),
            "lora_modules": tuple(module.model_copy(update={"path": changed(module.path)}) for module in args.lora_modules),
            "extra_args": tuple(extra.model_copy(update={"value": changed(extra.value)}) for extra in args.extra_args),
        }
    )
