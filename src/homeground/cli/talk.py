"""Verbs that talk: `ask` and `chat`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.base.errors import UsageError
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from homeground.agents.answering import Answerer
    from homeground.agents.events import Done, Event
    from homeground.index import Index
    from homeground.pipeline.learned import Roles

AgentOption = Annotated[
    bool, typer.Option("--agent", help="Let the trained search agent look first, and show each of its steps.")
]


@verb(example='homeground ask "how are daemon threads joined at exit?"')
def ask(
    common: Common,
    question: Annotated[str, typer.Argument(help="In plain words.")],
    agent: AgentOption = False,
) -> None:
    """Answer a question from the index in prose, with checked citations, or say that the index has no answer."""
    if not question.strip():
        raise UsageError("the question is empty", where="ask", hint='ask in words: homeground ask "how is X done?"')
    chosen = _roles(common, agent)
    if common.dry_run:
        common.show({"question": question, **_named(chosen, agent)}, f"would ask {_words(chosen, agent)}")
        return
    with _open(common, chosen, agent) as (answerer, index):
        events = answerer.stream([{"role": "user", "content": question}], agentic=agent)
        if common.json:
            common.show(asyncio.run(_last(events)).document())
            return

        from homeground.cli.telling import Teller

        asyncio.run(Teller(common, index).tell(events))


@verb(example="homeground chat")
def chat(common: Common, agent: AgentOption = False) -> None:
    """Talk about the index: cited answers, with the conversation kept in mind. /help lists what else it does.

    Messages are read from standard input, one a line, where that is no terminal; with --json each event is a line.
    """
    chosen = _roles(common, agent)
    if common.dry_run:
        common.show(_named(chosen, agent), f"would talk with {_words(chosen, agent)}")
        return

    from homeground.cli.chatting import COMMANDS, Chatting
    from homeground.cli.entry import piped, typed
    from homeground.pipeline.dialogue import Dialogue

    by_hand = sys.stdin.isatty() and sys.stdout.isatty()
    with _open(common, chosen, agent) as (answerer, index):
        if by_hand:
            common.tell("ask about the index; /help lists commands, Ctrl-D ends")
        messages = typed(common.workspace().chat_history, COMMANDS) if by_hand else piped(sys.stdin)
        Chatting(common, Dialogue(answerer, agentic=agent), index, patient=by_hand).run(messages)


def _roles(common: Common, agent: bool) -> Roles:
    """Who answers; what is passed over is told."""
    from homeground.pipeline.learned import roles

    workspace = common.workspace(create=False)
    chosen = roles(workspace, common.trained_run() if common.run is not None else None)
    if agent and chosen.seeker is None:
        raise UsageError(
            "no run of this workspace has learned to search",
            where=str(workspace.runs),
            hint="train one with 'homeground tasks', 'homeground sft' and 'homeground rl', or ask without --agent",
        )
    for words in chosen.passed_over:
        common.tell(words)
    return chosen


def _named(chosen: Roles, agent: bool) -> dict[str, Any]:
    return {
        "writer": chosen.writer.name if chosen.writer is not None else None,
        "seeker": chosen.seeker.name if agent and chosen.seeker is not None else None,
    }


def _words(chosen: Roles, agent: bool) -> str:
    writes = f"the model of run '{chosen.writer.name}'" if chosen.writer is not None else "the untrained model"
    return writes + (f", with run '{chosen.seeker.name}' searching" if agent and chosen.seeker is not None else "")


@contextmanager
def _open(common: Common, chosen: Roles, agent: bool) -> Generator[tuple[Answerer, Index]]:
    """What answers, until the block ends."""
    from homeground.pipeline.question import open_answerer

    run = chosen.writer or (chosen.seeker if agent else None)
    recipe = common.load_recipe(str(run.recipe) if run is not None else None)
    workspace = common.workspace(create=False)
    with open_answerer(recipe, workspace, chosen, common.progress(), agentic=agent) as opened:
        yield opened


async def _last(events: AsyncGenerator[Event]) -> Done:
    from homeground.agents.events import Done

    last = [event async for event in events][-1]
    assert isinstance(last, Done)
    return last
