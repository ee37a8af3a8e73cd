"""How a rollout lives and ends: its states, what moves it, and what becomes in training of each way to fail.

An *attempt* is one run of an agent on a task. It ends exactly once; its states and the only moves between them are
:data:`MOVES`. When the gateway dies, all attempts of the step are lost and every rollout of the step is attempted
again under a new name, so nothing of a lost attempt can be trained. How it failed decides its place in training:
:data:`PLACES`; each has a counter in the step's metrics, ``failed/NAME``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from homeground.rollouts.client import Identity
from homeground.rollouts.trajectory import AgentResult, Failure, PathStart, Trajectory


class State(StrEnum):
    """Where an attempt stands; the last three are final."""

    QUEUING = "queuing"
    RUNNING = "running"
    GRADING = "grading"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"


class Happening(StrEnum):
    """What moves an attempt."""

    STARTED = "its runner has taken it"
    FINISHED = "its agent has ended well"
    GRADED = "it has a reward"
    FAILED = "its agent or its grader failed, see the failure"
    LOST = "the gateway or the controller died"


MOVES: Mapping[tuple[State, Happening], State] = MappingProxyType(
    {
        (State.QUEUING, Happening.STARTED): State.RUNNING,
        (State.QUEUING, Happening.FAILED): State.FAILED,
        (State.QUEUING, Happening.LOST): State.LOST,
        (State.RUNNING, Happening.FINISHED): State.GRADING,
        (State.RUNNING, Happening.FAILED): State.FAILED,
        (State.RUNNING, Happening.LOST): State.LOST,
        (State.GRADING, Happening.GRADED): State.SUCCEEDED,
        (State.GRADING, Happening.FAILED): State.FAILED,
        (State.GRADING, Happening.LOST): State.LOST,
    }
)
"""From each state, what may happen and where it leads; anything else is a mistake of ours."""


class Place(StrEnum):
    """What becomes of a failed rollout in training."""

    LEFT_OUT = "left out of its group: neither trained nor part of its siblings' baseline"
    SCORED = "left out like the others, or trained with the reward that `failure_reward` names"


PLACES: Mapping[Failure, Place] = MappingProxyType(
    {
        # What the agent did, and with it the model: it can be told that this is bad.
        Failure.TIMED_OUT: Place.SCORED,
        Failure.CRASHED: Place.SCORED,
        # What the grader did, which says nothing about the model.
        Failure.NO_REWARD: Place.LEFT_OUT,
        Failure.BAD_REWARD: Place.LEFT_OUT,
        # Nothing was sampled, so there is nothing to train.
        Failure.NO_CALLS: Place.LEFT_OUT,
    }
)


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
    result: AgentResult | None = None
    failure: Failure | None = None
    error: str | None = None

    def move(self, happening: Happening) -> None:
        """Go where :data:`MOVES` says.

        Raises:
            RuntimeError: it cannot happen in this state.
        """
        if (self.state, happening) not in MOVES:
            raise RuntimeError(f"rollout {self.rollout_id} is {self.state}: it cannot be that {happening}")
        self.state = MOVES[self.state, happening]

    def fail(self, failure: Failure, error: str) -> None:
        """End it."""
        self.move(Happening.FAILED)
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
