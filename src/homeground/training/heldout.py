"""What a run is judged by while it trains: the loss on held-out examples, which step had the lowest, and when to stop.

The loss is the mean over all trained tokens of the held-out examples, nats a token, with dropout and everything else
that only training does switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from homeground.base.errors import HomegroundError
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy
from homeground.training.packing import pack
from homeground.training.ranks import rank, ranks, share_of_rank, sum_over_ranks

MIN_GAIN = 1e-4
"""A held-out loss counts as lower when it is lower by this share of the lowest so far."""


class HeldOut:
    """Held-out examples, and what they have told so far.

    Args:
        policy: what is judged.
        examples: rendered, with at least one trained token each; none of them is trained on.
        every: optimizer steps between evaluations; the last step is always evaluated.
        patience: so many evaluations in a row without a lower loss end the training; 0 never does.
        forest_tokens: distinct tokens of one forward at most.
        write_samples: called with the step after each evaluation, in the first process alone.

    Attributes:
        before: loss before the first step.
        lowest: the lowest loss after a step, and ``best_step`` the step that had it (0 before any evaluation).
        idle: evaluations since then.
        measured_at: the step of the last evaluation.
        kept_step: the step whose adapter the policy has when the run has ended.
    """

    def __init__(
        self,
        policy: Policy,
        examples: Sequence[TokenPath],
        *,
        every: int,
        patience: int = 0,
        forest_tokens: int = 1024,
        write_samples: Callable[[int], None] | None = None,
    ) -> None:
        if not examples or any(not e.trained for e in examples):
            raise ValueError("held-out examples need at least one trained token each")
        self._policy = policy
        self._examples = examples
        self._every = every
        self._patience = patience
        self._forest_tokens = forest_tokens
        self._write_samples = write_samples
        self.before: float | None = None
        self.lowest = float("inf")
        self.best_step = 0
        self.idle = 0
        self.measured_at = 0
        self.kept_step = 0

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return bool(self._patience) and self.idle >= self._patience

    def measure_before(self) -> None:
        """The loss before the first step; a resumed run has it already."""
        if self.before is None:
            self.before = self.loss()

    def due(self, step: int, last: int) -> bool:
        """Whether the policy is evaluated after ``step`` steps of ``last``."""
        return step % self._every == 0 or step == last

    def measure(self, step: int) -> dict[str, float]:
        """Evaluate the policy as it is after ``step`` steps; returns what is logged of it."""
        loss = self.loss()
        self.measured_at = step
        if loss < self.lowest * (1 - MIN_GAIN):
            self.lowest, self.best_step, self.idle = loss, step, 0
        else:
            self.idle += 1
        if self._write_samples is not None and rank() == 0:
            self._write_samples(step)
        assert self.before is not None
        return {"heldout_loss": loss, "heldout_loss_before": self.before, "best_step": self.best_step}

    def loss(self) -> float:
        """Mean over the trained tokens of all held-out examples, nats a token.

        Raises:
            HomegroundError: it is not finite.
        """
        sizes = [len(e.ids) for e in self._examples]
        mine = [self._examples[i] for i in share_of_rank(sizes, rank(), ranks())]
        total = 0.0
        self._policy.drop_out(False)
        try:
            # What training draws must not depend on whether it is looked at.
            with torch.no_grad(), torch.random.fork_rng():
                for chosen in pack([[e] for e in mine], self._forest_tokens):
                    forest = TokenForest.build([mine[i] for i in chosen])
                    total -= float(self._policy.logprobs(forest).double().sum())
        finally:
            self._policy.drop_out(True)
        total, count = sum_over_ranks([total, float(sum(len(e.trained) for e in mine))])
        loss = total / count
        if loss != loss or loss == float("inf"):
            raise HomegroundError(
                f"the loss on the held-out examples is {loss}",
                hint="lower the learning rate, or set model.compute_dtype to fp32; the last checkpoint is untouched",
            )
        return loss

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in ("before", "lowest", "best_step", "idle", "measured_at")}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        for name in self.state():
            setattr(self, name, state[name])
