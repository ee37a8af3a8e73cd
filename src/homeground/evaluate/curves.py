"""Which metrics of `metrics.jsonl` are drawn as curves: in the report, and on the page."""

from __future__ import annotations

from dataclasses import dataclass

MOVING_AVERAGE = 5
"""Steps averaged by the bold line of a curve: this step and the four before it."""


@dataclass(frozen=True)
class Curve:
    """One line over training steps: a key of `metrics.jsonl`, its stage, and how the report names it."""

    key: str
    stage: str
    title: str
    note: str = ""
    averaged: bool = False


CURVES: tuple[Curve, ...] = (
    Curve("reward_mean", "rl", "Reward", "mean over the step's rollouts", averaged=True),
    Curve("kl", "rl", "KL to where it began", "nats a token"),
    Curve("entropy", "rl", "Entropy", "nats a token"),
    Curve("response_tokens", "rl", "Response length", "tokens a rollout, all turns"),
    Curve("clip_share", "rl", "Clipped", "share of tokens"),
    Curve("grad_norm", "rl", "Gradient norm", "GRPO, before clipping"),
    Curve("groups_with_signal", "rl", "Groups with signal", "share whose rewards differ"),
    Curve("logprob_gap", "rl", "Sampler against trainer", "nats a token"),
    Curve("loss", "sft", "SFT loss", "nats a token, assistant turns only"),
)
