"""Settings of evaluation."""

from __future__ import annotations

from pydantic import Field

from homeground.base.config import Config

RESAMPLES = 2000


class EvalConfig(Config):
    """Evaluation: greedy runs on held-out tasks, with bootstrap intervals."""

    tasks: int = Field(
        default=160,
        ge=1,
        description="largest number of held-out tasks, of rows, or of samples of a task of lm-evaluation-harness",
    )
    bootstrap: int = Field(default=RESAMPLES, ge=100, description="bootstrap resamples for each 95% interval")
    completion_tokens: int = Field(default=96, ge=1, description="longest greedy completion of `eval data`, in tokens")
    batch: int = Field(default=40, ge=1, description="number of tasks that run at the same time")
