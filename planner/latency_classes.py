"""How soon a workload's answers are wanted, as the fleet file and the plan say it."""

from __future__ import annotations

from typing import Literal

LatencyClass = Literal["interactive", "standard", "background"]
