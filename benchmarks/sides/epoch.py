"""An epoch of fine-tuning and its held-out loss, as ``make bench-qlora`` and ``make bench-forgetting`` take them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from homeground.policy import Policy, TokenPath
from homeground.training import SftConfig, train_sft
from homeground.training.heldout import HeldOut

FOREST_TOKENS = 2048


def judge_of(policy: Policy, heldout: Sequence[TokenPath]) -> HeldOut:
    """Its `loss` is that of the rows, nats a token, as the adapter is when asked."""
    return HeldOut(policy, heldout, every=10**9, forest_tokens=FOREST_TOKENS)


def train_epoch(
    policy: Policy, rows: Sequence[TokenPath], *, batch_size: int, learning_rate: float, seed: int
) -> list[float]:
    """Train the adapter on every row once; the loss of each step. Nothing is kept on disk."""
    settings = SftConfig(
        epochs=1,
        batch_size=batch_size,
        learning_rate=learning_rate,
        checkpoint_every=10**9,
        forest_tokens=FOREST_TOKENS,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = train_sft(policy, rows, settings, folder, seed=seed, quiet=True)
    return [step["loss"] for step in run.history]
