"""Settings of answers, and of an agent of the user's own: its code, its tasks and its reward."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from homeground.base.config import Config
from homeground.base.kinds import Runner
from homeground.data.passages import PASSAGE_LINES, PASSAGES


class AnswerConfig(Config):
    """Limits of answers from the index."""

    passages: int = Field(default=PASSAGES, ge=1, description="largest number of passages in the prompt")
    passage_lines: int = Field(default=PASSAGE_LINES, ge=1, description="largest number of lines of each passage")
    max_tokens: int = Field(default=256, ge=1, description="longest answer, in tokens")


class RewardConfig(Config):
    """One term of the reward."""

    reward: str = Field(
        min_length=1, description="reward function of (task, answer), as FILE.py:NAME; several rewards are added"
    )
    weight: float = Field(default=1.0, description="factor of this term in the sum of all rewards")


class AgentConfig(Config):
    """An agent of your own, for `homeground rl run`. Paths are relative to the current folder."""

    code: str | None = Field(default=None, description="the agent, as FILE.py:NAME")
    tasks: str | None = Field(
        default=None,
        description="tasks to train on: a file with one JSON task a line, or 'lookup' for those of `homeground tasks`",
    )
    heldout: str | None = Field(
        default=None, description="file of the tasks to measure on; null holds out a share of the tasks"
    )
    heldout_share: float = Field(
        default=0.25, gt=0, lt=1, description="share of the tasks to hold out; a hash of the content chooses"
    )
    rewards: Annotated[tuple[RewardConfig, ...], Strict(False)] = Field(
        default=(), description="terms of the reward; none are needed where an agent in a process posts its own reward"
    )
    search: bool = Field(
        default=False,
        description="let the agent search the index: inline through its argument `search`, in a process through "
        "HOMEGROUND_SEARCH_URL and HOMEGROUND_SEARCH_KEY",
    )
    runner: Runner = Field(
        default="inline",
        description="inline: the agent is an async function of (task, client) in this process; process: it is a "
        "function of (task) in a process of its own, which reaches the model at OPENAI_BASE_URL",
    )
    python: str | None = Field(
        default=None, description="Python interpreter of the agent's process; null takes the current one"
    )
    env: dict[str, str] = Field(
        default={},
        description="environment of the agent's process: text, input.FIELD of the task, or env.NAME of this process",
    )
    max_tokens: int = Field(
        default=64,
        ge=1,
        description="longest turn, in tokens; rl.objective dr_grpo and rl.overlong soft use it as their limit",
    )
    concurrency: int = Field(default=16, ge=1, description="number of rollouts that run at the same time")

    @model_validator(mode="after")
    def _read_settings(self) -> Self:
        if self.runner == "inline" and (self.python or self.env):
            raise ValueError("python and env are of an agent in a process of its own: set runner to 'process'")
        if self.tasks == "lookup" and self.heldout:
            raise ValueError("look-up tasks have held-out ones of their own: leave heldout out")
        names = [term.reward for term in self.rewards]
        if twice := [name for at, name in enumerate(names) if name in names[:at]]:
            raise ValueError(f"the reward '{twice[0]}' is named twice: give it one weight")
        return self
