"""Why a file is not in the corpus."""

from __future__ import annotations

from enum import StrEnum


class Skip(StrEnum):
    """Why a file, or a folder that was not entered, is not in the corpus."""

    IGNORED = "ignored"
    EXCLUDED = "excluded"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too-large"
    BINARY = "binary"
    UNDECODABLE = "unknown-encoding"
    MINIFIED = "minified"
    GENERATED = "generated"
    LOCK_FILE = "lock-file"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    NOT_A_FILE = "not-a-file"
    LINK = "link"
    OUTSIDE = "outside-root"
    DUPLICATE = "in-another-root"
    DAMAGED = "damaged"


class LeftOutError(Exception):
    """A file's content cannot be read as what its name says; `reason` is what to count it under."""

    def __init__(self, reason: Skip) -> None:
        super().__init__(str(reason))
        self.reason = reason
