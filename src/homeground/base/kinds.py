"""What `homeground data` can make."""

from enum import StrEnum
from typing import Literal


class DataKind(StrEnum):
    """What rows teach; the last one teaches nothing new, and holds what was there."""

    TRAJECTORIES = "trajectories"
    DOCUMENTATION = "documentation"
    COMPLETION = "completion"
    ANSWERS = "answers"
    REPLAY = "replay"


FORMER_NAMES = {"docstrings": DataKind.DOCUMENTATION}
"""Former names of kinds."""

OF_CORPUS = tuple(kind for kind in DataKind if kind is not DataKind.REPLAY)
"""The kinds that are made from a person's files."""

Runner = Literal["inline", "process"]
"""Where an agent of one's own runs."""
