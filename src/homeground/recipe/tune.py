"""The recipe's `tune` section: how retrievers are trained on the corpus."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from homeground.base.config import Config


class TuneSection(Config):
    """Bi-encoder, cross-encoder and late-interaction model, each kept only if it finds more on held-out files."""

    models: Annotated[tuple[Literal["bi-encoder", "cross-encoder", "late-interaction"], ...], Strict(False)] = Field(
        default=("bi-encoder", "cross-encoder", "late-interaction"), description="what is trained, in this order"
    )
    pairs: int = Field(default=3000, ge=8, description="questions to train on, at most")
    heldout: int = Field(default=400, ge=2, description="questions of other files to measure on, at most")
    epochs: float = Field(default=1.0, gt=0, description="times that every question is seen")
    batch_size: int = Field(default=64, ge=2, description="questions in one optimizer step")
    learning_rate: float = Field(default=1e-4, gt=0, description="peak; warms up, then goes down to zero")
    negatives: int = Field(default=1, ge=1, description="hard negatives of each question; a cross-encoder takes 3 more")
