"""profile measure: measure live engines, and rank missing measurements."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profiles.store.measurements import PairSharing
from ullage.cli import completion

if TYPE_CHECKING:
    from ullage.profiling.measure import EngineAsked, SweepAsked

STORE_OPTION = typer.Option("--store", help="The folder that holds the measurements.", show_default=True)
JSON_OPTION = typer.Option("--json", help="Print one JSON object instead of text.")
URL_OPTION = typer.Option("--url", help="The live vLLM server: http://HOST:PORT.")
MODEL_OPTION = typer.Option(
    "--model", autocompletion=completion.models, help="Model that the server runs: a catalogue name or alias, or its own name."
)
GPU_OPTION = typer.Option("--gpu", autocompletion=completion.gpu_types, help="GPU type that the server runs on: a catalogue name or alias.")
SERVED_OPTION = typer.Option(
    "--served-name", help="Name of the model in the server's API, if the server does not tell which model it serves."
)
MIG_OPTION = typer.Option("--mig-profile", help="MIG profile that the server runs on.")
TP_OPTION = typer.Option("--tensor-parallel-size", min=1, help="GPUs per layer.")
QUANTIZATION_OPTION = typer.Option("--quantization", help="Weight quantisation; default the checkpoint's own.")
CONCURRENCY_OPTION = typer.Option("--concurrency", help="Numbers of clients, for example 1,2,4; default 1,2,4 and so on to 128.")
INPUT_OPTION = typer.Option("--input-tokens", help="Prompt lengths; default 128,1024.")
OUTPUT_OPTION = typer.Option("--output-tokens", help="Answer lengths; default 128.")
SECONDS_OPTION = typer.Option(
    "--seconds", min=1.0, help="Longest time for the whole command; default 1800 (for --pair: default 300, at most 600)."
)
LOAD_SECONDS_OPTION = typer.Option("--load-seconds", min=0.1, help="Longest time for one load, without its warm-up.")
CONFIDENCE_OPTION = typer.Option(
    "--confidence", min=0.001, max=1.0, help="End a load when the mean TPOT is known within this fraction of it."
)
TTFT_OPTION = typer.Option("--ttft-ms", min=0.1, help="TTFT goal: stop raising the load when TTFT is far beyond it.")
TPOT_OPTION = typer.Option("--tpot-ms", min=0.1, help="TPOT goal: stop raising the load when TPOT is far beyond it.")
REQUEST_OPTION = typer.Option("--request-seconds", min=0.1, help="A request that takes longer counts as failed.")
PAIR_OPTION = typer.Option("--pair", metavar="MODEL=URL MODEL=URL", help="Measure two live servers on one GPU, alone and together.")
SHARING_OPTION = typer.Option("--sharing", help="How the pair shares its GPU: time_shared or mps.")
NEXT_OPTION = typer.Option(
    "--next", metavar="FLEET", help="Rank missing measurements of this fleet file (or of the fleet file beside this plan) by their worth."
)
LIMIT_OPTION = typer.Option("--limit", min=1, help="Largest number of measurements that --next examines; each takes two plans.")
AGAIN_OPTION = typer.Option("--again", help="Also measure points that the store already has.")

# a sweep of some lengths that a team waits for over lunch
_SWEEP_S = 1800.0
# eight runs of more than half a minute
_PAIR_S = 300.0


def measure(
    url: Annotated[str | None, URL_OPTION] = None,
    model: Annotated[str | None, MODEL_OPTION] = None,
    gpu: Annotated[str | None, GPU_OPTION] = None,
    store: Annotated[Path, STORE_OPTION] = Path("measurements"),
    served_name: Annotated[str | None, SERVED_OPTION] = None,
    mig_profile: Annotated[str | None, MIG_OPTION] = None,
    tensor_parallel_size: Annotated[int, TP_OPTION] = 1,
    quantization: Annotated[str | None, QUANTIZATION_OPTION] = None,
    concurrency: Annotated[str | None, CONCURRENCY_OPTION] = None,
    input_tokens: Annotated[str | None, INPUT_OPTION] = None,
    output_tokens: Annotated[str | None, OUTPUT_OPTION] = None,
    seconds: Annotated[float | None, SECONDS_OPTION] = None,
    load_seconds: Annotated[float, LOAD_SECONDS_OPTION] = 60.0,
    confidence: Annotated[float, CONFIDENCE_OPTION] = 0.05,
    ttft_ms: Annotated[float | None, TTFT_OPTION] = None,
    tpot_ms: Annotated[float | None, TPOT_OPTION] = None,
    request_seconds: Annotated[float, REQUEST_OPTION] = 300.0,
    again: Annotated[bool, AGAIN_OPTION] = False,
    pair: Annotated[tuple[str, str] | None, PAIR_OPTION] = None,
    sharing: Annotated[PairSharing, SHARING_OPTION] = "time_shared",
    next_: Annotated[Path | None, NEXT_OPTION] = None,
    limit: Annotated[int, LIMIT_OPTION] = 8,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Measure a live vLLM server under rising load. Each finished point is kept; run the same command again to continue.

    --pair measures how much two servers on one GPU slow each other down. --next ranks missing measurements by how much the cost of
    the plan depends on them.
    Example: ullage profile measure --url http://127.0.0.1:8000 --model llama-3.1-8b --gpu h100
    """
    from executor.measure.stops import Stops
    from ullage.profiling.measure import EngineAsked, SweepAsked

    loads = (counts("--input-tokens", input_tokens), counts("--output-tokens", output_tokens), counts("--concurrency", concurrency))
    _one_form(url, pair, next_)
    if next_ is not None:
        _next(next_, limit, store, as_json)
        return
    if pair is not None:
        _pair(pair, gpu, sharing, seconds, loads[:2], request_seconds, store, as_json)
        return
    if url is None or model is None or gpu is None:
        missing = [name for name, value in (("--url", url), ("--model", model), ("--gpu", gpu)) if value is None]
        raise ValueError(f"give {' and '.join(missing)}; `ullage profile measure --help` shows an example")
    stops = Stops(load_seconds, confidence, _s(ttft_ms), _s(tpot_ms))
    engine = EngineAsked(url, model, gpu, today(), served_name, mig_profile, tensor_parallel_size, quantization)
    _sweep(engine, SweepAsked(stops, seconds or _SWEEP_S, new_seed(), *loads, request_seconds, again), store, as_json)


