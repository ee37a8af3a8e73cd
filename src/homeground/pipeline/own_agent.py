"""What a recipe's `agent` section names: code, tasks and rewards, read before anything is loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from inspect import iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any

from homeground.agents.config import AgentConfig
from homeground.base.errors import UsageError

if TYPE_CHECKING:
    from homeground.agents.own_code import Task
    from homeground.agents.reward_terms import Rewards
    from homeground.base.reward import Reward

LOOKUP = "lookup"
"""The name, in place of a file, of the tasks that `homeground tasks` made."""
_OPTIONS = {
    "code": ("agent", "--agent agent.py:agent"),
    "tasks": ("tasks", "--tasks tasks.jsonl"),
    "rewards": ("reward", "--reward reward.py:reward"),
}


@dataclass(frozen=True)
class OwnAgent:
    """Code and tasks that a recipe's `agent` section names.

    Attributes:
        run: the function of an inline agent; None for an agent in a process.
        reward: function of (task, answer); None if the agent posts its own reward.
        train, heldout: tasks; look-up tasks that have not been made yet are absent.
    """

    run: Callable[..., Awaitable[Any]] | None
    reward: Callable[[Task, Any], Awaitable[Reward]] | None
    train: list[Task] = field(default_factory=list)
    heldout: list[Task] = field(default_factory=list)


def own_agent(section: AgentConfig) -> OwnAgent:
    """Read code, tasks and rewards, so that every mistake in them shows before anything is loaded.

    Raises:
        UsageError: something is not named, not there, or of the wrong kind.
    """
    from homeground.agents.own_code import load_function, place_of, read_tasks, split_tasks

    # A program may post its reward itself, to AGL_EVENT_URL.
    needed = _OPTIONS if section.runner == "inline" else {name: _OPTIONS[name] for name in ("code", "tasks")}
    missing = [words for name, words in needed.items() if not getattr(section, name)]
    if missing:
        raise UsageError(
            f"nothing says which {' and '.join(what for what, _ in missing)} to train with",
            where="homeground rl run",
            hint=f"give {' '.join(option for _, option in missing)}; `homeground rl init` writes these files",
        )
    assert section.code is not None
    assert section.tasks is not None
    run = None
    if section.runner == "inline":
        run = _inline(load_function(section.code, "the agent"), section)
    else:
        place_of(section.code, "the agent")
    reward = _rewards(section) if section.rewards else None
    if section.tasks == LOOKUP:
        return OwnAgent(run, reward)
    tasks = read_tasks(section.tasks)
    if section.heldout is not None:
        return OwnAgent(run, reward, tasks, read_tasks(section.heldout))
    return OwnAgent(run, reward, *split_tasks(tasks, section.heldout_share, section.tasks))


def _rewards(section: AgentConfig) -> Rewards:
    """The terms by name: that of the function, or with its file where two files have one of the same name."""
    from homeground.agents.own_code import load_function
    from homeground.agents.reward_terms import Rewards

    terms = {term.reward: (term.weight, load_function(term.reward, "the reward")) for term in section.rewards}
    named = {reference.rpartition(":")[2]: term for reference, term in terms.items()}
    return Rewards(named if len(named) == len(terms) else terms)


def _inline(agent: Callable[..., Any], section: AgentConfig) -> Callable[..., Awaitable[Any]]:
    names = list(signature(agent).parameters)
    if not iscoroutinefunction(agent) or len(names) < 2:
        raise UsageError(
            "an agent that runs inline is an async function of (task, client)",
            where=section.code,
            hint="write `async def agent(task, client)` and call the model with `await client.chat.completions.create`"
            "; an agent of any other kind runs in a process of its own: --runner process",
        )
    if section.search != ("search" in names):
        raise UsageError(
            "the recipe gives the agent a search that it does not take"
            if section.search
            else "the agent takes a search that the recipe does not give it",
            where=section.code,
            hint="set agent.search to true and write `async def agent(task, client, search)`, or neither",
        )
    return agent
