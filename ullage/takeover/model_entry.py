"""The entry of a model in the fleet file, from the flags that its server has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.hand_started.serve_command import SECRET_WORD, ServeCommand, ServeFlag, whole_number
from planner.plan import ExtraArg
from planner.plan.extra_args import refusal
from planner.spec.field_types import NAME_PATTERN
from profiles.catalogue import Catalogue, UnknownNameError
from profiles.engine_versions import KNOWN_FLAGS
from renderers.manifest import RenderError
from renderers.vllm import extra_flags
from ullage.takeover.written_server import WrittenServer

# vLLM's flags that are fields of a model, and how the fleet file writes their values.
_WHOLE = {"max-model-len": "max_model_len", "max-num-seqs": "max_num_seqs", "max-num-batched-tokens": "max_num_batched_tokens"}
_WHOLE |= {"stream-interval": "stream_interval"}
_TEXT = {"quantization": "quantization", "kv-cache-dtype": "kv_cache_dtype", "revision": "revision"}
_DTYPES = {"half": "float16", "float": "float32"}
# what the entry says in another place, or the plan for every engine
_ELSEWHERE = frozenset({"model", "served-model-name", "host", "port", "dtype", "enforce-eager", "tensor-parallel-size", "shutdown-timeout"})
_ELSEWHERE |= frozenset({"enable-lora", "lora-modules", "max-lora-rank", "max-loras", "runner", "task"})
_POOLING = frozenset({"pooling", "embed", "embedding", "score", "reward", "classify"})
# vLLM's default of --max-lora-rank
_RANK = 16


@dataclass(slots=True)
class ModelEntry:
    """Fields of a model in the order of the fleet file; comments stand above them. No source: nobody knows the model here."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)

    @property
    def embeds(self) -> bool:
        """Whether it makes vectors or scores."""
        return self.fields.get("task") == "embed"

    def leave_out(self, place: tuple[str, ...], why: str) -> bool:
        """Drop a field, or one of extra_args, and say why; False where there is none."""
        within = self.fields.get("extra_args", {}) if place[0] == "extra_args" and len(place) > 1 else self.fields
        key = place[1] if within is not self.fields else place[0]
        if key not in within or key == "source":
            return False
        value = within.pop(key)
        if within is not self.fields and not within:
            del self.fields["extra_args"]
        self.comments.append(f"unknown: {key}: {value} was left out: {why}")
        return True


def model_entry(server: WrittenServer, name: str, catalogue: Catalogue) -> ModelEntry:
    """The entry for a server. What cannot be written as a field is a comment."""
    command = server.command
    entry = ModelEntry(name)
    entry.comments += [*server.notes, *(f"unknown: {line}" for line in server.unknown)]
    _source(entry, server, catalogue)
    if _pools(command):
        entry.fields["task"] = "embed"
    _engine_version(entry, server)
    dtype = command.value("dtype")
    if dtype not in {None, "auto"}:
        entry.fields["dtype"] = _DTYPES.get(str(dtype), dtype)
    for flag, key in _TEXT.items():
        if (text := command.value(flag)) is not None and (flag, text) != ("kv-cache-dtype", "auto"):
            entry.fields[key] = text
    _lengths(entry, server)
    if command.switched("enforce-eager"):
        entry.fields["enforce_eager"] = True
    entry.fields["tensor_parallel"] = [command.number("tensor-parallel-size") or 1]
    _adapters(entry, command)
    _extra(entry, command)
    return entry


def name_for(server: WrittenServer) -> str:
    """The name that clients use already, where the fleet file can have it; else one made of the model's.

    Of several names the first that is possible.
    """
    usable = [name for name in server.names if re.fullmatch(NAME_PATTERN, name)]
    if usable:
        return usable[0]
    last = (server.names[0] if server.names else server.command.model or "").rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last)[:50].strip("-._") or "model"


def _source(entry: ModelEntry, server: WrittenServer, catalogue: Catalogue) -> None:
    model = server.command.model
    if model is None:
        return
    folder = _folder_of(model, server.folder)
    if folder is not None:
        entry.fields["source"] = str(folder)
        return
    try:
        catalogue.model(model)
        entry.fields["source"] = model
    except UnknownNameError:
        cached = _cached(model)
        if cached is None:
            entry.comments.append(f"unknown: source: {model} is not in the catalogue, and its config.json is not on this machine")
        else:
            entry.fields["source"] = str(cached)
            entry.comments.append(f"{model} is not in the catalogue: the copy in the cache of Hugging Face is named")


