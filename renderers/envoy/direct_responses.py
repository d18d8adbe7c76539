"""What the router itself answers, in OpenAI's forms."""

from __future__ import annotations

import json
from dataclasses import dataclass


def _error(message: str, kind: str, code: int, parameter: str | None = None) -> dict[str, dict[str, str | int | None]]:
    # The form and the names of the types are vLLM's (an `error` object with message, type, param, code).
    return {"error": {"message": message, "type": kind, "param": parameter, "code": code}}


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """A direct answer: Envoy's route match (as JSON), the HTTP status and the body."""

    match: str
    status: int
    body: str


def _refusal(match: dict[str, object], status: int, message: str, kind: str, parameter: str | None = None) -> DirectResponse:
    return DirectResponse(json.dumps(match), status, json.dumps(_error(message, kind, status, parameter)))


def _metadata(key: str, value: dict[str, object]) -> dict[str, object]:
    return {"prefix": "/v1/", "dynamic_metadata": [{"filter": "ullage", "path": [{"key": key}], "value": value}]}


REFUSALS = (
    _refusal(
        _metadata("model", {"present_match": True}),
        404,
        "The model named in the request does not exist here; GET /v1/models lists those that do.",
        "NotFoundError",
        "model",
    ),
    _refusal(
        _metadata("problem", {"string_match": {"exact": "missing"}}),
        400,
        "The request body has no 'model'.",
        "BadRequestError",
        "model",
    ),
    _refusal(
        _metadata("problem", {"string_match": {"exact": "malformed"}}),
        400,
        "The request body is not a JSON object that can be read, or its field 'model' is no short text.",
        "BadRequestError",
    ),
    _refusal(
        {"prefix": "/v1/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]},
        400,
        "The request needs a JSON body with the field 'model' and the header 'content-type: application/json'.",
        "BadRequestError",
    ),
    _refusal({"prefix": "/"}, 404, "No such path; this router serves /v1/... of OpenAI's API, /v1/models and /health.", "NotFoundError"),
)
"""In the order of matching, after the routes of the models."""

TOO_LARGE = {"json_format": _error("The request body is larger than this router takes.", "BadRequestError", 413)}
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


def models_answer(served_names: tuple[str, ...]) -> str:
    """Body of GET /v1/models."""
    entries = [{"id": name, "object": "model", "created": 0, "owned_by": "ullage"} for name in served_names]
    return json.dumps({"object": "list", "data": entries}, ensure_ascii=False)
