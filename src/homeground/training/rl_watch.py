"""Signs that reinforcement learning goes nowhere without failing, each said once, in words with what to change."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch

GAP_LIMITS = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Mean |trainer - sampler| log-probability (nats) above which rounding alone does not explain the difference."""

WINDOW = 8
"""Steps whose mean is judged."""
SIGNAL = 0.5
"""Share of groups with signal below which most of the sampling is for nothing."""
COLLAPSED, COLLAPSED_TO = 0.2, 0.3
"""Entropy that fell below this share of what it was in the first steps, and below so many nats, has collapsed."""
RUNAWAY = 0.5
"""Nats a token; beyond, the policy has little in common with the adapter it started from."""
TRUNCATED = 0.5
"""Share of calls cut at the limit of tokens."""
BY_LENGTH = 0.9
"""Correlation of reward and length within groups from which on little but length is rewarded."""


class RlWatch:
    """Looks at each step's metrics; warns, and returns what it said.

    Args:
        gap_limit: largest ``logprob_gap`` that rounding explains.
    """

    def __init__(self, gap_limit: float) -> None:
        self._gap_limit = gap_limit
        self._recent: dict[str, deque[float]] = {}
        self._first_entropy: list[float] = []
        self._said: set[str] = set()

    def __call__(self, step: Mapping[str, Any]) -> list[str]:
        """Judge a step; returns the signs that are new."""
        for name in ("groups_with_signal", "reward_mean", "entropy", "kl", "truncated", "length_correlation"):
            if name in step:
                self._recent.setdefault(name, deque(maxlen=WINDOW)).append(step[name])
        if len(self._first_entropy) < WINDOW and "entropy" in step:
            self._first_entropy.append(step["entropy"])
        signs = {
            "gap": self._gap(step),
            "signal": self._no_signal(step),
            "entropy": self._collapse(),
            "kl": self._runaway(),
            "truncated": self._truncation(),
            "length": self._by_length(),
        }
        new = {kind: words for kind, words in signs.items() if words and kind not in self._said}
        self._said |= set(new)
        for words in new.values():
            warnings.warn(words, stacklevel=2)
        return list(new.values())

    def _mean(self, name: str) -> float | None:
        """Of the last steps; None before there are enough of them."""
        recent = self._recent.get(name, ())
        return sum(recent) / len(recent) if len(recent) == WINDOW else None

    def _gap(self, step: Mapping[str, Any]) -> str | None:
        if not step.get("gap_alarm"):
            return None
        return (
            f"the sampler's log-probabilities differ from the trainer's by {step['logprob_gap']:.3g} nats on "
            f"average (expected below {self._gap_limit:g}): the update is off-policy. Do sampler and trainer use the "
            "same temperature and weights?"
        )

    def _no_signal(self, step: Mapping[str, Any]) -> str | None:
        signal, reward = self._mean("groups_with_signal"), self._mean("reward_mean")
        if signal is None or reward is None or signal >= SIGNAL:
            return None
        never, always = step.get("tasks_never", 0), step.get("tasks_always", 0)
        if never >= always:
            change = (
                "most such tasks never succeed: give a reward for partial success, take easier tasks, or raise "
                "rl.group_size or rl.temperature"
            )
        else:
            change = "most such tasks always succeed: take harder tasks, or stop here"
        return (
            f"in the last {WINDOW} steps the rewards differed in {signal:.0%} of the groups only (mean reward "
            f"{reward:.3f}), and nothing is learned from the others; {change}. rl.curriculum.rate below 1 samples them "
            "less, rl.dynamic_sampling replaces them"
        )

    def _collapse(self) -> str | None:
        entropy = self._mean("entropy")
        if entropy is None or len(self._first_entropy) < WINDOW:
            return None
        first = sum(self._first_entropy) / WINDOW
        if entropy >= min(COLLAPSED * first, COLLAPSED_TO):
            return None
        return (
            f"the entropy has fallen from {first:.3f} to {entropy:.3f} nats a token (means of {WINDOW} steps): the "
            "rollouts of a group become copies of each other, and nothing new is tried; lower rl.learning_rate, or "
            "raise rl.clip_high (0.28), rl.kl_coef or rl.temperature"
        )

    def _runaway(self) -> str | None:
        kl = self._mean("kl")
        if kl is None or kl <= RUNAWAY:
            return None
        return (
            f"the policy is {kl:.2f} nats a token away from the adapter it started from (mean of {WINDOW} steps): what "
            "it knew before may be lost; lower rl.learning_rate or raise rl.kl_coef"
        )

    def _truncation(self) -> str | None:
        cut = self._mean("truncated")
        if cut is None or cut <= TRUNCATED:
            return None
        return (
            f"{cut:.0%} of the calls of the last {WINDOW} steps were cut at the limit of tokens, and rewarded as they "
            "are: raise the limit, ask for shorter answers, or set rl.overlong to 'soft'"
        )

    def _by_length(self) -> str | None:
        correlation = self._mean("length_correlation")
        if correlation is None or abs(correlation) <= BY_LENGTH:
            return None
        which = "longer" if correlation > 0 else "shorter"
        return (
            f"within groups the reward follows the length alone (correlation {correlation:.2f} over {WINDOW} steps): "
            f"what is learned is to write {which} answers; look at the best rollouts with `homeground rollouts`, and "
            "at the reward"
        )
