"""GRPO (Shao et al. 2024, arXiv 2402.03300) and its kin: roll out, compare siblings, update, publish.

What differs from the paper, all of it: the KL reference is the adapter that RL started from, and stays it; a rollout
may have several turns, which share its advantage and are averaged together; failed rollouts are left out of their
group. With one update a batch of rollouts (the default) the ratio is 1 and the clip does not bind; with more, old
log-probabilities are the trainer's own, kept from the first.

The dataloader yields only ticks: rollouts are sampled inside the step, from the weights that the step before published.

Example:
    from homeground import GrpoConfig, Policy, train_grpo

    policy = Policy.load("smollm2-135m-instruct")

    def short(prompt: str, completion: str) -> float:
        return 1.0 / (1 + len(completion.split()))

    run = train_grpo(policy, ["What is the capital of France?", "Name a prime."], short, GrpoConfig(steps=20))
    print(run.adapter, run.history[-1]["reward_mean"])
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.heap import KEPT, blocks_returned, trim_heap
from homeground.base.progress import Progress
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy
from homeground.policy.rope import longest_path
from homeground.rollouts.sampler import Sampler
from homeground.rollouts.source import Agent, DirectSource, RewardFunction, Source
from homeground.rollouts.trajectory import Trajectory, TrajectoryGroup
from homeground.runs.rolloutlog import RolloutLog
from homeground.runs.steplog import RL_COLUMNS, StepLog
from homeground.runs.workspace import RunFolder
from homeground.training.advantages import GroupRewards, advantages_of, overlong_penalty, table
from homeground.training.checkpoints import done_steps
from homeground.training.collector import Collector
from homeground.training.config import GrpoConfig, Kl, Loss, Overlong
from homeground.training.loop import fit
from homeground.training.losses import LossTerms, StepCounts, kl_estimate, objective_of, policy_loss
from homeground.training.module import PolicyModule
from homeground.training.packing import pack
from homeground.training.ranks import sum_over_ranks
from homeground.training.rl_watch import GAP_LIMITS, RlWatch
from homeground.training.rollout_records import group_records
from homeground.training.run import TrainingRun, open_run
from homeground.training.step_metrics import StepMetrics, describe, reward_gain
from homeground.training.task_stream import TaskStream


def train_grpo(
    policy: Policy,
    tasks: Sequence[Any] | TaskStream,
    reward: RewardFunction | None = None,
    config: GrpoConfig | None = None,
    *,
    agent: Agent | None = None,
    source: Source | None = None,
    max_tokens: int = 128,
    folder: RunFolder | Path | str | None = None,
    resume: bool = False,
    deterministic: bool = False,
    on_step: Callable[[StepMetrics], None] | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    seed: int = 0,
) -> TrainingRun[StepMetrics]:
    """Train a policy's adapter with GRPO: sample groups of answers, reward them, reinforce the better ones.

    Args:
        policy: from :meth:`Policy.load`; its adapter is trained in place, and as it is now it is the KL's reference. To
            resume, load the adapter that RL *started* from; the checkpoint brings the rest.
        tasks: visited in a seeded order, every task once before any comes again. For a reward each is a prompt: a text
            or a list of chat messages; for an agent, any task it understands. A
            :class:`~homeground.training.task_stream.TaskStream` decides itself which task comes when.
        reward: ``reward(prompt, completion) -> float``, larger is better.
        config: training settings; by default those of :class:`~homeground.training.config.GrpoConfig`. Of fewer tasks
            than its ``tasks_per_step`` a step takes all.
        agent: in place of a reward, ``async agent(task, client) -> Reward``: any number of turns with an OpenAI
            client.
        source: in place of both, rolls the tasks out, such as :class:`~homeground.rollouts.GatewaySource`.
        max_tokens: longest answer, in tokens; not for a source.
        folder: folder of the run, see :func:`~homeground.training.run.open_run`; by default the next free
            ``.homeground/runs/grpo-N``.
        resume: continue from the folder's newest checkpoint.
        deterministic: the same call gives the same bits, whatever else the machine does; slower; not for a source.
        on_step: called with each step's metrics.
        quiet: print nothing.
        progress: an open display to use instead of a new one.
        seed: seed of the tasks' order and, but for a source, of every sample.

    Raises:
        UsageError: not exactly one of reward, agent and source, no tasks, or a folder that holds another run.
        HomegroundError: another process writes to the run, or its folder was deleted; asynchronous rollouts where
            sampler and trainer would share a CPU; a step without rollouts.
    """
    if sum(given is not None for given in (reward, agent, source)) != 1:
        raise UsageError(
            "train_grpo wants a reward or an agent",
            hint="give exactly one of reward=..., agent=... and source=...",
        )
    config = config or GrpoConfig()
    stream = tasks if isinstance(tasks, TaskStream) else TaskStream(tasks, seed, config.curriculum)
    if not stream.tasks:
        raise UsageError("train_grpo has no tasks", hint="give at least one")
    refuse_device(config, policy.device.type)
    config = config.model_copy(update={"tasks_per_step": min(config.tasks_per_step, len(stream.tasks))})
    with (
        open_run(folder, "grpo", resume=resume, quiet=quiet, progress=progress) as (run, display),
        ExitStack() as open_,
    ):
        if source is None:
            rows = min(64, config.tasks_per_step * config.group_size)
            sampler = open_.enter_context(Sampler(policy, rows=rows, deterministic=deterministic))
            source = DirectSource(
                policy, sampler, reward, agent=agent, max_tokens=max_tokens, temperature=config.temperature, seed=seed
            )
        display.line(
            f"{policy.describe()}; {config.steps} steps of {config.tasks_per_step} x {config.group_size} rollouts"
        )
        display.line(f"run folder: {run.path}")
        checkpoints = run.checkpoints / "rl"
        done = done_steps(checkpoints) // config.updates_per_step
        rollouts = RolloutLog(run, done=done, limit_mb=config.keep_rollouts_mb)
        log = StepLog(run, "rl", done=done, steps=config.steps, progress=display, title="GRPO", columns=RL_COLUMNS)

        def log_step(metrics: dict[str, Any]) -> None:
            log(metrics)
            if on_step is not None:
                on_step(cast("StepMetrics", metrics))

        def log_groups(step: int, groups: Sequence[TrajectoryGroup], advantages_PG: Tensor) -> None:
            rollouts(step, group_records(policy.tokenizer, groups, advantages_PG, step))

        with log:
            fit(
                GrpoModule(policy, stream, source, config, log_step, log_groups),
                steps=config.steps * config.updates_per_step,
                checkpoints=checkpoints,
                every=config.checkpoint_every * config.updates_per_step,
            )
        policy.save_adapter(run.adapter)
        history = cast("list[StepMetrics]", log.history)
        summary = f"{config.steps} steps{reward_gain(history)}"
        log.bar.done(f"{summary}, adapter in {run.adapter}")
    return TrainingRun(run.path, run.adapter, history, summary)


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
    """A forest's share of a step, M terms.

    Attributes:
        groups: places of its groups in the step.
        rollout_M: rollout of each term, an index into the (groups, G) table of the share, flattened.
        old_M, reference_M: log-probabilities under the policy that the step began with, and under the reference.
    """

    groups: list[int]
    forest: TokenForest
    rollout_M: Tensor
    sampled_M: Tensor
    off_policy_M: Tensor
    reference_M: Tensor | None = None
    old_M: Tensor | None = None

    def terms(self, table_PG: Tensor) -> Tensor:
        """Values of a step's rollouts for each term, (M,)."""
        return table_PG[self.groups].flatten()[self.rollout_M]


