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

    source: str = Field(
        min_length=1, description="training rows: a file, a folder, or a data set OWNER/NAME[:SPLIT] of the hub"
    )
    weight: float = Field(default=1.0, gt=0, description="relative share of this source, with mixing: weights")
    epochs: float = Field(
        default=1.0, gt=0, description="times that each row is used; a fraction uses that share of the rows"
    )
    max_samples: int | None = Field(
        default=None, ge=1, description="largest number of rows that enter the mix; null sets no limit"
    )
    read_rows: int | None = Field(
        default=None, ge=1, description="number of rows to read, from the start; null reads all"
    )


class DuplicatesConfig(Config):
    """Removal of rows that repeat an earlier one."""

    exact: bool = Field(
        default=True, description="remove rows that equal an earlier one except for case and white space"
    )
    near: float | None = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Jaccard similarity of word shingles that makes a row a near duplicate; null keeps all",
    )
    shingle: int = Field(default=5, ge=1, description="number of words in a shingle")


EXACT_ONLY = DuplicatesConfig(near=None)
"""Near duplicates stay."""


class HeldoutConfig(Config):
    """Rows that are never trained on; the held-out loss is measured on them."""

    share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the rows to hold out; a hash of the content chooses, so it is the same in every run",
    )
    source: str | None = Field(default=None, description="source of the held-out rows, in place of a share")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.share and self.source is not None:
            raise ValueError("share and source both say what is held out")
        return self


class DataConfig(Config):
    """Training data: its sources, their mix, and the rows to remove."""

    sources: Annotated[tuple[SourceConfig, ...], Strict(False)] = Field(
        default=(),
        description="sources that `sft` trains on; without any, it trains on scripted look-ups of the train tasks",
    )
    mixing: Annotated[Mixing, Strict(False)] = Field(
        default=Mixing.ALL,
        description="all: each source's epochs; weights: exact shares; temperature: shares by size^(1/temperature)",
    )
    temperature: float = Field(
        default=2.0,
        ge=1,
        description="exponent of mixing: temperature; 1 keeps shares by size, larger values even them out",
    )
    rows: int | None = Field(
        default=None,
        ge=1,
        description="rows of the mix, with mixing: weights or temperature; null takes as many as the epochs allow",
    )
    heldout: HeldoutConfig = HeldoutConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    decontaminate: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(), description="evaluation sets; training rows that share text with them are removed"
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
