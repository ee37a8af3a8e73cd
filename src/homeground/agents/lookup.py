"""The look-up agent: find the function that a sentence describes, in two turns.

It is an ordinary async function over an `openai.AsyncOpenAI` client, so the same code runs against the sampler in
process, behind the Agent Lightning gateway while training, or against any other chat-completions server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from homeground.agents.lookup_reward import lookup_reward
from homeground.agents.protocol import (
    HITS_SHOWN,
    Message,
    SearchCall,
    assistant,
    hits_turn,
    opening,
    parse_answer,
    parse_search,
)
from homeground.base.errors import HomegroundError
from homeground.base.reward import Reward
from homeground.index import Hit
from homeground.tasks import RANK_DEPTH, LookupTask, rank_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

type SearchTool = Callable[[str, int], list[Hit]]
"""A query and how many hits are wanted, in; hits, best first, out. Synchronous: the agent calls it from a thread."""


@dataclass(frozen=True)
class LookupOutcome:
    """One finished rollout of the look-up agent.

    Attributes:
        task: id of the task.
        messages: the whole conversation; assistant turns exactly as the model wrote them.
        query: what was searched for.
        hits: the hits that the agent saw, best first; at most five.
        rank: rank of the right function among the first ten hits of the query, from 1; None when absent.
        cited: the hit that the answer names; None when the answer was malformed.
        reward: in [0, 1], with its parts.
        success: whether the cited hit is the right function.
        well_formed: whether both turns were well-formed calls.
        reciprocal_rank: 1 / rank, 0 when absent.
    """

    task: str
    messages: list[Message]
    query: str
    hits: tuple[Hit, ...]
    rank: int | None
    cited: Hit | None
    reward: Reward
    success: bool
    well_formed: bool
    reciprocal_rank: float


async def lookup_agent(
    task: LookupTask,
    client: AsyncOpenAI,
    search: SearchTool,
    *,
    max_query_tokens: int,
    max_answer_tokens: int,
    temperature: float | None = None,
) -> LookupOutcome:
    """Run one rollout: the model writes a search call, sees five hits, answers with the number of one.

    Args:
        task: what to find.
        client: any chat-completions server; a training gateway may override model and temperature.
        search: the agent's one tool.
        max_query_tokens: longest first turn, in tokens.
        max_answer_tokens: longest second turn, in tokens.
        temperature: sampling temperature; the server's own default when None.

    Raises:
        HomegroundError: the server could not be reached, refused the request or answered without a choice.
    """
    sampling: dict[str, Any] = {"model": "policy"} | ({} if temperature is None else {"temperature": temperature})
    messages = opening(task.question)
    messages.append(assistant(await _complete(client, messages, task.id, max_tokens=max_query_tokens, **sampling)))
    call = parse_search(messages[-1]["content"])
    found = await asyncio.to_thread(search, call.query, RANK_DEPTH) if call.query else []
    messages.append(hits_turn(found))
    messages.append(assistant(await _complete(client, messages, task.id, max_tokens=max_answer_tokens, **sampling)))
    return settle(task, messages, call, found)


def settle(task: LookupTask, messages: list[Message], call: SearchCall, found: Sequence[Hit]) -> LookupOutcome:
    """Judge a finished conversation: parse its last turn, resolve the citation, add up the reward.

    Args:
        task: what was to be found.
        messages: the whole conversation, the answering assistant turn last.
        call: the parsed first assistant turn.
        found: hits of the call's query, best first, up to ten; the first five were shown.
    """
    shown = tuple(found[:HITS_SHOWN])
    number = parse_answer(messages[-1]["content"], len(shown))
    cited = shown[number - 1] if number is not None else None
    rank = rank_of(found, task)
    success = cited is not None and rank_of([cited], task) == 1
    reward = lookup_reward(
        search_formed=call.well_formed,
        answer_formed=cited is not None,
        rank=rank,
        right_symbol=success,
        right_file=cited is not None and cited.path == task.path,
    )
    return LookupOutcome(
        task=task.id,
        messages=messages,
        query=call.query,
        hits=shown,
        rank=rank,
        cited=cited,
        reward=reward,
        success=success,
        well_formed=call.well_formed and cited is not None,
        reciprocal_rank=1 / rank if rank is not None else 0.0,
    )


async def _complete(client: AsyncOpenAI, messages: list[Message], task_id: str, **sampling: Any) -> str:
    """The text of one assistant turn, exactly as the server returned it."""
    import openai
    from openai.types.chat import ChatCompletion

    where = f"look-up agent, task {task_id}, turn {len(messages) // 2}"
    try:
        completion = cast(
            ChatCompletion, await client.chat.completions.create(messages=cast(Any, messages), **sampling)
        )
    except openai.APIStatusError as error:
        raise HomegroundError(
            f"the model server refused a turn with status {error.status_code}: {error.message}",
            where=where,
            hint="read the server's log; a 404 means another model name, a 401 another key",
        ) from error
    except openai.APIConnectionError as error:
        raise HomegroundError(
            f"the model server at {client.base_url} did not answer: {error.message}",
            where=where,
            hint="check that the server is still running, or raise rl.timeout_s in the recipe",
        ) from error
    if not completion.choices:
        raise HomegroundError(
            "the model server answered without a choice",
            where=where,
            hint="the look-up agent needs a chat-completions server; check what listens at that address",
        )
    return completion.choices[0].message.content or ""
