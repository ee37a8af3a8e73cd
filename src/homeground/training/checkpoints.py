"""Checkpoints of a training stage: written whole or not at all, the newest kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames: a checkpoint is whole or absent."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See Lightning."""
        staging = Path(f"{path}.part")
        super().save_checkpoint(checkpoint, str(staging), storage_options)
        with staging.open("rb") as written:
            os.fsync(written.fileno())
        staging.rename(path)


class CheckpointSaver(lightning.Callback):
    """Saves every so many optimizer steps and after the last one; keeps the newest."""

    def __init__(self, folder: Path, every: int) -> None:
        self._folder = folder
        self._every = every

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any, **__: Any) -> None:
        step = trainer.global_step
        if step % self._every and step != trainer.max_steps:
            return
        older = set(self._folder.glob("step-*.ckpt"))
        newest = self._folder / f"step-{step:06d}.ckpt"
        trainer.save_checkpoint(newest)
        for checkpoint in older - {newest}:
            checkpoint.unlink()


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps; half-written ones have another ending and are never taken."""
    found = sorted(folder.glob("step-*.ckpt"))
    return found[-1] if found else None


def done_steps(folder: Path) -> int:
    """Optimizer steps that the newest checkpoint of a stage holds; 0 without one."""
    newest = newest_checkpoint(folder)
    return checkpoint_step(newest) if newest else 0


def checkpoint_step(checkpoint: Path) -> int:
    """How many optimizer steps a checkpoint holds."""
    return int(checkpoint.stem.removeprefix("step-"))
