"""vLLM's paths for models that generate nothing: embeddings, pooled vectors, scores and rerankings."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from executor.emulator.asks import Ask, AskError, Json, prompt_tokens_of, text_tokens, wrong_type
from executor.emulator.connection import ServerExchange
from executor.emulator.response_bodies import dumps, usage

_VECTORS = ("/v1/embeddings", "/pooling")
_SCORES = ("/score", "/v1/score")
_RERANKINGS = ("/rerank", "/v1/rerank", "/v2/rerank")
POOLING_PATHS = (*_VECTORS, *_SCORES, *_RERANKINGS)
"""All of them; vLLM's /classify is not imitated."""

# What every emulated pair of texts scores.
_SCORE = 0.5


def pooled_ask(model: str, prompt_tokens: int) -> Ask:
    """One prompt as the engine takes it."""
    return Ask(
        model=model,
        chat=False,
        prompt_tokens=prompt_tokens,
        max_tokens=1,
        output_tokens=1,
        finish_reason="stop",
        stream=False,
        include_usage=False,
        continuous_usage=False,
        stream_interval=1,
        generates=False,
    )


def pooled_prompts(path: str, body: dict[str, Any], max_model_len: int, vocabulary: int) -> tuple[int, ...]:
    """Tokens of each prompt that a body asks for; AskError for one that the engine does not take."""
    if path in _VECTORS:
        found = tuple(prompt_tokens_of(prompt, vocabulary, "input") for prompt in _each(body.get("input")))
    elif path in _SCORES:
        found = _pairs(_texts(body, "text_1"), _texts(body, "text_2"))
    else:
        found = _pairs(_texts(body, "query"), _texts(body, "documents"))
    for tokens in found:
        if tokens > max_model_len:
            raise AskError(
                HTTPStatus.BAD_REQUEST,
                f"This model's maximum context length is {max_model_len} tokens. However, you requested {tokens} tokens in the input for "
                "embedding generation. Please reduce the length of the input.",
                param="input_tokens",
            )
    return found


def _each(value: Json) -> Sequence[Json]:
    """The prompts of an input: one text, one list of token ids, or a list of either."""
    several = isinstance(value, list) and value and isinstance(value[0], (str, list))
    return value if several and isinstance(value, list) else [value]


def _texts(body: dict[str, Any], name: str) -> list[str]:
    value = body.get(name)
    found = value if isinstance(value, list) else [value]
    texts = [text for text in found if isinstance(text, str)]
    if not texts or len(texts) != len(found):
        raise wrong_type(name, "a text or a non-empty list of texts", value)
    return texts


def _pairs(first: Sequence[str], second: Sequence[str]) -> tuple[int, ...]:
    if len(first) not in {1, len(second)}:
        raise AskError(HTTPStatus.BAD_REQUEST, f"Input lengths must be either 1:1, 1:N or N:N, not {len(first)}:{len(second)}")
    firsts = [*first] * (len(second) if len(first) == 1 else 1)
    return tuple(text_tokens(one) + text_tokens(other) for one, other in zip(firsts, second, strict=True))


class PooledAnswer:
    """The answer to one body, sent when the last of its prompts has ended."""

    def __init__(
        self, exchange: ServerExchange, path: str, model: str, request_id: str, created: int, prompts: Sequence[int], width: int
    ) -> None:
        """prompts are their lengths in tokens, width the elements of a vector; created is the epoch second shown."""
        self._exchange = exchange
        self._path = path
        self._model = model
        self._id = request_id
        self._created = created
        self._prompts = tuple(prompts)
        self._width = width
        self._left = len(self._prompts)

    def ended(self) -> None:
        """One prompt more is done."""
        self._left -= 1
        if self._left == 0:
            self._exchange.respond(HTTPStatus.OK, dumps(self._body()))

    def _body(self) -> dict[str, Any]:
        tokens = usage(sum(self._prompts), 0)
        places = range(len(self._prompts))
        if self._path in _RERANKINGS:
            results = [{"index": place, "relevance_score": _SCORE} for place in places]
            return {"id": f"rerank-{self._id}", "model": self._model, "usage": tokens, "results": results}
        kind, key, value = self._kind()
        rows = [{"index": place, "object": kind, key: value} for place in places]
        return {"id": f"{kind}-{self._id}", "object": "list", "created": self._created, "model": self._model, "data": rows, "usage": tokens}

    def _kind(self) -> tuple[str, str, float | list[float]]:
        """What one row is called, and its value: a vector of length 1 whose elements are all the same, or a score."""
        if self._path in _SCORES:
            return "score", "score", _SCORE
        vector = [round(self._width**-0.5, 6)] * self._width
        return ("embedding", "embedding", vector) if self._path == "/v1/embeddings" else ("pooling", "data", vector)


class PooledPart:
    """Where the engine sends what comes of one prompt of an answer."""

    def __init__(self, answer: PooledAnswer) -> None:
        """The answer that it is a part of."""
        self._answer = answer

    def tokens(self, count: int) -> None:
        """Nothing is sent before the end."""

    def end(self, count: int, finish_reason: str) -> None:
        """The vector or score is there, or the engine has given it up."""
        del count, finish_reason
        self._answer.ended()
