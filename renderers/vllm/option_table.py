"""Which flags a version of `vllm serve` takes: tables in `options/VERSION.json`, read out of vLLM's own parser.

renderers/vllm/refresh_options.py writes them. A patch release has a table of its own only where its flags are not those of x.y.0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import pairwise

from renderers.manifest import RenderError
from renderers.templates import package_text

# 8k and 8K as vLLM reads them: thousands and multiples of 1024.
_READABLE = re.compile(r"-?\d+(\.\d+)?[kmgtKMGT]?")
_NUMBERS = {
    "int": re.compile(r"-?\d+"),
    "float": re.compile(r"-?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?"),
    "human_readable_int": _READABLE,
    "human_readable_int_or_auto": re.compile(rf"auto|{_READABLE.pattern}"),
}

# Patch releases that were read out too, and whose flags are to the last default those of x.y.0.
SAME_AS_FIRST = ("0.17.1", "0.18.1", "0.19.1", "0.20.1", "0.20.2", "0.22.1", "0.25.1", "0.27.1")


@dataclass(frozen=True, slots=True)
class Option:
    """One spelling of a flag: kind is the name of the parser's type function (None: none), nargs 0 takes no value, None exactly one.

    name is its first long spelling without dashes, default what the engine takes where nobody says anything (None: it decides by itself).
    """

    flag: str
    kind: str | None
    nargs: int | str | None
    choices: tuple[str, ...] | None
    name: str
    default: object


@dataclass(frozen=True, slots=True)
class OptionTable:
    """The flags of one version; every spelling is a key."""

    version: str
    options: Mapping[str, Option]

    def check(self, flag: str, value: str | None) -> None:
        """Raise RenderError, naming version and flag, when this version would refuse the flag or its value (None: no value)."""
        option = self.options.get(flag)
        where = f"vLLM {self.version}, {flag}"
        if option is None:
            raise RenderError(f"{where}: no such flag in this version; {_elsewhere(flag)}")
        if (option.nargs == 0) != (value is None):
            raise RenderError(f"{where}: takes {'no' if option.nargs == 0 else 'a'} value, got {value!r}")
        if value is not None:
            _check_value(option, value, where)


@dataclass(frozen=True, slots=True)
class TableChoice:
    """The table for a wanted version; warning says so when it is another version's."""

    table: OptionTable
    warning: str | None


def table_for(version: str) -> TableChoice:
    """The table of this version, else of the nearest lower one, else of the lowest; an unreadable version gets the newest."""
    shipped = shipped_versions()
    wanted = _numbers(version)
    lower = [candidate for candidate in shipped if not wanted or _numbers(candidate) <= wanted]
    nearest = lower[-1] if lower else shipped[0]
    if not _is_release(version):
        return TableChoice(_load(nearest), _warning(version, nearest))
    if _numbers(nearest) == wanted:
        return TableChoice(_load(nearest), None)
    for patch in SAME_AS_FIRST:
        if _numbers(patch) == wanted:
            return TableChoice(replace(_load(nearest), version=patch), None)
    return TableChoice(_load(nearest), _warning(version, nearest))


@cache
def shipped_versions() -> tuple[str, ...]:
    """Versions with a table, oldest first."""
    folder = resources.files("renderers.vllm").joinpath("options")
    names = [entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")]
    return tuple(sorted(names, key=_numbers))


@cache
def versions_with(flag: str) -> tuple[str, ...]:
    """Versions with a table that has the flag, oldest first."""
    return tuple(version for version in shipped_versions() if flag in _load(version).options)


def _elsewhere(flag: str) -> str:
    """Where the flag exists, and what to do."""
    found, shipped = set(versions_with(flag)), shipped_versions()
    if not found:
        return f"nor in any other from {shipped[0]} to {shipped[-1]}; correct its name, or leave its setting out"
    spans = []
    for place, version in enumerate(shipped):
        if version in found and (place == 0 or shipped[place - 1] not in found):
            last = next((other for other, after in pairwise(shipped[place:]) if after not in found), None)
            spans.append(_span(version if place else None, last))
    return f"it exists {' and '.join(spans)}; choose an engine_version that has it, or leave its setting out"


def _span(first: str | None, last: str | None) -> str:
    if last is None:
        return f"from {first} on"
    return f"up to {last}" if first is None else f"from {first} to {last}"


def _warning(wanted: str, used: str) -> str:
    return f"no option table for vLLM {wanted}; flags were checked against {used}: compare with `vllm serve --help=all` before use"


def _numbers(version: str) -> tuple[int, ...]:
    """The three numbers of a release or of what came before it; empty for what is no version."""
    matched = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in matched.groups()) if matched else ()


def _is_release(version: str) -> bool:
    # A local part (0.32.0+cpu) names a build of the same release; anything else behind the numbers is another release.
    return re.fullmatch(r"v?\d+\.\d+(?:\.\d+)?(?:\.post\d+)?(?:\+.*)?", version) is not None


@cache
def _load(version: str) -> OptionTable:
    raw = json.loads(package_text(f"vllm/options/{version}.json"))
    options = {}
    for row in raw["options"]:
        choices = None if row["choices"] is None else tuple(map(str, row["choices"]))
        for flag in row["flags"]:
            options[flag] = Option(flag, row["type"], row["nargs"], choices, _long_name(row["flags"]), row["default"])
    return OptionTable(version, options)


def _long_name(flags: list[str]) -> str:
    long = [flag.removeprefix("--") for flag in flags if flag.startswith("--")]
    return next((name for name in long if not name.startswith("no-")), long[0])


def _check_value(option: Option, value: str, where: str) -> None:
    number = _NUMBERS.get(option.kind or "")
    if value == "" or (value.startswith("-") and not (number and number.fullmatch(value))):
        raise RenderError(f"{where}: the value {value!r} is empty or looks like a flag; choose another")
    if option.choices is not None and value not in option.choices:
        raise RenderError(f"{where}: {value!r} is none of {', '.join(option.choices)}")
    if number and not number.fullmatch(value):
        raise RenderError(f"{where}: {value!r} is not a {'number' if option.kind == 'float' else 'whole number'}")
