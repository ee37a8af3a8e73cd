"""Conversations as JSON lines, ``{"messages": [{"role", "content"}, ...]}``: the format that we write ourselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from homeground.base.files import atomic_write_jsonl


def save_conversations(path: Path, conversations: Iterable[Sequence[Mapping[str, Any]]]) -> None:
    """Write one conversation a line, whole or not at all."""
    atomic_write_jsonl(path, ({"messages": list(messages)} for messages in conversations))
