"""GRPO in one call: from prompts and a reward in plain Python to a trained adapter.

Example:
    from homeground import Policy, train_grpo

    policy = Policy.load("smollm2-135m-instruct")

    def short(prompt: str, completion: str) -> float:
        return 1.0 / (1 + len(completion.split()))

    run = train_grpo(policy, ["What is the capital of France?", "Name a prime number."], reward=short, steps=20)
    print(run.adapter, run.history[-1]["reward_mean"])
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeground.base.errors import UsageError
from homeground.base.progress import Progress
from homeground.base.rolloutlog import RolloutLog
from homeground.base.steplog import RL_COLUMNS, StepLog
from homeground.base.workspace import RunFolder, open_workspace
from homeground.policy.load import Policy
from homeground.rollouts.sampler import Sampler
from homeground.rollouts.source import Agent, DirectSource, RewardFunction
from homeground.training.checkpoints import done_steps, newest_checkpoint
from homeground.training.config import GrpoConfig
from homeground.training.grpo import train_grpo_steps
from homeground.training.off_policy import Experts


@dataclass(frozen=True)
class GrpoRun:
    """What a run left.

    Attributes:
        folder: with ``metrics.jsonl``, ``rollouts``, ``tensorboard``, ``checkpoints`` and ``adapter``.
        adapter: the trained adapter, PEFT format.
        history: metrics of each step of this call.
    """

    folder: Path
    adapter: Path
    history: list[dict[str, Any]]


def train_grpo(
    policy: Policy,
    prompts: Sequence[Any],
    reward: RewardFunction | None = None,
    config: GrpoConfig | None = None,
    *,
    agent: Agent | None = None,
    max_tokens: int = 128,
    experts: Experts | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
    deterministic: bool = False,
    quiet: bool = False,
    seed: int = 0,
) -> GrpoRun:
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
    run = run_folder(folder, resume, "grpo")
    done = done_steps(run.checkpoints) // config.updates_per_step
    rows = min(64, config.tasks_per_step * config.group_size)
    with (
        run.locked(),
        Progress(quiet=quiet) as progress,
        Sampler(policy, rows=rows, deterministic=deterministic) as sampler,
    ):
        progress.line(
            f"{policy.describe()}; {config.steps} steps of {config.tasks_per_step} x {config.group_size} rollouts"
        )
        progress.line(f"run folder: {run.path}")
        source = DirectSource(
            policy, sampler, reward, agent=agent, max_tokens=max_tokens, temperature=config.temperature, seed=seed
        )
        rollouts = RolloutLog(run, done=done)
        with StepLog(
            run, "rl", done=done, steps=config.steps, progress=progress, title="GRPO", columns=RL_COLUMNS
        ) as log:
            train_grpo_steps(
                policy,
                sampler,
                source,
                prompts,
                config,
                run.checkpoints,
                log,
                log_rollouts=rollouts,
                experts=experts,
                seed=seed,
            )
        policy.save_adapter(run.adapter)
        rewards = [step["reward_mean"] for step in log.history]
        ends = f"reward {rewards[0]:.3f} -> {rewards[-1]:.3f}, " if rewards else ""
        log.bar.done(f"{ends}adapter in {run.adapter}")
    return GrpoRun(run.path, run.adapter, log.history)


def run_folder(folder: Path | str | None, resume: bool, kind: str) -> RunFolder:
    """The folder of a run that is started from Python: the one given, else the next free KIND-N of the workspace.

    Raises:
        UsageError: it holds another run, or there is no telling which to resume.
    """
    if folder is None:
        runs = open_workspace().runs
        if resume:
            raise UsageError("there is no telling which run to resume", hint="give folder=... of the run")
        return RunFolder(next(path for n in itertools.count(1) if not (path := runs / f"{kind}-{n}").exists()))
    run = RunFolder(Path(folder))
    if not resume and newest_checkpoint(run.checkpoints):
        raise UsageError(
            "this folder holds a run already",
            where=str(run.path),
            hint="give resume=True to go on with it, or another folder",
        )
    return run
