"""An agent of one's own as a source of rollouts: inline or in processes of its own, through the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.agents.launch import FILE as LAUNCHER
from homeground.agents.search_server import SearchServer
from homeground.base.reward import Reward
from homeground.pipeline.own_agent import LOOKUP, OwnAgent
from homeground.pipeline.workbench import Workbench

if TYPE_CHECKING:
    from homeground.agents.config import AgentConfig
    from homeground.agents.own_code import Task
    from homeground.index import Hit
    from homeground.rollouts import GatewaySource, ProcessRunner


type Search = Callable[[str, int], list[Hit]]


@contextmanager
def agent_source(bench: Workbench, agent: OwnAgent) -> Generator[GatewaySource]:
    """The agent through a gateway of its own, with the search where the recipe gives it one."""
    from homeground.rollouts import Gateway, GatewaySource

    section, rl = bench.recipe.agent, bench.recipe.rl
    search = _search(bench) if section.search else None

    async def graded(task: Task, answer: Any) -> Reward:
        if agent.reward is None:
            return Reward(None, outcome=answer)
        return replace(await agent.reward(task, answer), outcome=answer)

    async def inline(task: Task, client: Any) -> Reward:
        assert agent.run is not None
        tools = {} if search is None else {"search": _tool(search)}
        return Reward(None, outcome=await agent.run(task, client, **tools))

    async def printed(task: Task, output: str) -> Reward:
        return await graded(task, json.loads(output))

    with ExitStack() as open_:
        options: dict[str, Any] = {
            "timeout_s": rl.timeout_s,
            "failure_reward": rl.failure_reward,
            "describe": lambda task: task,
            "max_tokens": section.max_tokens,
            "seed": bench.recipe.seed,
            "grade": graded,
        }
        if agent.run is not None:
            runner: Any = inline
            options["concurrency"] = section.concurrency
        else:
            environment = {} if search is None else open_.enter_context(SearchServer(search)).environment
            runner = _process(section, environment)
            options["grade"] = printed
        gateway = open_.enter_context(Gateway(train_temperature=rl.temperature))
        yield open_.enter_context(GatewaySource(gateway, bench.server, runner, **options))


def _process(section: AgentConfig, environment: dict[str, str]) -> ProcessRunner:
    from homeground.rollouts import ProcessRunner, Program

    assert section.code is not None
    file, _, name = section.code.rpartition(":")
    agent = f"{Path(file).expanduser().absolute()}:{name}"
    program = Program([LAUNCHER, agent], python=section.python, env=environment | section.env)
    return ProcessRunner(program, section.concurrency)


def _tool(search: Search) -> Callable[..., Any]:
    """The search as an agent calls it: ``await search(query, k)`` gives hits as JSON, none for a blank query."""

    async def tool(query: str, k: int = 5) -> list[dict[str, Any]]:
        if not query.strip():
            return []
        return [hit.to_json() for hit in await asyncio.to_thread(search, query, k)]

    return tool


def _search(bench: Workbench) -> Search:
    """Over the index in which look-up tasks are masked, or with tasks of other kinds over the whole one."""
    if bench.recipe.agent.tasks == LOOKUP:
        _ = bench.masked
        return bench.search
    bench.index.warm()
    return bench.search_whole
