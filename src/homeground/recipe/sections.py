"""Sections of what only commands use: `tune`, `ask` and `serve`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from homeground.agents.config import AnswerConfig
from homeground.base.config import Config
from homeground.training.config import RetrieverConfig


class TuneSection(RetrieverConfig):
    """Bi-encoder, cross-encoder and late-interaction model, each kept only if it finds more on held-out files."""

    models: Annotated[tuple[Literal["bi-encoder", "cross-encoder", "late-interaction"], ...], Strict(False)] = Field(
        default=("bi-encoder", "cross-encoder", "late-interaction"), description="what is trained, in this order"
    )
    pairs: int = Field(default=3000, ge=8, description="questions to train on, at most")
    heldout: int = Field(default=400, ge=2, description="questions of other files to measure on, at most")
    negatives: int = Field(default=1, ge=1, description="hard negatives of each question; a cross-encoder takes 3 more")


class AskSection(AnswerConfig):
    """What the model that answers is shown, and when it is not asked at all."""

    least_similarity: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="similarity of the best hit below which nothing is answered; null is what was fitted on tasks",
    )


class ServeSection(Config):
    """Limits of `homeground serve`."""

    rows: int = Field(default=16, ge=1, description="answers of one model that are computed together; others wait")
    waiting: int = Field(default=256, ge=1, description="answers that run or wait; further requests are told to retry")
    cache_mb: int = Field(default=256, ge=1, description="keys and values kept between requests, of all models, MiB")
    rows_mb: int = Field(
        default=4096, ge=1, description="keys and values that running answers may come to hold, MiB; others wait"
    )
    grace_s: int = Field(default=300, ge=1, description="seconds that running answers may take when the server ends")
