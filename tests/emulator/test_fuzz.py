from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.processes import MODEL, SMALL_SHARE, EngineProcess, make_node, running

LINES = st.sampled_from(
    [
        b"GET /health HTTP/1.1\r\n",
        b"POST /v1/completions HTTP/1.1\r\n",
        b"POST /sleep HTTP/1.0\r\n",
        b"DELETE http://x/metrics HTTP/1.1\r\n",
        b"Host: x\r\n",
        b"Content-Length: 12\r\n",
        b"Content-Length: 99999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"\r\n",
        b"c\r\n",
        b"0\r\n\r\n",
        b'{"prompt":1}',
        b'{"prompt":"a","stream":true}',
    ]
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    with running(make_node(tmp_path_factory.mktemp("node")), MODEL, *SMALL_SHARE) as process:
        yield process
        assert process.end() == 0
        assert not any("Traceback" in line or "Error" in line for line in process.log), process.log


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "text"]), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["model", "prompt", "messages", "max_tokens", "stream", "n", "tokens", "stream_options", "min_tokens"])
PATHS = st.sampled_from(["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(PATHS, st.dictionaries(NAMES, JSON))
def test_any_json_gets_an_answer(engine: EngineProcess, path: str, body: dict[str, Any]) -> None:
    assert engine.post(path, body).status in {200, 400, 404}


@pytest.mark.parametrize("depth", [100, 400, 900, 990, 2000])
@pytest.mark.parametrize("field", ["prompt", "messages", "model", "max_tokens", "other"])
def test_nested_json_gets_an_answer(engine: EngineProcess, depth: int, field: str) -> None:
    nested = b"[" * depth + b"]" * depth
    for path in ("/v1/completions", "/tokenize"):
        body = b'{"messages": [{"role": "user", "x": %s}], "%s": %s}' % (nested, field.encode(), nested)
        assert engine.post(path, body).status in {200, 400}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(LINES | st.binary(max_size=60), max_size=12))
def test_no_bytes_disturb_the_server(engine: EngineProcess, pieces: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", engine.port), timeout=60) as client:
        try:
            client.sendall(b"".join(pieces))
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        except ConnectionError:
            pass
    assert engine.get("/health").status == 200
    assert engine.process.poll() is None
