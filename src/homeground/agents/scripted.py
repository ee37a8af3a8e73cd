"""The look-up job done by a script: a reference point for evaluation and a cold start for training.

Neither uses a model. `scripted_lookup` shows what format plus plain search earns; `scripted_trajectory` writes
conversations from which SFT learns the shape of the job.
"""

from __future__ import annotations

import random
import re

from homeground.agents.lookup import LookupOutcome, SearchTool, settle
from homeground.agents.protocol import (
    HITS_SHOWN,
    Message,
    SearchCall,
    answer_turn,
    hits_turn,
    opening,
    search_turn,
)
from homeground.tasks import RANK_DEPTH, LookupTask, rank_of

MAX_QUERY_WORDS = 6
STOP_WORDS = frozenset(
    "a an and any are as at be been but by can do does for from given has have if in into is it its may must no not of"
    " on or return returns set should so such than that the their then there these this to use used was when where"
    " which while will with you your".split()
)
_WORD = re.compile(r"[^\W\d]\w*(?:['-]\w+)*")


def scripted_lookup(task: LookupTask, search: SearchTool) -> LookupOutcome:
    """Search with the whole question and cite the first hit: what the protocol earns without any learning."""
    query = " ".join(task.question.split())
    found = search(query, RANK_DEPTH)
    messages = [*opening(task.question), search_turn(query), hits_turn(found), answer_turn(1)]
    return settle(task, messages, SearchCall(query, well_formed=True), found)


def scripted_trajectory(task: LookupTask, search: SearchTool, rng: random.Random) -> list[Message]:
    """Write one conversation for the SFT cold start.

    The query is one to six random content words of the question; the hits are what the search finds. The answer names
    the right function half of the time when it is among them; else it is a number drawn from those shown. This teaches
    the form and little more, on purpose: a heavier cold start (better queries, always the right answer) would leave
    reinforcement learning less to do. Hits are never arranged: that good hits come first is for the model to find.

    Args:
        task: a task of the train split.
        search: hits for a query, best first.
        rng: the only source of randomness; equal states write equal conversations.
    """
    words = content_words(task.question)
    rng.shuffle(words)
    query = " ".join(words[: rng.randint(1, MAX_QUERY_WORDS)])
    shown = search(query, HITS_SHOWN)[:HITS_SHOWN]
    right = rank_of(shown, task)
    number = right if right is not None and rng.random() < 0.5 else rng.randint(1, max(1, len(shown)))
    return [*opening(task.question), search_turn(query), hits_turn(shown), answer_turn(number)]


def content_words(question: str) -> list[str]:
    """Words of the question in order, stop words left out; all its words when nothing else is left."""
    words = _WORD.findall(question)
    return [w for w in words if w.lower() not in STOP_WORDS] or words or [" ".join(question.split())]
