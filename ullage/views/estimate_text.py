"""An estimate as text."""

from __future__ import annotations

from profiles.latency.prediction import Band
from ullage.profiling.estimate import LatencyEstimate
from ullage.views.words import table


def estimate_text(found: LatencyEstimate) -> str:
    """What was estimated, for whom and from what, with its band; ends in a newline."""
    device = found.gpu if found.mig_profile is None else f"{found.gpu} {found.mig_profile}"
    weights = found.quantization or "unquantised"
    lines = [
        f"{found.model} on {device}, tensor parallel {found.tensor_parallel_size}, {weights}: estimated",
        f"{found.input_tokens} + {found.output_tokens} tokens; {found.provenance}",
        *([f"does not fit: {found.does_not_fit}"] if found.does_not_fit else []),
        "",
        *table(
            [
                ("", "p10 ms", "p50 ms", "p90 ms"),
                ("TTFT on an idle engine", *_cells(found.prefill)),
                *((f"TPOT of {row.requests} together", *_cells(row.tpot)) for row in found.batches),
            ]
        ),
        "",
        "These times contain no queueing and no prefills between decode steps: `ullage plan` adds them for the declared load.",
    ]
    return "\n".join(lines) + "\n"


def _cells(band: Band) -> tuple[str, str, str]:
    return (f"{band.p10_s * 1000:.1f}", f"{band.p50_s * 1000:.1f}", f"{band.p90_s * 1000:.1f}")
