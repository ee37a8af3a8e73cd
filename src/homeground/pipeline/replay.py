"""Replay without anybody's data: the base model's own conversations, mixed into training so that it stays what it was.

The template opens a user's turn and the model writes one; the template opens the assistant's turn and the model
answers (Xu et al. 2024, arXiv 2406.08464). Both are sampled at temperature 1, from the model's own distribution: there
the expected gradient of the loss on them is zero at the base model, so they teach nothing and only hold it in place. An
answer that did not end by itself is left out, or the rows would teach to stop early.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_jsonl
from homeground.pipeline.workbench import Workbench

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from homeground.rollouts import Generation

QUESTION_TOKENS, ANSWER_TOKENS = 48, 160
ROUND = 32
TRIES_A_ROW = 8
_PLACE = "\N{REPLACEMENT CHARACTER}"


def write_replay(bench: Workbench, file: Path, rows: int) -> dict[str, Any]:
    """Sample conversations of the recipe's model, its adapter fresh, until there are enough, and write them.

    Args:
        bench: of the model.
        file: JSON lines of messages.
        rows: how many.

    Raises:
        HomegroundError: the tokenizer has no chat template, or the model hardly ever ends what it writes.
    """
    bar = bench.progress.bar("sampling replay", total=rows)
    made: dict[str, dict[str, Any]] = {}
    tried = 0
    while len(made) < rows:
        if tried >= TRIES_A_ROW * rows + ROUND:
            raise HomegroundError(
                f"only {len(made)} of {tried} conversations that the model sampled came to an end",
                where=bench.recipe.model.name,
                hint="use an instruct model, or your own general examples as a replay source",
            )
        before = len(made)
        for question, answer in conversations(bench, ROUND, bench.recipe.seed + tried):
            if len(made) < rows:
                said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
                made.setdefault(question, {"messages": said, "source": "replay"})
        tried += ROUND
        bar.advance(len(made) - before)
    atomic_write_jsonl(file, made.values())
    bar.done(f"{len(made)} conversations of {tried} that were begun")
    return {"train": len(made), "heldout": 0, "removed": {"unfinished": tried - len(made)}, "train_file": str(file)}


def conversations(bench: Workbench, count: int, seed: int) -> list[tuple[str, str]]:
    """Questions and answers that the model sampled itself, as far as both came to an end."""
    from homeground.policy.chat import prompt_text
    from homeground.rollouts.engine import FinishReason

    tokenizer = bench.policy.tokenizer
    opened = user_opening(tokenizer)
    asked = [
        text
        for one in _sampled(bench, [opened] * count, QUESTION_TOKENS, seed)
        if one.finish_reason is FinishReason.STOP and len((text := _words(tokenizer, one)).split()) > 2
    ]
    prompts = [prompt_text(tokenizer, [{"role": "user", "content": text}]) for text in asked]
    answers = _sampled(bench, prompts, ANSWER_TOKENS, seed + count)
    return [
        (question, text)
        for question, one in zip(asked, answers, strict=True)
        if one.finish_reason is FinishReason.STOP and (text := _words(tokenizer, one))
    ]


def user_opening(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template's text up to where a user's first message begins."""
    from homeground.policy.chat import prompt_text

    return prompt_text(tokenizer, [{"role": "user", "content": _PLACE}], open_turn=False).partition(_PLACE)[0]


def _sampled(bench: Workbench, prompts: list[str], tokens: int, seed: int) -> list[Generation]:
    from homeground.policy.chat import encode, end_token
    from homeground.rollouts import SamplingParams

    tokenizer = bench.policy.tokenizer
    end = end_token(tokenizer)
    waiting = [
        bench.sampler.submit(encode(tokenizer, text), tokens, SamplingParams(seed=seed + at), stop_ids=[end])
        for at, text in enumerate(prompts)
    ]
    return [one.result() for one in waiting]


def _words(tokenizer: PreTrainedTokenizerBase, one: Generation) -> str:
    text = tokenizer.decode(one.ids, skip_special_tokens=True)
    assert isinstance(text, str)
    return text.strip()
