"""Which series of vLLM's metrics belong to which workload of a fleet file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from planner.spec.errors import SpecError
from planner.spec.fleet import LONG
from planner.spec.nearest import nearest
from planner.spec.yaml_tree import decode, parse
from profiles.sources.prometheus_range import matchers, served_as
from ullage.inputs import read_bytes


def selectors(path: Path, maps: Sequence[str]) -> dict[str, str]:
    """Label matchers by workload: those of maps (WORKLOAD=SELECTOR, nothing leaves it out), else by the name under which it is served.

    The file need not be one that can be planned: the forecast that it names may not be there yet. ValueError for workloads that share
    their series.
    """
    root, problems = parse(str(path), decode(str(path), read_bytes(path, "`ullage init` writes a starter")))
    if problems:
        raise SpecError(problems)
    raw = root.plain()
    declared = _table(raw, "workloads")
    if not declared:
        raise ValueError(f"{path}: workloads: there are none")
    chosen = dict(_chosen(text, declared) for text in maps)
    found = {name: chosen.get(name, _served(raw, name)) for name in declared}
    found = {name: selector for name, selector in sorted(found.items()) if selector}
    if not found:
        raise ValueError("every workload is left out by --map; there is nothing to ask for")
    _check_apart(found)
    return found


def _chosen(text: str, declared: Mapping[str, Any]) -> tuple[str, str]:
    name, equals, selector = text.partition("=")
    if not equals:
        raise ValueError(f'--map {text[:80]}: write WORKLOAD=SELECTOR, for example chat={{model_name="qwen3-8b"}}')
    if name not in declared:
        close = nearest(name, declared)
        hint = f"did you mean {close!r}?" if close else f"there are {', '.join(sorted(declared)[:5])}"
        raise ValueError(f"--map {name[:80]}: the fleet file has no such workload; {hint}")
    try:
        return name, matchers(selector) if selector.strip() else ""
    except ValueError as error:
        raise ValueError(f"--map {name}: {error}") from error


def _served(raw: Any, name: str) -> str:  # noqa: ANN401 - whatever stands in the file
    """By the name under which the replicas of the workload are served; an adapter's are those of its model."""
    workload = _table(_table(raw, "workloads"), name)
    model = str(workload.get("model", name))
    base = next((base for base in _table(raw, "models") if model in _table(_table(_table(raw, "models"), base), "adapters")), model)
    served = name if workload.get("isolate") == "true" else base
    return served_as(served, f"{served}{LONG}") if workload.get("split") == "prompt_length" else served_as(served)


def _check_apart(found: Mapping[str, str]) -> None:
    sharing: defaultdict[str, list[str]] = defaultdict(list)
    for name, selector in found.items():
        sharing[selector].append(name)
    for selector, names in sharing.items():
        if len(names) > 1:
            raise ValueError(
                f"workloads {' and '.join(names)} have the same series, {{{selector}}}: their demand would be counted {len(names)} times. "
                f'Tell them apart by a label, --map {names[0]}={{LABEL="VALUE"}}, or leave one out: --map {names[-1]}='
            )


def _table(raw: Any, key: str) -> dict[str, Any]:  # noqa: ANN401 - as above
    found = raw.get(key) if isinstance(raw, dict) else None
    return found if isinstance(found, dict) else {}
