"""GRPO (Shao et al. 2024, arXiv 2402.03300): roll out, compare siblings, one optimizer step, publish.

Deviations from the paper, all of them: one update per batch of rollouts, so the ratio is 1 and the clip does not
bind; the KL reference is the adapter that RL started from; a rollout may have several turns, whose tokens share
its advantage and are averaged together; failed rollouts are left out of their group.

The dataloader yields only ticks. Which tasks a step rolls out follows from (seed, step); their rollouts are sampled
inside the step, from the weights that the step before published.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homeground.base.errors import HomegroundError
from homeground.policy.forest import TokenForest
from homeground.policy.load import Policy
from homeground.rollouts.sampler import Sampler
from homeground.rollouts.source import Source
from homeground.rollouts.trajectory import SampledPath, Trajectory, sampled_paths
from homeground.training.advantages import Scale, group_advantages
from homeground.training.losses import LossTerms, grpo_loss
from homeground.training.module import OptimizerSettings, PolicyModule, StepLog, fit
from homeground.training.packing import pack


@dataclass(frozen=True)
class GrpoSettings:
    """One run of GRPO.

    Attributes:
        steps: optimizer steps.
        tasks_per_step, group_size: P and G.
        temperature: of the rollouts; the trainer divides logits by it too.
        optimizer: learning rate and the like.
        kl_coef: beta.
        clip_low, clip_high: see :func:`grpo_loss`.
        scale: of the advantages.
        checkpoint_every: optimizer steps.
        forest_tokens: distinct tokens of one forward at most.
        seed: of the order of tasks.
    """

    steps: int
    tasks_per_step: int
    group_size: int
    optimizer: OptimizerSettings
    temperature: float = 1.0
    kl_coef: float = 0.01
    clip_low: float = 0.2
    clip_high: float = 0.2
    scale: Scale = Scale.STD
    checkpoint_every: int = 5
    forest_tokens: int = 1024
    seed: int = 0


def train_grpo_steps(
    policy: Policy,
    sampler: Sampler,
    source: Source,
    tasks: Sequence[Any],
    settings: GrpoSettings,
    checkpoints: Path,
    log_step: StepLog,
) -> None:
    """Train a policy's adapter in place, resuming from ``checkpoints`` if it holds any.

    Args:
        policy: its adapter moves; as it is now it is the reference of the KL term, so on a resume load the adapter
            that RL *started* from, the checkpoint brings the rest.
        sampler: of this policy; published after every step.
        source: rolls tasks out.
        tasks: what to train on; visited in a seeded order, every task once before any comes again.
        settings: see there.
        checkpoints: folder of this stage.
        log_step: gets each step's metrics.
    """
    fit(
        GrpoModule(policy, sampler, source, tasks, settings, log_step),
        steps=settings.steps,
        checkpoints=checkpoints,
        every=settings.checkpoint_every,
    )


@dataclass(frozen=True)
class _Rollout:
    paths: list[SampledPath]
    advantage: float

    @property
    def tokens(self) -> int:
        return sum(len(p.tokens.trained) for p in self.paths)


class GrpoModule(PolicyModule):
    """See :func:`train_grpo_steps`."""

    def __init__(
        self,
        policy: Policy,
        sampler: Sampler,
        source: Source,
        tasks: Sequence[Any],
        settings: GrpoSettings,
        log_step: StepLog,
    ) -> None:
        super().__init__(policy, settings.optimizer, log_step)
        if len(tasks) < settings.tasks_per_step:
            raise HomegroundError(
                f"{len(tasks)} tasks are fewer than the {settings.tasks_per_step} of one step",
                hint="lower rl.tasks_per_step, or make more tasks",
            )
        self._sampler = sampler
        self._source = source
        self._tasks = tasks
        self._rl = settings
        # In a list, so that Lightning does not take the reference for a part of what is trained.
        self._reference: list[PreTrainedModel] = [policy.reference()]

    def on_train_start(self) -> None:
        """Sampler and gateway get the weights that training starts with, those of a checkpoint included."""
        self._publish()

    def tasks_of(self, step: int) -> list[Any]:
        """Tasks of an optimizer step: the seed and the step decide."""
        first = step * self._rl.tasks_per_step
        return [self._tasks[self._drawn(place)] for place in range(first, first + self._rl.tasks_per_step)]

    def _drawn(self, place: int) -> int:
        """Index of the task at a place of an endless stream of shuffled rounds."""
        epoch, within = divmod(place, len(self._tasks))
        generator = torch.Generator().manual_seed(self._rl.seed * 1_000_003 + epoch)
        return int(torch.randperm(len(self._tasks), generator=generator)[within])

    def training_step(self, *_: Any) -> None:
        """One optimizer step."""
        step = self.global_step
        began = perf_counter()
        trajectories = self._source.collect(self.tasks_of(step), self._rl.group_size, step)
        rolled_out = perf_counter()
        self.train_on(trajectories)
        self._metrics |= {
            "stage": "rl",
            "step": step + 1,
            "seconds_rollout": rolled_out - began,
            "seconds_update": perf_counter() - rolled_out,
        }
        self._metrics["tokens_per_s"] = self._metrics["path_tokens"] / (perf_counter() - began)
        self._log_step(self._metrics)

    def train_on(self, trajectories: Sequence[Trajectory]) -> None:
        """The update: one optimizer step on given trajectories, then publish."""
        rewards, present = _reward_table(trajectories, self._rl.group_size)
        advantages = group_advantages(rewards, self._rl.scale, present)
        self._metrics = _describe(trajectories, rewards, present, advantages)
        groups = _groups(trajectories, advantages)
        rollouts = sum(len(group) for group in groups)
        if rollouts == 0:
            failures = sorted({t.error or "no model call" for t in trajectories})
            raise HomegroundError(
                f"every rollout of the step failed: {'; '.join(failures[:3])}",
                hint="run the agent on one task by hand; raise rl.timeout_s if it is only slow",
            )
        sums: dict[str, float] = defaultdict(float)
        paths_of_groups = [[p.tokens for r in group for p in r.paths] for group in groups]
        for chosen in pack(paths_of_groups, self._rl.forest_tokens):
            members = [r for i in chosen for r in groups[i]]
            for name, value in self._backward(members, rollouts).items():
                sums[name] += value
        moved = self.optimizer_step_now()
        self._publish()
        terms = sums.pop("terms")
        for name in ("logprob_gap", "entropy"):
            sums[name] /= terms
        self._metrics |= {**sums, **moved}

    def _backward(self, rollouts: Sequence[_Rollout], rollouts_of_step: int) -> dict[str, float]:
        paths = [p for r in rollouts for p in r.paths]
        forest = TokenForest.build([p.tokens for p in paths])
        sampled = torch.tensor([lp for p in paths for lp in p.logprobs])
        advantage = torch.cat([torch.full((r.tokens,), r.advantage) for r in rollouts])
        weight = torch.cat([torch.full((r.tokens,), 1 / (r.tokens * rollouts_of_step)) for r in rollouts])
        with torch.no_grad():
            reference = self.policy.logprobs(forest, self._rl.temperature, reference=self._reference[0])
        logprobs = self.policy.logprobs(forest, self._rl.temperature)
        old = logprobs.detach()
        device = logprobs.device
        terms = LossTerms(old, reference, advantage.to(device), weight.to(device))
        value = grpo_loss(
            logprobs, terms, clip_low=self._rl.clip_low, clip_high=self._rl.clip_high, kl_coef=self._rl.kl_coef
        )
        self.manual_backward(value.loss)
        return {
            "loss": float(value.loss.detach()),
            "kl": float(value.kl),
            "clip_share": float(value.clip_share),
            "logprob_gap": float((old - sampled.to(device)).abs().sum()),
            "entropy": float(-old.sum()),
            "terms": float(len(old)),
            "forest_tokens": float(len(forest)),
            "path_tokens": float(forest.path_tokens),
        }

    def _publish(self) -> None:
        self._sampler.publish()
        self._source.published()


def _reward_table(trajectories: Sequence[Trajectory], group_size: int) -> tuple[Tensor, Tensor]:
    """Rewards and presence, both (P, G); a failed rollout, or one that never called the model, is absent."""
    tasks = max(t.task for t in trajectories) + 1
    rewards = torch.zeros(tasks, group_size)
    present = torch.zeros(tasks, group_size, dtype=torch.bool)
    seen = [0] * tasks
    for t in trajectories:
        if t.reward is not None and t.turns:
            if not math.isfinite(t.reward):
                raise HomegroundError(
                    f"a rollout got the reward {t.reward}",
                    where=f"rollout {t.rollout_id}",
                    hint="a reward must be a finite number; raise an error in the agent to leave a rollout out",
                )
            rewards[t.task, seen[t.task]] = t.reward
            present[t.task, seen[t.task]] = True
        seen[t.task] += 1
    return rewards, present


def _groups(trajectories: Sequence[Trajectory], advantages: Tensor) -> list[list[_Rollout]]:
    groups: dict[int, list[_Rollout]] = defaultdict(list)
    seen: dict[int, int] = defaultdict(int)
    for t in trajectories:
        if t.reward is not None and t.turns:
            groups[t.task].append(_Rollout(sampled_paths(t.turns), float(advantages[t.task, seen[t.task]])))
        seen[t.task] += 1
    return list(groups.values())


def _describe(
    trajectories: Sequence[Trajectory], rewards: Tensor, present: Tensor, advantages: Tensor
) -> dict[str, Any]:
    turns = [turn for t in trajectories for turn in t.turns]
    values = rewards[present]
    described: dict[str, Any] = {
        "reward_mean": float(values.mean()) if len(values) else 0.0,
        "reward_std": float(values.std(correction=0)) if len(values) else 0.0,
        "groups_with_signal": float((advantages != 0).any(1).float().mean()),
        "rollouts": len(trajectories),
        "failed": int((~present).sum()),
        "response_tokens": sum(len(turn.ids) for turn in turns) / max(1, len(trajectories)),
        "truncated": sum(turn.finish_reason == "length" for turn in turns) / max(1, len(turns)),
        "new_paths": sum(len(sampled_paths(t.turns)) - 1 for t in trajectories if t.turns),
    }
    names = sorted({name for t in trajectories for name in t.parts})
    for name in names:
        held = [t.parts[name] for t in trajectories if name in t.parts]
        described[f"reward/{name}"] = sum(held) / len(held)
    return described
