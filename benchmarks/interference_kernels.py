"""Steps of a decoder as torch kernels. Imported only by the processes of benchmarks.interference: torch is no dependency of the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it

from benchmarks.interference_shapes import StepSize, Workload

# Weights that keep the activations of normalised inputs near 1.
_WEIGHT_SCALE = 0.02
# Passes after which libraries have chosen their kernels, as torch's notes on CUDA graphs ask for.
_WARM_PASSES = 3


def step_of(work: Workload, device: str) -> Callable[[], None]:
    """One step of the workload on `cpu` or `cuda`: a call returns when the device has ended it.

    On a GPU the step is one CUDA graph, as vLLM runs decode steps: else the time to launch kernels would hide the neighbour.
    """
    layers = _Layers(work, device)
    if device == "cpu":
        return layers.step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_PASSES):
            layers.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        layers.step()

    def step() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return step


def device_words(device: str) -> str:
    """What the kernels run on and with; RuntimeError where torch sees no such device."""
    if device == "cpu":
        return f"one CPU core, torch {torch.__version__}"
    if not torch.cuda.is_available():
        raise RuntimeError("torch sees no CUDA device; run it on a GPU, or give --device cpu")
    return f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}"


class _Layers:
    """Weights, KV cache and input of a workload, with random values."""

    def __init__(self, work: Workload, device: str) -> None:
        self._shape, self._size = work.shape, work.size
        # CPUs without matrix units convert bfloat16 for longer than they compute
        options = {"device": device, "dtype": torch.float32 if device == "cpu" else torch.bfloat16}
        torch.manual_seed(0)
        self._weights = [
            [torch.randn(inputs, outputs, **options) * _WEIGHT_SCALE for inputs, outputs in self._shape.projections]
            for _ in range(self._shape.held_layers)
        ]
        size = self._size
        cache = (2, size.sequences, self._shape.kv_heads, size.context_tokens + size.new_tokens, self._shape.head_size)
        self._caches = [torch.randn(*cache, **options) for _ in range(self._shape.held_layers)]
        self._input = torch.randn(size.sequences * size.new_tokens, self._shape.hidden_size, **options)

    def step(self) -> None:
        """All layers once."""
        with torch.inference_mode():
            hidden = self._input
            for layer in range(self._shape.layers):
                held = layer % self._shape.held_layers
                hidden = self._layer(hidden, self._weights[held], self._caches[held])

    def _layer(self, hidden: torch.Tensor, weights: list[torch.Tensor], cache: torch.Tensor) -> torch.Tensor:
        qkv_weight, o_weight, gate_up_weight, down_weight = weights
        qkv = _normalised(hidden) @ qkv_weight
        hidden = hidden + _attention(qkv, cache, self._size, self._shape.heads) @ o_weight
        gate, up = (_normalised(hidden) @ gate_up_weight).chunk(2, dim=-1)
        return hidden + (F.silu(gate) * up) @ down_weight


def _normalised(hidden: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(hidden, (hidden.shape[-1],))


def _attention(qkv: torch.Tensor, cache: torch.Tensor, size: StepSize, heads: int) -> torch.Tensor:
    """Attention of the new tokens to themselves and to what the cache holds; their keys and values go to its end.

    qkv: tokens x (heads + 2 * kv_heads) * head_size. cache: keys and values x sequences x kv_heads x tokens x head_size.
    """
    _, sequences, kv_heads, _, head_size = cache.shape
    of_heads = qkv.view(sequences, size.new_tokens, heads + 2 * kv_heads, head_size).transpose(1, 2)
    queries, keys, values = of_heads.split((heads, kv_heads, kv_heads), dim=1)
    cache[0, :, :, size.context_tokens :] = keys
    cache[1, :, :, size.context_tokens :] = values
    if size.new_tokens == 1:
        # the queries that share a KV head as one group: the cache is read once for all of them
        grouped = queries.reshape(sequences, kv_heads, heads // kv_heads, head_size)
        found = F.scaled_dot_product_attention(grouped, cache[0], cache[1]).reshape(sequences, heads, 1, head_size)
    else:
        repeated = (part.repeat_interleave(heads // kv_heads, dim=1) for part in cache)
        found = F.scaled_dot_product_attention(queries, *repeated, is_causal=True)
    return found.transpose(1, 2).reshape(sequences * size.new_tokens, heads * head_size)