class GrpoModule(PolicyModule):
    """Module of :func:`train_grpo`.

    Args:
        policy, source, config: as there.
        stream: draws the tasks.
        log_step: called with each step's metrics.
        log_groups: called with each step, its groups, and their advantages, (P groups, G rollouts at most).

    Raises:
        ValueError: the longest response matters, and the source names none.
    """

    def __init__(
        self,
        policy: Policy,
        stream: TaskStream,
        source: Source,
        config: GrpoConfig,
        log_step: Callable[[dict[str, Any]], None],
        log_groups: Callable[[int, Sequence[TrajectoryGroup], Tensor], None] = lambda *_: None,
    ) -> None:
        super().__init__(policy, config, log_step)
        if not source.max_tokens and (config.objective is Loss.DR_GRPO or config.overlong is Overlong.SOFT):
            raise ValueError(
                "dr_grpo, and overlong 'soft', measure by the longest response allowed: the source must have max_tokens"
            )
        self._max_tokens = source.max_tokens
        self._source = source
        self._rl = config
        self._log_groups = log_groups
        self._collector = Collector(source, stream, config)
        self._version = 0
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
        own = [t for group in batch.groups for t in group.trajectories if not t.off_policy]
        stale = self._version - min((turn.weights_version for t in own for turn in t.turns), default=self._version)
        try:
            advantages_PG, metrics = self.train_on(batch.groups, stale=self._rl.asynchronous and stale > 0)
        finally:
            self._collector.settle()
        metrics |= {
            "stage": "rl",
            "step": step,
            "groups_passed_over": batch.passed_over,
            "staleness": stale,
            **self._collector.describe(),
            "seconds_rollout": rolled_out - began,
            "seconds_update": perf_counter() - rolled_out,
            "tokens_per_s": metrics["path_tokens"] / (perf_counter() - began),
        }
        self._log_groups(step, batch.groups, advantages_PG)
        if signs := self._watch(metrics):
            metrics["warnings"] = signs
        self._log_step(metrics)

    def train_on(self, groups: Sequence[TrajectoryGroup], *, stale: bool = False) -> tuple[Tensor, dict[str, Any]]:
        """The updates on given groups, then publish.

        Args:
            groups: of the step, P of them.
            stale: other weights than the newest sampled them, so that the two differ by more than rounding.

        Returns:
            The advantages of their rollouts, (P, G), G being the size of the largest group; and metrics of rollouts and
            update.
        """
        metrics: dict[str, Any] = {**describe(groups)}
        if metrics["failed"] == metrics["rollouts"]:
            failures = sorted({t.error or "no model call" for group in groups for t in group.trajectories})
            raise HomegroundError(
                f"every rollout of the step failed: {'; '.join(failures[:3])}",
                hint="run the agent on one task by hand; raise rl.timeout_s if it is only slow",
            )
        shares = self._shares(groups)
        advantages_PG = self._advantages(groups, shares)
        weights_PG = self._weights(groups)
        sums: dict[str, float] = defaultdict(float)
        moved: dict[str, float] = {}
        for update in range(self._rl.updates_per_step):
            for share in shares:
                for name, value in self._backward(share, advantages_PG, weights_PG, first=update == 0).items():
                    sums[name] += value
            moved = self.optimizer_step_now()
        self._publish()
        return advantages_PG, metrics | self._concluded(sums, stale) | moved

    def _shares(self, groups: Sequence[TrajectoryGroup]) -> list[_Share]:
        live = [place for place, group in enumerate(groups) if group.trainable]
        width = table([group.present_G for group in groups]).shape[1]
        shares: list[_Share] = []
        paths_of_groups = [[p.tokens for t in groups[place].trainable for p in t.paths] for place in live]
        for chosen in pack(paths_of_groups, self._rl.forest_tokens):
            places = [live[i] for i in chosen]
            members = [
                (row * width + column, t)
                for row, place in enumerate(places)
                for column, t in enumerate(groups[place].trajectories)
                if t.shortcoming is None
            ]
            paths = [p for _, t in members for p in t.paths]
            counts = torch.tensor([t.tokens for _, t in members])
            share = _Share(
                groups=places,
                forest=TokenForest.build([p.tokens for p in paths]),
                rollout_M=torch.tensor([rollout for rollout, _ in members]).repeat_interleave(counts),
                sampled_M=torch.tensor([lp for p in paths for lp in p.logprobs]),
                off_policy_M=torch.tensor([t.off_policy for _, t in members]).repeat_interleave(counts),
            )
            if self._reference:
                with torch.no_grad(), self.forest_memory(share.forest):
                    share.reference_M = self.policy.logprobs(
                        share.forest, self._rl.temperature, reference=self._reference[0]
                    ).cpu()
            shares.append(share)
        return shares

    def _advantages(self, groups: Sequence[TrajectoryGroup], shares: Sequence[_Share]) -> Tensor:
        rewards_PG = table([group.rewards_G for group in groups])
        if self._rl.overlong is Overlong.SOFT:
            assert self._max_tokens
            limit, buffer = self._max_tokens, self._rl.overlong_buffer
            penalties = [
                [0.0 if t.off_policy else overlong_penalty(t.longest, limit, buffer) for t in group.trajectories]
                for group in groups
            ]
            rewards_PG += table([torch.tensor(row, dtype=torch.float64) for row in penalties])
        if self._rl.kl is Kl.K1 and self._reference:
            for share in shares:
                assert share.reference_M is not None
                cost_M = kl_estimate(share.sampled_M, share.reference_M, Kl.K1).double() * ~share.off_policy_M
                cost = torch.zeros(rewards_PG[share.groups].numel(), dtype=torch.float64)
                cost = cost.index_add(0, share.rollout_M, cost_M)
                rewards_PG[share.groups] -= self._rl.kl_coef * cost.view(len(share.groups), -1)
        return advantages_of(GroupRewards.of(groups, rewards_PG), self._rl.advantage)

    def _weights(self, groups: Sequence[TrajectoryGroup]) -> Tensor:
        """Of each token of each rollout, (P, G); the counts are those of the whole step, over all ranks."""
        filtered = self._rl.overlong is Overlong.FILTER

        def counts(t: Trajectory) -> bool:
            return t.shortcoming is None and not (filtered and t.truncated)

        lengths_PG = table([torch.tensor([t.tokens * counts(t) for t in g.trajectories]) for g in groups])
        total, tokens = sum_over_ranks([float((lengths_PG > 0).sum()), float(lengths_PG.sum())])
        normaliser = objective_of(self._rl)[1]
        weights_PG = torch.zeros(lengths_PG.shape)
        for place, column in lengths_PG.nonzero().tolist():
            length = int(lengths_PG[place, column])
            counted = StepCounts(length, int(total), int(tokens), self._max_tokens)
            weight = cast("object", normaliser(counted))
            if not isinstance(weight, int | float):
                raise UsageError(
                    f"the objective's normaliser returned a {type(weight).__name__}, not a number",
                    where="GrpoConfig.objective",
                    hint="return the weight of one token",
                )
            weights_PG[place, column] = weight
        return weights_PG

    def _backward(self, share: _Share, advantages_PG: Tensor, weights_PG: Tensor, *, first: bool) -> dict[str, float]:
        with self.forest_memory(share.forest):
            logprobs = self.policy.logprobs(share.forest, self._rl.temperature)
            old = share.old_M = logprobs.detach().cpu() if share.old_M is None else share.old_M
            device = logprobs.device
            terms = LossTerms(
                old=old.to(device),
                sampled=share.sampled_M.to(device),
                reference=None if share.reference_M is None else share.reference_M.to(device),
                advantage=share.terms(advantages_PG).to(device),
                weight=share.terms(weights_PG).to(device),
                rollout=share.rollout_M.to(device),
                off_policy=share.off_policy_M.to(device),
            )
            value = policy_loss(logprobs, terms, self._rl)
            self.manual_backward(value.loss)
        own = ~share.off_policy_M
        found = {"updated_terms": float(own.sum()), "clipped": float(value.clipped)}
        if first:
            found |= {
                "loss": float(value.loss.detach()),
                "kl": float(value.kl),
                "logprob_gap": float((old - share.sampled_M)[own].abs().sum()),
                "entropy": float(-old[own].sum()),
                "terms": float(own.sum()),
                "forest_tokens": float(len(share.forest)),
                "path_tokens": float(share.forest.path_tokens),
            }
        return found

    def _concluded(self, sums: dict[str, float], stale: bool) -> dict[str, float]:
        terms = sums.pop("terms")
        for name in ("logprob_gap", "entropy", "kl"):
            sums[name] /= terms
        sums["clip_share"] = sums.pop("clipped") / sums.pop("updated_terms")
        sums["gap_alarm"] = float(not stale and sums["logprob_gap"] > self._gap_limit)
        if not self._reference:
            del sums["kl"]
        return dict(sums)

    def _publish(self) -> None:
        # A request keeps the weights that it began with.
        self._collector.settle()
        self._version = self._source.publish()
