"""Signs that a run goes wrong without failing, each said once, in words."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

WINDOW = 8
"""Steps whose mean loss is compared with another such mean."""
STUCK_AFTER = 48
"""Steps after which a loss that has not moved is worth a word."""
STUCK = 0.01
"""A mean loss that has fallen by less than this share has not moved."""
DIVERGED = 1.5
"""A mean loss so many times the lowest mean so far has left it for good."""
LEARNED = 0.1
"""Nats a token; below this a loss has little left to fall, and its jumps mean little."""


class LossWatch:
    """Looks at each step's metrics and warns when the loss rises, does not move, or cannot move."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._lowest = float("inf")
        self._said: set[str] = set()

    def __call__(self, step: Mapping[str, Any]) -> None:
        self._losses.append(step["loss"])
        if step["weight_change"] == 0:
            why = "the learning rate is 0" if step["learning_rate"] == 0 else "the gradient is 0"
            self._say(
                "still",
                f"step {step['step']} changed no weight: {why}; check the learning rate and, with "
                "`homeground show-tokens`, what is trained",
            )
        if len(self._losses) < 2 * WINDOW:
            return
        recent = _mean(self._losses[-WINDOW:])
        self._lowest = min(self._lowest, _mean(self._losses[:WINDOW]), recent)
        if recent > DIVERGED * self._lowest + LEARNED:
            self._say(
                "diverged",
                f"the loss has risen from {self._lowest:.2f} to {recent:.2f} (means of {WINDOW} steps): lower the "
                "learning rate or the gradient's limit, or warm up longer; the run goes on",
            )
        first = _mean(self._losses[:WINDOW])
        if len(self._losses) == STUCK_AFTER and recent > max(LEARNED, (1 - STUCK) * first):
            self._say(
                "stuck",
                f"the loss has not moved in {STUCK_AFTER} steps ({first:.3f} to {recent:.3f}): "
                "raise the learning rate, or see with `homeground show-tokens` whether the right tokens are trained",
            )

    def _say(self, kind: str, words: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            warnings.warn(words, stacklevel=3)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
