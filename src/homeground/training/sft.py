"""Supervised fine-tuning: cross-entropy on what assistants wrote, end tokens included.

Examples of a batch are packed into token forests; the loss is the mean over the batch's trained tokens, whatever
forests it was split into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy
from homeground.training.module import PolicyModule, StepLog, fit, sum_over_ranks
from homeground.training.optimizers import OptimizerSettings
from homeground.training.packing import pack


@dataclass(frozen=True)
class SftSettings:
    """One run of fine-tuning.

    Attributes:
        epochs: passes over the examples.
        batch_size: examples in one optimizer step.
        optimizer: learning rate and the like.
        checkpoint_every: optimizer steps.
        forest_tokens: distinct tokens of one forward at most (a longer single example runs alone).
        seed: of the order.
    """

    epochs: int
    batch_size: int
    optimizer: OptimizerSettings
    checkpoint_every: int
    forest_tokens: int = 1024
    seed: int = 0


def train_sft(
    policy: Policy, examples: Sequence[TokenPath], settings: SftSettings, checkpoints: Path, log_step: StepLog
) -> None:
    """Train a policy's adapter in place, resuming from ``checkpoints`` if it holds any.

    Args:
        policy: its adapter moves.
        examples: rendered conversations with at least one trained token each.
        settings: see there.
        checkpoints: folder of this stage.
        log_step: gets each step's metrics: step, loss (nats a token), tokens, seconds, grad_norm, weight_change.

    Raises:
        ValueError: no example, or one without trained tokens.
    """
    if not examples:
        raise ValueError("nothing to train on: the list of examples is empty")
    if any(not e.trained for e in examples):
        raise ValueError("an example has no trained token")
    fit(
        SftModule(policy, examples, settings, log_step),
        steps=sft_steps(len(examples), settings),
        checkpoints=checkpoints,
        every=settings.checkpoint_every,
    )


def sft_steps(examples: int, settings: SftSettings) -> int:
    """Optimizer steps of a run."""
    return steps_of(examples, settings.epochs, settings.batch_size)


def steps_of(examples: int, epochs: int, batch_size: int) -> int:
    """Optimizer steps of some epochs; the last batch of an epoch may be smaller."""
    return epochs * -(-examples // batch_size)


def seeded_batch[T](examples: Sequence[T], batch_size: int, seed: int, step: int) -> list[T]:
    """Examples of an optimizer step: the seed and the step decide."""
    epoch, place = divmod(step, steps_of(len(examples), 1, batch_size))
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(examples), generator=generator).tolist()
    return [examples[i] for i in order[place * batch_size : (place + 1) * batch_size]]


class SftModule(PolicyModule):
    """See :func:`train_sft`."""

    def __init__(self, policy: Policy, examples: Sequence[TokenPath], settings: SftSettings, log_step: StepLog) -> None:
        super().__init__(policy, settings.optimizer, log_step)
        self._examples = examples
        self._sft = settings

    def on_train_start(self) -> None:
        """The longest examples that may share a forest run first."""
        chosen: list[TokenPath] = []
        for example in sorted(self._examples, key=lambda e: -len(e.ids))[: self._sft.batch_size]:
            if chosen and sum(len(e.ids) for e in [*chosen, example]) > self._sft.forest_tokens:
                break
            chosen.append(example)
        self.rehearse(chosen)

    def batch(self, step: int) -> list[TokenPath]:
        """Examples of an optimizer step: the seed and the step decide."""
        return seeded_batch(self._examples, self._sft.batch_size, self._sft.seed, step)

    def training_step(self, *_: Any) -> None:
        """One optimizer step."""
        began = perf_counter()
        step = self.global_step
        examples = self.batch(step)
        trained = int(sum_over_ranks([sum(len(e.trained) for e in examples)])[0])
        loss = 0.0
        tokens = 0
        for chosen in pack([[e] for e in examples], self._sft.forest_tokens):
            forest = TokenForest.build([examples[i] for i in chosen])
            with self.memory_advice(forest):
                share = -self.policy.logprobs(forest).sum() / trained
                self.manual_backward(share)
            loss += float(share.detach())
            tokens += forest.path_tokens
        moved = self.optimizer_step_now()
        seconds = perf_counter() - began
        self._log_step(
            {"stage": "sft", "step": step + 1, "loss": loss, "trained_tokens": trained, "tokens": tokens,
             "tokens_per_s": tokens / seconds, "seconds": seconds, **moved}
        )  # fmt: skip
