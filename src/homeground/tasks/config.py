"""Settings of the verifiable tasks that are made from a corpus."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from homeground.base.config import Config

TESTS: tuple[str, ...] = (
    "[Tt]est/", "[Tt]ests/", "[Ss]pec/", "[Ss]pecs/", "[Mm]ocks/", "[Ff]ixtures/", "__tests__/", "__mocks__/",
    "__fixtures__/", "__snapshots__/", "[Tt]estdata/", "test_data/", "e2e/", "*[-_.]test/", "*[-_.]tests/", "*.Tests/",
    "src/*Test/", "test_*.*", "test-*.*", "*_test.*", "*_tests.*", "*-test.*", "*.test.*", "*.cy.*", "*_spec.*",
    "*-spec.*", "*.spec.*", "*Test.*", "*Tests.*", "*TestCase.*", "*Spec.scala", "*Spec.kt", "*Spec.groovy",
    "*Spec.hs", "*Spec.swift", "conftest.py", "tests.py", "test.rs", "tests.rs", "runtests.jl", "mock_*.*", "*_mock.*",
    "*_mocks.*", "*.mock.*", "*.t", "*.bats",
)  # fmt: skip
"""Usual names of tests, specs, fixtures and mocks, in all languages."""


class TasksConfig(Config):
    """Look-up tasks that are made from documentation comments, in train and held-out splits."""

    train: int = Field(default=600, ge=1, description="largest number of train tasks")
    heldout: int = Field(
        default=160,
        ge=1,
        description="largest number of held-out tasks; they come from files that no train task comes from",
    )
    min_chars: int = Field(default=25, ge=1, description="shortest question, in characters")
    max_chars: int = Field(default=220, ge=1, description="longest question, in characters")
    heldout_share: float = Field(
        default=0.25, gt=0, lt=1, description="share of the tasks that is held out, in whole files"
    )
    near_duplicate: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="similarity to a held-out question from which on a train question is removed",
    )
    findable: int = Field(
        default=10,
        ge=0,
        description="train on tasks whose question finds the definition among this many hits; 0 trains on all; "
        "held-out tasks are never filtered by a search",
    )
    exclude: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=TESTS,
        description="patterns in .gitignore syntax of indexed files that give no task; the default matches the usual "
        "names of tests, specs, fixtures and mocks",
    )
    questions: str | None = Field(
        default=None,
        description="file of questions of your own, JSON lines of a question and the places that answer it",
    )

    @model_validator(mode="after")
    def _some_length(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError("min_chars is larger than max_chars: no question would fit")
        return self
