"""What the training loops share: a Lightning module around a policy, of which a checkpoint holds the adapter alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor

from homeground.base.errors import HomegroundError
from homeground.base.heap import trim_heap
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy
from homeground.training.config import OptimizerConfig
from homeground.training.efficiency import memory_mb
from homeground.training.heldout import HeldOut
from homeground.training.optimizers import build_optimizer, learning_rate
from homeground.training.random_state import random_state, restore_random_state
from homeground.training.ranks import add_up_gradients

type OnStep = Callable[[dict[str, Any]], None]


class PolicyModule(lightning.LightningModule):
    """Manual optimization of a policy's adapter.

    The data of a step is a function of the seed and of the number of the step, never of what a dataloader has
    prefetched: a step of RL samples from the weights that the step before it left behind, and a resumed run goes on
    with exactly the data that would have come next.

    Args:
        policy: its adapter moves.
        config: learning rate and the like.
        log_step: gets each step's metrics.
        heldout: held-out evaluation of the run, if any.
    """

    def __init__(
        self, policy: Policy, config: OptimizerConfig, log_step: OnStep, heldout: HeldOut | None = None
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False
        self.policy = policy
        self.peft = policy.peft
        self._optimization = config
        self._total = 0
        self._log_step = log_step
        self.heldout = heldout
        self.noise_alpha = 0.0

    def prepare(self, steps: int) -> None:
        """Before a run of so many optimizer steps: its learning rates, dropout and noise."""
        self._total = steps
        self.policy.add_noise(self.noise_alpha)
        self.policy.drop_out(True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """See :func:`~homeground.training.optimizers.build_optimizer`."""
        return build_optimizer(list(self.policy.trainable().values()), self._optimization, self.policy.device)

    def rehearse(self, paths: Sequence[TokenPath]) -> None:
        """Score one forest forward and backward and forget the gradient: what does not fit fails before the first step.

        Raises:
            HomegroundError: out of memory, with what to change.
        """
        forest = TokenForest.build(paths)
        # Dropout draws of the rehearsal must not change what a resumed run draws.
        with self.forest_memory(forest), torch.random.fork_rng():
            self.manual_backward(0.0 * self.policy.logprobs(forest).sum())
        for parameter in self.policy.trainable().values():
            parameter.grad = None

    @contextlib.contextmanager
    def forest_memory(self, forest: TokenForest) -> Generator[None]:
        """Around one forest forward and backward: says what to do when it does not fit, and gives back what it leaves.

        Forests differ in size. On a CPU, holes that one leaves between blocks still in use rarely fit the next.
        """
        try:
            yield
            trim_heap()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            raise HomegroundError(
                f"out of memory for a forest of {len(forest)} distinct tokens: {str(error).splitlines()[0]}",
                where=str(self.policy.device),
                hint="switch model.gradient_checkpointing on, or lower forest_tokens, the group's size or the longest "
                "response",
            ) from error

    def optimizer_step_now(self) -> dict[str, float]:
        """Clip, step, clear; returns the gradient's norm before clipping and the norm of what moved."""
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self._optimization, self.global_step, self._total)
        parameters = list(self.policy.trainable().values())
        add_up_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._optimization.clip)
        if not torch.isfinite(norm):
            raise HomegroundError(
                f"the gradient of step {self.global_step} is not finite",
                hint="lower the learning rate, or set model.compute_dtype to fp32; the last checkpoint is untouched",
            )
        before = [p.detach().clone() for p in parameters]
        optimizer.step()
        optimizer.zero_grad()
        moved = torch.stack([(p.detach() - b).norm() for p, b in zip(parameters, before, strict=True)]).norm()
        if not torch.isfinite(moved):
            raise HomegroundError(
                f"the training has diverged: step {self.global_step} made the adapter's weights not finite",
                hint="lower the learning rate and train again; the last checkpoint is untouched",
            )
        return {
            "grad_norm": float(norm),
            "weight_change": float(moved),
            "learning_rate": learning_rate(self._optimization, self.global_step - 1, self._total),
            "memory_mb": memory_mb(self.policy.device),
        }

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The adapter."""
        return {name: p.detach() for name, p in self.policy.trainable().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> None:  # type: ignore[override]
        """Take over an adapter of the same shape."""
        del strict, assign
        mine = self.policy.trainable()
        if {n: p.shape for n, p in mine.items()} != {n: t.shape for n, t in state_dict.items()}:
            raise HomegroundError(
                "the checkpoint holds another adapter than this recipe's",
                hint="resume with the recipe that the run was started with",
            )
        with torch.no_grad():
            for name, value in state_dict.items():
                mine[name].copy_(value)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the base's fingerprint, the random state and what held-out examples have told."""
        checkpoint["base"] = self.policy.base_fingerprint()
        checkpoint |= random_state()
        if self.heldout is not None:
            checkpoint["heldout"] = self.heldout.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another base; continue the random state."""
        if checkpoint["base"] != self.policy.base_fingerprint():
            raise HomegroundError(
                "the checkpoint was trained on another base model or another quantization",
                hint="resume with the recipe that the run was started with",
            )
        restore_random_state(checkpoint)
        if self.heldout is not None and "heldout" in checkpoint:
            self.heldout.restore(checkpoint["heldout"])
