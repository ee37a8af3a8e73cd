"""How well a policy writes texts that it was not trained on.

Bits per byte of a text are ``sum of nats / (ln 2 * UTF-8 bytes)``: nats are the negative log-probabilities of its
trained tokens (answers, or the continuation), bytes those of their text. Tokens cancel out, so models with different
tokenizers compare. The token that ends an answer has no bytes, but its nats count: where to stop is a part of the job.

Completions are greedy. Exact match compares them with the reference, edit similarity is one less the Levenshtein
distance over the longer of the two (both without white space at their ends).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.evaluate.stats import RESAMPLES, Interval, mean_interval, ratio_interval
from homeground.policy import Policy, TokenForest, TokenPath
from homeground.policy.chat import ConversationError, end_token
from homeground.training import Example
from homeground.training.packing import pack
from homeground.training.rendering import path_of

if TYPE_CHECKING:
    from homeground.rollouts import Sampler

TEXT_METRICS = ("bits_per_byte", "exact_match", "edit_similarity")
FOREST_TOKENS = 1024


@dataclass(frozen=True)
class HeldOutText:
    """A row as ids, and what a completion of it is compared with.

    Attributes:
        id: of the row, such as its place in the file.
        path: all of it; its trained tokens are scored.
        prompt: ids up to the last answer.
        reference: the last answer's text.
        bytes: UTF-8 bytes of all trained text.
        end: id at which a completion stops.
    """

    id: str
    path: TokenPath
    prompt: list[int]
    reference: str
    bytes: int
    end: int


@dataclass(frozen=True)
class TextOutcome:
    """What one policy made of one row.

    Attributes:
        id: of the row.
        nats: of its trained tokens.
        bytes: of their text.
        completion: what the policy wrote, greedily.
        exact_match: 1 when that is the reference.
        edit_similarity: from 0 to 1.
    """

    id: str
    nats: float
    bytes: int
    completion: str
    exact_match: float
    edit_similarity: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def held_out_texts(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, limit: int
) -> tuple[list[HeldOutText], int]:
    """Rows that can be scored, and the number of skipped ones: too long, without text, or refused by the template.

    Args:
        tokenizer: tokenizer of the policy.
        examples: of any format but preference pairs.
        limit: the model's context, tokens.

    Raises:
        HomegroundError: no row can be scored.
    """
    texts: list[HeldOutText] = []
    for number, example in enumerate(examples, start=1):
        try:
            path = path_of(tokenizer, example)
        except ConversationError:
            continue
        runs = _runs(path.trained)
        written = [text_of(tokenizer, path.ids[run.start : run.stop]) for run in runs]
        size = sum(len(text.encode()) for text in written)
        if len(path.ids) > limit or not size:
            continue
        end = end_token(tokenizer) if example.messages else tokenizer.eos_token_id
        prompt = list(path.ids[: runs[-1].start])
        texts.append(HeldOutText(str(number), path, prompt, written[-1], size, end if isinstance(end, int) else -1))
    if not texts:
        raise HomegroundError(
            f"none of the {len(examples)} held-out rows can be scored",
            hint=f"give rows with an answer that fit the context of {limit} tokens",
        )
    return texts, len(examples) - len(texts)


def nats_of(
    policy: Policy,
    groups: Sequence[Sequence[TokenPath]],
    *,
    forest_tokens: int = FOREST_TOKENS,
    on_done: Callable[[int], None] = lambda _: None,
) -> list[list[float]]:
    """Negative log-probability of each path's trained tokens, nats, in the shape of the groups.

    Args:
        policy: with its adapter as it is.
        groups: paths that share a beginning, which is computed once.
        forest_tokens: of one forward at most, as far as groups allow.
        on_done: gets the number of groups that were scored together.
    """
    nats: list[list[float]] = [[] for _ in groups]
    for chosen in pack(groups, forest_tokens):
        forest = TokenForest.build([path for place in chosen for path in groups[place]])
        with torch.no_grad():
            logprobs = policy.logprobs(forest).double().cpu()
        sums = torch.zeros(len(forest.paths), dtype=torch.float64).index_add_(0, forest.path.cpu(), -logprobs)
        rest = sums.tolist()
        for place in chosen:
            nats[place], rest = rest[: len(groups[place])], rest[len(groups[place]) :]
        on_done(len(chosen))
    return nats


def completions_of(
    sampler: Sampler, tokenizer: PreTrainedTokenizerBase, texts: Sequence[HeldOutText], *, max_tokens: int, context: int
) -> list[str]:
    """What the sampler's policy writes greedily after each prompt."""
    from homeground.rollouts import SamplingParams

    greedy = SamplingParams(temperature=0)
    waiting = [
        sampler.submit(text.prompt, min(max_tokens, context - len(text.prompt)), greedy, stop_ids=[text.end])
        for text in texts
    ]
    return [text_of(tokenizer, future.result().ids) for future in waiting]


def outcomes_of(texts: Sequence[HeldOutText], nats: Sequence[float], completions: Sequence[str]) -> list[TextOutcome]:
    """Nats and completions as outcomes, in the order of the texts."""
    from rapidfuzz.distance import Levenshtein

    outcomes: list[TextOutcome] = []
    for text, value, completion in zip(texts, nats, completions, strict=True):
        wanted, got = text.reference.strip(), completion.strip()
        similarity = Levenshtein.normalized_similarity(wanted, got)
        outcomes.append(TextOutcome(text.id, value, text.bytes, completion, float(wanted == got), similarity))
    return outcomes


def text_metrics(outcomes: Sequence[TextOutcome], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Interval]:
    """Each metric over the rows, with its interval."""
    how = {"resamples": resamples, "seed": seed}
    return {
        "bits_per_byte": ratio_interval([bits(one.nats) for one in outcomes], [one.bytes for one in outcomes], **how),
        "exact_match": mean_interval([one.exact_match for one in outcomes], **how),
        "edit_similarity": mean_interval([one.edit_similarity for one in outcomes], **how),
    }


def compare_texts(
    after: Sequence[TextOutcome], before: Sequence[TextOutcome], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Differences after - before over the same rows, with their intervals.

    Raises:
        HomegroundError: they are not of the same rows.
    """
    if [one.id for one in after] != [one.id for one in before]:
        raise HomegroundError("the two policies were not measured on the same rows", hint="measure both again")
    how = {"resamples": resamples, "seed": seed}
    pairs = list(zip(after, before, strict=True))
    return {
        "bits_per_byte": ratio_interval([bits(a.nats - b.nats) for a, b in pairs], [a.bytes for a, _ in pairs], **how),
        "exact_match": mean_interval([a.exact_match - b.exact_match for a, b in pairs], **how),
        "edit_similarity": mean_interval([a.edit_similarity - b.edit_similarity for a, b in pairs], **how),
    }


def bits(nats: float) -> float:
    """Nats as bits."""
    return nats / math.log(2)


def text_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of ids, special tokens left out."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True)
    assert isinstance(text, str)
    return text


def _runs(trained: Sequence[int]) -> list[range]:
    """Trained positions as runs without gaps."""
    runs: list[range] = []
    for at in trained:
        if runs and runs[-1].stop == at:
            runs[-1] = range(runs[-1].start, at + 1)
        else:
            runs.append(range(at, at + 1))
    return runs
