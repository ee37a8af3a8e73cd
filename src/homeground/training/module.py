"""What the training loops share: a Lightning module around a policy, and checkpoints of its adapter alone."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from homeground.base.errors import HomegroundError
from homeground.base.heap import blocks_returned
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy
from homeground.training.checkpoints import AtomicCheckpointIO, CheckpointSaver, newest_checkpoint
from homeground.training.optimizers import OptimizerSettings, build_optimizer

RETURNED = 2 << 20
"""Blocks from this size on, in bytes, are not kept when they are freed: less memory for a little more time."""

type StepLog = Callable[[dict[str, Any]], None]


class PolicyModule(lightning.LightningModule):
    """Manual optimization of a policy's adapter.

    The data of a step is a function of the seed and of the number of the step, never of what a dataloader has
    prefetched: a step of RL samples from the weights that the step before it left behind, and a resumed run goes on
    with exactly the data that would have come next.
    """

    def __init__(self, policy: Policy, optimizer: OptimizerSettings, log_step: StepLog) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False
        self.policy = policy
        self.peft = policy.peft
        self._settings = optimizer
        self._log_step = log_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """See :func:`~homeground.training.optimizers.build_optimizer`."""
        return build_optimizer(list(self.policy.trainable().values()), self._settings, self.policy.device)

    def rehearse(self, paths: Sequence[TokenPath]) -> None:
        """Score one forest forward and backward and forget the gradient: what does not fit fails before the first step.

        Raises:
            HomegroundError: out of memory, with what to change.
        """
        forest = TokenForest.build(paths)
        # Dropout draws of the rehearsal must not change what a resumed run draws.
        with self.memory_advice(forest), torch.random.fork_rng():
            self.manual_backward(0.0 * self.policy.logprobs(forest).sum())
        for parameter in self.policy.trainable().values():
            parameter.grad = None

    @contextlib.contextmanager
    def memory_advice(self, forest: TokenForest) -> Generator[None]:
        """Says what to do when a forest does not fit."""
        try:
            yield
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
            group["lr"] = self._settings.rate(self.global_step)
        parameters = list(self.policy.trainable().values())
        add_up_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._settings.clip)
        if not torch.isfinite(norm):
            raise HomegroundError(
                f"the gradient of step {self.global_step} is not finite",
                hint="lower the learning rate, or set model.compute_dtype to fp32; the last checkpoint is untouched",
            )
        before = [p.detach().clone() for p in parameters]
        optimizer.step()
        optimizer.zero_grad()
        moved = torch.stack([(p.detach() - b).norm() for p, b in zip(parameters, before, strict=True)]).norm()
        return {"grad_norm": float(norm), "weight_change": float(moved)}

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
        """Add the base's fingerprint and the random state."""
        checkpoint["base"] = self.policy.base_fingerprint()
        checkpoint["rng"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another base; continue the random state."""
        if checkpoint["base"] != self.policy.base_fingerprint():
            raise HomegroundError(
                "the checkpoint was trained on another base model or another quantization",
                hint="resume with the recipe that the run was started with",
            )
        torch.set_rng_state(checkpoint["rng"])


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """Element-wise sum over the processes of a distributed run; ``values`` themselves in a single process."""
    if not torch.distributed.is_initialized():
        return list(values)
    total = torch.tensor(values, dtype=torch.float64)
    torch.distributed.all_reduce(total)
    return total.tolist()


def add_up_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Sum gradients over ranks: each rank's loss carries the whole step's normaliser already."""
    if not torch.distributed.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)


def fit(module: PolicyModule, *, steps: int, checkpoints: Path, every: int) -> None:
    """Run a module for ``steps`` optimizer steps, from its newest checkpoint if there is one.

    Args:
        module: its ``training_step`` makes exactly one optimizer step.
        steps: of the whole run, those before a resume included.
        checkpoints: folder of this stage.
        every: optimizer steps between checkpoints; the last step is always saved.
    """
    resume = newest_checkpoint(checkpoints)
    with warnings.catch_warnings():
        # Lightning advises more dataloader workers and warns of the missing validation loop; neither applies.
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        trainer = lightning.Trainer(
            accelerator="auto" if module.policy.device.type != "cpu" else "cpu",
            devices=1,
            max_steps=steps,
            max_epochs=-1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            callbacks=[CheckpointSaver(checkpoints, every)],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=checkpoints,
        )
        # A generator of its own: a loader draws a seed when it starts, and a resumed run starts one more.
        ticks = DataLoader(torch.arange(steps), generator=torch.Generator())  # type: ignore[arg-type]
        module.policy.drop_out(True)
        try:
            with blocks_returned(at_least=RETURNED):
                trainer.fit(module, ticks, ckpt_path=str(resume) if resume else None, weights_only=True)
        except SystemExit as stop:
            # Lightning turns Ctrl-C into exit code 1; whoever called decides what an interruption means.
            raise KeyboardInterrupt from stop
        finally:
            module.policy.drop_out(False)
