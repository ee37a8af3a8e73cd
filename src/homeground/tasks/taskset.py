"""Tasks of both splits, kept in one JSON-lines file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_jsonl, read_jsonl
from homeground.corpus import Chunk
from homeground.tasks.task import LookupTask, Split

_TASK = TypeAdapter(LookupTask)


@dataclass(frozen=True)
class TaskSet:
    """Tasks of both splits, and what the index must forget for them.

    Attributes:
        train: tasks to learn from.
        heldout: tasks to measure on; none of their files has a train task.
        removed_near_duplicates: train candidates dropped because they nearly repeat a held-out question.
        removed: candidates dropped for other reasons, by reason.
        masks: for `Index.masked`: chunk without the docstring, by the id of the chunk it replaces.
    """

    train: list[LookupTask]
    heldout: list[LookupTask]
    removed_near_duplicates: int = 0
    removed: dict[str, int] = field(default_factory=dict[str, int])
    masks: dict[str, Chunk] = field(default_factory=dict[str, Chunk])

    def save(self, path: Path) -> None:
        """Writes a line with the counts, then one line for each task, then one for each mask."""
        atomic_write_jsonl(path, self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        yield {"removed_near_duplicates": self.removed_near_duplicates, "removed": self.removed}
        for task in (*self.train, *self.heldout):
            yield asdict(task)
        for old, chunk in self.masks.items():
            yield {"replaces": old, "chunk": asdict(chunk)}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            HomegroundError: the file does not exist, or holds something else.
        """
        try:
            counts, *rows = read_jsonl(path)
            tasks = [_TASK.validate_python(row) for row in rows if "question" in row]
            masks = {row["replaces"]: Chunk(**row["chunk"]) for row in rows if "replaces" in row}
            return cls(
                train=[task for task in tasks if task.split is Split.TRAIN],
                heldout=[task for task in tasks if task.split is Split.HELDOUT],
                removed_near_duplicates=counts["removed_near_duplicates"],
                removed=counts["removed"],
                masks=masks,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HomegroundError(
                "this is not a file of look-up tasks", where=str(path), hint="make one with: homeground tasks"
            ) from error
