from __future__ import annotations

import socket
from collections.abc import Iterator

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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES | st.binary(max_size=60), max_size=12))
def test_no_bytes_disturb_the_server(engine: EngineProcess, pieces: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", engine.port), timeout=20) as client:
        try:
            client.sendall(b"".join(pieces))
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        except ConnectionError:
            pass
    assert engine.get("/health").status == 200
    assert engine.process.poll() is None
