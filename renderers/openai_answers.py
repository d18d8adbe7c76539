"""What routers answer themselves, in OpenAI's forms: the same words whichever router runs."""

from __future__ import annotations

import json
from dataclasses import dataclass

# Our choice: twice the 8 MiB of the largest body seen (a long conversation with an image in base64).
BODY_LIMIT_BYTES = 16 * 1024**2

# Our choice: an engine takes half a minute to some minutes to start, so a client that waits so long asks a few times until it is ready.
RETRY_AFTER_S = 10


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An answer that is an error: HTTP status, message, type and the parameter that it is about."""

    status: int
    message: str
    kind: str
    parameter: str | None = None

    @property
    def document(self) -> dict[str, dict[str, str | int | None]]:
        """In the form and with the names of types that vLLM uses: an `error` object with message, type, param, code."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.parameter, "code": self.status}}

    @property
    def body(self) -> str:
        """The document as JSON on one line."""
        return json.dumps(self.document)


UNKNOWN_MODEL = ErrorAnswer(
    404, "The model named in the request does not exist here; GET /v1/models lists those that do.", "NotFoundError", "model"
)
MODEL_MISSING = ErrorAnswer(400, "The request body has no 'model'.", "BadRequestError", "model")
UNREADABLE_BODY = ErrorAnswer(
    400, "The request body is not a JSON object that can be read, or its field 'model' is no short text.", "BadRequestError"
)
NO_JSON_BODY = ErrorAnswer(
    400, "The request needs a JSON body with the field 'model' and the header 'content-type: application/json'.", "BadRequestError"
)
UNKNOWN_PATH = ErrorAnswer(404, "No such path; this router serves /v1/... of OpenAI's API, /v1/models and /health.", "NotFoundError")
UNREADABLE_REQUEST = ErrorAnswer(400, "The request is no HTTP request that can be read.", "BadRequestError")
BODY_TOO_LARGE = ErrorAnswer(413, "The request body is larger than this router takes.", "BadRequestError")
REQUEST_TOO_SLOW = ErrorAnswer(408, "The request did not arrive in time.", "BadRequestError")
NO_ENGINE = ErrorAnswer(503, "No engine could answer; try again.", "ServiceUnavailableError")


def models_answer(served_names: tuple[str, ...]) -> str:
    """Body of GET /v1/models."""
    entries = [{"id": name, "object": "model", "created": 0, "owned_by": "ullage"} for name in served_names]
    return json.dumps({"object": "list", "data": entries}, ensure_ascii=False)
