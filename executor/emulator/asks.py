"""What clients ask for: bodies of the OpenAI endpoints, checked and turned into token counts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

Json = str | int | float | bool | None | list[Any] | dict[str, Any]

# English text averages about four characters per token with current vocabularies; deterministic is what counts here.
_CHARS_PER_TOKEN = 4
# Role markers a chat template adds per message; Llama 3's adds four tokens (<|start_header_id|>role<|end_header_id|>, <|eot_id|>).
_TEMPLATE_TOKENS = 4
# vLLM's default for completions without max_tokens (CompletionRequest.max_tokens).
_DEFAULT_MAX_TOKENS = 16
# An answer that may end by itself does so here: mean output of the Azure 2023 conversation trace, 19,366 requests.
_ANSWER_TOKENS = 211


class AskError(Exception):
    """A request that gets an error answer in OpenAI's form."""

    def __init__(self, status: HTTPStatus, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        """Status, message, vLLM's error type and the parameter at fault."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param


@dataclass(frozen=True, slots=True)
class Ask:
    """A generation: lengths in tokens, how it ends, and how it is to be delivered.

    max_tokens is what the client allowed, output_tokens what the emulated model will say. One that does not generate asks for a vector or
    a score, which counts as one token inside the engine.
    """

    model: str
    chat: bool
    prompt_tokens: int
    max_tokens: int
    output_tokens: int
    finish_reason: str
    stream: bool
    include_usage: bool
    continuous_usage: bool
    stream_interval: int
    generates: bool = True
    priority: int = 0


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; AskError otherwise."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AskError(HTTPStatus.BAD_REQUEST, f"JSON decode error: {error}") from error
    if not isinstance(found, dict):
        raise AskError(HTTPStatus.BAD_REQUEST, f"the body must be a JSON object, not {type(found).__name__}")
    return found


def text_tokens(text: str) -> int:
    """Tokens of a text: one per four characters, at least one.

    >>> text_tokens("Hello, world!")
    4
    """
    return max(1, -(-len(text) // _CHARS_PER_TOKEN))


def messages_tokens(messages: Json) -> int:
    """Tokens of a chat, template included."""
    if not isinstance(messages, list) or not messages:
        raise wrong_type("messages", "a non-empty list of messages", messages)
    return sum(_message_tokens(message) for message in messages)


def prompt_tokens_of(prompt: Json, vocabulary: int, name: str = "prompt") -> int:
    """Length of a prompt: a text, token ids, or one of either in a list; name is that of its field."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], (str, list)):
        if len(prompt) > 1:
            raise AskError(HTTPStatus.BAD_REQUEST, f"the emulator answers one prompt per request, not {len(prompt)}", param=name)
        prompt = prompt[0]
    if isinstance(prompt, str):
        return text_tokens(prompt)
    if not isinstance(prompt, list) or set(map(type, prompt)) != {int}:
        raise wrong_type(name, "a text or a non-empty list of token ids (whole numbers)", prompt)
    if min(prompt) < 0 or max(prompt) >= vocabulary:
        outside = max(prompt) if min(prompt) >= 0 else min(prompt)
        raise AskError(HTTPStatus.BAD_REQUEST, f"Token id {outside} is out of vocabulary", param=name)
    return len(prompt)


def read_ask(
    body: dict[str, Any], *, chat: bool, served_names: tuple[str, ...], max_model_len: int, vocabulary: int, by_priority: bool = False
) -> Ask:
    """Check a completion or chat body against what the engine serves; AskError with vLLM's status and message otherwise."""
    model = served_model(body, served_names)
    if _integer(body, "n", 1, 1) != 1:
        raise AskError(HTTPStatus.BAD_REQUEST, "the emulator generates one answer per request: leave n at 1", param="n")
    priority = _integer(body, "priority", 0, -(1 << 63))
    if priority and not by_priority:
        raise AskError(HTTPStatus.BAD_REQUEST, "Got a priority but Priority scheduling is not enabled.", param="priority")
    prompt_tokens = messages_tokens(body.get("messages")) if chat else prompt_tokens_of(body.get("prompt"), vocabulary)
    max_tokens = _max_tokens(body, chat, max_model_len - prompt_tokens)
    _check_length(prompt_tokens, max_tokens, max_model_len)
    min_tokens = _integer(body, "min_tokens", 0, 0)
    if min_tokens > max_tokens:
        raise AskError(HTTPStatus.BAD_REQUEST, f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}.")
    natural = max_tokens if _boolean(body, "ignore_eos") else max(min_tokens, _ANSWER_TOKENS)
    stream = _boolean(body, "stream")
    options = _stream_options(body, stream)
    return Ask(
        model=model,
        chat=chat,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        output_tokens=min(max_tokens, natural),
        finish_reason="length" if natural >= max_tokens else "stop",
        stream=stream,
        include_usage=_boolean(options, "include_usage"),
        continuous_usage=_boolean(options, "include_usage") and _boolean(options, "continuous_usage_stats"),
        stream_interval=_integer(body, "stream_interval", 1, 1),
        priority=priority,
    )


def served_model(body: dict[str, Any], served_names: tuple[str, ...]) -> str:
    """The served name a body asks for (the first one when it names none); 404 for another."""
    model = body.get("model")
    if model is None:
        return served_names[0]
    if not isinstance(model, str):
        raise wrong_type("model", "a text", model)
    if model not in served_names:
        raise AskError(HTTPStatus.NOT_FOUND, f"The model `{model}` does not exist.", "NotFoundError", "model")
    return model


def _max_tokens(body: dict[str, Any], chat: bool, room: int) -> int:
    name = "max_completion_tokens" if chat and body.get("max_completion_tokens") is not None else "max_tokens"
    if body.get(name) is None:
        # Chats may fill the context; completions without a limit are short.
        return max(1, room) if chat or ("max_tokens" in body) else _DEFAULT_MAX_TOKENS
    value = body[name]
    if type(value) is not int:
        raise wrong_type(name, "a whole number", value)
    if value < 1:
        raise AskError(HTTPStatus.BAD_REQUEST, f"max_tokens must be at least 1, got {value}.", param="max_tokens")
    return value


def _check_length(prompt_tokens: int, max_tokens: int, max_model_len: int) -> None:
    if prompt_tokens + max_tokens > max_model_len:
        raise AskError(
            HTTPStatus.BAD_REQUEST,
            f"This model's maximum context length is {max_model_len} tokens. However, you requested {max_tokens} output tokens and your "
            f"prompt contains at least {prompt_tokens} input tokens, for a total of at least {prompt_tokens + max_tokens} tokens. "
            "Please reduce the length of the input prompt or the number of requested output tokens.",
            param="input_tokens",
        )


def _stream_options(body: dict[str, Any], stream: bool) -> dict[str, Any]:
    options = body.get("stream_options")
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object", options)
    if not stream:
        raise AskError(HTTPStatus.BAD_REQUEST, "Stream options can only be defined when `stream=True`.", param="stream_options")
    return options


def _message_tokens(message: Json) -> int:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise wrong_type("messages", "objects with a role", message)
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_part_text(part) for part in content)
    if content is None:
        return _TEMPLATE_TOKENS
    if not isinstance(content, str):
        raise wrong_type("messages", "content as text or text parts", content)
    return _TEMPLATE_TOKENS + text_tokens(content)


def _part_text(part: Json) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise AskError(HTTPStatus.BAD_REQUEST, "the emulated model reads text parts only", param="messages")
    return text


def _integer(body: dict[str, Any], name: str, default: int, least: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int:
        raise wrong_type(name, "a whole number", value)
    if value < least:
        raise AskError(HTTPStatus.BAD_REQUEST, f"{name} must be at least {least}, got {value}.", param=name)
    return value


def _boolean(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise wrong_type(name, "true or false", value)
    return value


def wrong_type(name: str, expected: str, value: Json) -> AskError:
    """The error answer to a field of another type than it must have."""
    # Lists and objects may be long or nested too deeply to print.
    shown = f"a {type(value).__name__}" if isinstance(value, (list, dict)) else repr(value)[:80]
    return AskError(HTTPStatus.BAD_REQUEST, f"{name}: expected {expected}, got {shown}", param=name)
