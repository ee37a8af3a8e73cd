"""What can be deleted without losing results: everything here is made again when it is next needed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from homeground.base.weights import cache_home
from homeground.runs.run_list import folder_bytes, run_names, users_of
from homeground.runs.workspace import RunFolder, Workspace

MASKED_INDEX = "masked-index"


@dataclass(frozen=True)
class Reclaimable:
    """A folder that may go.

    Attributes:
        path: of it.
        what: it is.
        cost: of deleting it.
        bytes: that it holds.
        used_by: processes that have a file of its run open; it is left alone then.
    """

    path: Path
    what: str
    cost: str
    bytes: int
    used_by: tuple[int, ...]


def reclaimable(workspace: Workspace, *, models: bool = False) -> list[Reclaimable]:
    """What a workspace could free, largest first; with ``models`` the user's converted models too."""
    found = list(_of_workspace(workspace))
    if models:
        found.append(
            (cache_home(), cache_home(), "converted models and encoders", "a minute when a model is next used")
        )
    users: dict[Path, tuple[int, ...]] = {}
    for owner, *_ in found:
        if owner not in users:
            users[owner] = tuple(users_of(owner))
    listed = [Reclaimable(path, what, cost, folder_bytes(path), users[owner]) for owner, path, what, cost in found]
    return sorted((one for one in listed if one.bytes), key=lambda one: -one.bytes)


def free(one: Reclaimable) -> None:
    """Delete it."""
    shutil.rmtree(one.path)


def _of_workspace(workspace: Workspace) -> Iterator[tuple[Path, Path, str, str]]:
    """(whose it is, path, what, cost) of everything that is there."""
    for name in run_names(workspace):
        run = workspace.run(name)
        yield from _of_run(run)
    if (masked := workspace.tasks / MASKED_INDEX).is_dir():
        yield workspace.tasks, masked, "the tasks' masked index", "seconds when tasks are next made"
    if workspace.cache.is_dir():
        yield workspace.cache, workspace.cache, "kept results of the general probe", "a minute at the next fine-tuning"


def _of_run(run: RunFolder) -> Iterator[tuple[Path, Path, str, str]]:
    for stage in run.finished():
        if (folder := run.checkpoints / stage).is_dir():
            yield run.path, folder, f"checkpoints of '{run.name}', {stage} (finished)", "nothing: the adapter stays"
    if (masked := run.path / MASKED_INDEX).is_dir():
        yield run.path, masked, f"masked index of '{run.name}'", "seconds when the run is next trained or evaluated"
    for part in run.path.parent.glob(f".{run.name}-*"):
        yield run.path, part, "what an interrupted write left", "nothing"
