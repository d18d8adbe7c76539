"""What Envoy itself answers, and when."""

from __future__ import annotations

import json
from dataclasses import dataclass

from renderers.openai_answers import BODY_TOO_LARGE, MODEL_MISSING, NO_JSON_BODY, UNKNOWN_MODEL, UNKNOWN_PATH, UNREADABLE_BODY, ErrorAnswer


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """A direct answer: Envoy's route match (as JSON), the HTTP status and the body."""

    match: str
    status: int
    body: str


def _direct(match: dict[str, object], refusal: ErrorAnswer) -> DirectResponse:
    return DirectResponse(json.dumps(match), refusal.status, refusal.body)


def _metadata(key: str, value: dict[str, object]) -> dict[str, object]:
    return {"prefix": "/v1/", "dynamic_metadata": [{"filter": "ullage", "path": [{"key": key}], "value": value}]}


REFUSALS = (
    _direct(_metadata("model", {"present_match": True}), UNKNOWN_MODEL),
    _direct(_metadata("problem", {"string_match": {"exact": "missing"}}), MODEL_MISSING),
    _direct(_metadata("problem", {"string_match": {"exact": "malformed"}}), UNREADABLE_BODY),
    _direct({"prefix": "/v1/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}, NO_JSON_BODY),
    _direct({"prefix": "/"}, UNKNOWN_PATH),
)
"""In the order of matching, after the routes of the models."""

TOO_LARGE = {"json_format": BODY_TOO_LARGE.document}
UNAVAILABLE = {
    "json_format": {
        "error": {
            "message": "No engine could answer (%RESPONSE_FLAGS%, %RESPONSE_CODE_DETAILS%); try again.",
            "type": "ServiceUnavailableError",
            "param": None,
            "code": "%RESPONSE_CODE%",
        }
    }
}
