"""GRPO (Shao et al. 2024, arXiv 2402.03300) and its kin: roll out, compare siblings, update, publish.

What differs from the paper, all of it: the KL reference is the adapter that RL started from, and stays it; a rollout
may have several turns, which share its advantage and are averaged together; failed rollouts are left out of their
group. With one update a batch of rollouts (the default) the ratio is 1 and the clip does not bind; with more, old
log-probabilities are the trainer's own, kept from the first.

The dataloader yields only ticks: rollouts are sampled inside the step, from the weights that the step before published.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.heap import KEPT, blocks_returned, trim_heap
from homeground.base.rolloutlog import Group, RolloutLog
from homeground.base.steplog import RL_COLUMNS
from homeground.base.steplog import StepLog as RunLog
from homeground.base.workspace import RunFolder
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy
from homeground.policy.rope import longest_path
from homeground.rollouts.sampler import Sampler
from homeground.rollouts.source import Agent, DirectSource, RewardFunction, Source
from homeground.rollouts.trajectory import Trajectory
from homeground.training.advantages import advantages_of, overlong_penalty
from homeground.training.batch import Rollout, describe, group_rewards, groups_of, usable_rollouts
from homeground.training.checkpoints import done_steps
from homeground.training.collector import Collector
from homeground.training.config import GrpoConfig, Kl, Loss, Overlong
from homeground.training.loop import fit
from homeground.training.losses import LossTerms, StepCounts, kl_estimate, objective_of, policy_loss
from homeground.training.module import PolicyModule, StepLog
from homeground.training.off_policy import Experts, Guide
from homeground.training.packing import pack
from homeground.training.ranks import sum_over_ranks
from homeground.training.rl_watch import GAP_LIMITS, RlWatch
from homeground.training.rollout_records import group_records
from homeground.training.run import TrainingRun, open_run

type RolloutSink = Callable[[int, Sequence[Group]], None]


def train_grpo(
    policy: Policy,
    prompts: Sequence[Any],
    reward: RewardFunction | None = None,
    config: GrpoConfig | None = None,
    *,
    agent: Agent | None = None,
    max_tokens: int = 128,
    experts: Experts | None = None,
    folder: RunFolder | Path | str | None = None,
    resume: bool = False,
    deterministic: bool = False,
    quiet: bool = False,
    seed: int = 0,
) -> TrainingRun[dict[str, Any]]:
    """Train a policy's adapter with GRPO: sample groups of answers, reward them, reinforce the better ones.

    Args:
        policy: from :meth:`Policy.load`; its adapter is trained in place, and as it is now it is the KL's reference.
        prompts: what is asked; each a text, a list of chat messages, or, for an agent, any task it understands.
        reward: ``reward(prompt, completion) -> float``, larger is better.
        agent: in place of a reward, ``async agent(task, client) -> Reward``: any number of turns with an OpenAI
            client.
        config: training settings; by default those of :class:`~homeground.training.config.GrpoConfig`.
        max_tokens: longest answer, in tokens.
        experts: traces of a prompt that join its group, see :mod:`homeground.training.off_policy`.
        folder: folder of the run; by default the next free ``.homeground/runs/grpo-N``.
        resume: continue from the folder's newest checkpoint.
        deterministic: the same call gives the same bits, whatever else the machine does; slower.
        quiet: print nothing.
        seed: seed of the prompts' order and of every sample.

    Raises:
        UsageError: neither or both of reward and agent, too few prompts, or a folder that holds another run.
        HomegroundError: another process writes to the run, or its folder was deleted.
    """
    if (reward is None) == (agent is None):
        raise UsageError("train_grpo wants a reward or an agent", hint="give exactly one of reward=... and agent=...")
    if not prompts:
        raise UsageError("train_grpo has no prompts", hint="give at least one")
    config = config or GrpoConfig()
    config = config.model_copy(update={"tasks_per_step": min(config.tasks_per_step, len(prompts))})
    rows = min(64, config.tasks_per_step * config.group_size)
    with (
        open_run(folder, "grpo", resume=resume, quiet=quiet) as (run, progress),
        Sampler(policy, rows=rows, deterministic=deterministic) as sampler,
    ):
        progress.line(
            f"{policy.describe()}; {config.steps} steps of {config.tasks_per_step} x {config.group_size} rollouts"
        )
        progress.line(f"run folder: {run.path}")
        checkpoints = run.checkpoints / "rl"
        done = done_steps(checkpoints) // config.updates_per_step
        source = DirectSource(
            policy, sampler, reward, agent=agent, max_tokens=max_tokens, temperature=config.temperature, seed=seed
        )
        rollouts = RolloutLog(run, done=done)
        with RunLog(
            run, "rl", done=done, steps=config.steps, progress=progress, title="GRPO", columns=RL_COLUMNS
        ) as log:
            train_grpo_steps(
                policy,
                sampler,
                source,
                prompts,
                config,
                checkpoints,
                log,
                log_rollouts=rollouts,
                experts=experts,
                seed=seed,
            )
        policy.save_adapter(run.adapter)
        rewards = [step["reward_mean"] for step in log.history]
        ends = f"reward {rewards[0]:.3f} -> {rewards[-1]:.3f}, " if rewards else ""
        summary = f"{ends}adapter in {run.adapter}"
        log.bar.done(summary)
    return TrainingRun(run.path, run.adapter, log.history, summary)


def train_grpo_steps(
    policy: Policy,
    sampler: Sampler,
    source: Source,
    tasks: Sequence[Any],
    config: GrpoConfig,
    checkpoints: Path,
    log_step: StepLog,
    *,
    log_rollouts: RolloutSink | None = None,
    experts: Experts | None = None,
    seed: int = 0,
) -> None:
    """Train a policy's adapter in place, resuming from ``checkpoints`` if it holds any.

    Args:
        policy: its adapter moves; as it is now it is the reference of the KL term, so on a resume load the adapter
            that RL *started* from, the checkpoint brings the rest.
        sampler: of this policy; published after every step.
        source: rolls tasks out.
        tasks: what to train on; visited in a seeded order, every task once before any comes again.
        config: see there.
        checkpoints: folder of this stage.
        log_step: gets each step's metrics.
        log_rollouts: gets each step and its rollouts, as :mod:`homeground.base.rolloutlog` keeps them.
        experts: traces that join the groups, see :mod:`homeground.training.off_policy`.
        seed: of the tasks' order.

    Raises:
        HomegroundError: asynchronous rollouts where sampler and trainer would share a CPU; a step without rollouts.
    """
    refuse_device(config, policy.device.type)
    fit(
        GrpoModule(policy, sampler, source, tasks, config, log_step, log_rollouts, experts, seed=seed),
        steps=config.steps * config.updates_per_step,
        checkpoints=checkpoints,
        every=config.checkpoint_every * config.updates_per_step,
    )


def refuse_device(config: GrpoConfig, device: str) -> None:
    """Refuse a device that cannot do what is configured.

    Raises:
        HomegroundError: asynchronous rollouts where sampler and trainer would share a CPU.
    """
    if config.asynchronous and device == "cpu":
        raise HomegroundError(
            "asynchronous rollouts want a device of their own: here sampler and trainer would share the CPU, and "
            "each would make the other many times slower",
            where="rl.asynchronous",
            hint="set it to false, or train on a GPU",
        )


@dataclass
class _Share:
    """A forest's share of a step; tensors have one entry a term, (M,)."""

    rollouts: list[int]
    forest: TokenForest
    rollout: Tensor
    sampled: Tensor
    gamma: Tensor
    reference: Tensor | None = None
    old: Tensor | None = None


