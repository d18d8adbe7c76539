"""A vLLM server as somebody wrote it down or started it, wherever it was found."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from executor.hand_started.found_servers import FoundServer, asked_gpus, named_gpus
from executor.hand_started.serve_command import ServeCommand, arguments_within
from executor.hand_started.server_answers import EngineTraffic

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh"})
# What ends a command of a shell; what stands behind is another one, or a file.
_OPERATORS = frozenset(";&|<>()")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?:(:?-)([^}]*))?\}|([A-Za-z_]\w*))")


@dataclass(frozen=True, slots=True)
class WrittenServer:
    """One server. origin says where it was found; gpus are indices, None where they are not known; unknown is what could not be found out.

    folder is where relative paths of its command line start. names and max_model_len are what it answers, else what was written.
    runs: it was found running, and may be adopted.
    """

    origin: str
    command: ServeCommand
    names: tuple[str, ...]
    gpus: tuple[int, ...] | None
    unknown: tuple[str, ...]
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    version: str | None = None
    max_model_len: int | None = None
    traffic: EngineTraffic | None = None
    runs: bool = False


def from_running(server: FoundServer) -> WrittenServer:
    """A server that runs."""
    engine, answers = server.engine, server.answers
    return WrittenServer(
        origin=f"process {engine.pid} of {engine.user}" + (f" in {engine.unit}" if engine.unit else ""),
        command=engine.command,
        names=answers.names or engine.command.served_names(),
        gpus=server.gpus,
        unknown=server.unknown,
        folder=engine.folder,
        version=answers.version,
        max_model_len=answers.max_model_len,
        traffic=answers.traffic,
        runs=True,
    )


def serve_arguments(words: Sequence[str]) -> tuple[str, ...] | None:
    """The arguments of `vllm serve` within a command line, also of one that a shell gets as text; None when there is none.

    Nothing is executed: text for a shell is split into words, and what a shell would do with them is not done.
    """
    if words and PurePath(words[0]).name in _SHELLS:
        place = next((place for place, word in enumerate(words) if re.fullmatch(r"-[a-z]*c", word)), None)
        if place is not None and place + 1 < len(words):
            try:
                return serve_arguments(_shell_words(words[place + 1]))
            except ValueError:
                return None
    found = arguments_within(words)
    if found is None:
        return None
    end = next((place for place, word in enumerate(found) if word and set(word) <= _OPERATORS), len(found))
    return found[:end]


def _shell_words(text: str) -> list[str]:
    """Words as a shell splits them, its operators as words of their own. Raises ValueError for quotes that do not end."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def with_variables(text: str, variables: Mapping[str, str]) -> str:
    """`$NAME`, `${NAME}` and `${NAME:-default}` replaced where the value is known; the others stay as they are written."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[4]
        known = variables.get(name, "")
        if known or (name in variables and found[2] != ":-"):
            return known
        return found[0] if found[2] is None else found[3]

    return _VARIABLE.sub(value, text)


def undefined(words: Sequence[str]) -> tuple[str, ...]:
    """Variables that stand in words without a known value."""
    return tuple(dict.fromkeys(found[0] for word in words for found in _VARIABLE.finditer(word)))


def gpus_told(told: str | None, command: ServeCommand) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """The GPUs that CUDA_VISIBLE_DEVICES names in what was written, and what of it is unknown."""
    if not told:
        return None, ("GPUs: CUDA_VISIBLE_DEVICES is not set there",)
    gpus, why = named_gpus(told, asked_gpus(command), ())
    return gpus, () if gpus is not None else (f"GPUs: {why}",)


def flags_unknown(command: ServeCommand) -> tuple[str, ...]:
    """What of a command line was not understood."""
    found = [f"flag {word}: not in the option table" for word in command.not_understood]
    if command.value("config") is not None:
        found.append("flags: more of them stand in its --config file, which is not read")
    if command.model is None:
        found.append("model: its command line does not name one")
    return tuple(found)
