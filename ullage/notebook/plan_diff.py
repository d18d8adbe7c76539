"""What changes from one plan to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.plan import Plan
from ullage.notebook.escaped import table_html
from ullage.notebook.frames import frame
from ullage.planning.plan_change import PlanChange, way_between
from ullage.views.plan.diff_text import diff_text, unserved_rps
from ullage.views.tables.move_table import MOVE_COLUMNS, TableRow, move_rows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class PlanDiff(PlanChange):
    """Two plans, and the way from the first, as it runs, to the second."""

    @property
    def unserved_rps(self) -> float:
        """What the second plan leaves unserved beyond the first; below 0 what it serves more."""
        return unserved_rps(self.after) - unserved_rps(self.before)

    def to_frame(self) -> pd.DataFrame:
        """One row per action, with the columns of the table `moves`. Raises ImportError without pandas."""
        return frame(self._rows(), MOVE_COLUMNS)

    def _rows(self) -> list[TableRow]:
        return move_rows(self.actions, (*self.before.desired.replicas, *self.way.started))

    def __str__(self) -> str:
        """Both plans in a line each, and the actions."""
        return diff_text(self.before, self.after, self.actions)

    def __repr__(self) -> str:
        """One line."""
        return f"<PlanDiff: {len(self.actions)} actions, {self.usd_per_h:+.2f} USD/h>"

    def _repr_html_(self) -> str:
        caption = (
            f"{self.before_usd_per_h:.2f} → {self.after_usd_per_h:.2f} USD/h ({self.usd_per_h:+.2f}), "
            f"{self.unserved_rps:+.3g} requests/s unserved, {len(self.actions)} actions"
        )
        return table_html(caption, self._rows(), ("step", "action", "replica", "served_name", "node", "gpus", "reason"))


def diff_of(before: Plan, after: Plan) -> PlanDiff:
    """What turns the first plan, as if it had been applied, into the second."""
    return PlanDiff(before, after, way_between(before, after))
