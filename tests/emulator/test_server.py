from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.processes import FIXTURES, MODEL, SMALL_SHARE, EngineProcess, events, make_node, running
from tests.executor.worlds import until


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    node = make_node(tmp_path_factory.mktemp("node"))
    with running(node, MODEL, "--served-model-name", "small", "alias", *SMALL_SHARE) as process:
        yield process


def completion(**fields: Any) -> dict[str, Any]:
    return {"model": "small", "prompt": [1, 2, 3], "max_tokens": 4, "ignore_eos": True, **fields}


def keys(value: Any) -> Any:
    """The shape of a JSON value: keys without values."""
    if isinstance(value, dict):
        return {key: keys(inner) for key, inner in value.items()}
    return [keys(inner) for inner in value] if isinstance(value, list) else None


def test_models_has_the_keys_of_vllm(engine: EngineProcess) -> None:
    sample = json.loads((FIXTURES / "GET-v1_models.txt").read_text().partition("\n\n")[2])
    found = engine.get("/v1/models").json
    assert [model["id"] for model in found["data"]] == ["small", "alias"]
    assert found["data"][0]["max_model_len"] == 2048
    assert keys(found["data"][:1]) == keys(sample["data"])


def test_completion_has_the_keys_of_vllm(engine: EngineProcess) -> None:
    sample = json.loads((FIXTURES / "completion.json").read_text())
    found = engine.post("/v1/completions", completion()).json
    assert keys(found) == keys(sample)
    assert found["usage"]["prompt_tokens"] == 3
    assert found["usage"]["completion_tokens"] == 4
    assert found["choices"][0]["finish_reason"] == "length"


def test_chat_stream_has_the_events_of_vllm(engine: EngineProcess) -> None:
    sample = events((FIXTURES / "chat-stream.txt").read_bytes())
    body = {"model": "small", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "stream": True}
    reply = engine.post("/v1/chat/completions", {**body, "stream_options": {"include_usage": True}})
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = events(reply.body)
    for place in (0, 1, -2, -1):
        assert keys(found[place]) == keys(sample[place])
    assert found[-1]["usage"]["completion_tokens"] == 8
    assert [event["choices"][0]["finish_reason"] for event in found[:-1]] == [None] * 8 + ["length"]


@pytest.mark.parametrize("interval", [1, 3, 50])
def test_a_stream_gives_every_token_once(engine: EngineProcess, interval: int) -> None:
    found = events(engine.post("/v1/completions", completion(max_tokens=17, stream=True, stream_interval=interval)).body)
    counts = [event["choices"][0]["text"].count("tok") for event in found]
    assert sum(counts) == 17
    assert counts[0] == 1
    assert all(count == interval for count in counts[1:-1])


def test_continuous_usage_counts_up(engine: EngineProcess) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    found = events(engine.post("/v1/completions", completion(stream=True, stream_options=options)).body)
    assert [event["usage"]["completion_tokens"] for event in found] == [1, 2, 3, 4, 4]


def test_an_answer_may_end_by_itself(engine: EngineProcess) -> None:
    found = engine.post("/v1/completions", {"model": "alias", "prompt": "Tell me.", "max_tokens": 1000}).json
    assert found["choices"][0]["finish_reason"] == "stop"
    assert found["model"] == "alias"
    assert found["usage"]["completion_tokens"] < 1000


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{nonsense", 400, "JSON"),
        (b"[1]", 400, "object"),
        (b'{"prompt": ' + b"[" * 100000, 400, "JSON"),
        (completion(model="\ud800"), 404, "The model `?` does not exist."),
        (completion(model="other"), 404, "The model `other` does not exist."),
        (completion(max_tokens=-1), 400, "max_tokens must be at least 1, got -1."),
        (completion(max_tokens="many"), 400, "max_tokens"),
        (completion(prompt=None), 400, "prompt"),
        (completion(prompt=[1, "a"]), 400, "token ids"),
        (completion(prompt=[10**9]), 400, "out of vocabulary"),
        (completion(prompt=[-1]), 400, "out of vocabulary"),
        (completion(prompt=[1] * 2045), 400, "maximum context length is 2048 tokens"),
        (completion(n=2), 400, "n"),
        (completion(stream="yes"), 400, "stream"),
        (completion(min_tokens=9), 400, "min_tokens must be less than or equal to max_tokens=4"),
        (completion(stream_options={"include_usage": True}), 400, "Stream options"),
    ],
)
def test_bad_completions_are_refused_in_the_openai_form(engine: EngineProcess, body: Any, status: int, says: str) -> None:
    reply = engine.post("/v1/completions", body)
    assert reply.status == status
    error = reply.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == status
    assert says in error["message"]


@pytest.mark.parametrize("messages", [None, [], "hi", [{"content": "hi"}], [{"role": "user", "content": [{"type": "image_url"}]}]])
def test_bad_chats_are_refused(engine: EngineProcess, messages: Any) -> None:
    assert engine.post("/v1/chat/completions", {"model": "small", "messages": messages}).status == 400


