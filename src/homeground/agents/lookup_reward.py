"""The look-up agent's reward: how well one rollout found the function its task asks for.

    part             worth   when
    search_form      0.10    the first turn is one line "search: <query>"
    answer_form      0.10    the second turn is "answer: [k]" and k is a hit that was shown
    reciprocal_rank  0.30    x 1 / rank of the right function among the first ten hits of the agent's own query
    symbol           0.50    the cited hit is the right function
    file             0.15    ... or, failing that, another function of the right file

The parts add up to at most 1 and depend on the rollout alone: no judge model, no randomness.
"""

from homeground.base.reward import Reward
from homeground.tasks import RANK_DEPTH

SEARCH_FORM = 0.1
ANSWER_FORM = 0.1
RECIPROCAL_RANK = 0.3
SYMBOL = 0.5
FILE = 0.15


def lookup_reward(
    *, search_formed: bool, answer_formed: bool, rank: int | None, right_symbol: bool, right_file: bool
) -> Reward:
    """Add up the parts of one rollout's reward.

    Args:
        search_formed: the first turn was a well-formed search call.
        answer_formed: the second turn was a well-formed answer citing a hit that was shown.
        rank: rank of the right function in the hits of the agent's query, from 1; None or beyond ten earns nothing.
        right_symbol: the cited hit is the right function.
        right_file: the cited hit is in the right file.

    Raises:
        ValueError: a rank below 1, or a citation counted as right although no well-formed answer was given.
    """
    if rank is not None and rank < 1:
        raise ValueError(f"ranks count from 1, got {rank}")
    if (right_symbol or right_file) and not answer_formed:
        raise ValueError("a rollout without a well-formed answer cites nothing, so its citation cannot be right")
    parts = {
        "search_form": SEARCH_FORM * search_formed,
        "answer_form": ANSWER_FORM * answer_formed,
        "reciprocal_rank": RECIPROCAL_RANK / rank if rank is not None and rank <= RANK_DEPTH else 0.0,
        "symbol": SYMBOL * right_symbol,
        "file": FILE * (right_file and not right_symbol),
    }
    return Reward(value=min(1.0, sum(parts.values())), parts=parts)
