"""The optimiser's whole world: a solver-neutral Problem in integers, its Solution, and the judge of both.

This package imports nothing of ours: an engine sees a Problem and never the spec it came from.
"""

from planner.problem.accounting import (
    blocks_used,
    cost,
    nodes_needed,
    objective,
    priorities,
    shortfall,
    unserved,
    unserved_by_priority,
)
from planner.problem.model import (
    MICRO,
    Billing,
    Demand,
    MigSlot,
    Mode,
    Pattern,
    Place,
    Placed,
    Pool,
    Problem,
    Progress,
    Shape,
    Solution,
    Solve,
    Status,
    Watch,
)
from planner.problem.nodes import Machine, NodeLoss, machine, node_losses, with_reserve, without_tolerance
from planner.problem.violations import fits_layout, pattern_violations, placement_violations, violations

__all__ = [
    "MICRO",
    "Billing",
    "Demand",
    "Machine",
    "MigSlot",
    "Mode",
    "NodeLoss",
    "Pattern",
    "Place",
    "Placed",
    "Pool",
    "Problem",
    "Progress",
    "Shape",
    "Solution",
    "Solve",
    "Status",
    "Watch",
    "blocks_used",
    "cost",
    "fits_layout",
    "machine",
    "node_losses",
    "nodes_needed",
    "objective",
    "pattern_violations",
    "placement_violations",
    "priorities",
    "shortfall",
    "unserved",
    "unserved_by_priority",
    "violations",
    "with_reserve",
    "without_tolerance",
]
