"""What benchmarks.interference measures, without the kernels: layer shapes, the pairs, and the factor that step times stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from statistics import median

from profiles.catalogue import builtin
from profiles.latency.interference import GRID, factor_of
from profiles.models import Architecture
from profiles.store.measurements import PairSharing, Phase


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The shape of a decoder layer as Llama has it, how many a step goes through, and how many of them have weights of their own.

    A step passes the held layers in turn: together they are larger than a GPU's cache, so that weights come from memory as they do in a
    whole model. Grouped-query attention with gated MLP: q and o are hidden_size squared, k and v kv_heads heads wide.
    """

    hidden_size: int
    mlp_size: int
    heads: int
    kv_heads: int
    layers: int
    held_layers: int

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads

    @property
    def projections(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of the weights of a layer: q with k and v, o, gate with up, down."""
        kv_size = self.kv_heads * self.head_size
        return (
            (self.hidden_size, self.hidden_size + 2 * kv_size),
            (self.hidden_size, self.hidden_size),
            (self.hidden_size, 2 * self.mlp_size),
            (self.mlp_size, self.hidden_size),
        )

    @property
    def held_weights(self) -> int:
        """Weights of the held layers, in elements."""
        return self.held_layers * sum(inputs * outputs for inputs, outputs in self.projections)


@dataclass(frozen=True, slots=True)
class StepSize:
    """Tokens of a step: of so many sequences new_tokens each, beside context_tokens of each that the KV cache holds."""

    sequences: int
    new_tokens: int
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Workload:
    """One resident's endless work: a model by its name here, in one phase."""

    model: str
    phase: Phase
    shape: LayerShape
    size: StepSize


# Names of the catalogue, whose shapes the kernels have on a GPU.
GPU_MODELS = {"1B": "meta-llama/Llama-3.2-1B", "8B": "meta-llama/Llama-3.1-8B"}
# Of the 1B model these hold 480 MB in two bytes each, ten times the L2 cache of an H100.
_HELD_LAYERS = 4
# A prompt as long as vLLM's usual max_num_batched_tokens of a small GPU; batches that decoding has at usual loads.
GPU_SIZES: dict[str, dict[Phase, StepSize]] = {
    "1B": {"prefill": StepSize(1, 2048, 0), "decode": StepSize(32, 1, 1024)},
    "8B": {"prefill": StepSize(1, 2048, 0), "decode": StepSize(16, 1, 1024)},
}
# An eighth as wide and a quarter as deep: steps of some milliseconds on one core.
CPU_SHAPES = {"1B": LayerShape(256, 1024, 4, 1, 4, 4), "8B": LayerShape(512, 1792, 4, 1, 8, 8)}
CPU_SIZES: dict[str, dict[Phase, StepSize]] = {
    "1B": {"prefill": StepSize(1, 128, 0), "decode": StepSize(32, 1, 128)},
    "8B": {"prefill": StepSize(1, 64, 0), "decode": StepSize(16, 1, 128)},
}


def _shape_of(model: Architecture) -> LayerShape:
    return LayerShape(model.hidden, model.intermediate, model.heads, model.kv_heads, model.layers, _HELD_LAYERS)


def pairs(device: str) -> list[tuple[Workload, Workload]]:
    """Every two of the models, also twice the same one, in each pair of phases; mirror images once. device is `cpu` or `cuda`."""
    shapes = CPU_SHAPES if device == "cpu" else {name: _shape_of(builtin().model(model)) for name, model in GPU_MODELS.items()}
    sizes = CPU_SIZES if device == "cpu" else GPU_SIZES
    found: list[tuple[Workload, Workload]] = []
    for models in combinations_with_replacement(shapes, 2):
        for phases in GRID:
            one, other = (Workload(model, phase, shapes[model], sizes[model][phase]) for model, phase in zip(models, phases, strict=True))
            if (other, one) not in found:
                found.append((one, other))
    return found


@dataclass(frozen=True, slots=True)
class StepEnds:
    """When the steps of one resident ended, in order, after it began; seconds of a clock that all residents share."""

    begun_s: float
    ends_s: tuple[float, ...]


def mean_steps_s(residents: Sequence[StepEnds]) -> tuple[float, ...]:
    """Mean step time of each resident over the steps that lie wholly in the time in which all of them worked.

    The mean, since slices longer than a step make most steps as short as alone and a few very long: the median would hide what sharing
    costs. Raises ValueError where a resident has no such step.
    """
    begun_s, over_s = max(one.begun_s for one in residents), min(one.ends_s[-1] for one in residents)
    found = []
    for one in residents:
        starts_s = (one.begun_s, *one.ends_s[:-1])
        steps_s = [end_s - start_s for start_s, end_s in zip(starts_s, one.ends_s, strict=True) if start_s >= begun_s and end_s <= over_s]
        if not steps_s:
            raise ValueError("a resident ended no step while all worked")
        found.append(sum(steps_s) / len(steps_s))
    return tuple(found)


def pair_figures(
    pair: tuple[Workload, Workload], alone_s: Sequence[Sequence[float]], together_s: Sequence[Sequence[float]], sharing: PairSharing
) -> dict[str, object]:
    """Step times, slowdowns and interference factors of a pair; alone_s and together_s hold each side's mean step time of every round.

    A slowdown is the median of the rounds' step times together over alone, its factor what profiles.latency.interference makes of it:
    half of it where time slices give each of two half of the GPU, at least 1.
    """
    alone = [median(rounds) for rounds in alone_s]
    together = [median(rounds) for rounds in together_s]
    slowdowns = [both_s / one_s for one_s, both_s in zip(alone, together, strict=True)]
    return {
        "models": [side.model for side in pair],
        "phases": [side.phase for side in pair],
        "alone_s": [round(value, 6) for value in alone],
        "together_s": [round(value, 6) for value in together],
        "slowdowns": [round(value, 4) for value in slowdowns],
        "factors": [round(factor_of(value, sharing), 4) for value in slowdowns],
    }
