"""The reference tables of docs/fleet.md, written from the models themselves.

`python -m planner.spec.reference docs/fleet.md` renews the part of the file between the two markers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from planner.spec.schema import json_schema

BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"

_SECTIONS = (
    ("The file", None),
    ("pools.NAME", "DeclaredPool"),
    ("pools.NAME.gpu: a GPU type of your own", "DeclaredGpuType"),
    ("pools.NAME.gpu.mig", "DeclaredMig"),
    ("pools.NAME.gpu.mig.profiles[]", "DeclaredMigProfile"),
    ("pools.NAME.taken[]", "DeclaredTaken"),
    ("models.NAME", "DeclaredModel"),
    ("models.NAME.choices", "DeclaredChoices"),
    ("models.NAME.adapters.NAME", "DeclaredAdapter"),
    ("workloads.NAME", "DeclaredWorkload"),
    ("workloads.NAME.slo", "DeclaredSlo"),
    ("workloads.NAME.demand: a constant rate", "DeclaredRate"),
    ("workloads.NAME.demand: windows", "DeclaredWindows"),
    ("workloads.NAME.demand.windows[]", "DeclaredWindow"),
    ("workloads.NAME.demand: a trace", "DeclaredTrace"),
    ("workloads.NAME.demand: a forecast", "DeclaredForecast"),
    ("workloads.NAME.demand: a volume with a deadline", "DeclaredVolume"),
    ("policy", "DeclaredPolicy"),
    ("policy.risk", "DeclaredRisk"),
    ("policy.disruption_budget", "DeclaredBudget"),
    ("policy.disruption_budget.windows[]", "DeclaredMaintenance"),
    ("policy.rollout", "DeclaredRollout"),
    ("policy.router", "DeclaredRouter"),
    ("policy.ports", "DeclaredPorts"),
)


def reference() -> str:
    """Markdown: one table per part of the file, one row per field with type, default and meaning."""
    schema = json_schema()
    parts: list[str] = []
    for title, name in _SECTIONS:
        part = schema if name is None else schema["$defs"][name]
        parts.append(f"### {title}\n\n{_table(part)}")
    return "\n\n".join(parts)


def with_reference(text: str) -> str:
    """A document with the tables between its two markers renewed. Raises ValueError when a marker is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{after}"


def _table(part: Mapping[str, Any]) -> str:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    required = part.get("required", [])
    for name, field in part["properties"].items():
        meaning, _, derived = field.get("description", "").partition(" Default: ")
        default = "**required**" if name in required else derived.rstrip(".") or f"`{_word(field.get('default'))}`"
        rows.append(f"| `{name}` | {_kind(field)} | {default} | {meaning} |".replace("\n", " "))
    return "\n".join(rows)


def _word(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _kind(field: Mapping[str, Any]) -> str:
    options = [option for option in field.get("anyOf", field.get("oneOf", ())) if option.get("type") != "null"]
    if len(options) == 1:
        return _kind({**options[0], "examples": field.get("examples", options[0].get("examples"))})
    if options:
        return _several_kinds(field, options)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{word}`" for word in field["enum"])
    if "$ref" in field or field.get("type") == "object":
        return "fields"
    return _simple_kind(field)


def _several_kinds(field: Mapping[str, Any], options: Sequence[Mapping[str, Any]]) -> str:
    if "$ref" in options[0]:
        return "one of several forms"
    if options[0].get("type") == "string":
        return f"{_kind({**options[0], 'examples': field.get('examples')})}, or fields"
    return "number, or {mean, p99}"


def _simple_kind(field: Mapping[str, Any]) -> str:
    kind = field.get("type", "number")
    if kind == "array":
        return f"list of {_kind(field['items'])}"
    if kind in ("integer", "number"):
        name = "whole number" if kind == "integer" else "number"
        top = f"to {field['maximum']}" if "maximum" in field else f"to below {field['exclusiveMaximum']}"
        return f"{name}, {field['minimum']} {top}"
    examples = field.get("examples") or ()
    shown = ", ".join(f"`{example}`" for example in examples[:2] if isinstance(example, str))
    return {"string": f"text, as {shown}" if shown else "text", "boolean": "`true` or `false`"}.get(kind, "number")


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_reference(file.read_text(encoding="utf-8")), encoding="utf-8")
