"""How much room models are sized with, round by round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.verification.room_search import RoomSearch

_ROUNDS = 40
_WIDTH = 1.15


def test_what_is_enough_gets_less_and_what_is_denied_gets_more() -> None:
    search = RoomSearch({"calm": 1.0, "crowded": 1.0}).after({"crowded"})
    assert search.factors == {"calm": 0.6, "crowded": 1.15}
    search = search.after({"calm"})
    assert search.factors["calm"] == pytest.approx((0.6 * 1.0) ** 0.5)
    assert search.factors["crowded"] == 1.15  # 1.0 and 1.15 are as close as it looks
    assert not search.settled


def test_no_model_gets_less_than_a_twentieth() -> None:
    search = RoomSearch({"calm": 1.0})
    for _ in range(_ROUNDS):
        search = search.after(())
    assert search.factors == {"calm": 0.05}
    assert search.settled


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0.06, 3.0), min_size=1, max_size=4))
def test_every_model_ends_just_above_what_it_needs(needed: dict[str, float]) -> None:
    search = RoomSearch(dict.fromkeys(needed, 1.0))
    for _ in range(_ROUNDS):
        search = search.after({name for name, factor in search.factors.items() if factor < needed[name]})
    assert search.settled
    assert all(needed[name] <= factor <= needed[name] * _WIDTH for name, factor in search.factors.items())


def test_a_floor_holds_for_the_round_alone() -> None:
    search = RoomSearch({"calm": 1.0, "short": 1.0}).after({"short"}).at_least(1.0)
    assert search.factors == {"calm": 1.0, "short": 1.15}
    assert search.after(()).factors == {"calm": 0.6, "short": 1.15}


def test_a_careful_end_gives_what_sizing_asks_for_to_those_that_crowd_a_gpu() -> None:
    search = RoomSearch({"calm": 0.36, "bold": 0.6, "large": 1.1}).after({"bold", "large"}, careful=True)
    assert search.factors == {"calm": 0.36, "bold": 1.0, "large": pytest.approx(1.1 * 1.15)}


@given(st.lists(st.sets(st.sampled_from("ab")), max_size=12))
def test_answers_that_contradict_each_other_leave_a_factor_to_try(rounds: list[set[str]]) -> None:
    search = RoomSearch({"a": 1.0, "b": 1.0})
    for crowded in rounds:
        search = search.after(crowded)
        assert set(search.factors) == {"a", "b"}
        assert all(0.05 <= factor < 1.15 ** (len(rounds) + 1) for factor in search.factors.values())
