"""What the fleet file asks of places and money, kept with the plan so that it can be judged without that file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRules(_Part):
    """Where a served model may live: pools (empty: any), served models that may not share a GPU with it, whose it is, limits."""

    served_name: str
    pools: tuple[str, ...] = ()
    not_with: tuple[str, ...] = ()
    team: str | None = None
    max_replicas: int | None = None


class PoolRules(_Part):
    """What a pool costs: price per GPU, for the GPUs in use or for whole nodes, min_nodes of them in any case."""

    name: str
    price_usd_per_h: float
    billing: Literal["gpu", "node"]
    min_nodes: int = 0


class Rules(_Part):
    """Rules of models and pools by name; with isolate_teams models of different teams never share a GPU."""

    models: tuple[ModelRules, ...]
    pools: tuple[PoolRules, ...]
    isolate_teams: bool = False
