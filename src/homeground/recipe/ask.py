"""The recipe's `ask` section: how questions are answered."""

from __future__ import annotations

from pydantic import Field

from homeground.base.config import Config


class AskSection(Config):
    """What the model that answers is shown, and when it is not asked at all."""

    passages: int = Field(default=3, ge=1, description="passages that the model is shown, at most")
    passage_lines: int = Field(default=15, ge=1, description="lines of a passage that it is shown, at most")
    max_tokens: int = Field(default=256, ge=1, description="of an answer")
    least_similarity: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="similarity of the best hit below which nothing is answered; null is what was fitted on tasks",
    )
