"""Models as people write them: what is served, and the engine settings it is served with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from planner.demand.traces import MAX_TOKENS
from planner.spec.field_types import DeclaredSource, Name, Sequences, Size, Text, TokenCount, Whole
from planner.spec.part import Declared
from profiles.settings import EngineSettings

_ENGINE = EngineSettings()

# Long enough for most chats; each sequence of the engine must be able to hold it in the KV pool.
DEFAULT_MAX_MODEL_LEN = 8192

ExtraValue = Annotated[str, Field(min_length=1, max_length=4096)]
KvCacheDtype = Literal["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"]


class DeclaredChoices(Declared):
    """Engine settings that the plan may choose instead of the model's own, replica by replica."""

    max_num_seqs: tuple[Sequences, ...] = Field(
        (), max_length=4, description="Other values of max_num_seqs. Default: none.", examples=[[64, 512]]
    )
    max_num_batched_tokens: tuple[TokenCount, ...] = Field(
        (), max_length=4, description="Other values of max_num_batched_tokens. Default: none.", examples=[[512, 8192]]
    )
    kv_cache_dtype: tuple[KvCacheDtype, ...] = Field(
        (), max_length=4, description="Other values of kv_cache_dtype. Default: none.", examples=[["fp8"]]
    )


class DeclaredAdapter(Declared):
    """A LoRA adapter of a model; requests name it like a model."""

    source: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^-=\s][^=\s]*$")] = Field(
        description="A Hugging Face id, or a local folder written ./like/this (the path starts from the folder of the fleet file).",
        examples=["./adapters/support"],
    )
    rank: Whole = Field(ge=1, le=512, description="Rank of the adapter, as in its adapter_config.json.", examples=[16])


class DeclaredModel(Declared):
    """A model to serve and the engine settings it is served with."""

    source: DeclaredSource = Field(
        description="A catalogue name or alias, or a local folder or config.json written ./like/this (the path starts from the folder of "
        "the fleet file).",
        examples=["meta-llama/Meta-Llama-3.1-8B", "./models/my-model"],
    )
    task: Literal["embed", "generate"] = Field(
        "generate",
        description="generate: the model writes text. embed: it makes one vector or score per prompt (embeddings, reranking; vLLM's "
        "--runner pooling). Workloads of such a model have no output_tokens and no tpot_p95; their ttft_p95 is the time to the answer.",
    )
    dtype: Literal["bfloat16", "float16", "float32"] | None = Field(
        None, description="Type of weights and activations. Default: the checkpoint's."
    )
    quantization: Literal["awq", "fp8", "gptq", "int4", "int8", "mxfp4", "nvfp4"] | None = Field(
        None, description="Weight quantisation, as vLLM's --quantization. Default: the checkpoint's own."
    )
    kv_cache_dtype: KvCacheDtype = Field("auto", description="Type of the KV cache; auto is the type of the activations.")
    max_model_len: TokenCount | None = Field(
        None,
        description="Longest request in tokens, input and output together. Default: 8192, or the longest that the model supports if that "
        "is less.",
    )
    max_num_seqs: Whole = Field(
        _ENGINE.max_num_seqs, ge=1, le=65_536, description="Largest number of requests that run at the same time in one engine."
    )
    max_num_batched_tokens: Whole = Field(
        _ENGINE.max_num_batched_tokens, ge=1, le=MAX_TOKENS, description="Largest number of tokens in one engine step."
    )
    stream_interval: Whole = Field(1, ge=1, le=1000, description="Tokens between two streamed chunks.")
    enforce_eager: bool = Field(default=False, description="Run without CUDA graphs: less memory, slower steps.")
    sleep: bool = Field(
        default=False,
        description="A schedule may let replicas of the model sleep while they are not needed, instead of stopping them "
        "(--enable-sleep-mode). Engines then must listen on loopback, because vLLM does not guard these paths.",
    )
    tensor_parallel: Annotated[tuple[Size, ...], Field(min_length=1)] | None = Field(
        None,
        description="Tensor-parallel sizes that the plan may choose. Default: the powers of two up to 8 that divide the model's heads.",
        examples=[[1, 2]],
    )
    engine_version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?([.a-z0-9+-]*)$", max_length=40)] = Field(
        _ENGINE.engine_version, description="Version of vLLM that serves the model."
    )
    choices: DeclaredChoices = Field(
        default_factory=DeclaredChoices,
        description="Other engine settings that the plan may choose, replica by replica. Default: none.",
    )
    adapters: dict[Name, DeclaredAdapter] = Field(
        default_factory=dict,
        max_length=64,
        description="LoRA adapters that the replicas of this model also serve, by the name that requests and workloads use. Default: none.",
    )
    extra_args: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,60}$")], ExtraValue] = Field(
        default_factory=dict,
        max_length=32,
        description="Other flags for `vllm serve`, without the dashes. Write true or false for a flag that takes no value. A value "
        "./like/this is a path from the folder of the fleet file. Flags that the plan decides itself, or whose effect it cannot count, are "
        "refused. Default: none.",
        examples=[{"enable-auto-tool-choice": True, "tool-call-parser": "hermes"}],
    )
    revision: Text | None = Field(None, description="Revision of the checkpoint (branch, tag or commit). Default: the main branch.")
