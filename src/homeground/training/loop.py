"""The one loop that every kind of training runs in: steps, checkpoints, resumption, interruption.

A run goes on from its newest whole checkpoint. The first Ctrl-C (or `kill`) lets the step end, saves and raises
`KeyboardInterrupt`; a second one raises it at once, and what the last checkpoint holds is kept.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

from homeground.base.errors import HomegroundError
from homeground.base.heap import blocks_returned
from homeground.training.checkpoints import AtomicCheckpointIO, keep_newest, newest_checkpoint, step_file
from homeground.training.module import PolicyModule
from homeground.training.ranks import rank, ranks, sum_over_ranks

RETURNED = 2 << 20
"""Blocks from this size on, in bytes, are not kept when they are freed: less memory for a little more time."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def fit(module: PolicyModule, *, steps: int, checkpoints: Path, every: int) -> int:
    """Run a module for ``steps`` optimizer steps, from its newest checkpoint if there is one.

    Args:
        module: its ``training_step`` makes exactly one optimizer step.
        steps: of the whole run, those before a resume included.
        checkpoints: folder of this stage.
        every: optimizer steps between checkpoints; the last step is always saved.

    Returns:
        Steps done when it ended: ``steps``, or fewer when held-out examples said to stop.

    Raises:
        KeyboardInterrupt: the run was interrupted; after the first Ctrl-C or `kill` its last step is saved.
    """
    resume = newest_checkpoint(checkpoints)
    interruption = Interruption()
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
            callbacks=[_StepEnd(checkpoints, every, interruption)],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=checkpoints,
        )
        # A generator of its own: a loader draws a seed when it starts, and a resumed run starts one more.
        ticks = DataLoader(torch.arange(steps), generator=torch.Generator())  # type: ignore[arg-type]
        module.prepare(steps)
        try:
            with blocks_returned(at_least=RETURNED):
                trainer.fit(module, ticks, ckpt_path=str(resume) if resume else None, weights_only=True)
        except SystemExit as stop:
            # Lightning turns Ctrl-C into exit code 1; whoever called decides what an interruption means.
            raise KeyboardInterrupt from stop
        finally:
            interruption.ignore()
            module.policy.drop_out(False)
    if interruption.asked:
        raise KeyboardInterrupt
    return trainer.global_step


class Interruption:
    """Ctrl-C and `kill` while steps run: asked for once, they wait for the end of the step; twice, they do not.

    Attributes:
        asked: whether a signal has come.
    """

    def __init__(self) -> None:
        self.asked = False
        # Only the main thread may handle signals, and only the first process of a run does.
        self._ours = threading.current_thread() is threading.main_thread() and rank() == 0
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}

    def heed(self) -> None:
        """Take the signals over; another process of the run ends by `kill` as any does."""
        if rank():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._ours:
            for number in _SIGNALS:
                signal.signal(number, self._ask)

    def ignore(self) -> None:
        """Give the signals back to whoever had them at construction."""
        if self._ours:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # Not print(): a handler may run in the middle of one.
        os.write(2, b"\nstopping after this step, then saving; once more stops at once\n")


class _StepEnd(lightning.Callback):
    """What happens between steps: save where it is due, and stop where that is asked for."""

    def __init__(self, folder: Path, every: int, interruption: Interruption) -> None:
        self._folder = folder
        self._every = every
        self._interruption = interruption
        self._seed = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # Lightning's own handlers are in place by now; these are in their stead.
        self._interruption.heed()
        self._seed = torch.initial_seed()
        # The first step begins when everybody is there, and everybody has read the same checkpoint.
        if sum_over_ranks([float(trainer.global_step)])[0] != trainer.global_step * ranks():
            raise HomegroundError("the processes of the run found different checkpoints", hint="run it again")
        assert isinstance(pl_module, PolicyModule)
        if pl_module.heldout is not None and pl_module.heldout.exhausted:
            trainer.should_stop = True

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any, **__: Any) -> None:
        if rank():
            # A checkpoint holds the random state of the first process; that of another follows from the step.
            torch.manual_seed(self._seed + (trainer.global_step << 8) + rank())

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any, **__: Any
    ) -> None:
        assert isinstance(pl_module, PolicyModule)
        step, heldout = trainer.global_step, pl_module.heldout
        interrupted = sum_over_ranks([float(self._interruption.asked)])[0] > 0
        exhausted = heldout is not None and heldout.exhausted
        evaluated = heldout is not None and heldout.measured_at == step
        due = step % self._every == 0 or step == trainer.max_steps or interrupted or evaluated
        if due and rank() == 0:
            trainer.save_checkpoint(step_file(self._folder, step))
            keep_newest(self._folder, and_step=heldout.best_step if heldout is not None else None)
        if interrupted or exhausted:
            trainer.should_stop = True
