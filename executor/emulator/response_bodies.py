"""How answers look on the wire: whole JSON bodies, or server-sent events from byte templates made once per request."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

from executor.emulator.asks import Ask
from executor.emulator.connection import ServerExchange

# Every emulated token reads so: four characters, which is what asks.text_tokens counts as one token.
WORD = " tok"
SYSTEM_FINGERPRINT = "vllm-0.32.0-emulated"


class TokenSink(Protocol):
    """Where generated tokens go. After `end` nothing more comes."""

    def tokens(self, count: int) -> None:
        """So many new tokens, not the last ones."""

    def end(self, count: int, finish_reason: str) -> None:
        """The last tokens (possibly none, when aborted) and why it ends."""


def dumps(value: dict[str, Any] | list[Any]) -> bytes:
    """JSON as vLLM writes it: without spaces. Half a surrogate pair, which clients may send escaped, becomes a question mark."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """The usage object of streams."""
    return {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens + completion_tokens, "completion_tokens": completion_tokens}


class WholeAnswer:
    """One JSON body at the end."""

    def __init__(self, exchange: ServerExchange, ask: Ask, request_id: str, created: int) -> None:
        """created is the epoch second shown in the answer."""
        self._exchange = exchange
        self._ask = ask
        self._id = request_id
        self._created = created
        self._count = 0

    def tokens(self, count: int) -> None:
        """Only counted."""
        self._count += count

    def end(self, count: int, finish_reason: str) -> None:
        """Send everything."""
        self._count += count
        body = self._chat(finish_reason) if self._ask.chat else self._completion(finish_reason)
        self._exchange.respond(HTTPStatus.OK, dumps(body))

    def _completion(self, finish_reason: str) -> dict[str, Any]:
        choice = {
            "index": 0,
            "text": WORD * self._count,
            "logprobs": None,
            "finish_reason": finish_reason,
            "stop_reason": None,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
        return {
            **self._opening("text_completion", choice),
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def _chat(self, finish_reason: str) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": WORD * self._count,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "tool_calls": [],
            "reasoning": None,
        }
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finish_reason,
            "stop_reason": None,
            "token_ids": None,
        }
        return {
            **self._opening("chat.completion", choice),
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "kv_transfer_params": None,
        }

    def _opening(self, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._ask.model,
            "choices": [choice],
            "service_tier": None,
            "system_fingerprint": SYSTEM_FINGERPRINT,
            "usage": {
                **usage(self._ask.prompt_tokens, self._count),
                "prompt_tokens_details": None,
                "completion_tokens_details": None,
            },
        }


class StreamAnswer:
    """Server-sent events: the first token at once, then one event for every `interval` tokens, and the rest at the end."""

    def __init__(self, exchange: ServerExchange, ask: Ask, request_id: str, created: int, interval: int) -> None:
        """Sends the head of the response; events follow with the tokens."""
        self._exchange = exchange
        self._ask = ask
        self._opening = {"id": request_id, "object": "", "created": created, "model": ask.model}
        self._opening["object"] = "chat.completion.chunk" if ask.chat else "text_completion"
        self._interval = interval
        self._sent = 0
        self._pending = 0
        self._event: Callable[[int], bytes] = self._counted_event if ask.continuous_usage else self._plain_event
        self._plain: dict[int, bytes] = {}
        exchange.start_stream()

    def tokens(self, count: int) -> None:
        """Events for the tokens that are due, in one write."""
        self._pending += count
        if not self._sent:
            self._exchange.write(self._role() + self._take(1) + self._due())
        elif self._pending >= self._interval:
            self._exchange.write(self._due())

    def end(self, count: int, finish_reason: str) -> None:
        """The last event carries the reason; usage follows when asked for, then [DONE]."""
        self._pending += count
        role = b"" if self._sent else self._role()
        first = self._take(1) if not self._sent and self._pending > 1 else b""
        due = b"".join(self._take(self._interval) for _ in range((self._pending - 1) // self._interval))
        last_tokens, self._pending = self._pending, 0
        self._sent += last_tokens
        last = self._frame(self._chunk(WORD * last_tokens, finish_reason, self._sent))
        self._exchange.end(role + first + due + last + self._closing())

    def _due(self) -> bytes:
        count = self._pending // self._interval
        if count == 1:
            return self._take(self._interval)
        return b"".join(self._take(self._interval) for _ in range(count))

    def _take(self, count: int) -> bytes:
        self._pending -= count
        self._sent += count
        return self._event(count)

    def _plain_event(self, count: int) -> bytes:
        event = self._plain.get(count)
        if event is None:
            event = self._plain[count] = self._frame(self._chunk(WORD * count, None, 0))
        return event

    def _counted_event(self, count: int) -> bytes:
        return self._frame(self._chunk(WORD * count, None, self._sent))

    def _role(self) -> bytes:
        if not self._ask.chat:
            return b""
        choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        body = {**self._opening, "choices": [choice], "prompt_token_ids": None, "prompt_text": None}
        if self._ask.continuous_usage:
            body["usage"] = usage(self._ask.prompt_tokens, 0)
        return self._frame(body)

    def _chunk(self, text: str, finish_reason: str | None, completion_tokens: int) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0}
        choice |= {"delta": {"content": text}} if self._ask.chat else {"text": text}
        choice |= {"logprobs": None, "finish_reason": finish_reason}
        if finish_reason is not None or not self._ask.chat:
            choice["stop_reason"] = None
        choice["token_ids"] = None
        if not self._ask.chat:
            choice["prompt_token_ids"] = None
        body = {**self._opening, "choices": [choice]}
        if self._ask.continuous_usage:
            body["usage"] = usage(self._ask.prompt_tokens, completion_tokens)
        return body

    def _closing(self) -> bytes:
        done = self._exchange.frame(b"data: [DONE]\n\n")
        if not self._ask.include_usage:
            return done
        totals = {"usage": usage(self._ask.prompt_tokens, self._sent), "system_fingerprint": SYSTEM_FINGERPRINT}
        return self._frame({**self._opening, "choices": [], **totals}) + done

    def _frame(self, body: dict[str, Any]) -> bytes:
        return self._exchange.frame(b"data: " + dumps(body) + b"\n\n")
