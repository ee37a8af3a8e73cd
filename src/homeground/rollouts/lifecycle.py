"""Life and end of a rollout: its states, the moves between them, and the failures that may be trained on.

An *attempt* is one run of an agent on a task. It ends exactly once; its states and the only moves between them are
:data:`MOVES`. When the gateway dies, all attempts of the step are lost and every rollout of the step is attempted
again under a new name, so nothing of a lost attempt can be trained. Each failure has a counter in the step's metrics,
``failed/NAME``; those in :data:`SCORED` may get a reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from homeground.base.reward import Reward
from homeground.rollouts.client import Identity
from homeground.rollouts.trajectory import Failure, PathStart, Trajectory


class State(StrEnum):
    """Where an attempt stands; the last three are final."""

    QUEUING = "queuing"
    RUNNING = "running"
    GRADING = "grading"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"


MOVES: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.QUEUING: frozenset({State.RUNNING, State.FAILED, State.LOST}),
        State.RUNNING: frozenset({State.GRADING, State.FAILED, State.LOST}),
        State.GRADING: frozenset({State.SUCCEEDED, State.FAILED, State.LOST}),
    }
)
"""States that may follow each state that is not final; anything else is a mistake of ours."""

SCORED = frozenset({Failure.TIMED_OUT, Failure.CRASHED})
"""Failures of the agent, and with it of the model: `failure_reward` may train it that they are bad.

A rollout that failed otherwise is left out of its group, neither trained nor part of its siblings' baseline: what the
grader did says nothing about the model, and where nothing was sampled there is nothing to train.
"""


@dataclass
class Attempt:
    """One attempt at a rollout.

    Attributes:
        rollout_id: its name in the gateway.
        who: which rollout of which step.
        task: what the agent gets.
        train: False for evaluation.
        state: where it stands.
        result: what the agent, or its grader, returned.
        failure, error: how and why it failed.
    """

    rollout_id: str
    who: Identity
    task: Any
    train: bool = True
    state: State = State.QUEUING
    result: Reward | None = None
    failure: Failure | None = None
    error: str | None = None

    def move(self, state: State) -> None:
        """Enter a state.

        Raises:
            RuntimeError: :data:`MOVES` does not lead there.
        """
        if state not in MOVES.get(self.state, ()):
            raise RuntimeError(f"rollout {self.rollout_id} is {self.state}: it cannot become {state}")
        self.state = state

    def fail(self, failure: Failure, error: str) -> None:
        """End it."""
        self.move(State.FAILED)
        self.failure, self.error = failure, error


def counters(trajectories: Sequence[Trajectory]) -> dict[str, int]:
    """What is counted of a step's rollouts, for the log; every counter is there, also at 0."""
    failures = [t.failure or t.shortcoming for t in trajectories]
    starts = [path.start for t in trajectories for path in t.paths]
    return {
        **{f"failed/{failure}": failures.count(failure) for failure in Failure},
        **{f"paths/{start}": starts.count(start) for start in PathStart if start is not PathStart.FIRST},
        "refused_calls": sum(t.refused_calls for t in trajectories),
        "retried_calls": sum(t.retried_calls for t in trajectories),
        "lost_attempts": max((t.attempt for t in trajectories), default=0),
    }
