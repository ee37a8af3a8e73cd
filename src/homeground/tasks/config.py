"""Settings of the verifiable tasks that are made from a corpus."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from homeground.base.config import Config


class TasksConfig(Config):
    """How many look-up tasks, from which docstrings, and how train and held-out are kept apart."""

    train: int = Field(default=600, ge=1, description="tasks to train on, at most")
    heldout: int = Field(default=160, ge=1, description="tasks to measure on, at most; from other modules")
    min_chars: int = Field(default=25, ge=1, description="shortest question")
    max_chars: int = Field(default=220, ge=1, description="longest question")
    heldout_share: float = Field(default=0.25, gt=0, lt=1, description="share of the modules that is held out")
    near_duplicate: float = Field(
        default=0.8, gt=0, le=1, description="questions at least this similar to a held-out one leave the train split"
    )
    findable: int = Field(
        default=10, ge=0, description="keep tasks whose function is in so many hits of the whole question; 0: all"
    )

    @model_validator(mode="after")
    def _some_length(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError("min_chars is larger than max_chars: no question would fit")
        return self
