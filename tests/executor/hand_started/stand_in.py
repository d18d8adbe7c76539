"""A stand-in for vLLM that tests start as processes: a program called `vllm` that answers /v1/models and /metrics.

It is a copy of this file, so that its command line is the one of the real program. It reads --host, --port, --served-model-name and
--max-model-len of its own command line. In the environment: STAND_IN_KEY is the API key that it demands, STAND_IN_CORE=1 gives it a
child with vLLM's title, STAND_IN_BLOCKS is the size of its KV pool, STAND_IN_VERSION what it says that it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

METRICS = """# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{{block_size="16",cache_dtype="auto",kv_cache_memory_bytes="{kv}",num_gpu_blocks="{blocks}"}} 1.0
vllm:num_requests_running{{engine="0",model_name="{name}"}} 0.0
vllm:num_requests_waiting{{engine="0",model_name="{name}"}} 0.0
vllm:request_success_total{{engine="0",finished_reason="stop",model_name="{name}"}} 90.0
vllm:request_success_total{{engine="0",finished_reason="length",model_name="{name}"}} 10.0
vllm:request_prompt_tokens_sum{{model_name="{name}"}} 30000.0
vllm:request_prompt_tokens_count{{model_name="{name}"}} 100.0
vllm:request_prompt_tokens_bucket{{le="500.0",model_name="{name}"}} 90.0
vllm:request_prompt_tokens_bucket{{le="1000.0",model_name="{name}"}} 99.0
vllm:request_prompt_tokens_bucket{{le="+Inf",model_name="{name}"}} 100.0
vllm:request_generation_tokens_sum{{model_name="{name}"}} 5000.0
vllm:request_generation_tokens_count{{model_name="{name}"}} 100.0
"""


def given(flag: str, default: str) -> str:
    words = sys.argv
    return words[words.index(flag) + 1] if flag in words else default


class StandIn(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass

    def do_GET(self) -> None:
        name = given("--served-model-name", sys.argv[2])
        key = os.environ.get("STAND_IN_KEY")
        if key and self.path != "/metrics" and self.headers["authorization"] != f"Bearer {key}":
            self.answer(401, "")
        elif self.path == "/v1/models":
            self.answer(
                200, json.dumps({"data": [{"id": name, "max_model_len": int(given("--max-model-len", "2048").replace("4K", "4096"))}]})
            )
        elif self.path == "/version":
            self.answer(200, json.dumps({"version": os.environ.get("STAND_IN_VERSION", "0.32.0")}))
        else:
            self.answer(
                200,
                METRICS.format(name=name, blocks=os.environ.get("STAND_IN_BLOCKS", "4096"), kv=given("--kv-cache-memory-bytes", "None")),
            )

    def answer(self, status: int, text: str) -> None:
        raw = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def main() -> None:
    if os.environ.get("STAND_IN_CORE"):
        subprocess.Popen(["VLLM::EngineCore", "-c", "import sys; sys.stdin.read()"], executable=sys.executable, stdin=subprocess.PIPE)
    server = ThreadingHTTPServer((given("--host", "127.0.0.1"), int(given("--port", "8000"))), StandIn)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
