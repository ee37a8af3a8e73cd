"""Settings of a corpus: which files are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from homeground.base.config import Config


class CorpusConfig(Config):
    """Selection of the files that are read."""

    roots: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(".",), min_length=1, description="folders and files to read"
    )
    include: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(),
        description="patterns in .gitignore syntax of files to read although ignore rules or their names exclude them; "
        "an ignored folder is entered only if a pattern names the path to it",
    )
    exclude: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(),
        description="patterns in .gitignore syntax of files to skip, in addition to those of .gitignore files",
    )
    max_file_kb: int = Field(
        default=512, ge=1, description="largest text file that is read, in kB; larger ones are skipped and counted"
    )
    max_document_kb: int = Field(
        default=16384, ge=1, description="largest notebook, HTML or PDF file that is read, in kB"
    )
