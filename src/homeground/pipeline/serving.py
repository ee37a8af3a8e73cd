"""What `homeground serve` works with: models by name over one base, and the index.

Every adapter has a sampler of its own over the same frozen tensors. They, and searches, compute one after the other: on
a CPU two busy computations at once are many times slower.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from homeground.base.errors import UsageError
from homeground.base.heap import trimming
from homeground.base.progress import Progress
from homeground.base.threads import release_workers
from homeground.recipe import Recipe
from homeground.runs.workspace import Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from homeground.agents.answering import Answerer
    from homeground.index import Filters, Found, Index
    from homeground.rollouts import Sampler
    from homeground.rollouts.conversation import Conversations


@dataclass(frozen=True)
class Adapter:
    """What makes a named model of the base.

    Attributes:
        folder: in PEFT's format.
        seeks: it learned to search and to pick, not to write: the base writes its answers from the index.
    """

    folder: Path
    seeks: bool = False


BASE = "base"
"""The name of the model without an adapter."""
TRIM_S = 10.0
"""Between two times at which memory that answers have freed is given back; glibc keeps hundreds of MB otherwise."""
INDEXED = "+index"
"""Behind a model's name: its answers are written from the index."""


class Serving:
    """Models and index, loaded on entry; use it as a context manager.

    Args:
        recipe: names the base model, and how much is done at once.
        workspace: holds the index; there may be none.
        adapters: by the names of their models; the first is the default model.
        progress: where bars go.

    Raises:
        UsageError: a name that cannot be a model's.
        HomegroundError: a model or the index cannot be opened.
    """

    def __init__(
        self, recipe: Recipe, workspace: Workspace, adapters: Mapping[str, Adapter], progress: Progress | None = None
    ) -> None:
        for name in adapters:
            check_name(name)
        self.recipe, self.workspace = recipe, workspace
        self._adapters = dict(adapters)
        self._progress = progress or Progress(quiet=True)
        self._open = contextlib.ExitStack()
        self.compute = threading.Lock()
        self.index: Index | None = None
        self.engines: dict[str, Sampler] = {}

    @property
    def names(self) -> list[str]:
        """Of the models; the first is for those who do not care."""
        return [*self._adapters, BASE]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self._open.close)
            self._load()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def search(self, query: str, k: int, filters: Filters | None = None) -> Found:
        """Search while no model computes.

        Raises:
            UsageError: there is no index, the query is blank, or nothing passes the filters.
            RestartNeededError: see :meth:`wanted_index`.
        """
        from homeground.index import Tools

        with self.compute:
            index = self._there()
            try:
                return index.at_newest(lambda: Tools(index).search(query, k, filters))
            finally:
                release_workers()

    def wanted_index(self) -> Index:
        """The index with what was indexed last; may read files.

        Raises:
            UsageError: there is none.
            RestartNeededError: it was made anew with another embedder or chunker.
        """
        index = self._there()
        index.refresh()
        return index

    def _there(self) -> Index:
        if self.index is None:
            raise UsageError(
                "there is no index here",
                where=str(self.workspace.index),
                hint="make one with 'homeground index', then start the server again",
            )
        return self.index

    def answerers(self, conversations: Mapping[str, Conversations]) -> dict[str, Answerer]:
        """Who answers from the index, by the names of models; nobody where there is none.

        Args:
            conversations: of each model.
        """
        from homeground.agents.answering import Answerer
        from homeground.index import Tools
        from homeground.pipeline.threshold import least_confidence
        from homeground.rollouts.stream import Writer

        if self.index is None:
            return {}
        ask, seekers = self.recipe.ask, [name for name, one in self._adapters.items() if one.seeks]
        least = least_confidence(self.workspace, self.index) if ask.least_similarity is None else ask.least_similarity
        writers = {name: Writer(conversations[name], self._context) for name in self.names}
        return {
            name: Answerer(
                lambda query, k: self.search(query, k).hits,
                writers[BASE if name in seekers else name],
                Tools(self.index),
                least,
                seeker=writers[name if name in seekers else seekers[0]] if seekers else None,
                config=ask,
            )
            for name in self.names
        }

    def _load(self) -> None:
        from homeground.index import Index
        from homeground.policy.shared_base import SharedBase
        from homeground.rollouts import Sampler
        from homeground.rollouts.heads import context_of

        settings = self.recipe.serve
        bar = self._progress.bar("loading the index and the models")
        if self.workspace.index.is_dir():
            self.index = self._open.enter_context(contextlib.closing(Index.open(self.workspace.index))).warm()
        base = SharedBase(self.recipe.model)
        self.tokenizer: PreTrainedTokenizerBase = base.tokenizer
        cache_mb, rows_mb = (max(1, all_ // len(self.names)) for all_ in (settings.cache_mb, settings.rows_mb))
        for name in self.names:
            adapter = self._adapters.get(name)
            policy = base.policy(adapter.folder if adapter is not None else None)
            self._context = context_of(policy.model)
            sampler = Sampler(policy, rows=settings.rows, cache_mb=cache_mb, rows_mb=rows_mb, compute=self.compute)
            self.engines[name] = self._open.enter_context(sampler)
        self._open.enter_context(trimming(TRIM_S, self._computed))
        bar.done(f"{len(self.names)} models ready")

    def _computed(self) -> int:
        return sum(engine.sampled_tokens + engine.prefilled_tokens for engine in self.engines.values())


def check_name(name: str) -> None:
    """Refuse what cannot name a model.

    Raises:
        UsageError: it is taken, or would be read as something else.
    """
    if not name or name == BASE or name.endswith(INDEXED):
        raise UsageError(
            f"a model cannot be called {name!r}",
            where="serve",
            hint=f"'{BASE}' is the model without an adapter, and '{INDEXED}' is added by the server; "
            "give it another name: --adapter NAME=FOLDER",
        )