def test_small_endpoints(engine: EngineProcess) -> None:
    assert (engine.get("/health").status, engine.get("/health").body) == (200, b"")
    assert engine.get("/version").json == {"version": "0.32.0"}
    assert engine.get("/nothing").status == 404
    assert engine.get("/v1/completions").status == 405
    tokens = engine.post("/tokenize", {"model": "small", "prompt": "twelve chars"}).json
    assert (tokens["count"], len(tokens["tokens"]), tokens["max_model_len"]) == (3, 3, 2048)
    assert "prompt" in engine.post("/detokenize", {"model": "small", "tokens": tokens["tokens"]}).json
    assert engine.post("/detokenize", {"model": "small", "tokens": "abc"}).status == 400


def test_a_connection_serves_requests_one_after_the_other(engine: EngineProcess) -> None:
    body = json.dumps(completion()).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    last = b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", engine.port), timeout=60) as client:
        client.sendall(head + body + head + body + last)
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.endswith(b'{"version":"0.32.0"}')


def test_a_body_in_chunks_and_one_that_waits_to_be_asked_for(engine: EngineProcess) -> None:
    body = json.dumps(completion()).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7)) + b"0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", engine.port), timeout=60) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(chunks)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_an_old_client_gets_a_stream_without_chunks(engine: EngineProcess) -> None:
    body = json.dumps(completion(stream=True)).encode()
    with socket.create_connection(("127.0.0.1", engine.port), timeout=60) as client:
        client.sendall(b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        received = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, rest = received.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert len(events(rest)) == 4


def test_metrics_count_what_was_served(engine: EngineProcess) -> None:
    steps = ("vllm:iteration_tokens_total_count", "vllm:iteration_tokens_total_sum")
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:time_to_first_token_seconds_count", *steps)
    before = [engine.metric(name) for name in names]
    engine.post("/v1/completions", completion(prompt=[5] * 40, max_tokens=6))
    assert [engine.metric(name) - was for name, was in zip(names, before, strict=True)] == [40, 6, 1, 6, 45]
    assert engine.metric("vllm:num_requests_running") == 0
    assert engine.metric("vllm:kv_cache_usage_perc") == 0
    assert engine.metric("vllm:inter_token_latency_seconds_count") > 0


def test_probes_and_scrapes_are_not_counted_as_requests(engine: EngineProcess) -> None:
    for path in ("/health", "/version", "/metrics", "/v1/models"):
        engine.get(path)
    page = engine.get("/metrics").body.decode()
    assert 'http_requests_total{handler="/v1/models",method="GET",status="2xx"}' in page
    assert not any(f'handler="{path}"' in page for path in ("/health", "/version", "/metrics"))


def test_a_client_that_leaves_frees_its_blocks(engine: EngineProcess) -> None:
    aborted = engine.metric("vllm:request_success_total", finished_reason="abort")
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
    connection.request("POST", "/v1/completions", json.dumps(completion(max_tokens=2000, stream=True)))
    reply = connection.getresponse()
    reply.readline()
    assert engine.metric("vllm:num_requests_running") == 1
    assert engine.metric("vllm:kv_cache_usage_perc") > 0
    reply.close()
    connection.close()
    assert until(lambda: engine.metric("vllm:num_requests_running") == 0)
    assert engine.metric("vllm:kv_cache_usage_perc") == 0
    assert engine.metric("vllm:request_success_total", finished_reason="abort") == aborted + 1


def test_keys_and_limits(tmp_path: Path) -> None:
    limits = ("--max-num-queued-reqs", "1", "--served-model-name", "small")
    with running(make_node(tmp_path), MODEL, *limits, *SMALL_SHARE, environment={"VLLM_API_KEY": "open"}) as engine:
        assert engine.get("/v1/models").status == 401
        assert engine.get("/v1/models", {"Authorization": "Bearer wrong"}).status == 401
        assert engine.get("/health").status == 200
        allowed = {"Authorization": "Bearer open"}
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps(completion(max_tokens=2000, stream=True)), allowed)
        reply = connection.getresponse()
        full = engine.post("/v1/completions", completion(), allowed)
        assert (full.status, full.json["error"]["code"]) == (503, 503)
        assert engine.metric("vllm:admission_rejections_total", reason="max_num_queued_reqs") == 1
        reply.close()
        connection.close()


def test_without_development_mode_there_is_no_sleep(tmp_path: Path) -> None:
    with running(make_node(tmp_path), MODEL, *SMALL_SHARE, environment={"VLLM_SERVER_DEV_MODE": "0"}) as engine:
        assert engine.post("/sleep").status == 404
        assert engine.get("/is_sleeping").status == 404


@pytest.mark.parametrize(("timeout", "tokens"), [("0", 0), ("20", 60)])
def test_a_signal_ends_or_waits_as_told(tmp_path: Path, timeout: str, tokens: int) -> None:
    arguments = (MODEL, "--served-model-name", "small", "--shutdown-timeout", timeout, *SMALL_SHARE)
    with running(make_node(tmp_path), *arguments) as engine:
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps(completion(max_tokens=tokens or 2000, stream=True)))
        reply = connection.getresponse()
        received = reply.readline()
        engine.process.send_signal(signal.SIGTERM)
        if tokens:
            assert len(events(received + reply.read())) == tokens
        else:
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                reply.read()
        assert engine.process.wait(60) == 0
        reply.close()
        connection.close()