class GrpoModule(PolicyModule):
    """See :func:`train_grpo_steps`."""

    def __init__(
        self,
        policy: Policy,
        sampler: Sampler,
        source: Source,
        tasks: Sequence[Any],
        config: GrpoConfig,
        log_step: StepLog,
        log_rollouts: RolloutSink | None = None,
        experts: Experts | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(policy, config, log_step)
        if not source.max_tokens and (config.objective is Loss.DR_GRPO or config.overlong is Overlong.SOFT):
            raise ValueError(
                "dr_grpo, and overlong 'soft', measure by the longest response allowed: the source must have max_tokens"
            )
        self._max_tokens = source.max_tokens
        self._sampler = sampler
        self._source = source
        self._rl = config
        self._collector = Collector(source, tasks, config, policy.tokenizer, self._entropies, experts, seed=seed)
        self._log_rollouts = log_rollouts
        self._gap_limit = GAP_LIMITS.get(policy.dtype, GAP_LIMITS[torch.bfloat16])
        self._watch = RlWatch(self._gap_limit)
        # In a list, so that Lightning does not take the reference for a part of what is trained.
        self._reference: list[PreTrainedModel] = [policy.reference()] if config.kl_coef else []

    def on_train_start(self) -> None:
        """Sampler and gateway get the weights that training starts with, those of a checkpoint included."""
        length = min(self._rl.forest_tokens, longest_path(self.policy.model.config))
        count = -(-self._rl.forest_tokens // length)
        self.rehearse([TokenPath([first, *([0] * (length - 1))], [length - 1]) for first in range(count)])
        self._publish()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add which tasks come next."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["collector"] = self._collector.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the tasks that would have come next."""
        super().on_load_checkpoint(checkpoint)
        self._collector.restore(checkpoint["collector"])

    def training_step(self, *_: Any) -> None:
        """One batch of rollouts and the updates on it."""
        step = self.global_step // self._rl.updates_per_step + 1
        began = perf_counter()
        with blocks_returned(at_least=KEPT):
            batch = self._collector.take(more=step < self._rl.steps)
        # Sampler and trainer take turns: what one has freed must not stand beside what the other needs.
        trim_heap()
        rolled_out = perf_counter()
        version = self._sampler.weights_version
        stale = version - min((turn.weights_version for t in batch.trajectories for turn in t.turns), default=version)
        try:
            advantages = self.train_on(batch.trajectories, batch.guides, stale=self._rl.asynchronous and stale > 0)
        finally:
            self._collector.settle()
        self._metrics |= {
            "stage": "rl",
            "step": step,
            "groups_passed_over": batch.passed_over,
            "staleness": stale,
            **self._collector.describe(),
            "seconds_rollout": rolled_out - began,
            "seconds_update": perf_counter() - rolled_out,
        }
        self._metrics["tokens_per_s"] = self._metrics["path_tokens"] / (perf_counter() - began)
        if self._log_rollouts is not None:
            self._log_rollouts(
                step,
                group_records(self.policy.tokenizer, batch.trajectories, batch.tasks, advantages, step, batch.guides),
            )
        if signs := self._watch(self._metrics):
            self._metrics["warnings"] = signs
        self._log_step(self._metrics)

    def train_on(
        self, trajectories: Sequence[Trajectory], guides: Sequence[Guide] = (), *, stale: bool = False
    ) -> dict[str, float]:
        """The updates on given trajectories, then publish.

        Args:
            trajectories: of the policy.
            guides: of others, in the same groups.
            stale: other weights than the newest sampled them, so that the two differ by more than rounding.

        Returns:
            The advantage of each rollout that was trained, by its id.
        """
        rollouts = usable_rollouts(trajectories)
        self._metrics = describe(trajectories)
        if not rollouts:
            failures = sorted({t.error or "no model call" for t in trajectories})
            raise HomegroundError(
                f"every rollout of the step failed: {'; '.join(failures[:3])}",
                hint="run the agent on one task by hand; raise rl.timeout_s if it is only slow",
            )
        for guide in guides:
            rollouts += [replace(r, gamma=guide.gamma) for r in usable_rollouts([guide.trajectory])]
            name = f"rollouts_{guide.origin}"
            self._metrics[name] = self._metrics.get(name, 0) + 1
        shares = self._shares(rollouts)
        advantages = self._advantages(rollouts, shares)
        weights = self._weights(rollouts)
        sums: dict[str, float] = defaultdict(float)
        moved: dict[str, float] = {}
        for update in range(self._rl.updates_per_step):
            for share in shares:
                for name, value in self._backward(share, advantages, weights, first=update == 0).items():
                    sums[name] += value
            moved = self.optimizer_step_now()
        self._publish()
        self._conclude(sums, moved, stale)
        return {r.rollout_id: float(advantage) for r, advantage in zip(rollouts, advantages, strict=True)}

    def _shares(self, rollouts: Sequence[Rollout]) -> list[_Share]:
        groups = groups_of(rollouts)
        paths_of_groups = [[p.tokens for i in group for p in rollouts[i].paths] for group in groups]
        shares: list[_Share] = []
        for chosen in pack(paths_of_groups, self._rl.forest_tokens):
            members = [i for g in chosen for i in groups[g]]
            paths = [p for i in members for p in rollouts[i].paths]
            share = _Share(
                rollouts=members,
                forest=TokenForest.build([p.tokens for p in paths]),
                rollout=torch.repeat_interleave(torch.tensor([rollouts[i].tokens for i in members])),
                sampled=torch.tensor([lp for p in paths for lp in p.logprobs]),
                gamma=torch.tensor([rollouts[i].gamma for i in members for _ in range(rollouts[i].tokens)]),
            )
            if self._reference:
                with torch.no_grad(), self.forest_memory(share.forest):
                    share.reference = self.policy.logprobs(
                        share.forest, self._rl.temperature, reference=self._reference[0]
                    ).cpu()
            shares.append(share)
        return shares

    def _advantages(self, rollouts: Sequence[Rollout], shares: Sequence[_Share]) -> Tensor:
        """Of each rollout, (R,)."""
        rewards = [r.reward for r in rollouts]
        if self._rl.overlong is Overlong.SOFT:
            assert self._max_tokens
            limit, buffer = self._max_tokens, self._rl.overlong_buffer
            rewards = [
                r if x.gamma else r + overlong_penalty(x.longest, limit, buffer)
                for r, x in zip(rewards, rollouts, strict=True)
            ]
        if self._rl.kl is Kl.K1 and self._reference:
            for share in shares:
                assert share.reference is not None
                cost = kl_estimate(share.sampled, share.reference, Kl.K1)
                for place, index in enumerate(share.rollouts):
                    if rollouts[index].gamma:
                        continue
                    rewards[index] -= self._rl.kl_coef * float(cost[share.rollout == place].sum())
        groups, places = group_rewards(rollouts, rewards)
        advantages = advantages_of(groups, self._rl.advantage)
        return torch.stack([advantages[place] for place in places])

    def _weights(self, rollouts: Sequence[Rollout]) -> Tensor:
        """Of each token of each rollout, (R,); the counts are those of the whole step, over all ranks."""
        counts = [not (r.truncated and self._rl.overlong is Overlong.FILTER) for r in rollouts]
        alive = [r.tokens for r, kept in zip(rollouts, counts, strict=True) if kept]
        total, tokens = sum_over_ranks([float(len(alive)), float(sum(alive))])
        normaliser = objective_of(self._rl)[1]
        return torch.tensor(
            [
                normaliser(StepCounts(r.tokens, int(total), int(tokens), self._max_tokens)) if kept else 0.0
                for r, kept in zip(rollouts, counts, strict=True)
            ]
        )

    def _backward(self, share: _Share, advantages: Tensor, weights: Tensor, *, first: bool) -> dict[str, float]:
        with self.forest_memory(share.forest):
            logprobs = self.policy.logprobs(share.forest, self._rl.temperature)
            old = share.old = logprobs.detach().cpu() if share.old is None else share.old
            device = logprobs.device
            members = torch.tensor(share.rollouts)[share.rollout]
            terms = LossTerms(
                old=old.to(device),
                sampled=share.sampled.to(device),
                reference=None if share.reference is None else share.reference.to(device),
                advantage=advantages[members].to(device),
                weight=weights[members].to(device),
                rollout=share.rollout.to(device),
                gamma=share.gamma.to(device) if share.gamma.any() else None,
            )
            value = policy_loss(logprobs, terms, self._rl)
            self.manual_backward(value.loss)
        own = share.gamma == 0
        found = {"updated_terms": float(own.sum()), "clipped": float(value.clipped)}
        if first:
            found |= {
                "loss": float(value.loss.detach()),
                "kl": float(value.kl),
                "logprob_gap": float((old - share.sampled)[own].abs().sum()),
                "entropy": float(-old[own].sum()),
                "terms": float(own.sum()),
                "forest_tokens": float(len(share.forest)),
                "path_tokens": float(share.forest.path_tokens),
            }
        return found

    def _conclude(self, sums: dict[str, float], moved: dict[str, float], stale: bool) -> None:
        terms = sums.pop("terms")
        for name in ("logprob_gap", "entropy", "kl"):
            sums[name] /= terms
        sums["clip_share"] = sums.pop("clipped") / sums.pop("updated_terms")
        sums["gap_alarm"] = float(not stale and sums["logprob_gap"] > self._gap_limit)
        if not self._reference:
            del sums["kl"]
        self._metrics |= {**sums, **moved}

    def _entropies(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Mean -log p of the sampled tokens of each, under the policy as it is."""
        rollouts = usable_rollouts(trajectories)
        forest = TokenForest.build([p.tokens for rollout in rollouts for p in rollout.paths])
        self.policy.drop_out(False)
        try:
            with torch.no_grad(), self.forest_memory(forest):
                logprobs = self.policy.logprobs(forest, self._rl.temperature).cpu()
        finally:
            self.policy.drop_out(True)
        return [-float(part.mean()) for part in logprobs.split([rollout.tokens for rollout in rollouts])]

    def _publish(self) -> None:
        # A request keeps the weights that it began with.
        self._collector.settle()
        self._sampler.publish()
        self._source.published()
