"""What the stages of a run work with, opened when first needed and closed together.

One policy, one sampler and one model server serve every stage of a process. The index searches under the same lock as
the model computes: on a CPU two busy computations at once are many times slower than one after the other.
"""

from __future__ import annotations

import contextlib
import threading
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_text
from homeground.base.progress import Progress
from homeground.base.threads import release_workers
from homeground.recipe import Recipe
from homeground.runs.workspace import RunFolder, Workspace

if TYPE_CHECKING:
    from homeground.index import Hit, Index
    from homeground.policy import Policy
    from homeground.rollouts import ModelServer, Sampler
    from homeground.tasks import TaskSet

TASKS_FILE = "tasks.jsonl"
CACHE_MB = 256
"""Keys and values that the sampler keeps between requests, MiB."""


class Workbench:
    """Live parts of one run; use it as a context manager.

    Args:
        recipe: of the run.
        workspace: holds the full index.
        run: holds tasks, adapters and results.
        progress: where bars go.
    """

    def __init__(self, recipe: Recipe, workspace: Workspace, run: RunFolder, progress: Progress) -> None:
        self.recipe = recipe
        self.workspace = workspace
        self.run = run
        self.progress = progress
        self.compute = threading.Lock()
        self._adapter: Path | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def tasks_file(self) -> Path:
        """Where the run's tasks are."""
        return self.run.path / TASKS_FILE

    @cached_property
    def index(self) -> Index:
        """The full index of the workspace."""
        from homeground.index import Index

        return self._open.enter_context(contextlib.closing(Index.open(self.workspace.index)))

    @cached_property
    def tasks(self) -> TaskSet:
        """The run's tasks: its own copy of what `homeground tasks` made last, from its first stage on.

        Raises:
            HomegroundError: there are none.
        """
        from homeground.tasks import TaskSet

        made = self.workspace.tasks / self.tasks_file.name
        if not self.tasks_file.is_file() and made.is_file():
            atomic_write_text(self.tasks_file, made.read_text(encoding="utf-8"))
        if not self.tasks_file.is_file():
            raise no_tasks(made)
        return TaskSet.load(self.tasks_file)

    def forget_tasks(self) -> None:
        """Read the tasks again: they were made anew."""
        self.__dict__.pop("tasks", None)

    @cached_property
    def masked(self) -> Index:
        """The index in which the tasks' functions have no docstring: what agents search."""
        masked = self.index.masked(self.run.path / "masked-index", self.tasks.masks, self.progress)
        return self._open.enter_context(contextlib.closing(masked)).warm()

    def search(self, query: str, k: int) -> list[Hit]:
        """The agents' tool: search the masked index while the model waits."""
        return self._searched(self.masked, query, k)

    def search_whole(self, query: str, k: int) -> list[Hit]:
        """The same over the whole index: for agents whose tasks are not made from it."""
        return self._searched(self.index, query, k)

    def _searched(self, index: Index, query: str, k: int) -> list[Hit]:
        from homeground.index import Tools

        with self.compute:
            try:
                return Tools(index).search(query, k).hits
            finally:
                release_workers()

    def start_from(self, adapter: Path | None) -> None:
        """Which adapter the policy gets when it is first needed; when None the recipe's, or a fresh one."""
        if "policy" in self.__dict__ and adapter != self._adapter:
            raise HomegroundError("the policy is loaded already", hint="this is a defect: choose the adapter first")
        self._adapter = adapter

    @property
    def adapter(self) -> Path | None:
        """What :meth:`start_from` was given."""
        return self._adapter

    @cached_property
    def policy(self) -> Policy:
        """The policy, loaded on first use."""
        return policy_of(self.recipe, self._adapter)

    @cached_property
    def sampler(self) -> Sampler:
        """The policy's sampler; publish after training."""
        from homeground.rollouts import Sampler

        return self._open.enter_context(
            Sampler(self.policy, rows=self.recipe.eval.batch, cache_mb=CACHE_MB, compute=self.compute)
        )

    @cached_property
    def server(self) -> ModelServer:
        """The model server over the sampler."""
        from homeground.rollouts import ModelServer

        return self._open.enter_context(ModelServer(self.sampler, self.policy.tokenizer, seed=self.recipe.seed))


def no_tasks(file: Path) -> HomegroundError:
    """Error for a workspace without look-up tasks, which belong in `file`."""
    return HomegroundError(
        "there are no look-up tasks yet",
        where=str(file),
        hint="make them with: homeground tasks; or train on rows of your own: homeground sft --data rows.jsonl",
    )


def policy_of(recipe: Recipe, adapter: Path | None) -> Policy:
    """Load the recipe's policy with an adapter; when None with the recipe's, or a fresh one."""
    from homeground.policy import Policy

    chosen = {"adapter": adapter} if adapter else {}
    return Policy.load(recipe.model.model_copy(update=chosen), seed=recipe.seed)
