"""Who answers questions about the workspace's index: which weights write, which search."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from homeground.agents.answering import Answerer
from homeground.base.errors import UsageError
from homeground.base.progress import Progress
from homeground.index import Index, Tools
from homeground.pipeline.learned import Roles
from homeground.pipeline.serving import BASE, Adapter, Serving
from homeground.recipe import Recipe, load_recipe
from homeground.rollouts.conversation import Conversations
from homeground.runs.workspace import Workspace


@contextmanager
def open_answerer(
    recipe: Recipe, workspace: Workspace, chosen: Roles, progress: Progress, *, agentic: bool
) -> Generator[tuple[Answerer, Index]]:
    """What answers, and its index, until the block ends.

    Args:
        recipe: names the base model.
        workspace: holds the index.
        chosen: whose adapters write and search.
        progress: where a bar goes while things are loaded.
        agentic: load the model that searches, too.

    Raises:
        UsageError: there is no index, or the run that searches has another base model.
        HomegroundError: something cannot be loaded.
    """
    writer, seeker = chosen.writer, chosen.seeker if agentic else None
    if not workspace.index.is_dir():
        raise UsageError("there is no index here", where=str(workspace.index), hint="make one with 'homeground index'")
    if seeker is not None and (other := load_recipe(str(seeker.recipe)).model.name) != recipe.model.name:
        raise UsageError(
            f"run '{seeker.name}' searches with {other}, but {recipe.model.name} is to write",
            where=str(seeker.recipe),
            hint=f"let both be one model: --run {seeker.name}, or a run that was trained on that model",
        )
    adapters = {run.name: Adapter(run.adapter, seeks=run is seeker) for run in (writer, seeker) if run is not None}
    with ExitStack() as opened:
        # Bars end before the answer begins: both would write to the same terminal.
        with progress:
            serving = opened.enter_context(Serving(recipe, workspace, adapters, progress))
        conversations = {name: Conversations(engine, serving.tokenizer) for name, engine in serving.engines.items()}
        answerer = serving.answerers(conversations)[writer.name if writer is not None else BASE]
        index = serving.wanted_index()
        yield replace(answerer, tools=Tools(index, Path.cwd())), index
