"""Base class of all settings: frozen, and unknown keys are errors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Settings of one part of the program. Values keep their types; nothing is coerced silently.

    A renamed setting lists its former name as an alias, so that old recipes load.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_by_name=True, validate_by_alias=True
    )
