"""Compose files with services that run vLLM."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from executor.hand_started.serve_command import read_arguments
from ullage.takeover.written_server import WrittenServer, flags_unknown, gpus_told, serve_arguments, undefined, with_variables

# An image whose entrypoint is vLLM's server: its command is the arguments alone.
_SERVER_IMAGE = re.compile(r"(?:^|/)vllm-openai(?:[:@-]|$)|(?:^|/)vllm[^/:]*(?:[:@]|$)")
_TAG_VERSION = re.compile(r":v?(\d+\.\d+(?:\.\d+)?)")
# the port of the container, the last of HOST:PUBLISHED:TARGET/PROTOCOL
_PUBLISHED = re.compile(r"(?:.*:)?(\d+):(\d+)(?:/tcp)?")


def read_compose(name: str, text: str) -> tuple[WrittenServer, ...]:
    """The servers of a compose file, in its order. Raises ValueError for a text that is none, or has no vLLM in it."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" (line {place.line + 1})" if place is not None else ""
        raise ValueError(f"{name}: not YAML that can be read{where}") from error
    services = document.get("services") if isinstance(document, dict) else None
    if not isinstance(services, dict) or not services:
        raise ValueError(f"{name}: not a compose file: it has no services")
    found = tuple(server for key, service in services.items() if (server := _server(name, str(key), service)) is not None)
    if not found:
        raise ValueError(f"{name}: none of its services runs vLLM: {', '.join(map(str, services))[:200]}")
    return found


def _server(name: str, key: str, service: object) -> WrittenServer | None:
    if not isinstance(service, dict):
        return None
    variables = _environment(service.get("environment"))
    # a variable that the file leaves to the shell is not ours to know
    image = with_variables(str(service.get("image", "")), {})
    entry, given = (_words(f"{name}: services.{key}.{part}", service.get(part)) for part in ("entrypoint", "command"))
    arguments = serve_arguments([*entry, *given])
    if arguments is None and not entry and _SERVER_IMAGE.search(image):
        arguments = tuple(given)
    if arguments is None:
        return None
    command = read_arguments(arguments)
    version = _TAG_VERSION.search(image)
    devices = _device_ids(service) or variables.get("CUDA_VISIBLE_DEVICES") or variables.get("NVIDIA_VISIBLE_DEVICES")
    gpus, unknown = gpus_told(devices, command)
    return WrittenServer(
        origin=f"service {key} of {name}",
        command=command,
        names=command.served_names(),
        gpus=gpus,
        unknown=(*unknown, *flags_unknown(command), *_left_open(arguments, service)),
        notes=tuple(_notes(service, command.port)),
        version=version[1] if version else None,
    )


def _words(where: str, value: object) -> list[str]:
    """A command as compose reads it: a list of words, or a text that is split like a shell's."""
    if value is None:
        return []
    try:
        words = [str(word) for word in value] if isinstance(value, list) else shlex.split(str(value))
    except ValueError as error:
        raise ValueError(f"{where}: its quotes cannot be read: {error}") from error
    return [with_variables(word, {}) for word in words]


def _environment(value: object) -> Mapping[str, str]:
    if isinstance(value, dict):
        return {str(name): with_variables(str(content), {}) for name, content in value.items() if content is not None}
    if isinstance(value, list):
        pairs = (str(item).partition("=") for item in value)
        return {variable: with_variables(content, {}) for variable, equals, content in pairs if equals}
    return {}


def _device_ids(service: Mapping[str, Any]) -> str | None:
    """The GPUs that are reserved by their ids."""
    reserved: object = service.get("gpus")
    for part in ("deploy", "resources", "reservations", "devices"):
        if part == "deploy" and isinstance(reserved, list):
            break
        reserved = service.get(part) if part == "deploy" else reserved.get(part) if isinstance(reserved, dict) else None
    for device in reserved if isinstance(reserved, list) else ():
        ids = device.get("device_ids") if isinstance(device, dict) else None
        if isinstance(ids, list) and ids:
            return ",".join(map(str, ids))
    return None


def _notes(service: Mapping[str, Any], port: int) -> Iterator[str]:
    for published in service.get("ports") or ():
        found = _PUBLISHED.fullmatch(str(published))
        if found is not None and int(found[2]) == port:
            yield f"published on port {found[1]} of its host"


def _left_open(arguments: tuple[str, ...], service: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"variable {word}: its value does not stand in the file" for word in undefined(arguments))
    if service.get("env_file") is not None:
        yield "environment: its env_file is not read"
    if service.get("extends") is not None:
        yield "service: what it extends is not read"
