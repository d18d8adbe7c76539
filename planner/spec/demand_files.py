"""The files that demands of a fleet file come from: traces and forecasts, each read and parsed once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from planner.demand.forecast import DemandForecast
from planner.demand.recorded import DemandFileError, read_document
from planner.demand.traces import TraceError, TraceRequest, parse_trace
from planner.spec.declared_demand import DeclaredForecast, DeclaredTrace
from planner.spec.messages import Loc
from planner.spec.pools import Report
from profiles.store.store_folder import Read

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class Trace:
    """A parsed trace, its requests by tenant, and its span: the last arrival of all tenants."""

    requests: tuple[TraceRequest, ...]
    by_tenant: Mapping[str, tuple[TraceRequest, ...]]
    span_s: float


def index_trace(requests: Sequence[TraceRequest]) -> Trace:
    """Group a trace by tenant once, for all workloads that read it."""
    by_tenant: defaultdict[str, list[TraceRequest]] = defaultdict(list)
    for request in requests:
        by_tenant[request.tenant].append(request)
    return Trace(tuple(requests), {tenant: tuple(own) for tenant, own in by_tenant.items()}, requests[-1].arrival_s)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the files hold that demands name, by their names in the fleet file; those that are wrong are not in it."""

    traces: Mapping[str, Trace]
    forecasts: Mapping[str, DemandForecast]

    def lacks(self, demand: object) -> bool:
        """Whether the demand is of a file that is not there."""
        if isinstance(demand, DeclaredForecast):
            return demand.forecast not in self.forecasts
        return isinstance(demand, DeclaredTrace) and demand.trace not in self.traces


@dataclass(frozen=True, slots=True)
class DemandFiles:
    """Where they are, how they are read, and who hears what is wrong with them; hashes gets the SHA-256 of each that was read."""

    folder: Path
    read: Read
    hashes: MutableMapping[str, str]
    report: Report
    _failed: set[str] = field(default_factory=set)

    def traces(self, raw: Mapping[str, Any]) -> dict[str, Trace]:
        """Every trace that a demand names."""
        return self._files(raw, "trace", lambda name, content: index_trace(parse_trace(name, content)))

    def forecasts(self, raw: Mapping[str, Any]) -> dict[str, DemandForecast]:
        """Every forecast that a demand names."""
        return self._files(raw, "forecast", lambda name, content: read_document(DemandForecast, content, name))

    def _files(self, raw: Mapping[str, Any], form: str, parsed: Callable[[str, bytes], _Parsed]) -> dict[str, _Parsed]:
        """The files of one form of demand; the first mention of one carries what is wrong with it."""
        found: dict[str, _Parsed] = {}
        for loc, name in _names(raw, form):
            if name in found or name in self._failed:
                continue
            try:
                content = self.read(self.folder / name)
                found[name] = parsed(name, content)
                self.hashes[name] = hashlib.sha256(content).hexdigest()
            except (TraceError, DemandFileError) as error:
                self._failed.add(name)
                self.report(loc, str(error))
            except (OSError, ValueError) as error:
                self._failed.add(name)
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
                hint = "; `ullage demand forecast` makes it" if form == "forecast" and isinstance(error, FileNotFoundError) else ""
                self.report(loc, f"{name!r} cannot be read: {reason}{hint}")
        return found


def _names(raw: Mapping[str, Any], form: str) -> Iterator[tuple[Loc, str]]:
    workloads = raw.get("workloads")
    for workload, declared in workloads.items() if isinstance(workloads, dict) else ():
        demand = declared.get("demand") if isinstance(declared, dict) else None
        name = demand.get(form) if isinstance(demand, dict) else None
        if isinstance(name, str) and name:
            yield ("workloads", workload, "demand", form), name
