"""The schema, the starter and the reference say what the loader does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from planner.spec import json_schema, starter
from planner.spec.declared import DeclaredFleet
from planner.spec.part import Declared
from planner.spec.reference import reference, with_reference
from tests.planner.spec.fleet_files import load

ROOT = Path(__file__).parents[3]
# JSON Schema 2020-12, sections 6 to 9 of the validation vocabulary, as far as used.
KEYWORDS = {
    "$defs", "$ref", "$schema", "additionalProperties", "anyOf", "const", "default", "description", "enum", "examples", "exclusiveMaximum",
    "items", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum", "oneOf", "pattern",
    "patternProperties", "properties", "propertyNames", "required", "title", "type",
}  # fmt: skip


def schemas(node: Any, *, named: bool = False) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema; named: the keys of this mapping are names, not keywords."""
    if isinstance(node, list):
        for item in node:
            yield from schemas(item)
    elif isinstance(node, dict):
        if not named:
            yield node
        for key, value in node.items():
            if named or key not in ("default", "examples", "const", "enum", "required"):
                yield from schemas(value, named=not named and key in ("properties", "$defs", "patternProperties"))


def parts(part: type[Declared] = Declared) -> Iterator[type[Declared]]:
    for child in part.__subclasses__():
        yield child
        yield from parts(child)


def test_the_schema_uses_keywords_of_the_standard_only() -> None:
    assert {key for schema in schemas(json_schema()) for key in schema} <= KEYWORDS


def test_patterns_compile_and_match_their_examples() -> None:
    patterns = [schema for schema in schemas(json_schema()) if "pattern" in schema]
    assert len(patterns) > 10
    for schema in patterns:
        for example in schema.get("examples", ()):
            assert re.search(schema["pattern"], example)


@pytest.mark.parametrize("part", list(parts()), ids=str)
def test_every_field_is_described_and_required_or_has_a_documented_default(part: type[Declared]) -> None:
    for name, field in part.model_fields.items():
        assert field.description, name
        if not field.is_required() and field.default in (None, ()):
            assert " Default: " in field.description, f"{part.__name__}.{name} does not say what it is when left out"


def test_the_reference_in_the_docs_is_that_of_the_models() -> None:
    text = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    assert with_reference(text) == text, "run: python -m planner.spec.reference docs/fleet.md"


def test_every_field_is_in_the_reference() -> None:
    text = reference()
    for part in parts():
        for name, field in part.model_fields.items():
            own = field.alias or name
            assert f"| `{own}` |" in text or own in ("mean", "p99")


def test_the_reference_needs_its_markers() -> None:
    with pytest.raises(ValueError, match="the document has no"):
        with_reference("no markers")


def test_the_starter_loads_without_a_warning() -> None:
    fleet = load(starter())
    assert fleet.warnings == ()
    assert (len(fleet.pools), len(fleet.models), len(fleet.workloads)) == (1, 2, 3)


def test_the_examples_of_the_starter_in_comments_are_fields() -> None:
    known = {field.alias or name for part in parts() for name, field in part.model_fields.items()}
    commented = re.findall(r"^\s*# ([a-z_]+):", starter(), re.MULTILINE)
    assert len(commented) >= 7
    assert set(commented) <= known


def test_the_demo_fleet_loads() -> None:
    folder = ROOT / "examples" / "demo"
    files = {"arena27.csv.gz": (folder / "arena27.csv.gz").read_bytes()}
    fleet = load((folder / "fleet.yaml").read_bytes(), files)
    assert len(fleet.workloads) == 27


def test_defaults_in_the_schema_are_what_people_write() -> None:
    for schema in schemas(json_schema()):
        default = schema.get("default")
        if isinstance(default, str) and "pattern" in schema:
            assert re.search(schema["pattern"], default)
    assert json_schema()["$defs"]["DeclaredPolicy"]["properties"]["headroom"]["default"] == "1GiB"
    assert DeclaredFleet.model_fields["policy"].get_default(call_default_factory=True).headroom_mib == 1024
