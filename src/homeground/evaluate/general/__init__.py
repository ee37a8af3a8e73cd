"""The general probe: what a policy can do that it is not trained for, before and after. Fixed, small and offline.

=========  ==========================================================================================
prose.txt  24 paragraphs of general knowledge, letters and stories, written for this probe: bits a byte
           (:mod:`homeground.evaluate.text`)
reasoning  64 questions of eight `reasoning-gym` generators (`benchmarks/sides/general_probe.py` made
.jsonl     them), each behind three worked ones: bits of the right answer, and how often it is
           likelier, a byte, than each of three wrong ones
=========  ==========================================================================================

A model of 135M parameters writes few right answers, but it likes them better than wrong ones: log-probabilities show a
change long before greedy answers do, and cost one forward.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Self

from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.corpus import digest
from homeground.evaluate.stats import RESAMPLES, Interval, mean_interval, ratio_interval
from homeground.evaluate.text import bits, nats_of, text_of
from homeground.policy import Policy, TokenPath
from homeground.training.formats import example_of
from homeground.training.rendering import path_of

SHOWN = 3
"""Worked examples before each question, the first of its kind in the file."""
GENERAL_METRICS = ("text_bits_per_byte", "answer_bits", "answer_accuracy")
WORSE = {"text_bits_per_byte": 1, "answer_bits": 1, "answer_accuracy": -1}
"""The sign of a change for the worse."""


@dataclass(frozen=True)
class GeneralOutcome:
    """What one policy made of the probe; lists are in the order of its files.

    Attributes:
        text_nats, text_bytes: of each paragraph.
        answer_nats: of each right answer.
        right: 1 where the right answer is the likeliest a byte, else 0.
    """

    text_nats: list[float]
    text_bytes: list[int]
    answer_nats: list[float]
    right: list[float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(**document)


@cache
def probe_id() -> str:
    """Hash of the probe's content and rendering: only outcomes with equal hashes are comparable."""
    return digest(_read("prose.txt"), _read("reasoning.jsonl"), "behind the tokenizer's begin mark")[:12]


def run_general_probe(policy: Policy, on_done: Callable[[int], None] = lambda _: None) -> GeneralOutcome:
    """Score a policy, its adapter as it is, on the whole probe.

    Args:
        policy: with or without a chat template; without one, questions are asked in plain text.
        on_done: gets how many paragraphs and questions were scored.
    """
    tokenizer = policy.tokenizer
    texts = [path_of(tokenizer, example_of({"text": paragraph})) for paragraph in paragraphs()]
    asked = [_answers(tokenizer, row) for row in questions()]
    text_nats = [nats for (nats,) in nats_of(policy, [[path] for path in texts], on_done=on_done)]
    answers = nats_of(policy, asked, on_done=on_done)
    right: list[float] = []
    for row, nats in zip(questions(), answers, strict=True):
        sizes = [len(text.encode()) for text in (row["answer"], *row["wrong"])]
        per_byte = [value / size for value, size in zip(nats, sizes, strict=True)]
        right.append(float(per_byte[0] < min(per_byte[1:])))
    return GeneralOutcome(
        text_nats,
        [len(text_of(tokenizer, [path.ids[t] for t in path.trained]).encode()) for path in texts],
        [nats[0] for nats in answers],
        right,
    )


def general_metrics(outcome: GeneralOutcome, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Interval]:
    """Each metric with its interval."""
    return _metrics(outcome.text_nats, outcome.text_bytes, outcome.answer_nats, outcome.right, resamples, seed)


def compare_general(
    after: GeneralOutcome, before: GeneralOutcome, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Differences after - before over the same paragraphs and questions, with their intervals.

    Raises:
        HomegroundError: they are not of one probe and tokenizer.
    """
    if after.text_bytes != before.text_bytes or len(after.right) != len(before.right):
        raise HomegroundError("the two policies were not measured on the same probe", hint="measure both again")
    return _metrics(
        _differences(after.text_nats, before.text_nats),
        after.text_bytes,
        _differences(after.answer_nats, before.answer_nats),
        _differences(after.right, before.right),
        resamples,
        seed,
    )


def worse(change: dict[str, Interval]) -> list[str]:
    """Metrics that got worse: their whole interval lies on that side of no change."""
    return [name for name, sign in WORSE.items() if min(sign * change[name]["low"], sign * change[name]["high"]) > 0]


@cache
def paragraphs() -> list[str]:
    """The probe's texts."""
    return [text.strip() for text in _read("prose.txt").split("\n\n")]


@cache
def questions() -> list[dict[str, Any]]:
    """The probe's questions: ``kind``, ``question``, ``answer`` and three ``wrong`` ones."""
    rows = _rows()
    earlier = Counter[str]()
    asked: list[dict[str, Any]] = []
    for row in rows:
        earlier[row["kind"]] += 1
        if earlier[row["kind"]] > SHOWN:
            asked.append(row)
    return asked


@cache
def _rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in _read("reasoning.jsonl").splitlines()]


def _answers(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> list[TokenPath]:
    """The question, behind worked ones of its kind, with each answer, the right one first."""
    found: list[TokenPath] = []
    shown = [one for one in _rows() if one["kind"] == row["kind"]][:SHOWN]
    for answer in (row["answer"], *row["wrong"]):
        turns = [(one["question"], one["answer"]) for one in shown] + [(row["question"], answer)]
        if tokenizer.chat_template:
            said = [(("user", asked), ("assistant", told)) for asked, told in turns]
            messages = [{"role": role, "content": text} for pair in said for role, text in pair]
            example = example_of({"messages": messages})
        else:
            lines = "\n\n".join(f"Question: {asked}\nAnswer: {told}" for asked, told in turns)
            example = example_of({"prefix": lines.removesuffix(f" {answer}"), "continuation": f" {answer}"})
        found.append(path_of(tokenizer, example, only_last=True))
    return found


def _metrics(
    text_nats: Sequence[float], text_bytes: Sequence[int], answer_nats: Sequence[float], right: Sequence[float],
    resamples: int, seed: int,
) -> dict[str, Interval]:  # fmt: skip
    how = {"resamples": resamples, "seed": seed}
    return {
        "text_bits_per_byte": ratio_interval([bits(nats) for nats in text_nats], text_bytes, **how),
        "answer_bits": mean_interval([bits(nats) for nats in answer_nats], **how),
        "answer_accuracy": mean_interval(right, **how),
    }


def _differences(after: Sequence[float], before: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(after, before, strict=True)]


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
