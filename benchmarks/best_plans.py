"""The best plans known for the instances of benchmarks.scale: how far a run is from them, and a table that better runs update.

benchmarks/best_known.json maps "gpus/models/seed/constraints" (constraints: "none", or the kinds in alphabetical order with commas) to
cost_usd_per_h and unserved_rps, one number per priority, the highest first. A key that is not there has no plan yet.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.instance import read_record
from planner.problem import MICRO
from profiles.sources.reading import SourceRecord

TABLE = Path(__file__).with_name("best_known.json")


@dataclass(frozen=True, slots=True)
class KnownPlan:
    """What a plan leaves unserved per priority, highest first, and what it costs: compared in this order."""

    unserved_rps: tuple[float, ...]
    cost_usd_per_h: float

    @property
    def goals(self) -> tuple[int, ...]:
        """All goals in micro-units, as engines compare them."""
        return tuple(round(value * MICRO) for value in (*self.unserved_rps, self.cost_usd_per_h))


def key_of(gpus: int, models: int, seed: int, constraints: Sequence[str]) -> str:
    """The key of an instance."""
    return f"{gpus}/{models}/{seed}/{','.join(sorted(constraints)) or 'none'}"


def read_known(path: Path, key: str) -> KnownPlan | None:
    """The best plan known for an instance; None where there is none. ValueError and OSError say what is wrong with the table."""
    table = read_record(path)
    return _plan(table.table(key)) if table.has(key) else None


def _plan(written: SourceRecord) -> KnownPlan:
    values = written.items("unserved_rps")
    numbered = SourceRecord(written.file, {f"unserved_rps[{at}]": value for at, value in enumerate(values)}, written.prefix)
    return KnownPlan(tuple(numbered.amount(name) for name in numbered.values), written.amount("cost_usd_per_h"))


def gap_fraction(plan: KnownPlan, known: KnownPlan | None) -> float | None:
    """(value - best known) / value of the first goal in which they differ; None where no plan is known.

    Below zero, as a part of the known value, where the plan is better.
    """
    if known is None:
        return None
    if len(known.unserved_rps) != len(plan.unserved_rps):
        raise ValueError(f"the best known plan has {len(known.unserved_rps)} priorities, this one {len(plan.unserved_rps)}: drop it")
    value, best = next(((ours, theirs) for ours, theirs in zip(plan.goals, known.goals, strict=True) if ours != theirs), (0, 0))
    return round((value - best) / max(value, best, 1), 6)


def remember(path: Path, key: str, plan: KnownPlan) -> None:
    """Write a plan into the table where none is known for its key, or a worse one."""
    known = read_known(path, key)
    if known is not None and known.goals <= plan.goals:
        return
    table = dict(read_record(path).values)
    table[key] = {"cost_usd_per_h": plan.cost_usd_per_h, "unserved_rps": list(plan.unserved_rps)}
    path.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")
