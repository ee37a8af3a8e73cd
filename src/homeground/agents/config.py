"""Settings of answers, and of an agent of the user's own: its code, its tasks and its reward."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from homeground.base.config import Config
from homeground.base.kinds import Runner
from homeground.data.passages import PASSAGE_LINES, PASSAGES


class AnswerConfig(Config):
    """Limits of answers from the index."""

    passages: int = Field(default=PASSAGES, ge=1, description="passages that the model is shown, at most")
    passage_lines: int = Field(default=PASSAGE_LINES, ge=1, description="lines of a passage that it is shown, at most")
    max_tokens: int = Field(default=256, ge=1, description="of an answer")


class RewardConfig(Config):
    """One term of the reward."""

    reward: str = Field(min_length=1, description="FILE.py:NAME of a function of (task, answer)")
    weight: float = Field(default=1.0, description="what its number is multiplied by before the terms are added")


class AgentConfig(Config):
    """An agent of your own. Files are looked up from the current folder."""

    code: str | None = Field(default=None, description="FILE.py:NAME of the agent; null: none")
    tasks: str | None = Field(
        default=None, description="a file of JSON lines, one task each, or 'lookup': those of `homeground tasks`"
    )
    heldout: str | None = Field(default=None, description="a file of tasks to measure on; null holds out a share")
    heldout_share: float = Field(
        default=0.25, gt=0, lt=1, description="share of the tasks to measure on; their content decides which"
    )
    rewards: Annotated[tuple[RewardConfig, ...], Strict(False)] = Field(
        default=(), description="what the answers are worth, each with its weight"
    )
    search: bool = Field(
        default=False,
        description="give the agent a search of the index: the argument `search` inline, HOMEGROUND_SEARCH_URL and "
        "HOMEGROUND_SEARCH_KEY in a process",
    )
    runner: Runner = Field(
        default="inline",
        description="inline: an async function of (task, client) in this process; process: a function of (task) in "
        "one of its own, which finds the model in OPENAI_BASE_URL",
    )
    python: str | None = Field(default=None, description="interpreter of the process; null: the one that runs this")
    env: dict[str, str] = Field(
        default={},
        description="of the process, NAME: text, input.FIELD of the task, or env.NAME of the trainer's",
    )
    max_tokens: int = Field(
        default=64,
        ge=1,
        description="longest turn it asks for: what rl.objective dr_grpo and rl.overlong soft measure by",
    )
    concurrency: int = Field(default=16, ge=1, description="rollouts that run at once")

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
