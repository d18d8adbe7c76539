"""What a simulation of a plan found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.simulation.traffic_metrics import Summary
from ullage.notebook.escaped import table_html
from ullage.notebook.frames import frame
from ullage.traffic.simulate import SimulatedPlan
from ullage.views.tables.move_table import TableRow
from ullage.views.tables.plan_tables import known_kind
from ullage.views.tables.traffic_tables import TRAFFIC_COLUMNS, result_rows, use_rows, utilisation_rows
from ullage.views.traffic_text import traffic_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, repr=False)
class SimulatedTraffic:
    """Attainment per workload and use per GPU, in all and over time. warning says why it may differ from the plan's own forecast."""

    found: SimulatedPlan
    warning: str | None = None

    @property
    def summary(self) -> Summary:
        """Results per workload and in total."""
        return self.found.summary

    @property
    def attainment_fraction(self) -> Mapping[str, float | None]:
        """Workload -> share of its requests that met both goals; None without requests."""
        return {row.workload: row.attainment_fraction for row in self.found.summary.workloads}

    def rows(self, kind: str = "workloads") -> list[TableRow]:
        """The rows of a table: workloads, gpus or utilisation (per GPU and part of the time). ValueError for another kind."""
        known_kind(kind, TRAFFIC_COLUMNS)
        if kind == "workloads":
            return result_rows(self.found.summary)
        return use_rows(self.found.gpus) if kind == "gpus" else utilisation_rows(self.found.utilisation)

    def to_frame(self, kind: str = "workloads") -> pd.DataFrame:
        """The rows of a table as a data frame. Raises ValueError for an unknown kind, ImportError without pandas."""
        return frame(self.rows(kind), TRAFFIC_COLUMNS[kind])

    def plot(self) -> Figure:
        """Attainment per workload with its 95 % interval, and how busy the GPUs are over time. Raises ImportError without matplotlib."""
        from ullage.notebook.figures import simulation_figure

        return simulation_figure(self.found)

    def __str__(self) -> str:
        """The tables that `ullage simulate` prints."""
        return traffic_text(self.found.summary, self.found.gpus)

    def __repr__(self) -> str:
        """One line."""
        total = self.found.summary.total
        met = (
            "no requests" if total.attainment_fraction is None else f"{total.attainment_fraction:.2%} of {total.requests} requests in time"
        )
        return f"<SimulatedTraffic: {met}>"

    def _repr_html_(self) -> str:
        shown = ("workload", "requests", "errors", "attainment_fraction", "ttft_p95_s", "tpot_p95_s")
        caption = f"Simulated: {repr(self).partition(': ')[2][:-1]}" + (f"; {self.warning}" if self.warning else "")
        return table_html(caption, self.rows(), shown) + table_html("GPUs", self.rows("gpus"), TRAFFIC_COLUMNS["gpus"])
