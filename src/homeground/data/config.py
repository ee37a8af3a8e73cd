"""Settings of training data: sources, how they are mixed, and what is kept out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from homeground.base.config import Config


class Mixing(StrEnum):
    """Rows of each source in the mix, see :mod:`homeground.data.mixture`."""

    ALL = "all"
    WEIGHTS = "weights"
    TEMPERATURE = "temperature"


class SourceConfig(Config):
    """One source of rows."""

    source: str = Field(min_length=1, description="file, folder, or OWNER/NAME[:SPLIT] of the hub")
    weight: float = Field(default=1.0, gt=0, description="its share beside the other sources' (mixing: weights)")
    epochs: float = Field(
        default=1.0, gt=0, description="how often each of its rows is taken; fractions take a part of them"
    )
    max_samples: int | None = Field(default=None, ge=1, description="rows drawn from it at most; null: all")
    read_rows: int | None = Field(default=None, ge=1, description="rows read of it, the first ones; null: all")


class DuplicatesConfig(Config):
    """Which rows count as saying the same as an earlier one."""

    exact: bool = Field(default=True, description="remove rows that repeat one but for case and spaces")
    near: float | None = Field(
        default=0.8, gt=0, le=1, description="remove rows whose word shingles are so similar (Jaccard); null: none"
    )
    shingle: int = Field(default=5, ge=1, description="words in a shingle")


EXACT_ONLY = DuplicatesConfig(near=None)
"""Near duplicates stay."""


class HeldoutConfig(Config):
    """Rows that are never trained on: the held-out loss is measured on them."""

    share: float = Field(
        default=0.0, ge=0, lt=1, description="share of the rows; their content decides, the same in every run"
    )
    source: str | None = Field(default=None, description="a source of its own, instead of a share")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.share and self.source is not None:
            raise ValueError("share and source both say what is held out")
        return self


class DataConfig(Config):
    """Sources, how they are mixed, and what is removed."""

    sources: Annotated[tuple[SourceConfig, ...], Strict(False)] = Field(
        default=(), description="what `sft` trains on; none: scripted look-ups of the train tasks"
    )
    mixing: Annotated[Mixing, Strict(False)] = Field(
        default=Mixing.ALL, description="all: every source's epochs; weights: exact shares; temperature: sizes^(1/T)"
    )
    temperature: float = Field(default=2.0, ge=1, description="T: 1 keeps the sizes' shares, more evens them out")
    rows: int | None = Field(
        default=None, ge=1, description="rows of the mix with weights or temperature; null: as many as epochs allow"
    )
    heldout: HeldoutConfig = HeldoutConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    decontaminate: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(), description="evaluation sets: rows that share text with them are removed"
    )

    @model_validator(mode="after")
    def _read_settings(self) -> Self:
        names = [source.source for source in self.sources]
        if twice := [name for at, name in enumerate(names) if name in names[:at]]:
            raise ValueError(f"the source '{twice[0]}' is named twice: give it 'epochs'")
        if self.mixing is not Mixing.WEIGHTS and any(source.weight != 1 for source in self.sources):
            raise ValueError(f"a weight is given, but mixing is '{self.mixing}', not 'weights'")
        if self.mixing is Mixing.ALL and self.rows is not None:
            raise ValueError("rows is given, but mixing is 'all'")
        return self
