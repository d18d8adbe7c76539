"""Fleet files for tests: a valid one to change, and a loader with files in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from planner.spec import Fleet, SpecError, load_fleet
from profiles.catalogue import builtin

TRACE = b"arrival_s,input_tokens,output_tokens,tenant\n0,100,50,a\n10.5,200,60,b\n60,300,70,a\n120,9000,10,a\n"

FLEET = """\
schema_version: 1
pools:
  h100:
    gpu: H100-SXM-80GB
    nodes: 1
    gpus_per_node: 8
models:
  small:
    source: Qwen/Qwen2.5-1.5B
workloads:
  chat:
    model: small
    class: interactive
    demand: {rate: 2/s, input_tokens: 500, output_tokens: {mean: 100, p99: 400}}
"""


def load(text: str | bytes, files: Mapping[str, bytes] | None = None) -> Fleet:
    """Load a fleet named fleet.yaml, with trace files in memory."""

    def read(path: Path) -> bytes:
        if str(path) not in (files or {}):
            raise FileNotFoundError(2, "No such file or directory")
        return (files or {})[str(path)]

    return load_fleet(Path("fleet.yaml"), text, builtin(), read)


def changed(old: str, new: str, text: str = FLEET) -> str:
    """The fleet with one piece of text replaced, which must be in it once."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the fleet"
    return text.replace(old, new)


def problems(text: str | bytes, files: Mapping[str, bytes] | None = None) -> tuple[str, ...]:
    """What is wrong with a fleet, one line each; empty when it loads."""
    try:
        load(text, files)
    except SpecError as error:
        return tuple(str(problem) for problem in error.problems)
    return ()
