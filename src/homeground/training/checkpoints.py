"""Checkpoints of a training stage: written whole or not at all, and read only when nothing of them is damaged.

A checkpoint holds the adapter, the optimizer's state, the random state and how far the run is; never the base. The
file is torch's own, which `torch.load` reads, with the SHA-256 of all its bytes behind it: one that is truncated, or in
which a bit has flipped, is noticed before it is loaded. The one before it is kept for that case.
"""

from __future__ import annotations

import io
import warnings
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_bytes
from homeground.base.fulldisk import is_full
from homeground.base.hardware import free_disk_mb
from homeground.base.model_files import is_finite

KEPT = 2
"""The newest so many checkpoints stay: the last one, and one to fall back on."""
_DIGEST = 32


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames: a checkpoint is whole or absent."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See Lightning.

        Raises:
            HomegroundError: the disk is full; checkpoints written before stay as they are.
        """
        del storage_options
        target = Path(path)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        buffer.write(sha256(buffer.getbuffer()).digest())
        data = buffer.getbuffer()
        try:
            atomic_write_bytes(target, data)
        except OSError as error:
            if not is_full(error):
                raise
            needed, free = len(data) / 1e6, free_disk_mb(target.parent)
            raise HomegroundError(
                f"no room for the checkpoint: it needs {needed:.1f} MB, {free:.1f} MB are free ({error.strerror})",
                where=str(target),
                hint="free some space, or raise your quota, then go on with --resume; earlier checkpoints are whole",
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Load a checkpoint for Lightning; only tensors and plain values are ever read.

        Raises:
            HomegroundError: the file holds other objects, or weights that are not finite.
        """
        del weights_only
        return _read(Path(path), map_location)


def step_file(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:06d}.ckpt"


def keep_newest(folder: Path, *, and_step: int | None = None) -> None:
    """Remove all but the newest two checkpoints and, where it is given, that of one more step; and killed writes."""
    for leftover in folder.glob(".step-*"):
        leftover.unlink()
    for checkpoint in sorted(folder.glob("step-*.ckpt"))[:-KEPT]:
        if checkpoint_step(checkpoint) != and_step:
            checkpoint.unlink()


def newest_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint with the most steps; a damaged one is passed over with a warning.

    Half-written ones have another ending and are never taken.
    """
    for checkpoint in sorted(folder.glob("step-*.ckpt"), reverse=True):
        if is_whole(checkpoint):
            return checkpoint
        warnings.warn(f"{checkpoint} is damaged; going back to the checkpoint before it", stacklevel=2)
    return None


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is there and ends with the checksum of the bytes before."""
    if not checkpoint.is_file():
        return False
    data = checkpoint.read_bytes()
    return sha256(memoryview(data)[:-_DIGEST]).digest() == data[-_DIGEST:]


def adapter_at(checkpoint: Path) -> dict[str, torch.Tensor] | None:
    """The adapter that a checkpoint holds; None when it is missing or damaged."""
    if not is_whole(checkpoint):
        return None
    return _read(checkpoint)["state_dict"]


def _read(checkpoint: Path, map_location: Any = "cpu") -> dict[str, Any]:
    hint = "delete it: --resume then goes on from the checkpoint before, or from the start"
    try:
        found: dict[str, Any] = torch.load(checkpoint, map_location=map_location, weights_only=True)
        adapter: dict[str, torch.Tensor] = found["state_dict"]
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise HomegroundError(
            f"this checkpoint cannot be read: {str(error).splitlines()[0]}", where=str(checkpoint), hint=hint
        ) from error
    if spoilt := [name for name, tensor in adapter.items() if not is_finite(tensor)]:
        raise HomegroundError(
            f"the tensor '{spoilt[0]}' has values that are not finite (NaN or infinity)",
            where=str(checkpoint),
            hint=hint,
        )
    return found


def done_steps(folder: Path) -> int:
    """Optimizer steps that the newest checkpoint of a stage holds; 0 without one."""
    newest = newest_checkpoint(folder)
    return checkpoint_step(newest) if newest else 0


def checkpoint_step(checkpoint: Path) -> int:
    """How many optimizer steps a checkpoint holds."""
    return int(checkpoint.stem.removeprefix("step-"))
