"""What goes into the step core: an engine's limits, requests, and the reasons to refuse one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What of an engine decides how it batches; names are vLLM's own.

    kv_blocks is the size of the KV pool in blocks of block_size tokens. vLLM holds one of them back as null block
    (vllm/v1/core/block_pool.py), so requests share kv_blocks - 1. max_num_queued_reqs None means no limit on the queue.
    by_priority is --scheduling-policy priority.
    Raises ValueError for limits that vLLM itself refuses.
    """

    kv_blocks: int
    block_size: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    max_num_queued_reqs: int | None = None
    by_priority: bool = False

    def __post_init__(self) -> None:
        """Refuse limits no engine starts with."""
        for name in ("block_size", "max_num_seqs", "max_model_len"):
            if getattr(self, name) < 1:
                raise ValueError(f"EngineConfig.{name} is {getattr(self, name)}; it must be at least 1")
        if self.kv_blocks < 2:
            raise ValueError(f"EngineConfig.kv_blocks is {self.kv_blocks}; one block is held back, so at least 2 are needed")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"EngineConfig.max_num_batched_tokens is {self.max_num_batched_tokens}, below max_num_seqs {self.max_num_seqs}; "
                "vLLM refuses that: raise the first or lower the second"
            )
        if self.max_num_queued_reqs is not None and self.max_num_queued_reqs < 1:
            raise ValueError(f"EngineConfig.max_num_queued_reqs is {self.max_num_queued_reqs}; it must be at least 1, or None for no limit")

    @property
    def usable_blocks(self) -> int:
        """Blocks that requests can hold: all but the null block."""
        return self.kv_blocks - 1

    def refusal(self, request: EngineRequest, waiting: int) -> RequestRejection | None:
        """Why an engine in whose queue so many wait refuses a request; None when it takes it."""
        total_tokens = request.input_tokens + request.output_tokens
        asked = f"{request.input_tokens} input and {request.output_tokens} output tokens"
        if total_tokens > self.max_model_len:
            return RequestRejection(RejectReason.TOO_LONG, f"{asked} exceed max_model_len {self.max_model_len}; shorten one of them")
        if -(-(total_tokens - 1) // self.block_size) > self.usable_blocks:
            pool = f"{self.usable_blocks} usable KV blocks of {self.block_size} tokens"
            return RequestRejection(RejectReason.NEVER_FITS, f"{asked} can never fit {pool}; shorten one of them or enlarge the KV pool")
        if self.max_num_queued_reqs is not None and waiting >= self.max_num_queued_reqs:
            queued = f"{waiting} requests wait and max_num_queued_reqs is {self.max_num_queued_reqs}"
            return RequestRejection(RejectReason.QUEUE_FULL, f"{queued}; try again later")
        return None


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A request as an engine sees it: input_tokens of prompt, then exactly output_tokens generated (as with ignore_eos).

    cached_prefix_tokens of the prompt are found in the prefix cache: they need blocks but no computation. At least one prompt
    token is always computed. The smaller priority goes first, where the engine looks at it. Raises ValueError for lengths below one token.
    """

    request_id: str
    input_tokens: int
    output_tokens: int
    cached_prefix_tokens: int = 0
    priority: int = 0

    def __post_init__(self) -> None:
        """Refuse lengths that are no request."""
        if self.input_tokens < 1 or self.output_tokens < 1:
            raise ValueError(
                f"request {self.request_id}: {self.input_tokens} input and {self.output_tokens} output tokens; each must be at least 1"
            )
        if not 0 <= self.cached_prefix_tokens <= self.input_tokens:
            raise ValueError(
                f"request {self.request_id}: {self.cached_prefix_tokens} cached prefix tokens of {self.input_tokens} input tokens"
            )


class RejectReason(StrEnum):
    """Why an engine refuses a request: too_long and never_fits are the caller's fault (HTTP 400), queue_full passes (HTTP 503)."""

    TOO_LONG = "too_long"
    NEVER_FITS = "never_fits"
    QUEUE_FULL = "queue_full"


@dataclass(frozen=True, slots=True)
class RequestRejection:
    """A refused request: the reason, and a sentence with the numbers."""

    reason: RejectReason
    message: str
