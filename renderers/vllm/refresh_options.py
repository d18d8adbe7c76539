"""Writes the option table of the vLLM that is installed: ENGINE_PYTHON renderers/vllm/refresh_options.py > VERSION.json.

Runs with the Python of the engine's environment; needs nothing but vLLM. The tables in renderers/vllm/options are made by it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

# Newest first: where releases keep the parser of `vllm serve`, and the class that it fills.
PARSER_MODULES = ("vllm.entrypoints.common.cli_args", "vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args")
CLASS_MODULES = ("vllm.utils.argparse_utils", "vllm.utils")

FIELDS = (
    "flags: every spelling, empty for the positional; type: name of the parser's type function, null when none; "
    "nargs: 0 takes no value, null exactly one, '+' one or more, '?' at most one; choices: allowed values or null; "
    "default: null also where the default is not plain data, '==SUPPRESS==' when the parser sets none"
)


def main() -> int:
    """The table on standard output, and nothing else: what vLLM prints as it is imported goes to standard error."""
    output = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    # some defaults follow variables: the table has those of a server that is told nothing
    for name in [name for name in os.environ if name.startswith("VLLM_")]:
        del os.environ[name]
    text = table_text()
    with os.fdopen(output, "w", encoding="utf-8") as stream:
        stream.write(text)
    return 0


def table_text() -> str:
    """The table of the installed vLLM, one option to a line."""
    make_name, make = _found(PARSER_MODULES, "make_arg_parser")
    _, parser_class = _found(CLASS_MODULES, "FlexibleArgumentParser")
    parser: argparse.ArgumentParser = make(parser_class(prog="vllm serve"))
    version, build = _version()
    read_from = f"argparse parser of `vllm serve` ({make_name}.make_arg_parser) read out of vLLM {version}, {build} build"
    head = {"engine": "vllm", "version": version, "source": f"{read_from}; vLLM is Apache-2.0", "fields": FIELDS}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    rows = ",\n".join(f"    {json.dumps(row)}" for row in _rows(parser))
    return "\n".join(["{", *lines, '  "options": [', rows, "  ]", "}", ""])


def _found(modules: tuple[str, ...], name: str) -> tuple[str, Any]:
    """The first of these modules that is there and has the name, and what it has under it."""
    for module in modules:
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            # a module that vLLM itself misses is another matter
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            continue
        if found is not None:
            return module, found
    raise ImportError(f"no {name} in {' or '.join(modules)}: where does this version of vLLM keep it? Add the module to this file")


def _version() -> tuple[str, str]:
    """The release without the name of its build, and for what it is built."""
    version: str = importlib.import_module("vllm").__version__
    platform = importlib.import_module("vllm.platforms").current_platform
    return version.partition("+")[0], platform.device_type.upper() or "generic"


def _rows(parser: argparse.ArgumentParser) -> Iterator[dict[str, object]]:
    # argparse has no other way to list them; what an action calls its spellings leaves out those that vLLM hides from --help
    actions, by_spelling = parser._actions, parser._option_string_actions  # noqa: SLF001
    for action in actions:
        yield {
            "flags": [flag for flag, taker in by_spelling.items() if taker is action],
            "dest": action.dest,
            "type": None if action.type is None else getattr(action.type, "__name__", type(action.type).__name__),
            "nargs": action.nargs,
            "choices": None if action.choices is None else [str(choice) for choice in action.choices],
            "default": _plain(action.default),
        }


def _plain(value: object) -> object:
    """The value as JSON has it; None for what JSON cannot say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    # members of enumerations are no numbers of a command line
    if type(value) in {bool, int, str}:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item) for key, item in value.items()}
    return None


if __name__ == "__main__":
    sys.exit(main())
