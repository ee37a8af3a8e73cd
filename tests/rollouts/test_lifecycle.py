"""The states of a rollout: every way leads to one end, and every failure has its place and its counter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.rollouts import Failure, Trajectory, Turn
from homeground.rollouts.client import Identity
from homeground.rollouts.lifecycle import MOVES, SCORED, Attempt, State, counters

FINAL = {State.SUCCEEDED, State.FAILED, State.LOST}


def attempt():
    return Attempt("r", Identity(0, 0, 0, 0), "task")


@given(st.lists(st.sampled_from(State), max_size=12))
def test_whatever_happens_an_attempt_ends_at_most_once(states):
    one, ends = attempt(), 0
    for state in states:
        possible = state in MOVES.get(one.state, ())
        try:
            one.move(state)
        except RuntimeError:
            assert not possible
            continue
        assert possible
        ends += one.state in FINAL
    assert ends == (one.state in FINAL)


def test_every_state_that_is_not_final_leads_to_every_end_and_no_final_one_leads_on():
    def reachable(state):
        found = MOVES.get(state, frozenset())
        return found | {end for state in found for end in reachable(state)}

    assert all(reachable(state) >= FINAL for state in State if state not in FINAL)
    assert all(not reachable(state) for state in FINAL)


def test_ending_twice_is_our_mistake():
    one = attempt()
    one.move(State.RUNNING)
    one.fail(Failure.CRASHED, "x")
    with pytest.raises(RuntimeError, match="rollout r is failed: it cannot become succeeded"):
        one.move(State.SUCCEEDED)


def test_every_failure_has_a_counter_and_only_those_of_the_agent_may_be_scored():
    assert {Failure.TIMED_OUT, Failure.CRASHED} == SCORED
    assert {f"failed/{failure}" for failure in Failure} <= set(counters([]))


def test_counters_count():
    turn = Turn([1], [2], [-0.5], "stop", 0)
    told = counters(
        [
            Trajectory("a", 0, [turn, turn], 1.0, retried_calls=2),
            Trajectory("b", 0, [turn], None, failure=Failure.TIMED_OUT, refused_calls=1),
            Trajectory("c", 1, [], 1.0, attempt=1),
            Trajectory("d", 1, [turn, Turn([7], [2], [-0.5], "stop", 0)], -1.0, failure=Failure.CRASHED),
        ]
    )
    assert told == {
        "failed/timed_out": 1,
        "failed/crashed": 1,
        "failed/no_reward": 0,
        "failed/bad_reward": 0,
        "failed/no_calls": 1,
        "paths/fork": 1,
        "paths/rewritten": 0,
        "paths/separate": 1,
        "refused_calls": 1,
        "retried_calls": 2,
        "lost_attempts": 1,
    }
