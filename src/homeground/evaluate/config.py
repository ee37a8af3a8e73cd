"""Settings of evaluation."""

from __future__ import annotations

from pydantic import Field

from homeground.base.config import Config

RESAMPLES = 2000


class EvalConfig(Config):
    """Greedy runs on held-out tasks, with bootstrap intervals."""

    tasks: int = Field(default=160, ge=1, description="held-out tasks, rows, or samples of a task of lm-eval, at most")
    bootstrap: int = Field(default=RESAMPLES, ge=100, description="resamples of the tasks for each 95% interval")
    completion_tokens: int = Field(default=96, ge=1, description="tokens of a greedy completion in `eval data`")
    batch: int = Field(default=40, ge=1, description="tasks that run at once")
