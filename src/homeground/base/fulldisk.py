"""A full disk, whoever noticed it: the operating system, SQLite, or a library that writes safetensors."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Generator
from pathlib import Path

from homeground.base.errors import HomegroundError
from homeground.base.hardware import free_disk_mb

_NUMBERS = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your quota is used up", errno.EFBIG: "the file is too big"}
_RUST = re.compile(r"\(os error (\d+)\)")


def full_disk(error: BaseException) -> HomegroundError | None:
    """What to tell a person when the disk is behind an error, or behind what caused it; None when it is not."""
    for one in _causes(error):
        if (number := _number(one)) in _NUMBERS:
            name = one.filename if isinstance(one, OSError) else None
            folder = Path(str(name)).parent if name else Path.cwd()
            return HomegroundError(
                f"{_NUMBERS[number]}: {free_disk_mb(folder):.1f} MB are free",
                where=str(name or folder),
                hint="free some space, or name a workspace on another disk with --home; then run the command again",
            )
    return None


def is_full(error: OSError) -> bool:
    """Whether the system had no room for what was written."""
    return error.errno in _NUMBERS


def _causes(error: BaseException | None) -> Generator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _number(error: BaseException) -> int:
    if isinstance(error, OSError):
        return error.errno or 0
    if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return errno.ENOSPC
    # safetensors and tokenizers know the system's number in their message only.
    found = _RUST.search(str(error)) if type(error).__module__.split(".")[0] in ("safetensors", "builtins") else None
    return int(found[1]) if found else 0