def counts(option: str, text: str | None) -> tuple[int, ...]:
    """Whole numbers separated by commas, at least 1 each; none for None."""
    if text is None:
        return ()
    numbers = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 10**7 for part in numbers):
        raise ValueError(f"{option} {text}: write whole numbers of at least 1 with commas between them, like 1,2,4")
    return tuple(map(int, numbers))


def today() -> str:
    """The day that points are dated with."""
    return datetime.now(tz=UTC).date().isoformat()


def new_seed() -> int:
    """For prompts that no engine has seen."""
    return secrets.randbits(64)


def _s(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


def _one_form(url: str | None, pair: tuple[str, str] | None, next_: Path | None) -> None:
    given = [name for name, value in (("--url", url), ("--pair", pair), ("--next", next_)) if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are forms of their own; give one of them")


def _next(file: Path, limit: int, store: Path, as_json: bool) -> None:
    from ullage.inputs import fleet_of, read_fleet, read_plan
    from ullage.profiling.worth import rank
    from ullage.views.measure_text import ranking_json, ranking_text

    if file.suffix == ".json":
        file = fleet_of(file, sorted(read_plan(file).desired.input_hashes))
    found = rank(read_fleet(file), str(store), limit)
    typer.echo(json.dumps(ranking_json(found), sort_keys=True) if as_json else ranking_text(found), nl=as_json)


def _sweep(engine: EngineAsked, asked: SweepAsked, store: Path, as_json: bool) -> None:
    from ullage.profiling.measure import measure as measured
    from ullage.views.measure_text import measured_text
    from ullage.views.progress import measure_progress

    with measure_progress() as on_progress:
        found = measured(engine, asked, store, on_progress)
    typer.echo(json.dumps(asdict(found), sort_keys=True) if as_json else measured_text(found, store), nl=as_json)


def _pair(
    pair: tuple[str, str],
    gpu: str | None,
    sharing: PairSharing,
    seconds: float | None,
    lengths: tuple[tuple[int, ...], ...],
    request_s: float,
    store: Path,
    as_json: bool,
) -> None:
    from ullage.profiling.measure_pair import MOST_PAIR_S, PairAsked, measure_together
    from ullage.views.measure_text import pair_text
    from ullage.views.progress import measure_progress

    if gpu is None:
        raise ValueError("give --gpu: the GPU type that the pair shares")
    if any(len(values) > 1 for values in lengths):
        raise ValueError("--pair takes one --input-tokens (of long prompts) and one --output-tokens (of long answers)")
    total_s = min(seconds or _PAIR_S, MOST_PAIR_S)
    prefill_tokens, decode_tokens = (values[0] if values else None for values in lengths)
    first, second = (_model_and_url(text) for text in pair)
    asked = PairAsked((first, second), gpu, sharing, today(), total_s, new_seed(), prefill_tokens, decode_tokens, request_s)
    with measure_progress() as on_progress:
        found = measure_together(asked, store, on_progress)
    typer.echo(json.dumps(asdict(found), sort_keys=True) if as_json else pair_text(found, store), nl=as_json)


def _model_and_url(text: str) -> tuple[str, str]:
    model, found, address = text.partition("=http")
    if not found or not model:
        raise ValueError(f"--pair {text}: write MODEL=http://HOST:PORT, twice")
    return model, f"http{address}"
