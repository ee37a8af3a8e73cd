"""The recipe's `serve` section: how much a server does at once."""

from __future__ import annotations

from pydantic import Field

from homeground.base.config import Config


class ServeSection(Config):
    """Limits of `homeground serve`."""

    rows: int = Field(default=16, ge=1, description="answers of one model that are computed together; others wait")
    waiting: int = Field(default=256, ge=1, description="answers that run or wait; further requests are told to retry")
    cache_mb: int = Field(default=256, ge=1, description="keys and values kept between requests, of all models, MiB")
    rows_mb: int = Field(
        default=4096, ge=1, description="keys and values that running answers may come to hold, MiB; others wait"
    )
    grace_s: int = Field(default=300, ge=1, description="seconds that running answers may take when the server ends")
