"""vLLM's HTTP surface: routes, error answers, authorisation, admission."""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from executor.emulator.asks import AskError, messages_tokens, parse_body, read_ask, served_model, text_tokens
from executor.emulator.connection import ServerExchange
from executor.emulator.engine import RealTimeEngine
from executor.emulator.launch import EmulatedEngine
from executor.emulator.metrics import Metrics
from executor.emulator.options import ENGINE_VERSION, ServeOptions
from executor.emulator.pooling import POOLING_PATHS, PooledAnswer, PooledPart, pooled_ask, pooled_prompts
from executor.emulator.residence import OutOfMemoryError
from executor.emulator.response_bodies import StreamAnswer, WholeAnswer, dumps
from executor.emulator.sleep import Sleeper

Serve = Callable[[ServerExchange], None]

# Longer ids of clients are cut: they are repeated in every event.
_MAX_ID = 256
# vLLM's page does not count requests to these (excluded_handlers of its Instrumentator; none stands in a page recorded after many).
_NOT_COUNTED = {"/metrics", "/health", "/ping", "/version"}
_REFUSED = "vllm:admission_rejections_total"


class Api:
    """Answers every request of every connection."""

    def __init__(self, options: ServeOptions, launch: EmulatedEngine, engine: RealTimeEngine, sleeper: Sleeper, metrics: Metrics) -> None:
        """Routes depend on the environment: sleep and wake exist only with VLLM_SERVER_DEV_MODE=1."""
        self._options = options
        self._launch = launch
        self._engine = engine
        self._sleeper = sleeper
        self._metrics = metrics
        self._created = int(time.time())
        self._count = 0
        # Ids of one engine start alike and never repeat, also across engines.
        self._id_prefix = os.urandom(4).hex()
        self._operations: set[asyncio.Task[None]] = set()
        self.draining = False
        self._routes: dict[str, tuple[str, Serve]] = {
            "/health": ("GET", lambda exchange: self._finish(exchange, HTTPStatus.OK)),
            "/ping": ("GET", lambda exchange: self._finish(exchange, HTTPStatus.OK)),
            "/version": ("GET", lambda exchange: self._finish(exchange, HTTPStatus.OK, {"version": ENGINE_VERSION})),
            "/metrics": ("GET", self._show_metrics),
            "/v1/models": ("GET", self._show_models),
            "/tokenize": ("POST", self._tokenize),
            "/detokenize": ("POST", self._detokenize),
        }
        if launch.architecture.pooling:
            self._routes |= dict.fromkeys(POOLING_PATHS, ("POST", self._pool))
        else:
            self._routes |= {
                "/v1/completions": ("POST", lambda exchange: self._generate(exchange, chat=False)),
                "/v1/chat/completions": ("POST", lambda exchange: self._generate(exchange, chat=True)),
            }
        if os.environ.get("VLLM_SERVER_DEV_MODE") == "1":
            self._routes |= {
                "/sleep": ("POST", self._sleep),
                "/wake_up": ("POST", self._wake),
                "/is_sleeping": ("GET", self._show_sleep),
                "/collective_rpc": ("POST", self._call_workers),
            }

    def __call__(self, exchange: ServerExchange) -> None:
        """Answer one request; whatever goes wrong becomes an error answer."""
        try:
            if self._authorised(exchange):
                self._route(exchange)(exchange)
            else:
                self._finish(exchange, HTTPStatus.UNAUTHORIZED, {"error": "Unauthorized"})
        except AskError as error:
            self._refuse(exchange, error)
        except RecursionError:
            self._refuse(exchange, AskError(HTTPStatus.BAD_REQUEST, "the body is nested too deeply"))

    def _route(self, exchange: ServerExchange) -> Serve:
        method, serve = self._routes.get(exchange.request.path, ("", None))
        if serve is None:
            raise AskError(HTTPStatus.NOT_FOUND, "Not Found", "Not Found")
        if exchange.request.method != method:
            raise AskError(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", "Method Not Allowed")
        return serve

    def _authorised(self, exchange: ServerExchange) -> bool:
        # vLLM guards /v1 only: health, metrics and the development endpoints stay open.
        if not self._options.api_keys or not exchange.request.path.startswith("/v1"):
            return True
        scheme, _, key = exchange.request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and key in self._options.api_keys

    def _finish(self, exchange: ServerExchange, status: HTTPStatus, body: dict[str, Any] | None = None) -> None:
        self._count_request(exchange, status)
        exchange.respond(status, b"" if body is None else dumps(body))

    def _refuse(self, exchange: ServerExchange, error: AskError) -> None:
        details = {"message": error.message, "type": error.kind, "param": error.param, "code": error.status.value}
        self._finish(exchange, error.status, {"error": details})

    def _count_request(self, exchange: ServerExchange, status: HTTPStatus) -> None:
        if exchange.request.path in _NOT_COUNTED:
            return
        path = exchange.request.path if exchange.request.path in self._routes else "none"
        key = (path, exchange.request.method[:16], f"{status.value // 100}xx")
        self._metrics.http_requests[key] = self._metrics.http_requests.get(key, 0) + 1

    def _generate(self, exchange: ServerExchange, *, chat: bool) -> None:
        options = self._options
        ask = read_ask(
            parse_body(exchange.request.body),
            chat=chat,
            served_names=options.served_names,
            max_model_len=self._launch.settings.max_model_len,
            vocabulary=self._launch.architecture.vocab,
            by_priority=options.by_priority,
        )
        self._admit()
        self._count_request(exchange, HTTPStatus.OK)
        request_id = self._next_id()
        shown_id = ("chatcmpl-" if chat else "cmpl-") + (exchange.request.headers.get("x-request-id", "")[:_MAX_ID] or request_id)
        created = int(time.time())
        exchange.on_disconnect = lambda: self._engine.abort(request_id)
        if ask.stream:
            interval = max(options.stream_interval, ask.stream_interval)
            self._engine.submit(request_id, ask, StreamAnswer(exchange, ask, shown_id, created, interval))
        else:
            self._engine.submit(request_id, ask, WholeAnswer(exchange, ask, shown_id, created))

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._id_prefix}{self._count:08x}"

    def _pool(self, exchange: ServerExchange) -> None:
        """Embeddings and scores: each prompt of the body is a request of its own to the engine, the answer comes when all have ended."""
        body = parse_body(exchange.request.body)
        model = served_model(body, self._options.served_names)
        path = exchange.request.path
        prompts = pooled_prompts(path, body, self._launch.settings.max_model_len, self._launch.architecture.vocab)
        self._admit()
        self._count_request(exchange, HTTPStatus.OK)
        ids = [self._next_id() for _ in prompts]
        answer = PooledAnswer(exchange, path, model, ids[0], int(time.time()), prompts, self._launch.architecture.hidden)
        exchange.on_disconnect = lambda: self._abort(ids)
        for request_id, prompt_tokens in zip(ids, prompts, strict=True):
            self._engine.submit(request_id, pooled_ask(model, prompt_tokens), PooledPart(answer))

    def _abort(self, request_ids: Sequence[str]) -> None:
        for request_id in request_ids:
            self._engine.abort(request_id)

    def _admit(self) -> None:
        """503 at the limits: vLLM counts requests waiting and running, and prompt tokens of those without a first token."""
        if self.draining:
            raise AskError(HTTPStatus.SERVICE_UNAVAILABLE, "Server is shutting down", "ServiceUnavailableError")
        options, engine = self._options, self._engine
        if options.max_num_queued_reqs is not None and engine.in_flight >= options.max_num_queued_reqs:
            self._metrics.add(_REFUSED, label="max_num_queued_reqs")
            raise _overflow(f"{engine.in_flight} requests in flight, max_num_queued_reqs is {options.max_num_queued_reqs}")
        if options.max_num_queued_tokens is not None and engine.prefill_tokens >= options.max_num_queued_tokens:
            self._metrics.add(_REFUSED, label="max_num_queued_tokens")
            raise _overflow(f"{engine.prefill_tokens} prompt tokens queued, max_num_queued_tokens is {options.max_num_queued_tokens}")

    def _show_metrics(self, exchange: ServerExchange) -> None:
        core, values = self._engine.core, self._metrics.values
        computed = float(core.counters.prompt_tokens - core.counters.cached_prompt_tokens)
        current = {
            "vllm:num_requests_running": core.running,
            "vllm:num_requests_waiting": self._engine.waiting,
            "vllm:kv_cache_usage_perc": core.kv_fraction,
            "vllm:num_preemptions_total": core.counters.preemptions,
            "vllm:prompt_tokens_total": core.counters.prompt_tokens,
            "vllm:prompt_tokens_cached_total": core.counters.cached_prompt_tokens,
            # to the core an answer of a pooling model is one token
            "vllm:generation_tokens_total": 0 if self._launch.architecture.pooling else core.counters.generation_tokens,
        }
        for family, value in current.items():
            values[family][""] = float(value)
        values["vllm:num_requests_waiting_by_reason"]["capacity"] = float(self._engine.waiting)
        values["vllm:prompt_tokens_by_source_total"]["local_compute"] = computed
        self._count_request(exchange, HTTPStatus.OK)
        exchange.respond(HTTPStatus.OK, self._metrics.text().encode(), "text/plain; version=0.0.4; charset=utf-8")

    def _show_models(self, exchange: ServerExchange) -> None:
        permission = {
            "id": f"modelperm-{self._id_prefix}00000000",
            "object": "model_permission",
            "created": self._created,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        models = [
            {
                "id": name,
                "object": "model",
                "created": self._created,
                "owned_by": "vllm",
                "root": self._options.model,
                "parent": None,
                "max_model_len": self._launch.settings.max_model_len,
                "permission": [permission],
            }
            for name in self._options.served_names
        ]
        self._finish(exchange, HTTPStatus.OK, {"object": "list", "data": models})

    def _tokenize(self, exchange: ServerExchange) -> None:
        body = parse_body(exchange.request.body)
        served_model(body, self._options.served_names)
        vocabulary = self._launch.architecture.vocab
        if "messages" in body:
            count = messages_tokens(body["messages"])
            text = dumps(body["messages"]).decode()
        else:
            prompt = body.get("prompt")
            if not isinstance(prompt, str):
                raise AskError(HTTPStatus.BAD_REQUEST, "prompt: expected a text", param="prompt")
            text, count = prompt, text_tokens(prompt)
        # Ids are made from the place and the four characters there: repeatable, and different texts differ.
        tokens = [zlib.crc32(text[4 * index : 4 * index + 4].encode("utf-8", "replace")) % vocabulary for index in range(count)]
        limit = self._launch.settings.max_model_len
        self._finish(exchange, HTTPStatus.OK, {"count": count, "max_model_len": limit, "tokens": tokens, "token_strs": None})

    def _detokenize(self, exchange: ServerExchange) -> None:
        body = parse_body(exchange.request.body)
        served_model(body, self._options.served_names)
        tokens = body.get("tokens")
        if not isinstance(tokens, list) or any(type(token) is not int for token in tokens):
            raise AskError(HTTPStatus.BAD_REQUEST, "tokens: expected a list of token ids", param="tokens")
        self._finish(exchange, HTTPStatus.OK, {"prompt": "".join(f" {token % 1000:03d}" for token in tokens)})

    def _sleep(self, exchange: ServerExchange) -> None:
        query = parse_qs(exchange.request.query)
        level, mode = query.get("level", ["1"])[-1], query.get("mode", ["abort"])[-1]
        if level not in {"1", "2"} or mode not in {"abort", "wait", "keep"}:
            raise AskError(HTTPStatus.BAD_REQUEST, f"level must be 1 or 2 and mode abort, wait or keep; got {level!r} and {mode!r}")
        self._operate(exchange, self._sleeper.sleep(int(level), mode))

    def _wake(self, exchange: ServerExchange) -> None:
        tags = set(parse_qs(exchange.request.query).get("tags", ["weights", "kv_cache"]))
        if not tags <= {"weights", "kv_cache"}:
            raise AskError(HTTPStatus.BAD_REQUEST, f"tags must be weights or kv_cache; got {sorted(tags)}", param="tags")
        self._operate(exchange, self._sleeper.wake(weights_only=tags == {"weights"}))

    def _call_workers(self, exchange: ServerExchange) -> None:
        """Only what a wake from level 2 needs; there are no weights to read."""
        method = parse_body(exchange.request.body).get("method")
        if method != "reload_weights":
            raise AskError(HTTPStatus.BAD_REQUEST, f"method must be reload_weights; got {method!r}", param="method")
        self._finish(exchange, HTTPStatus.OK, {"results": [None]})

    def _operate(self, exchange: ServerExchange, operation: Coroutine[None, None, None]) -> None:
        """Answer when a sleep or wake is done."""

        async def run() -> None:
            try:
                await operation
            except OutOfMemoryError as error:
                self._refuse(exchange, AskError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error), "Internal Server Error"))
            else:
                self._finish(exchange, HTTPStatus.OK)

        task = asyncio.get_running_loop().create_task(run())
        self._operations.add(task)
        task.add_done_callback(self._operations.discard)

    def _show_sleep(self, exchange: ServerExchange) -> None:
        self._finish(exchange, HTTPStatus.OK, {"is_sleeping": self._sleeper.asleep})


def _overflow(message: str) -> AskError:
    return AskError(HTTPStatus.SERVICE_UNAVAILABLE, f"The engine's queue is full: {message}. Try again later.", "ServiceUnavailableError")
