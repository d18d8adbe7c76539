"""What one more workload would add to a fleet or plan: from names and options to an answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.newcomer import PlacementEstimate, Quote
from ullage.fleet_spec import FleetSpec, load
from ullage.inputs import read_state, state_folder
from ullage.notebook.escaped import text_html
from ullage.notebook.frames import frame
from ullage.planning.joining import Newcomer
from ullage.planning.quote import Present, full_quote, present_of_fleet, present_of_plan, quick_quote
from ullage.views.quote_text import estimate_line, quote_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, repr=False)
class QuoteAnswer:
    """What a newcomer would cost, where it would run and who would lose capacity; quote is None where only an estimate was asked for."""

    estimate: PlacementEstimate
    quote: Quote | None

    @property
    def usd_per_h(self) -> float | None:
        """What it adds to the cost; None where there is only an estimate and no room beside what runs."""
        return self.estimate.usd_per_h if self.quote is None else self.quote.usd_per_h

    @property
    def unserved_rps(self) -> float:
        """What of it no replica would carry; 0 for an estimate."""
        return 0.0 if self.quote is None else self.quote.unserved_rps

    def document(self) -> dict[str, Any]:
        """The answer as `ullage quote --json` prints it."""
        return asdict(self.estimate if self.quote is None else self.quote)

    def to_frame(self) -> pd.DataFrame:
        """One row with the answer's fields as columns, lists as text joined by ", ". Raises ImportError without pandas."""
        found = self.estimate if self.quote is None else self.quote
        row = {field.name: _plain(getattr(found, field.name)) for field in fields(found) if field.name != "estimate"}
        return frame([row], tuple(row))

    def __str__(self) -> str:
        """The text that `ullage quote` prints."""
        return f"{estimate_line(self.estimate)}\n" if self.quote is None else quote_text(self.quote)

    def __repr__(self) -> str:
        """Its last word on the cost."""
        lines = str(self).splitlines()
        return f"<QuoteAnswer: {lines[0 if self.quote is None else 1]}>"

    def _repr_html_(self) -> str:
        return text_html(str(self))


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name} {amount:g}" for name, amount in sorted(value.items()))
    return ", ".join(value) if isinstance(value, tuple) else value


def quote_answer(present: Present, newcomer: Newcomer, *, only_estimate: bool = False) -> QuoteAnswer:
    """The newcomer beside what the plan has, confirmed by planning with it unless only_estimate. SpecError names what is wrong with it."""
    if only_estimate:
        return QuoteAnswer(quick_quote(present, newcomer), None)
    found = full_quote(present, newcomer)
    return QuoteAnswer(found.estimate, found)


def newcomer_of(
    model: str,
    *,
    rate: str | float = "1/s",
    input_tokens: str | int = "500",
    output_tokens: str | int | None = None,
    slo: str | None = None,
    latency_class: str = "standard",
    priority: str | int | None = None,
    isolate: bool = False,
) -> Newcomer:
    """A workload as the fleet file would say it; a rate that is a number is in requests/s. slo is TTFT/TPOT at p95, or only TTFT.

    >>> newcomer_of("qwen3-8b", rate=2, slo="500ms/50ms").workload["slo"]
    {'ttft_p95': '500ms', 'tpot_p95': '50ms'}
    """
    demand = {"rate": rate if isinstance(rate, str) else f"{rate:.12g}/s", "input_tokens": str(input_tokens)}
    if output_tokens is not None:
        demand["output_tokens"] = str(output_tokens)
    workload: dict[str, Any] = {"class": latency_class, "demand": demand}
    if slo is not None:
        workload["slo"] = _goals(slo)
    if priority is not None:
        workload["priority"] = str(priority)
    if isolate:
        workload["isolate"] = "true"
    return Newcomer(model, workload)


def _goals(text: str) -> dict[str, str]:
    """TTFT and TPOT of --slo, or only TTFT, as the fleet file says them."""
    ttft, slash, tpot = text.partition("/")
    if not ttft.strip() or bool(slash) != bool(tpot.strip()):
        raise ValueError(f"--slo {text}: write TTFT/TPOT, for example 500ms/50ms, or only TTFT, for example 500ms")
    return {"ttft_p95": ttft.strip(), **({"tpot_p95": tpot.strip()} if slash else {})}


def present_at(file: FleetSpec | Path, plan_of: Path | None = None, state: Path | None = None) -> Present:
    """What the newcomer comes to: a plan (.json) as reviewed, or a fleet or its file, planned against what runs.

    plan_of is the fleet file of a plan (default: the one beside it), state the state folder of a fleet file (default: .ullage beside it).
    Raises ValueError for options that are not about such a file.
    """
    if isinstance(file, Path) and file.suffix == ".json":
        if state is not None:
            raise ValueError(f"--state {state}: {file} is a plan and says itself what runs; leave --state out")
        return present_of_plan(file, plan_of)
    if plan_of is not None:
        raise ValueError(f"--fleet {plan_of}: only with a plan (.json) in place of {file}")
    spec = file if isinstance(file, FleetSpec) else load(file)
    return present_of_fleet(spec, read_state(state_folder(spec.path, state)))


def quote(
    fleet: FleetSpec | str | Path,
    *,
    model: str,
    rate: str | float = "1/s",
    input_tokens: str | int = "500",
    output_tokens: str | int | None = None,
    slo: str | None = None,
    latency_class: str = "standard",
    priority: str | int | None = None,
    isolate: bool = False,
    plan_of: str | Path | None = None,
    state: str | Path | None = None,
    only_estimate: bool = False,
) -> QuoteAnswer:
    """What one more workload would cost a fleet (or its file), or a plan (.json) made from one: as `ullage quote`.

    model is a name of the fleet file or of the catalogue. The others are those of newcomer_of(), present_at() and quote_answer().

    >>> quote("plan.json", model="small", rate="0.01/s", only_estimate=True).usd_per_h
    0.0
    """
    paths = tuple(None if path is None else Path(path) for path in (plan_of, state))
    present = present_at(fleet if isinstance(fleet, FleetSpec) else Path(fleet), *paths)
    newcomer = newcomer_of(
        model,
        rate=rate,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        slo=slo,
        latency_class=latency_class,
        priority=priority,
        isolate=isolate,
    )
    return quote_answer(present, newcomer, only_estimate=only_estimate)
