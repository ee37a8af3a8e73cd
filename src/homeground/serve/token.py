"""The token that every request carries."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from homeground.base.errors import UsageError
from homeground.base.files import read_text

SHORTEST = 16


def fresh_token() -> str:
    """A random one, for one start of a server."""
    return secrets.token_urlsafe(24)


def token_of(file: Path) -> str:
    """The token in a file; one that does not exist is made, readable by its owner only.

    Raises:
        UsageError: it cannot be read or made, or what it holds is too short to be a secret.
    """
    try:
        if not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as made:
                made.write(fresh_token() + "\n")
        token = read_text(file).strip()
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"the token file cannot be used: {error}", where=str(file), hint="name a file that you can read and write"
        ) from None
    if len(token) < SHORTEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            f"a token is one word of at least {SHORTEST} letters and digits",
            where=str(file),
            hint="delete the file, and the next start writes a random one into it",
        )
    return token
