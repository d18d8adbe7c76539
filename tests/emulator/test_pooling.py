"""Emulated engines of models that generate nothing answer like vLLM's: same paths, same keys, same refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.processes import EngineProcess, make_node, refused, running
from tests.ullage.commands import ullage

# What vLLM 0.32 answers for a BertModel, recorded from its CPU build.
EMBEDDING_KEYS = {"id", "object", "created", "model", "data", "usage"}
WIDTH = 1024


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    node = make_node(tmp_path_factory.mktemp("node"))
    flags = ("--runner", "pooling", "--max-model-len", "512", "--gpu-memory-utilization", "0.2")
    with running(node, "BAAI/bge-m3", "--served-model-name", "vectors", *flags) as process:
        yield process


def usage(found: dict[str, Any]) -> tuple[int, int]:
    return found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"]


def test_each_prompt_of_a_request_gets_its_vector(engine: EngineProcess) -> None:
    found = engine.post("/v1/embeddings", {"model": "vectors", "input": [[1, 2, 3], [4, 5]]}).json
    assert set(found) == EMBEDDING_KEYS
    assert [(row["index"], row["object"], len(row["embedding"])) for row in found["data"]] == [
        (0, "embedding", WIDTH),
        (1, "embedding", WIDTH),
    ]
    assert usage(found) == (5, 0)
    one = engine.post("/v1/embeddings", {"input": "twelve chars"}).json
    assert (len(one["data"]), usage(one)) == (1, (3, 0))


def test_pooled_vectors_scores_and_rerankings(engine: EngineProcess) -> None:
    pooled = engine.post("/pooling", {"model": "vectors", "input": [1]}).json
    assert (len(pooled["data"][0]["data"]), usage(pooled)) == (WIDTH, (1, 0))
    scored = engine.post("/v1/score", {"model": "vectors", "text_1": "a", "text_2": ["b", "cd"]}).json
    assert [row["index"] for row in scored["data"]] == [0, 1]
    ranked = engine.post("/v1/rerank", {"model": "vectors", "query": "a", "documents": ["b", "c", "d"]}).json
    assert [row["index"] for row in ranked["results"]] == [0, 1, 2]


def test_there_is_no_completion(engine: EngineProcess) -> None:
    assert engine.post("/v1/completions", {"model": "vectors", "prompt": [1], "max_tokens": 1}).status == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "expected"),
    [
        ("/v1/embeddings", {"model": "other", "input": "a"}, 404, "The model `other` does not exist."),
        ("/v1/embeddings", {"input": [1] * 513}, 400, "maximum context length is 512 tokens"),
        ("/v1/embeddings", {}, 400, "input: expected a text or a non-empty list of token ids"),
        ("/v1/embeddings", {"input": [[1], {}]}, 400, "input: expected a text or a non-empty list of token ids"),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["c"]}, 400, "Input lengths must be either 1:1, 1:N or N:N"),
        ("/v1/score", {"text_1": [1], "text_2": "c"}, 400, "text_1: expected a text or a non-empty list of texts"),
        ("/v1/rerank", {"query": "a", "documents": []}, 400, "documents: expected"),
    ],
)
def test_bad_requests_are_refused_in_words(engine: EngineProcess, path: str, body: dict[str, Any], status: int, expected: str) -> None:
    found = engine.post(path, body)
    assert found.status == status
    assert expected in found.json["error"]["message"]


def test_metrics_count_prompts_and_no_generated_token(engine: EngineProcess) -> None:
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:request_generation_tokens_sum")
    before = [engine.metric(name) for name in names]
    engine.post("/v1/embeddings", {"input": [[1, 2, 3], [4, 5]]})
    assert [engine.metric(name) - old for name, old in zip(names, before, strict=True)] == [5, 0, 0]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--runner", "generate"), "Embedding models do not support `--runner generate`"),
        (("--max-num-batched-tokens", "1024"), "max_num_batched_tokens (1024) is smaller than max_model_len (8192)"),
    ],
)
def test_what_vllm_refuses_is_refused(tmp_path: Path, flags: tuple[str, ...], expected: str) -> None:
    code, log = refused(make_node(tmp_path), "BAAI/bge-m3", "--max-num-seqs", "16", "--gpu-memory-utilization", "0.2", *flags)
    assert code != 0
    assert expected in log


def test_profile_measure_says_why_it_cannot_measure_such_a_server(engine: EngineProcess) -> None:
    result = ullage("profile", "measure", "--url", f"http://127.0.0.1:{engine.port}", "--model", "vectors", "--gpu", "h100")
    assert result.code == 1
    assert "a server of a model that embeds (task: embed) writes no text, and is not measured" in result.err
