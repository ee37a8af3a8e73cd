"""A policy on prompts of one's own: its answers, their mean reward with an interval, and the gain since an earlier one.

Example:
    from homeground import evaluate_policy

    before = evaluate_policy(policy, prompts, reward)
    train_grpo(policy, train_prompts, reward)
    after = evaluate_policy(policy, prompts, reward)
    print(after.reward, after.gain(before))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from homeground.base.errors import UsageError
from homeground.evaluate.stats import RESAMPLES, Interval, mean_interval

if TYPE_CHECKING:
    from homeground.policy import Policy
    from homeground.rollouts.source import Agent, RewardFunction

_ROWS = 64


@dataclass(frozen=True)
class Evaluation:
    """What a policy answered to some prompts.

    Attributes:
        rewards: one a prompt, in their order; a rollout that failed counts as 0.
        outcomes: the answers; of an agent, what it returned.
        failed: how many rollouts failed.
        reward: mean over the prompts, with its 95% interval.
    """

    rewards: list[float]
    outcomes: list[Any]
    failed: int
    reward: Interval

    def gain(self, before: Evaluation) -> Interval:
        """Mean of this minus an earlier evaluation, prompt by prompt, with its 95% interval.

        Raises:
            UsageError: the two have not as many prompts.
        """
        if len(self.rewards) != len(before.rewards):
            raise UsageError(
                f"{len(self.rewards)} prompts cannot be paired with {len(before.rewards)}",
                hint="evaluate both times on the same prompts",
            )
        return mean_interval([now - then for now, then in zip(self.rewards, before.rewards, strict=True)])


def evaluate_policy(
    policy: Policy,
    prompts: Sequence[Any],
    reward: RewardFunction | None = None,
    *,
    agent: Agent | None = None,
    max_tokens: int = 128,
    temperature: float = 0.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Let a policy answer each prompt once, greedily unless a temperature says otherwise.

    Args:
        policy: with its adapter as it is now.
        prompts: held out from training; as for :func:`homeground.train_grpo`.
        reward: ``reward(prompt, completion) -> float``.
        agent: in place of a reward, as for :func:`homeground.train_grpo`.
        max_tokens: longest answer, in tokens.
        temperature: 0 is greedy.
        resamples: of the prompts, for the interval.
        seed: of the resampling and of every sample.

    Raises:
        UsageError: neither or both of reward and agent, or no prompts.
    """
    if (reward is None) == (agent is None):
        raise UsageError(
            "evaluate_policy wants a reward or an agent", hint="give exactly one of reward=... and agent=..."
        )
    if not prompts:
        raise UsageError("evaluate_policy has no prompts", hint="give at least one that was not trained on")
    # The search wing evaluates too, and needs no model.
    from homeground.rollouts import DirectSource, Sampler

    with Sampler(policy, rows=min(_ROWS, len(prompts))) as sampler:
        source = DirectSource(
            policy, sampler, reward, agent=agent, max_tokens=max_tokens, temperature=temperature, seed=seed
        )
        found = source.collect(prompts, 1, 0)
    rewards = [0.0 if one.reward is None else one.reward for one in found]
    return Evaluation(
        rewards,
        [one.outcome for one in found],
        sum(one.reward is None for one in found),
        mean_interval(rewards, resamples=resamples, seed=seed),
    )
