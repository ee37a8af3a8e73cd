"""Who answers questions about the workspace's index: which weights write, which search."""

from __future__ import annotations

from pathlib import Path

from homeground.agents.answering import Answerer
from homeground.index import Tools
from homeground.pipeline.learned import Roles
from homeground.pipeline.threshold import least_confidence
from homeground.pipeline.workbench import Workbench
from homeground.rollouts.conversation import Conversations
from homeground.rollouts.heads import context_of
from homeground.rollouts.writer import Writer


def answerer(bench: Workbench, chosen: Roles, *, agentic: bool = False) -> Answerer:
    """What answers, loaded and ready.

    Args:
        bench: of the run whose recipe counts; holds everything open.
        chosen: whose adapters write and search.
        agentic: load the one that searches too.

    Raises:
        HomegroundError: there is no index, or agentic mode has no model.
    """
    bar = bench.progress.bar("loading the index and the model")
    index = bench.index.warm()
    bench.start_from(chosen.writer.adapter if chosen.writer is not None else None)
    ask = bench.recipe.ask
    least = ask.least_similarity
    made = Answerer(
        bench.search_whole,
        Writer(Conversations(bench.sampler, bench.policy.tokenizer), context_of(bench.policy.model)),
        Tools(index, Path.cwd()),
        least_confidence(bench.workspace, index) if least is None else least,
        passages=ask.passages,
        lines=ask.passage_lines,
        max_tokens=ask.max_tokens,
    )
    bar.done("ready")
    return made
