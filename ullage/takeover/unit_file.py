"""systemd units that start vLLM: read as text, with the quoting of a shell, and never executed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from executor.hand_started.serve_command import read_arguments
from ullage.takeover.written_server import WrittenServer, flags_unknown, gpus_told, serve_arguments, undefined, with_variables

_SECTION = re.compile(r"\[([^\]]+)\]")
_ASSIGNMENT = re.compile(r"([A-Za-z][A-Za-z0-9]*)\s*=\s*(.*)")
# systemd.service(5): they may stand before the program
_PREFIXES = "@-:+!|"
_SPECIFIER = re.compile(r"%[A-Za-z]")


def read_unit(name: str, text: str) -> WrittenServer:
    """The server that a unit starts. Raises ValueError for a text that is no unit, or starts no vLLM."""
    settings = tuple(_settings(text))
    if not any(section == "Service" for section, _, _ in settings):
        raise ValueError(f"{name}: not a systemd service: it has no [Service] section with settings")
    service = [(key, value) for section, key, value in settings if section == "Service"]
    variables = _environment(name, service)
    words = _start_words(name, service)
    words = [with_variables(word, variables) for word in words]
    arguments = serve_arguments(words)
    if arguments is None:
        raise ValueError(f"{name}: ExecStart: does not run `vllm serve` or its API server directly: {_first(words)}")
    command = read_arguments(arguments)
    gpus, unknown = gpus_told(variables.get("CUDA_VISIBLE_DEVICES"), command)
    folder = [value for key, value in service if key == "WorkingDirectory"]
    return WrittenServer(
        origin=name,
        command=command,
        names=command.served_names(),
        gpus=gpus,
        unknown=(*unknown, *flags_unknown(command), *_left_open(arguments, service)),
        folder=Path(folder[-1]) if folder and folder[-1].startswith("/") else None,
    )


def _first(words: list[str]) -> str:
    # the rest may hold secrets
    shown = words[0] if words else "nothing"
    return f"{shown} ..." if len(words) > 1 else shown


def _settings(text: str) -> Iterator[tuple[str, str, str]]:
    """Section, key and value, in order; continued lines are one."""
    section, pending = "", ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(("#", ";")) or (not stripped and not pending):
            continue
        pending += stripped.removesuffix("\\").rstrip() + " "
        if stripped.endswith("\\"):
            continue
        whole, pending = pending.strip(), ""
        if found := _SECTION.fullmatch(whole):
            section = found[1]
        elif found := _ASSIGNMENT.fullmatch(whole):
            yield section, found[1], found[2]


def _environment(name: str, service: list[tuple[str, str]]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for key, value in service:
        if key == "Environment":
            if not value:
                variables.clear()
            for word in _split(name, "Environment", value):
                variable, equals, content = word.partition("=")
                if equals:
                    variables[variable] = content
    return variables


def _start_words(name: str, service: list[tuple[str, str]]) -> list[str]:
    """The words of the last ExecStart that counts: an empty one takes back those before it."""
    lines = [value for key, value in service if key == "ExecStart"]
    if not lines or not lines[-1]:
        raise ValueError(f"{name}: it has no ExecStart that starts anything")
    found = [_split(name, "ExecStart", line.lstrip(_PREFIXES)) for line in lines if line]
    return next((words for words in reversed(found) if serve_arguments(words) is not None), found[-1])


def _split(name: str, key: str, value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{name}: {key}: its quotes cannot be read: {error}") from error


def _left_open(arguments: tuple[str, ...], service: list[tuple[str, str]]) -> Iterator[str]:
    yield from (f"variable {word}: its value does not stand in the unit" for word in undefined(arguments))
    specifiers = {found for word in arguments for found in _SPECIFIER.findall(word)}
    yield from (f"specifier {word}: systemd knows its value only when the unit starts" for word in sorted(specifiers))
    yield from (f"environment: {value} is not read" for key, value in service if key == "EnvironmentFile")
