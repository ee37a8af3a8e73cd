"""Answer a question about the corpus with citations, using the trained look-up agent.

The model does what it was trained for: it writes a search query and picks a hit. The answer's words come from the
cited source itself (its docstring, or its first lines), so nothing in an answer is invented.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from collections.abc import Awaitable, Callable
from itertools import chain, zip_longest
from typing import TypedDict

from homeground.agents.lookup import SearchTool
from homeground.agents.protocol import (
    HITS_SHOWN,
    Message,
    assistant,
    hits_turn,
    opening,
    parse_answer,
    parse_search,
)
from homeground.base.errors import UsageError
from homeground.index import Hit, Stage
from homeground.tasks import RANK_DEPTH

MIN_CONFIDENCE = 0.45
"""Cosine similarity that the best hit must reach.

Measured with all-MiniLM-L6-v2 on the standard library: ten questions about it reached 0.55 to 0.82, ten about other
things (bread, capitals, React, keyboard noise) 0.18 to 0.42.
"""
CODE_LINES_SHOWN = 8
QUERY_TOKENS = 24
ANSWER_TOKENS = 8

type Complete = Callable[[list[Message], int], str | Awaitable[str]]
"""A conversation and the most tokens to write, in; the assistant's turn, out. May be a coroutine function."""


class Citation(TypedDict):
    """Lines of one file, 1-based and inclusive."""

    path: str
    start: int
    end: int


class Answer(TypedDict):
    """What `homeground ask` prints: the answer, where it comes from, and whether there was one."""

    answer: str
    citations: list[Citation]
    found: bool


async def ask(
    question: str, search: SearchTool, complete: Complete, *, min_confidence: float = MIN_CONFIDENCE
) -> Answer:
    """Answer from the index, citing every line range used.

    The corpus is searched with the model's own query and with the question itself, so that a poor query cannot hide
    what plain search finds. The model picks one of the five hits it is shown; the first of them is cited too when the
    model picked another.

    Args:
        question: in plain words.
        search: the index.
        complete: the model, called twice: for a query, then for a citation.
        min_confidence: cosine similarity (the hit's "dense" stage) that the best hit must reach.

    Raises:
        UsageError: the question is blank.
    """
    if not question.strip():
        raise UsageError("the question is empty", where="ask", hint='ask in words: homeground ask "how is X done?"')
    messages = opening(question)
    messages.append(assistant(await _turn(complete, messages, QUERY_TOKENS)))
    query = parse_search(messages[-1]["content"]).query
    own = await asyncio.to_thread(search, query, RANK_DEPTH) if query else []
    asked = await asyncio.to_thread(search, question, RANK_DEPTH)
    hits = merge_hits(own, asked)
    if max(map(confidence, hits), default=0.0) < min_confidence:
        return {"answer": _nothing_found(hits, min_confidence), "citations": [], "found": False}

    messages.append(hits_turn(hits))
    messages.append(assistant(await _turn(complete, messages, ANSWER_TOKENS)))
    shown = hits[:HITS_SHOWN]
    picked = shown[(parse_answer(messages[-1]["content"], len(shown)) or 1) - 1]
    cited = [picked] if picked is hits[0] else [picked, hits[0]]
    return {
        "answer": "\n\n".join(describe(hit) for hit in cited),
        "citations": [{"path": hit.path, "start": hit.start, "end": hit.end} for hit in cited],
        "found": True,
    }


def confidence(hit: Hit) -> float:
    """How sure a hit is, comparable across queries: its cosine similarity, or its final score without that stage."""
    return hit.scores.get(Stage.DENSE, hit.score)


def merge_hits(own: list[Hit], asked: list[Hit]) -> list[Hit]:
    """Hits of two searches taken in turns, without repeats; the search whose best hit is surer comes first.

    Final scores are scaled within a query, so they order the hits of one search but cannot be compared across two.
    """
    first, second = asked, own
    if max(map(confidence, own), default=0.0) > max(map(confidence, asked), default=0.0):
        first, second = own, asked
    taken: dict[tuple[str, int, int], Hit] = {}
    for hit in chain.from_iterable(zip_longest(first, second)):
        if hit is not None:
            taken.setdefault((hit.path, hit.start, hit.end), hit)
    return list(taken.values())


def describe(hit: Hit) -> str:
    """A sentence naming symbol and `path:start-end`, then the docstring's first paragraph or the first lines."""
    place = f"{hit.path}:{hit.start}-{hit.end}"
    opening_words = f"`{hit.symbol}` ({place})" if hit.symbol else place
    summary = docstring_summary(hit.text) if hit.language == "python" else ""
    if summary:
        return f"{opening_words}: {summary}"
    lines = textwrap.dedent(hit.text).strip("\n").splitlines()
    shown = "\n".join("    " + line for line in lines[:CODE_LINES_SHOWN])
    more = "\n    ..." if len(lines) > CODE_LINES_SHOWN else ""
    return f"{opening_words} begins:\n{shown}{more}"


def docstring_summary(source: str) -> str:
    """First paragraph of the docstring that `source` or its first function or class has, on one line; "" when none."""
    try:
        module = ast.parse(textwrap.dedent(source))
    except (SyntaxError, ValueError, RecursionError):
        return ""
    definitions = [n for n in module.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    docstring = ast.get_docstring(module) or (ast.get_docstring(definitions[0]) if definitions else None) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


async def _turn(complete: Complete, messages: list[Message], max_tokens: int) -> str:
    text = complete(messages, max_tokens)
    return await text if inspect.isawaitable(text) else text


def _nothing_found(hits: list[Hit], min_confidence: float) -> str:
    if not hits:
        return "Nothing in the index matches this question."
    nearest = max(hits, key=confidence)
    return (
        f"Nothing in the index matches this question well enough: the nearest is {nearest.path}:{nearest.start}-"
        f"{nearest.end}, with similarity {confidence(nearest):.2f} where {min_confidence:.2f} is needed."
    )
