"""Errors a person can act on: what was wrong, where, and what to do next."""

from __future__ import annotations

from homeground.base.terminal import printable


def clipped(words: str, most: int = 1000) -> str:
    """Truncate a message that may quote external text of any length."""
    return words if len(words) <= most else f"{words[:most]}..."


class HomegroundError(Exception):
    """Something the user can mend. The command line prints it without a traceback.

    `message` says what was wrong, `where` names the file, line, key or address, `hint` says what to do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.message]
        if self.where:
            parts.append(f"where: {printable(self.where)}")
        if self.hint:
            parts.append(f"hint: {printable(self.hint)}")
        return "\n".join(parts)

    def to_json(self) -> dict[str, str | None]:
        """The shape printed with `--json`: `{"error", "where", "hint"}`."""
        return {"error": self.message, "where": self.where, "hint": self.hint}


class UsageError(HomegroundError):
    """The command was called in a way that cannot work."""

    exit_code = 2


class RecipeError(HomegroundError):
    """The recipe is missing, unreadable or says something that is not allowed."""

    exit_code = 2


class RestartNeededError(HomegroundError):
    """What this process has loaded no longer fits what lies on disk."""


class RunInterruptedError(HomegroundError):
    """A run was stopped by Ctrl-C or `kill`; what it reached is saved.

    `run` is its name, for the command that goes on with it.
    """

    exit_code = 130

    def __init__(self, run: str) -> None:
        super().__init__("interrupted; what was reached is saved", where=f"run '{run}'")
        self.run = run
