"""The fleet file as JSON Schema: what people write, quantities as texts with units."""

from __future__ import annotations

from typing import Any

from planner.spec.declared import DeclaredFleet


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a fleet file, for editors and CI; the loader checks more than a schema can say."""
    schema = DeclaredFleet.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
