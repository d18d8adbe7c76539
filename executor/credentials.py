"""The API key that engines may demand: it is read from the environment for every request and written nowhere."""

from __future__ import annotations

from collections.abc import Mapping

from executor.errors import CredentialError

# where vLLM takes its key from, so that an engine started by ullage and ullage itself agree without being told
_VARIABLE = "VLLM_API_KEY"

# vLLM answers 401; programs between ullage and an engine may answer 403
DENIALS = frozenset({401, 403})
# the same as the streaming client names what came of a request
DENIED_ERRORS = frozenset(f"http {status}" for status in DENIALS)

DEMAND = f"the engine demands an API key; set {_VARIABLE} to the one it was started with"


def authorization(environment: Mapping[str, str]) -> dict[str, str]:
    """The header that carries the key as it stands; none without a key or with an empty one, which vLLM takes for none too.

    Raises CredentialError for a key that would not arrive in a header as it is.
    """
    key = environment.get(_VARIABLE, "")
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or key.endswith(" "):
        raise CredentialError(
            f"{_VARIABLE}: ends in a space, or holds a line break or another character that an HTTP header does not carry unchanged; "
            "set a key of visible ASCII characters"
        )
    return {"Authorization": f"Bearer {key}"}
