"""Comparisons of an exported model with the trained one.

What was trained is the policy as it computes: the base as it was stored (4-bit, say) and the adapter's product beside
it. A merge rounds their sum to the base's number format; a merge onto the original weights changes the base as well. So
log-probabilities of held-out text are compared. A GGUF file is read back with llama.cpp and compared with transformers:
tokens, template, log-probabilities, greedy text.

``transformers``' own GGUF loader will not do as the second reader: it loses pre-tokenizers, and would agree with a file
that llama.cpp tokenizes otherwise.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unicodedata import normalize

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.policy.chat import Message, end_token, prompt_text, token_text
from homeground.policy.export.gguf_tokenizer import PROBES, added_beginning
from homeground.policy.export.weights import MergedWeights
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy

_HELD_OUT = 128  # tokens of a text
LARGE_MEAN = 0.1
"""Nats a token, mean absolute: a difference above it is warned of. bf16's own noise on a small model is about half."""


@dataclass(frozen=True)
class Difference:
    """Token log-probabilities of two models on the same text.

    Attributes:
        tokens: how many were compared.
        mean, max: absolute difference, nats.
        bits: of the trained policy, mean negative log2-probability a token.
        bits_merged: of the merged model.
    """

    tokens: int
    mean: float
    max: float
    bits: float
    bits_merged: float

    @property
    def large(self) -> bool:
        """Return whether a user should know."""
        return self.mean > LARGE_MEAN

    def to_json(self) -> dict[str, Any]:
        """As in the verb's document."""
        return asdict(self)


def held_out(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[TokenPath]:
    """The beginnings of some texts, every token but the first to be scored."""
    # The tokenizer warns of texts beyond the model's context, of which only the beginning is wanted.
    rows = [tokenizer(text[: 10 * _HELD_OUT]).input_ids[:_HELD_OUT] for text in texts]
    return [TokenPath(list(row), list(range(1, len(row)))) for row in rows if len(row) > 1]


def trained_logprobs(policy: Policy, rows: Sequence[TokenPath]) -> Tensor:
    """Log-probability that the policy gives each token, shape (tokens,), on the CPU."""
    with torch.no_grad():
        return torch.cat([policy.logprobs(TokenForest.build([row])).cpu() for row in rows])


def plain_logprobs(model: PreTrainedModel, rows: Sequence[TokenPath]) -> Tensor:
    """Log-probability that a plain transformers model gives each token, shape (tokens,), on the CPU."""
    parts: list[Tensor] = []
    for row in rows:
        ids = torch.tensor([row.ids], device=model.device)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        parts.append(logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0].cpu())
    return torch.cat(parts)


def compare(trained: Tensor, merged: Tensor) -> Difference:
    """The difference of two rows of log-probabilities, shape (tokens,) each."""
    gap = (trained - merged).abs()
    return Difference(
        tokens=len(gap),
        mean=float(gap.mean()),
        max=float(gap.max()),
        bits=float(-trained.mean() / math.log(2)),
        bits_merged=float(-merged.mean() / math.log(2)),
    )


