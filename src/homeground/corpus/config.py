"""Settings of a corpus: which files are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from homeground.base.config import Config


class CorpusConfig(Config):
    """Which files are read."""

    roots: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(".",), min_length=1, description="folders (or files) to read"
    )
    include: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(),
        description="patterns of what is read although a rule or its name leaves it out, as in a .gitignore; "
        "an ignored folder is looked into if a pattern spells out the way",
    )
    exclude: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(), description="patterns left out, as in a .gitignore, beside those that .gitignore files name"
    )
    max_file_kb: int = Field(default=512, ge=1, description="larger files are skipped and counted")
    max_document_kb: int = Field(default=16384, ge=1, description="the same for notebooks, HTML and PDF")
