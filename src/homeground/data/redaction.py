"""Secrets never reach training: a row that holds one is kept, with a placeholder where the secret was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from homeground.corpus import redact
from homeground.training.formats import Example


@dataclass(frozen=True)
class Redacted:
    """A secret that was replaced: the place of its row, and what kind it was."""

    place: str
    kind: str


def redact_examples(examples: Sequence[Example]) -> tuple[list[Example], list[Redacted]]:
    """The examples without their secrets, wherever in a row these were, and a line for each secret."""
    found: list[Redacted] = []
    return [_redacted(example, found) for example in examples], found


def _redacted(example: Example, found: list[Redacted]) -> Example:
    def safe(value: Any) -> Any:
        if isinstance(value, str):
            text, secrets = redact(value)
            found.extend(Redacted(example.place, secret.kind) for secret in secrets)
            return text
        if isinstance(value, Mapping):
            return {name: safe(item) for name, item in cast("Mapping[str, Any]", value).items()}
        return [safe(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value

    before = len(found)
    parts = {name: safe(getattr(example, name)) for name in ("messages", "text", "prefix", "rejected", "tools")}
    return replace(example, **parts) if len(found) > before else example
