"""Steps of an engine that decodes speculatively, out of its own steps and those of its draft model."""

from __future__ import annotations

from dataclasses import replace

from profiles.latency.steptime import StepTime


def speculative_step(alone: StepTime, draft: StepTime | None, proposed_tokens: int) -> StepTime:
    """As if none of the proposed tokens was ever accepted: how many are depends on what people write.

    Each request that decodes computes its proposed tokens besides its own, after as many steps of the draft model, which reads every
    prompt too. Without a draft model tokens are looked up, which takes the GPU no time.
    """
    verified = replace(
        alone,
        per_sequence_s=alone.per_sequence_s + proposed_tokens * alone.per_token_s,
        provenance=f"{alone.provenance}; speculative decoding counts as if no proposed token was accepted",
    )
    if draft is None:
        return verified
    return replace(
        verified,
        base_s=verified.base_s + proposed_tokens * (draft.base_s + draft.expert_s),
        per_token_s=verified.per_token_s + draft.per_token_s,
        per_kv_token_s=verified.per_kv_token_s + proposed_tokens * draft.per_kv_token_s,
        per_sequence_s=verified.per_sequence_s + proposed_tokens * (draft.per_sequence_s + draft.per_token_s),
        per_pair_s=verified.per_pair_s + draft.per_pair_s,
    )
