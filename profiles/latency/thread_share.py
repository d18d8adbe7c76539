"""What a part of a GPU's threads reaches, where MPS gives an engine no more.

MPS caps the streaming multiprocessors (SMs) of a client and reserves nothing: memory bandwidth belongs to whoever asks. Products of
matrices take 1 / fraction as long. Reading memory suffers less, since a part of the SMs can ask for all of the bandwidth.
"""

from __future__ import annotations

# Our choice, on the safe side of the one public table: on an A100, half of the SMs made decode steps 14 % longer at a batch of 32 and
# 35 % at 128, and prefill 64 % (MuxServe, Duan et al., ICML 2024). This makes reading 33 % longer, and products 100 %.
_BANDWIDTH_PER_THREADS = 1.5


def reached_bandwidth_fraction(thread_fraction: float) -> float:
    """The part of a GPU's memory bandwidth that so many of its threads reach, alone on it; fractions in (0, 1]."""
    return min(1.0, _BANDWIDTH_PER_THREADS * thread_fraction)
