"""What every section of a recipe is: frozen, and closed to keys it does not know."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

type OptimizerKind = Literal[
    "auto", "adamw", "adamw-8bit", "paged-adamw-8bit", "paged-adamw-32bit", "lion", "lion-8bit"
]


class Section(BaseModel):
    """A part of a recipe. Values are taken as YAML typed them; nothing is coerced silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