def plain_model(weights: MergedWeights, dtype: torch.dtype) -> PreTrainedModel:
    """The merged model in plain transformers, on the CPU.

    Values are rounded to the base's number format first, as they are in its files.
    """
    tensors = {name: weights.tensor(name).to(weights.dtype(name)) for name in weights.names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = weights.model_class.from_pretrained(None, config=weights.config, state_dict=tensors, dtype=dtype)
    return model.eval()


def fill(model: nn.Module, weights: MergedWeights) -> None:
    """Give a plain model the tensors of a merge."""
    with torch.no_grad():
        for name in weights.names:
            model.get_parameter(name).copy_(weights.tensor(name).to(weights.dtype(name)))


CONVERSATIONS: tuple[list[Message], ...] = (
    [{"role": "user", "content": "Which function parses a date?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name 3 primes: 2, 3 and ...?"}],
    [
        {"role": "user", "content": "def f(x):\n    return x"},
        {"role": "assistant", "content": "It returns what it gets."},
        {"role": "user", "content": "And for x=1234567?"},
    ],
)
_STEPS, _TOP, _PLACES = 16, 10, 8
_ROW_TOKENS = 256


@dataclass(frozen=True)
class Check:
    """What another reader made of a file.

    Attributes:
        reader: which.
        texts: how many texts it tokenized.
        other_tokens: those that it tokenized otherwise, as (text, transformers' ids, its ids).
        conversations: how many it rendered.
        other_prompts: those that it rendered otherwise, as (transformers' text, its text).
        values: how many log-probs were compared: the most likely tokens' at some places of some texts.
        mean, max: their absolute difference, nats.
        greedy_steps, greedy_same: tokens it chose greedily, and how many of them transformers would choose as well.
    """

    reader: str
    texts: int
    other_tokens: list[tuple[str, list[int], list[int] | None]]
    conversations: int
    other_prompts: list[tuple[str, str | None]]
    values: int
    mean: float
    max: float
    greedy_steps: int
    greedy_same: int

    def problems(self) -> list[str]:
        """Where the file is not what was exported, in words."""
        found: list[str] = []
        if self.other_tokens:
            text, ours, theirs = self.other_tokens[0]
            found.append(
                f"{self.reader} tokenizes {len(self.other_tokens)} of {self.texts} texts otherwise: {text!r} is "
                f"{theirs} there, {ours} in training"
            )
        if self.other_prompts:
            ours, theirs = self.other_prompts[0]
            found.append(
                f"{self.reader} renders {len(self.other_prompts)} of {self.conversations} conversations otherwise: "
                f"{theirs!r}, not {ours!r}"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """As in the verb's document."""
        return {
            "reader": self.reader,
            "texts": self.texts,
            "texts_other": len(self.other_tokens),
            "conversations": self.conversations,
            "conversations_other": len(self.other_prompts),
            "values": self.values,
            "mean": self.mean,
            "max": self.max,
            "greedy_steps": self.greedy_steps,
            "greedy_same": self.greedy_same,
        }


def reader_missing() -> str | None:
    """Why no file can be read back here; None when it can."""
    if find_spec("xllamacpp") is None:
        return "not read back: xllamacpp is not installed (pip install xllamacpp)"
    return None


def check_gguf(file: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, threads: int = 1) -> Check:
    """Read a GGUF file with llama.cpp and compare.

    Args:
        file: just written.
        model: the same weights in transformers, on the CPU.
        tokenizer: of that model.
        threads: for the reader.

    Raises:
        HomegroundError: the reader cannot load the file.
    """
    prompts, conversations = _rendered(tokenizer)
    ended = [f"{text}A.{token_text(tokenizer, end_token(tokenizer))}" for text in prompts]
    # Readers do not normalise; the export says so, and here both get the same letters.
    texts = [normalize("NFC", text) for text in PROBES]
    texts += [_without_bos(tokenizer, text) for text in (*prompts, *ended)]
    ids = [_ids(tokenizer, text) for text in texts]
    rows = [row[:_ROW_TOKENS] for row in (ids[0], ids[2], *ids[len(PROBES) : len(PROBES) + len(prompts)])]
    lengths = [list(range(1, len(row) + 1, max(1, len(row) // _PLACES))) for row in rows]
    answers = _ask(
        file,
        {
            "threads": threads,
            "texts": texts,
            "conversations": conversations,
            "rows": list(zip(rows, lengths, strict=True)),
            "n_predict": _STEPS,
            "n_probs": _TOP,
        },
    )
    gaps: list[float] = []
    same = steps = 0
    for row, places, tops, greedy in zip(rows, lengths, answers["top"], answers["greedy"], strict=True):
        logprobs = _next_logprobs(model, [*row, *greedy])
        for place, top in zip(places, tops, strict=True):
            gaps += [abs(float(logprobs[place - 1, token]) - value) for token, value in top]
        chosen = logprobs[len(row) - 1 : -1].argmax(-1).tolist()
        same += sum(ours == theirs for ours, theirs in zip(chosen, greedy, strict=True))
        steps += len(greedy)
    theirs = [None if text is None else _without_bos(tokenizer, text) for text in answers["rendered"]]
    ours = [_without_bos(tokenizer, text) for text in prompts]
    return Check(
        reader="llama.cpp",
        texts=len(texts),
        other_tokens=[(t, a, b) for t, a, b in zip(texts, ids, answers["tokens"], strict=True) if a != b],
        conversations=len(ours),
        other_prompts=[(a, b) for a, b in zip(ours, theirs, strict=True) if a != b],
        values=len(gaps),
        mean=sum(gaps) / max(1, len(gaps)),
        max=max(gaps, default=0.0),
        greedy_steps=steps,
        greedy_same=same,
    )


def _ask(file: Path, request: dict[str, Any]) -> dict[str, Any]:
    program = Path(__file__).with_name("llamacpp_reader.py")
    done = subprocess.run(
        [sys.executable, str(program)],
        input=json.dumps({"file": str(file), **request}),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise HomegroundError(
            f"llama.cpp cannot read the file back: {lines[-1]}",
            where=str(file),
            hint="this is a defect of the export: please report the model's config.json with it",
        )
    return json.loads(done.stdout.splitlines()[-1])


def _next_logprobs(model: PreTrainedModel, row: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of every token behind each token of a row, shape (tokens, vocabulary)."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([list(row)], device=model.device), use_cache=False).logits[0]
    return logits.float().log_softmax(-1).cpu()


def _rendered(tokenizer: PreTrainedTokenizerBase) -> tuple[list[str], list[list[Message]]]:
    """Prompts, and the conversations they are of: those that the template takes (it may refuse a system message)."""
    prompts: list[str] = []
    conversations: list[list[Message]] = []
    for messages in CONVERSATIONS if tokenizer.chat_template else ():
        with contextlib.suppress(HomegroundError):
            prompts.append(prompt_text(tokenizer, messages))
            conversations.append(messages)
    return prompts, conversations


def _without_bos(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A template's text less the mark of the beginning, which readers add to ids themselves."""
    return text.removeprefix(added_beginning(tokenizer))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text).input_ids)
