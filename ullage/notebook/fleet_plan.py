"""A plan as analysts hold it: it draws itself, becomes data frames, explains, compares, renders, simulates and saves itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from planner.plan import Plan, to_json
from profiles.store.measurements import Measurements
from ullage.checking import FindArchitecture, architecture_of, architectures_from, checked
from ullage.inputs import check_target, read_plan, write_text
from ullage.local_files import fleet_folder as folder_of
from ullage.notebook.frames import frame
from ullage.notebook.plan_diff import PlanDiff, diff_of
from ullage.notebook.printed import PrintedText
from ullage.plugins import RENDERERS, load
from ullage.views.plan.diff_text import unserved_rps
from ullage.views.plan.explain_text import explain_text
from ullage.views.plan.plan_text import headline, plan_text
from ullage.views.tables.plan_tables import COLUMNS, plan_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from renderers.manifest import Manifest
    from ullage.notebook.simulated_traffic import SimulatedTraffic

_NOTHING = Measurements()


@dataclass(frozen=True, eq=False, repr=False)
class FleetPlan:
    """A checked plan. Two are equal when their documents are.

    architecture looks up models as they were when the plan was checked: local folders are found from the fleet's folder. measurements are
    those that the plan was made with, which it does not carry. solve_s are the seconds that planning took; None for a plan of a file.
    """

    document: Plan
    architecture: FindArchitecture = architecture_of
    measurements: Measurements = field(default=_NOTHING)
    solve_s: float | None = None

    @property
    def cost_usd_per_h(self) -> float:
        """Cost of the GPUs in use."""
        return self.document.desired.cost_usd_per_h

    @property
    def gap_fraction(self) -> float:
        """How far the worst goal that was optimised may be from its bound; 0 for a plan that is proven optimal."""
        tiers = self.document.desired.certificate.proven_tiers
        return next((tier.gap_fraction for tier in tiers if tier.gap_fraction > 0), 0.0)

    @property
    def gpus_used(self) -> int:
        """GPUs with at least one replica."""
        return self.document.desired.gpus_used

    @property
    def unserved_rps(self) -> float:
        """Demand that no replica carries, of all workloads together."""
        return unserved_rps(self.document)

    def to_frame(self, kind: str = "gpus") -> pd.DataFrame:
        """A table of the plan as a data frame: gpus, replicas, workloads, moves or routes; columns in ullage.views.tables.plan_tables.

        ValueError for an unknown kind, ImportError without pandas.

        >>> plan.to_frame("workloads")[["workload", "rate_rps"]].shape
        (3, 2)
        """
        return frame(plan_rows(self.document, kind), COLUMNS[kind])

    def plot(self) -> Figure:
        """What fills the memory of each GPU, as stacked bars. ImportError without matplotlib.

        >>> len(plan.plot().axes)
        1
        """
        from ullage.notebook.figures import plan_figure

        return plan_figure(self.document.desired)

    def explain(self, subject: str | None = None) -> PrintedText:
        """Why the plan is as it is, or why a workload, model or replica is where it is, as `ullage explain` prints it.

        ValueError for a subject that the plan does not have, or a plan without reasons in it.

        >>> plan.explain("small").splitlines()[0]
        'small'
        """
        return PrintedText(explain_text(self.document.desired, subject))

    def diff(self, other: FleetPlan) -> PlanDiff:
        """What the other plan changes when this one runs.

        >>> print(plan.diff(plan).usd_per_h)
        0.0
        """
        if not isinstance(other, FleetPlan):
            raise ValueError(f"{other!r:.60} is no plan; open_plan() reads one from its file")  # noqa: TRY004 -- as all bad input
        return diff_of(self.document, other.document)

    def render(self, target: str, out: str | Path | None = None, **settings: str) -> Manifest:
        """What a target needs to run or route the plan, also written into the folder out if one is given.

        settings are those of the target (docs/render.md). ValueError for an unknown target; RenderError for a setting or plan that the
        target does not take, and for a folder that cannot be written or holds files that others wrote.

        >>> [file.path for file in plan.render("envoy")][0]
        'eds/large.yaml'
        """
        from renderers.render_target import rendered

        manifest = rendered(target, load("renderers", RENDERERS, target), self.document, settings)
        if out is not None:
            from renderers.files import write

            write(manifest, Path(out), target=target)
        return manifest

    def save(self, path: str | Path) -> Path:
        """Write the plan as `ullage plan -o` does; ValueError where no file can be written. Returns the path."""
        target = Path(path)
        check_target(target)
        write_text(target, to_json(self.document))
        return target

    def simulate(
        self,
        trace: str | Path | None = None,
        *,
        seconds: float | None = None,
        start_s: float | None = None,
        repeat_rate: int = 1,
        workload_of: Mapping[str, str] | None = None,
        scale: Mapping[str, float] | None = None,
        seed: int = 0,
        interference_factor: float = 1.0,
        slow: bool = False,
    ) -> SimulatedTraffic:
        """The plan under the requests of a trace (csv, csv.gz, parquet), or without one at the declared rates, in virtual time.

        seconds is the length of the part that is used (default: the whole trace, without one 600), start_s where it begins (default: where
        it is busiest). Every request is sent repeat_rate times. workload_of names the workloads of tenants that are called otherwise. scale
        multiplies declared rates by workload or model: who yields when demand bursts and nothing is planned anew? seed
        decides step times and declared requests. interference_factor slows active neighbours down beyond their equal share; slow gives
        every step the quantile that the plan was made for. The same input gives the same result. Raises ValueError for bad input.

        >>> plan.simulate("trace.csv").summary.total.requests
        3
        """
        from ullage.notebook.simulated_traffic import SimulatedTraffic
        from ullage.traffic.emulated import store_warning
        from ullage.traffic.plan_traffic import TraceUse, plan_requests
        from ullage.traffic.simulate import simulated

        use = TraceUse(seconds, start_s, repeat_rate, workload_of or {}, scale or {})
        found = simulated(
            self.document,
            plan_requests(self.document, None if trace is None else Path(trace), use, seed),
            seed=seed,
            interference_factor=interference_factor,
            step_quantile=self.document.desired.risk.step_quantile if slow else None,
            measurements=self.measurements,
            architecture=self.architecture,
        )
        return SimulatedTraffic(found, store_warning(self.document, self.measurements))

    def __eq__(self, other: object) -> bool:
        """Whether the documents are equal."""
        return self.document == other.document if isinstance(other, FleetPlan) else NotImplemented

    def __hash__(self) -> int:
        """That of what the plan costs and runs."""
        desired = self.document.desired
        return hash((desired.cost_usd_per_h, tuple(replica.name for replica in desired.replicas)))

    def __str__(self) -> str:
        """The text that `ullage show` prints."""
        return plan_text(self.document)

    def __repr__(self) -> str:
        """One line: what is unserved, GPUs, cost and proof."""
        return f"<FleetPlan: {headline(self.document.desired)}>"

    def _repr_html_(self) -> str:
        from ullage.views.html.plan.plan_fragment import plan_html

        return plan_html(self.document)


def open_plan(path: str | Path, fleet_folder: str | Path | None = None, store: str | Path | None = None) -> FleetPlan:
    """A saved plan, checked. fleet_folder is the folder of the fleet file where local paths start from (default: that of the plan).

    store is the folder of measurements that the plan was made with. DocumentError or CheckError name what is wrong with the plan.

    >>> open_plan("plan.json").gpus_used
    1
    """
    from ullage.profiling.imports import stored

    file = Path(path)
    architecture = architectures_from(folder_of(file, None if fleet_folder is None else Path(fleet_folder)))
    document = checked(read_plan(file), str(file), architecture=architecture)
    return FleetPlan(document, architecture, stored(None if store is None else Path(store)))
