"""From a rollout's raw events in the gateway to its trajectory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.base.reward import Reward
from homeground.rollouts.guarded import RolloutFailedError, checked_result
from homeground.rollouts.lifecycle import SCORED, Attempt
from homeground.rollouts.trajectory import Failure, Trajectory, Turn


def read_trajectory(
    events: Sequence[dict[str, Any]], attempt: Attempt, *, failure_reward: float | None = None, lost: int = 0
) -> Trajectory:
    """A trajectory: calls that succeeded become turns. A reward that was told here counts, else the last one posted.

    Agents can post rewards too, so an event never takes the place of what our own grader found.

    Args:
        events: of the rollout, in order.
        attempt: that has ended.
        failure_reward: of a failure that may have one.
        lost: how many attempts at its step were lost before.

    Raises:
        HomegroundError: a call's event lacks the sampled ids, so it cannot be trained.
    """
    calls = [event["data"] for event in events if event["event_type"] == "model_request"]
    answered = [call for call in calls if call["status"] == "ok"]
    failure, error, result = attempt.failure, attempt.error, attempt.result or Reward(None)
    if failure is None:
        try:
            if result.value is None:
                result = replace(result, value=reward_of(events, attempt.task))
            result = checked_result(result, "the agent", attempt.task)
        except RolloutFailedError as failed:
            failure, error = failed.failure, failed.words
    reward = None
    if failure is None:
        reward = result.value
    elif failure in SCORED:
        reward = failure_reward
    return Trajectory(
        attempt.rollout_id,
        attempt.who.task,
        list(itertools.chain.from_iterable(_turns(call["response"], attempt) for call in answered)),
        reward,
        parts=result.parts if failure is None else {},
        outcome=result.outcome,
        error=error,
        failure=failure,
        refused_calls=len(calls) - len(answered),
        retried_calls=sum(call.get("retry_count", 0) for call in calls),
        attempt=lost,
    )


def reward_of(events: Sequence[dict[str, Any]], task: Any) -> float:
    """Last posted reward, as in Agent Lightning's own trainer.

    Raises:
        RolloutFailedError: there is none, or it is not a finite number.
    """
    posted = [event["data"] for event in events if event["event_type"] == "reward"]
    if not posted:
        raise RolloutFailedError(Failure.NO_REWARD, "nobody told a reward")
    result = checked_result(Reward(posted[-1].get("value")), "the event 'reward' that was posted", task)
    assert result.value is not None
    return result.value


def _turns(response: dict[str, Any], attempt: Attempt) -> list[Turn]:
    """A turn for each answer of a call."""
    turns: list[Turn] = []
    for choice in response["choices"]:
        # Evaluation is not trained on, and the gateway asks for no log-probabilities there.
        told = choice.get("logprobs") or (None if attempt.train else {"token_logprobs": []})
        if "prompt_token_ids" not in response or "token_ids" not in choice or not told:
            raise HomegroundError(
                "a model call was recorded without its token ids or log-probabilities",
                where=f"rollout {attempt.rollout_id}",
                hint="the gateway must call Homeground's model server, in train mode",
            )
        # Chat completions tell them token by token, plain completions as one list.
        logprobs = [entry["logprob"] for entry in told["content"]] if "content" in told else told["token_logprobs"]
        turns.append(
            Turn(
                response["prompt_token_ids"],
                choice["token_ids"],
                logprobs,
                choice["finish_reason"],
                response["weights_version"],
            )
        )
    return turns
