"""The command `ask`, and how it and `chat` choose a model and print an answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.base.errors import UsageError
from homeground.base.terminal import printable, printable_lines
from homeground.cli.printed_lines import NAME, NUMBER, PATH, QUIET, ShownPaths, Styled, print_lines
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from homeground.agents.answering import Answerer
    from homeground.agents.events import Cited, Done, Event, Step
    from homeground.index import Hit, Index
    from homeground.pipeline.learned import Roles

_HITS_OF_A_STEP = 3
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
    chosen = chosen_roles(common, agent)
    if common.dry_run:
        common.show({"question": question, **named(chosen, agent)}, f"would ask {described(chosen, agent)}")
        return
    with opened(common, chosen, agent) as (answerer, index):
        events = answerer.stream([{"role": "user", "content": question}], agentic=agent)
        if common.json:
            common.show(asyncio.run(_last(events)).document())
            return
        asyncio.run(Teller(common, index).tell(events))


def chosen_roles(common: Common, agent: bool) -> Roles:
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


def named(chosen: Roles, agent: bool) -> dict[str, Any]:
    """The runs of the models, for `--dry-run --json`."""
    return {
        "writer": chosen.writer.name if chosen.writer is not None else None,
        "seeker": chosen.seeker.name if agent and chosen.seeker is not None else None,
    }


def described(chosen: Roles, agent: bool) -> str:
    """The same in words."""
    writes = f"the model of run '{chosen.writer.name}'" if chosen.writer is not None else "the untrained model"
    return writes + (f", with run '{chosen.seeker.name}' searching" if agent and chosen.seeker is not None else "")


@contextmanager
def opened(common: Common, chosen: Roles, agent: bool) -> Generator[tuple[Answerer, Index]]:
    """Open the answering side for the length of the block."""
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


class Teller:
    """Shows what happens: the answer on stdout, steps and remarks on stderr.

    Args:
        common: options of the verb.
        index: knows where files lie.
    """

    def __init__(self, common: Common, index: Index) -> None:
        self._common = common
        self._shown = ShownPaths(index)

    async def tell(self, events: AsyncGenerator[Event]) -> Done:
        """Shows everything; returns the last event."""
        from homeground.agents.events import Cited, Sources, Step, Text

        cited: list[Cited] = []
        shown: Sequence[Hit] = ()
        done: Done | None = None
        async with aclosing(events) as happening:
            async for event in happening:
                if isinstance(event, Step):
                    self._step(event)
                elif isinstance(event, Sources):
                    shown = event.hits[: event.packed]
                elif isinstance(event, Cited):
                    cited.append(event)
                elif isinstance(event, Text):
                    sys.stdout.write(printable_lines(event.text))
                    sys.stdout.flush()
                else:
                    done = event
        assert done is not None, "an answer ends with done"
        print()
        print_lines([*_number(event.number), *self.place(event.hit)] for event in cited)
        if not cited and shown:
            print_lines([[("shown to the model, and not cited:", QUIET)]])
            print_lines([("  ", ""), *self.place(hit)] for hit in shown)
        self._remarks(done)
        return done

    def place(self, hit: Hit) -> list[Styled]:
        """`path:start-end  symbol`, the path as it can be opened from here."""
        return [
            (self._shown(hit.path), PATH),
            (":", QUIET),
            (f"{hit.start}-{hit.end}", NUMBER),
            (f"  {hit.symbol}".rstrip(), NAME),
        ]

    def _step(self, step: Step) -> None:
        hits = ", ".join(printable(hit.citation) for hit in step.hits[:_HITS_OF_A_STEP])
        more = f" and {len(step.hits) - _HITS_OF_A_STEP} more" if len(step.hits) > _HITS_OF_A_STEP else ""
        came = f"  ->  {hits}{more}" if step.tool != "read" else ""
        self._remark(f"{step.tool}: {printable(step.asked)}{came}")

    def _remark(self, words: str) -> None:
        from rich.text import Text

        self._common.tell(Text(words))

    def _remarks(self, done: Done) -> None:
        for words in done.dropped:
            self._remark(f"dropped {printable(words)}")
        if done.by_words:
            self._remark(f"cited because sentence and passage share their words, not by the model: {done.by_words}")
        if done.uncited:
            self._remark(f"sentences that cite nothing, so check them: {done.uncited}")


def _number(number: int) -> list[Styled]:
    return [("  [", QUIET), (str(number), NUMBER), ("] ", QUIET)]
