"""What the model writes as it trains: greedy answers to held-out prompts, kept as lines of `samples.jsonl`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from homeground.base.files import append_jsonl, atomic_write_jsonl, read_jsonl
from homeground.policy.chat import end_token
from homeground.policy.forest import TokenPath
from homeground.policy.load import Policy
from homeground.rollouts.heads import context_of
from homeground.rollouts.sampler import Sampler
from homeground.rollouts.sampling import SamplingParams

SHOWN = 160
"""Characters of the first sample that are shown on one line."""


class SampleLog:
    """Writes what the policy answers to some prompts; call it with the step.

    Args:
        policy: that trains.
        sampler: of this policy; published before each round.
        examples: their tokens before the first trained one are the prompts.
        file: gets a line a sample: step, prompt, text (what was written) and expected (what the example says).
        tokens: of an answer at most.
        done: steps that a checkpoint holds; lines of later steps are dropped, those steps are done again.
        show: gets the first sample of each round on one line.
    """

    def __init__(
        self,
        policy: Policy,
        sampler: Sampler,
        examples: Sequence[TokenPath],
        file: Path,
        *,
        tokens: int,
        done: int,
        show: Callable[[str], None],
    ) -> None:
        self._sampler = sampler
        self._tokenizer = policy.tokenizer
        self._context = context_of(policy.model)
        self._examples = examples
        self._file = file
        self._tokens = tokens
        self._show = show
        if file.exists():
            atomic_write_jsonl(file, [row for row in read_jsonl(file) if row["step"] <= done])

    def __call__(self, step: int) -> None:
        self._sampler.publish()
        prompts = [list(e.ids[: e.trained[0]]) for e in self._examples]
        stops: list[Any] = [end_token(self._tokenizer), self._tokenizer.eos_token_id]
        greedy = SamplingParams(temperature=0)
        stop_ids = [stop for stop in stops if isinstance(stop, int)]
        waiting = [
            self._sampler.submit(prompt, min(self._tokens, self._context - len(prompt)), greedy, stop_ids=stop_ids)
            for prompt in prompts
        ]
        for number, (example, future) in enumerate(zip(self._examples, waiting, strict=True)):
            row = {
                "step": step,
                "prompt": self._text(future.result().prompt_ids),
                "text": self._text(future.result().ids),
                "expected": self._text([example.ids[t] for t in example.trained]),
            }
            append_jsonl(self._file, row)
            if number == 0:
                self._show(f"  sample, step {step}: {_one_line(row['text'])}")

    def _text(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids))
        assert isinstance(text, str)
        return text


def _one_line(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]} ..."