def _folder_of(model: str, start: Path | None) -> Path | None:
    """The folder that a model is, from where its server was started."""
    path = Path(model)
    if not path.is_absolute():
        if start is None:
            return None
        path = start / path
    try:
        return Path(os.path.normpath(path)) if (path / "config.json").is_file() else None
    except (OSError, ValueError):
        return None


def _cached(model: str) -> Path | None:
    """The newest snapshot of a model in the cache of Hugging Face."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        return None
    found = [path.parent for path in hub.glob(f"models--{model.replace('/', '--')}/snapshots/*/config.json") if path.is_file()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _pools(command: ServeCommand) -> bool:
    return command.value("runner") == "pooling" or command.value("task") in _POOLING


def _engine_version(entry: ModelEntry, server: WrittenServer) -> None:
    if server.version is None:
        entry.comments.append("unknown: engine_version: nobody tells which vLLM it is; the default stands for it")
    else:
        entry.fields["engine_version"] = server.version


def _lengths(entry: ModelEntry, server: WrittenServer) -> None:
    for flag, key in _WHOLE.items():
        text = server.command.value(flag)
        number = whole_number(text)
        if number is not None:
            entry.fields[key] = number
        elif flag == "max-model-len" and server.max_model_len is not None:
            entry.fields[key] = server.max_model_len
        elif flag == "max-model-len":
            entry.comments.append(
                "unknown: max_model_len: vLLM takes the model's own where none is given; the fleet file's default is 8192"
            )
        elif flag != "stream-interval":
            entry.comments.append(f"unknown: {key}: vLLM chooses it by the GPU where none is given; here the fleet file's default stands")


def _adapters(entry: ModelEntry, command: ServeCommand) -> None:
    given = next((flag.values for flag in reversed(command.flags) if flag.name == "lora-modules"), ())
    found = {}
    for word in given:
        name, equals, path = word.partition("=")
        if not equals or word.startswith("{"):
            entry.comments.append("unknown: adapters: one of --lora-modules is not written NAME=PATH")
        else:
            found[name] = {"source": path, "rank": command.number("max-lora-rank") or _RANK}
    if found:
        entry.fields["adapters"] = found


def _extra(entry: ModelEntry, command: ServeCommand) -> None:
    """Flags without a field of their own: under extra_args where the plan takes them, else in a comment."""
    given = {flag.name: flag for flag in command.flags if flag.name not in _ELSEWHERE | _WHOLE.keys() | _TEXT.keys()}
    extra: dict[str, Any] = {}
    decided, refused = [], []
    for name, flag in given.items():
        why = refusal(name)
        if why == "is decided by the plan":
            decided.append(flag.words)
        elif why is not None or SECRET_WORD in flag.words:
            refused.append(f"{flag.words} {why or 'is a secret'}")
        elif (trouble := _unwritable(flag)) is not None:
            refused.append(f"{flag.words}: {trouble}")
        else:
            extra[name] = flag.values[0] if flag.values else flag.on
    if decided:
        entry.comments.append(f"the plan decides by itself, given now: {' '.join(decided)}")
    entry.comments += [f"unknown: flag left out: {text}" for text in refused]
    if extra:
        entry.fields["extra_args"] = extra


def _unwritable(flag: ServeFlag) -> str | None:
    """Why extra_args cannot hold it."""
    if len(flag.values) > 1:
        return "extra_args have one value"
    value = flag.values[0] if flag.values else str(flag.on).lower()
    try:
        list(extra_flags(KNOWN_FLAGS, (ExtraArg(flag=flag.name, value=value),)))
    except RenderError as error:
        return str(error)
    return None


def differing(one: ServeCommand, other: ServeCommand) -> Iterator[str]:
    """Flags in which two servers of one name differ, where they do not have to."""
    places = {"port", "host"}
    left, right = ({flag.words for flag in command.flags if flag.name not in places} for command in (one, other))
    yield from sorted(right - left)
    yield from (f"without {words}" for words in sorted(left - right))
