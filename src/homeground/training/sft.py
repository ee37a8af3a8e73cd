"""Supervised fine-tuning: cross-entropy on what assistants wrote, end tokens included.

Examples of a batch are packed into token forests; the loss is the mean over the batch's trained tokens, whatever
forests it was split into.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from homeground.base.errors import HomegroundError
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy
from homeground.training.checkpoints import adapter_at, step_file
from homeground.training.config import SftConfig
from homeground.training.efficiency import machine_flops, model_cost
from homeground.training.heldout import HeldOut
from homeground.training.loop import fit
from homeground.training.module import PolicyModule, StepLog
from homeground.training.packing import pack
from homeground.training.ranks import rank, ranks, share_of_rank, sum_over_ranks
from homeground.training.watch import LossWatch


def train_sft(
    policy: Policy,
    examples: Sequence[TokenPath],
    config: SftConfig,
    checkpoints: Path,
    log_step: StepLog,
    heldout: HeldOut | None = None,
    *,
    seed: int = 0,
) -> int:
    """Train a policy's adapter in place, resuming from ``checkpoints`` if it holds any.

    Args:
        policy: its adapter moves.
        examples: rendered conversations with at least one trained token each.
        config: see there.
        checkpoints: folder of this stage.
        log_step: gets each step's metrics: step, loss (nats a token), tokens, seconds, grad_norm, weight_change; after
            an evaluation heldout_loss as well.
        heldout: when given, the adapter ends as it was at the step with the lowest held-out loss.
        seed: of the examples' order.

    Returns:
        The step whose adapter the policy has now.

    Raises:
        ValueError: no example, or one without trained tokens.
        KeyboardInterrupt: see :func:`~homeground.training.loop.fit`.
    """
    if not examples:
        raise ValueError("nothing to train on: the list of examples is empty")
    if any(not e.trained for e in examples):
        raise ValueError("an example has no trained token")
    module = SftModule(policy, examples, config, log_step, heldout, seed=seed)
    reached = fit(
        module,
        steps=sft_steps(len(examples), config),
        checkpoints=checkpoints,
        every=config.checkpoint_every,
    )
    if heldout is None or not heldout.best_step or heldout.best_step == reached:
        return reached
    best = adapter_at(step_file(checkpoints, heldout.best_step))
    if best is None:
        warnings.warn(
            f"the checkpoint of the best step, {heldout.best_step}, is lost: the adapter is that of step {reached}",
            stacklevel=2,
        )
        return reached
    module.load_state_dict(best)
    return heldout.best_step


def sft_steps(examples: int, config: SftConfig) -> int:
    """Optimizer steps of a run."""
    return steps_of(examples, config.epochs, config.batch_size)


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

    def __init__(
        self,
        policy: Policy,
        examples: Sequence[TokenPath],
        config: SftConfig,
        log_step: StepLog,
        heldout: HeldOut | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(policy, config, log_step, heldout)
        self._examples = examples
        self._sft = config
        self._seed = seed
        self.noise_alpha = config.neftune_alpha
        self._steps = sft_steps(len(examples), config)
        self._cost = model_cost(policy)
        self._machine_flops = machine_flops(policy) if rank() == 0 else 1.0
        self._watch = LossWatch()

    def on_train_start(self) -> None:
        """The longest examples that may share a forest run first."""
        chosen: list[TokenPath] = []
        for example in sorted(self._examples, key=lambda e: -len(e.ids))[: self._sft.batch_size]:
            if chosen and sum(len(e.ids) for e in [*chosen, example]) > self._sft.forest_tokens:
                break
            chosen.append(example)
        self.rehearse(chosen)
        if self.heldout is not None:
            self.heldout.measure_before()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the order of the data follows from."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["data"] = self._data()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with other data: the order would begin anew in the middle of an epoch."""
        super().on_load_checkpoint(checkpoint)
        if checkpoint["data"] != self._data():
            raise HomegroundError(
                "the checkpoint was trained on other examples, or with another batch size or seed",
                hint="resume with the data and the recipe that the run was started with, or start a new run",
            )

    def _data(self) -> str:
        digest = hashlib.sha256(f"{self._sft.batch_size} {self._seed}".encode())
        for example in self._examples:
            digest.update(f"{list(example.ids)} {list(example.trained)}".encode())
        return digest.hexdigest()[:16]

    def batch(self, step: int) -> list[TokenPath]:
        """Examples of an optimizer step: the seed and the step decide."""
        return seeded_batch(self._examples, self._sft.batch_size, self._seed, step)

    def training_step(self, *_: Any) -> None:
        """One optimizer step: of this process, its share of the step's examples."""
        began = perf_counter()
        step = self.global_step
        examples = self.batch(step)
        trained = sum(len(e.trained) for e in examples)
        mine = [examples[i] for i in share_of_rank([len(e.ids) for e in examples], rank(), ranks())]
        loss = flops = 0.0
        for chosen in pack([[e] for e in mine], self._sft.forest_tokens):
            forest = TokenForest.build([mine[i] for i in chosen])
            with self.forest_memory(forest):
                share = -self.policy.logprobs(forest).sum() / trained
                self.manual_backward(share)
            loss += float(share.detach())
            flops += self._cost.step_flops(forest) if self._cost is not None else 0.0
        moved = self.optimizer_step_now()
        loss, flops, moved["memory_mb"] = sum_over_ranks([loss, flops, moved["memory_mb"]])
        seconds = perf_counter() - began
        tokens = sum(len(e.ids) for e in examples)
        metrics = {
            "stage": "sft", "step": step + 1, "loss": loss, "trained_tokens": trained, "tokens": tokens,
            "tokens_per_s": tokens / seconds, "seconds": seconds, **moved,
        }  # fmt: skip
        if flops:
            metrics["mfu"] = flops / seconds / self._machine_flops
        if self.heldout is not None and self.heldout.due(step + 1, self._steps):
            metrics |= self.heldout.measure(step + 1)
        self._log_step(metrics)
        if rank() == 0:
            self._watch(metrics)
