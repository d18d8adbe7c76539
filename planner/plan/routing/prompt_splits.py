"""Prompts of one model that two groups of replicas serve, by their length: the router's rule, and why it was made or not."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.plan.bounds import Money, PerSecond, PlanPart, Tokens

# 64 bytes for each of a hundred million tokens.
BodyBytes = Annotated[int, Field(ge=1, le=6_400_000_000)]


class LongPrompts(PlanPart):
    """Requests whose body has more than over_bytes bytes, or whose length is not known before they are read.

    At a route served_name is the model whose route takes them; at a replica it is the one whose requests it takes. A router sees bytes:
    over_bytes are over_tokens tokens of bytes_per_token bytes each. Both groups take prompts of every length, so none fails.
    """

    served_name: str
    over_tokens: Tokens
    bytes_per_token: Annotated[float, Field(gt=0, le=64)]
    over_bytes: BodyBytes


class PromptSplit(PlanPart):
    """What became of a workload that may be split: where it is (longer is None: it is not), and why.

    unsplit_usd_per_h and split_usd_per_h are costs of the whole fleet without a split and with the best one that was tried, as the quick
    engine finds them (in a verified plan: as simulation confirms them), and the lost rates those of all workloads that have no replica or
    are late beyond what the goal allows; None where no split was tried.
    """

    workload: str
    served_name: str
    longer: LongPrompts | None
    long_workload: str | None
    unsplit_usd_per_h: Money
    unsplit_lost_rps: PerSecond
    split_usd_per_h: Money | None
    split_lost_rps: PerSecond | None
    reason: str

    @property
    def saved_usd_per_h(self) -> float:
        """What the split saves; 0 where there is none."""
        if self.longer is None or self.split_usd_per_h is None:
            return 0.0
        return self.unsplit_usd_per_h - self.split_usd_per_h
