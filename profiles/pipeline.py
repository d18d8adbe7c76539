"""Pipeline parallelism: which stage holds how many layers, as vLLM divides them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from profiles.models import Architecture
from profiles.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class Stage:
    """One pipeline stage: its layers out of all, and whether it holds the input embedding (first) and the output head (last)."""

    layers: int
    all_layers: int
    first: bool
    last: bool

    @property
    def part(self) -> float:
        """Its share of the layers."""
        return self.layers / self.all_layers


def stages(architecture: Architecture, settings: EngineSettings) -> tuple[Stage, ...]:
    """The stages in order.

    What an even division leaves over goes to the stages before the last, from the back (get_pp_indices in vllm/distributed/utils.py, 0.32).
    """
    size = settings.pipeline_parallel_size
    least, over = divmod(architecture.layers, size)
    counts = [least] * size
    for position in range(2, over + 2):
        counts[-position] += 1
    return tuple(_stages(counts, architecture.layers))


def _stages(counts: list[int], layers: int) -> Iterator[Stage]:
    for position, count in enumerate(counts):
        yield Stage(count, layers, first=position == 0, last=position == len(counts) - 1)


def largest_stage_layers(architecture: Architecture, settings: EngineSettings) -> int:
    """Layers of the stage that holds the most."""
    return -(-architecture.layers // settings.pipeline_parallel_size)
