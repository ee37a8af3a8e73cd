"""What the last indexing run left out, as the manifest keeps it: all counts, and the first paths of each reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from homeground.corpus import Skip

MOST_LISTED = 500
"""Paths that are kept of one reason; of all there are the counts."""


@dataclass
class LeftOut:
    """Files and folders that are not in the index.

    Attributes:
        counts: how many, by reason.
        listed: root, path below it (a folder's ends in "/"), and reason.
    """

    counts: Counter[str] = field(default_factory=Counter[str])
    listed: list[Sequence[str]] = field(default_factory=list[Sequence[str]])

    def note(self, root: Path, path: str, reason: Skip) -> None:
        """Add one; a corpus calls this."""
        self.counts[reason] += 1
        if self.counts[reason] <= MOST_LISTED:
            # A name may be no UTF-8: what is kept can be shown.
            shown = path.encode("utf-8", "backslashreplace").decode("utf-8")
            self.listed.append((str(root), shown or "./", str(reason)))

    def to_json(self) -> dict[str, Any]:
        return {"counts": self.counts, "listed": self.listed}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(Counter(kept["counts"]), kept["listed"])
