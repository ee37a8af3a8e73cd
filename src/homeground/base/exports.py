"""What can come out of a run, in words that the command line shows before anything heavy is loaded."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What a run is exported as."""

    ADAPTER = "adapter"
    MERGED = "merged"
    GGUF = "gguf"
    OLLAMA = "ollama"


class Onto(StrEnum):
    """Which weights of the base an adapter is merged into."""

    QUANTIZED = "quantized"
    ORIGINAL = "original"
