"""Sections of what only commands use: `tune`, `ask` and `serve`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from homeground.agents.config import AnswerConfig
from homeground.base.config import Config
from homeground.training.config import RetrieverConfig


class TuneSection(RetrieverConfig):
    """Training of the retrieval models; each is kept only if it ranks better on held-out files."""

    models: Annotated[tuple[Literal["bi-encoder", "cross-encoder", "late-interaction"], ...], Strict(False)] = Field(
        default=("bi-encoder", "cross-encoder", "late-interaction"), description="models to train, in this order"
    )
    pairs: int = Field(default=3000, ge=8, description="largest number of questions to train on")
    heldout: int = Field(default=400, ge=2, description="largest number of held-out questions, from other files")
    negatives: int = Field(
        default=1, ge=1, description="hard negatives for each question; a cross-encoder takes 3 more"
    )


class AskSection(AnswerConfig):
    """Answers of `homeground ask` and `chat`: their context, and the threshold below which there is none."""

    least_similarity: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="similarity of the best hit below which `ask` reports that nothing was found; null fits it",
    )


class ServeSection(Config):
    """Limits of `homeground serve`."""

    rows: int = Field(default=16, ge=1, description="requests of one model that are decoded together; others wait")
    waiting: int = Field(
        default=256, ge=1, description="requests that may run or wait; further ones are refused and may be retried"
    )
    cache_mb: int = Field(
        default=256, ge=1, description="size of the KV cache that is kept between requests, of all models, in MiB"
    )
    rows_mb: int = Field(
        default=4096,
        ge=1,
        description="size that the KV caches of running requests may reach, in MiB; further requests wait",
    )
    grace_s: int = Field(
        default=300, ge=1, description="time for running requests to finish when the server is stopped, in seconds"
    )
