"""From raw events to trajectories: what counts, and what becomes of what is malformed."""

import pytest

from homeground import Reward
from homeground.base.errors import HomegroundError
from homeground.rollouts import Failure
from homeground.rollouts.client import Identity
from homeground.rollouts.events import read_trajectory
from homeground.rollouts.lifecycle import Attempt

SCORED = {Failure.TIMED_OUT, Failure.CRASHED}


def attempt(task=0, **fields):
    return Attempt("r9", Identity(0, 0, task, 0), "the task", **fields)


def event(response=None, status="ok", kind="model_request", **data):
    return {"event_type": kind, "data": {"response": response, "status": status} | data}


RESPONSE = {
    "prompt_token_ids": [1, 2],
    "weights_version": 4,
    "choices": [
        {"token_ids": [3], "finish_reason": "stop", "logprobs": {"content": [{"token": "x", "logprob": -0.5}]}}
    ],
}


def test_events_become_turns_and_the_last_reward_counts():
    events = [
        event(RESPONSE),
        event({"error": {}}, status="error"),
        event(kind="reward", value=0.2),
        event(kind="something of the agent's own"),
        event(kind="reward", value=0.7),
    ]
    trajectory = read_trajectory(events, attempt(task=3, result=Reward(0.7, {"p": 1.0})))
    (turn,) = trajectory.turns
    assert (list(turn.prompt_ids), list(turn.ids), list(turn.logprobs)) == ([1, 2], [3], [-0.5])
    assert (turn.finish_reason, turn.weights_version) == ("stop", 4)
    assert (trajectory.reward, trajectory.task, trajectory.parts) == (0.7, 3, {"p": 1.0})
    assert (trajectory.refused_calls, trajectory.shortcoming) == (1, None)


def test_what_an_agent_posts_does_not_take_the_place_of_what_our_grader_found():
    posted = [event(RESPONSE), event(kind="reward", value=0.1), event(kind="reward", value=99.0)]
    assert read_trajectory(posted, attempt(result=Reward(0.1))).reward == 0.1
    assert read_trajectory(posted, attempt(result=Reward(None))).reward == 99.0


def test_a_failed_rollout_has_no_reward_even_if_one_was_posted():
    failed = attempt(failure=Failure.CRASHED, error="ValueError: x")
    assert read_trajectory([event(kind="reward", value=0.2)], failed).reward is None


@pytest.mark.parametrize(("failure", "reward"), [(f, -1.0 if f in SCORED else None) for f in Failure])
def test_only_what_the_agent_did_gets_the_reward_of_failures(failure, reward):
    trajectory = read_trajectory([event(RESPONSE)], attempt(failure=failure, error="x"), failure_reward=-1.0)
    assert trajectory.reward == reward


@pytest.mark.parametrize("value", [None, "high", "1", float("nan"), float("inf"), [1.0], {"value": 1}])
def test_a_posted_reward_that_is_no_finite_number_is_a_bad_reward(value):
    trajectory = read_trajectory([event(RESPONSE), event(kind="reward", value=value)], attempt())
    assert (trajectory.reward, trajectory.failure) == (None, Failure.BAD_REWARD)
    assert "the event 'reward' that was posted gave" in trajectory.error
    assert trajectory.error.endswith("which is no finite number (the task 'the task')")


def test_nobody_s_reward_is_told_apart_from_a_bad_one():
    assert read_trajectory([event(RESPONSE)], attempt()).failure is Failure.NO_REWARD


def test_a_rollout_without_a_call_has_nothing_to_train():
    trajectory = read_trajectory([event(kind="reward", value=1.0)], attempt())
    assert (trajectory.reward, trajectory.shortcoming) == (1.0, Failure.NO_CALLS)


def test_an_evaluation_needs_no_logprobs():
    response = RESPONSE | {"choices": [RESPONSE["choices"][0] | {"logprobs": None}]}
    (turn,) = read_trajectory([event(response), event(kind="reward", value=1.0)], attempt(train=False)).turns
    assert (list(turn.ids), list(turn.logprobs)) == ([3], [])


def test_plain_completions_are_turns_too():
    told = {"token_ids": [3], "finish_reason": "stop", "logprobs": {"token_logprobs": [-0.25]}}
    (turn,) = read_trajectory([event(RESPONSE | {"choices": [told]})], attempt()).turns
    assert (list(turn.ids), list(turn.logprobs)) == ([3], [-0.25])


def test_how_often_the_gateway_asked_again_is_counted():
    assert read_trajectory([event(RESPONSE, retry_count=2), event(RESPONSE)], attempt()).retried_calls == 2


@pytest.mark.parametrize("missing", ["prompt_token_ids", "token_ids", "logprobs"])
def test_a_call_without_its_ids_cannot_be_trained(missing):
    response = {k: v for k, v in RESPONSE.items() if k != missing}
    response["choices"] = [{k: v for k, v in RESPONSE["choices"][0].items() if k != missing}]
    with pytest.raises(HomegroundError, match="without its token ids or log-probabilities") as caught:
        read_trajectory([event(response)], attempt())
    assert caught.value.where == "rollout r9"
    assert "in train mode" in caught.value.hint
