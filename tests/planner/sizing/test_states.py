"""Candidates of models with recurrent states: never more sequences than the pool has blocks, or a pool for all that were asked for."""

from __future__ import annotations

import pytest

from planner.check import check
from planner.plan import State
from planner.sizing.blueprint import build
from planner.sizing.candidates import Candidate
from profiles.catalogue import builtin
from profiles.memory.kv import kv_blocks
from profiles.memory.pool import pool_reason
from tests.fleets import fleet, workload
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

POOLS = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h"}}
HYBRID = {"source": "Qwen/Qwen3.6-27B", "max_model_len": 32768}


def _candidates(**settings: object) -> tuple[Candidate, ...]:
    chat = workload("q36", rate="0.2/s")
    return build(fleet(pools=POOLS, models={"q36": {**HYBRID, **settings}}, workloads={"chat": chat}), State()).candidates


def _blocks(candidate: Candidate) -> int:
    return kv_blocks(candidate.group.model.architecture, candidate.settings, candidate.kv_bytes)


@pytest.mark.parametrize("stated", [None, 48, 256])
def test_every_pool_has_a_block_for_each_sequence(stated: int | None) -> None:
    found = _candidates() if stated is None else _candidates(max_num_seqs=stated)
    assert found
    for candidate in found:
        assert pool_reason(candidate.group.model.architecture, candidate.settings, candidate.kv_bytes) is None
        assert candidate.settings.max_num_seqs <= _blocks(candidate)


def test_fewer_sequences_where_nobody_chose_them_and_a_larger_pool_where_somebody_did() -> None:
    smallest = min(_candidates(), key=_blocks)
    assert smallest.mode == "time_shared"
    assert smallest.settings.max_num_seqs == _blocks(smallest) < 256
    stated = _candidates(max_num_seqs=256)
    assert {candidate.settings.max_num_seqs for candidate in stated} == {256}
    assert min(map(_blocks, stated)) >= 256


def test_eager_engines_keep_their_sequences() -> None:
    found = _candidates(enforce_eager=True, max_num_seqs=1024)
    assert {candidate.settings.max_num_seqs for candidate in found} == {1024}
    assert min(map(_blocks, found)) < 1024


def test_what_does_not_fit_for_its_states_says_so() -> None:
    chat = workload("q36", rate="0.2/s")
    models = {"q36": {**HYBRID, "max_num_seqs": 1024, "tensor_parallel": [1]}}
    found = build(fleet(pools=POOLS, models=models, workloads={"chat": chat}), State())
    assert found.candidates == ()
    assert {
        "states of 1024 sequences (max_num_seqs) 50176 MiB" in refusal.reason for refused in found.refusals.values() for refusal in refused
    } == {True}


def test_a_plan_with_more_sequences_than_blocks_is_refused() -> None:
    plan = plan_fleet(fleet(pools=POOLS, models={"q36": HYBRID}, workloads={"chat": workload("q36", rate="0.2/s")}), State()).plan
    assert list(check(plan, builtin().gpu, architecture_of, State())) == []
    (replica,) = plan.desired.replicas
    args = replica.args.model_copy(update={"max_num_seqs": 2048})
    edited = plan.desired.model_copy(update={"replicas": (replica.model_copy(update={"args": args}),)})
    problems = list(check(plan.model_copy(update={"desired": edited}), builtin().gpu, architecture_of, State()))
    assert any("max_num_seqs 2048 is more than the" in problem for problem in problems)
