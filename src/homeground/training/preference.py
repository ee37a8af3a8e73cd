"""Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290, equation 7) on the token forest.

A pair is a fork: its prompt is scored once for both answers. The reference is the adapter that training started from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel

from homeground.base.errors import UsageError
from homeground.base.progress import Progress
from homeground.policy.forest import TokenForest
from homeground.policy.load import Policy
from homeground.runs.steplog import DPO_COLUMNS, StepLog
from homeground.runs.workspace import RunFolder
from homeground.training.checkpoints import done_steps
from homeground.training.config import DpoConfig
from homeground.training.formats import Example, Row
from homeground.training.loop import fit
from homeground.training.module import OnStep, PolicyModule
from homeground.training.packing import pack
from homeground.training.ranks import sum_over_ranks
from homeground.training.rendering import PreferencePair, render_pairs
from homeground.training.run import TrainingRun, open_run
from homeground.training.sft import recorder, seeded_batch, steps_of


def train_dpo(
    policy: Policy,
    pairs: Sequence[Row] | Sequence[Example] | Sequence[PreferencePair],
    config: DpoConfig | None = None,
    folder: RunFolder | Path | str | None = None,
    *,
    resume: bool = False,
    seed: int = 0,
    quiet: bool = False,
    progress: Progress | None = None,
    on_step: OnStep | None = None,
) -> TrainingRun[dict[str, Any]]:
    """Train a policy's adapter to prefer the chosen answers.

    Args:
        policy: from :meth:`Policy.load`; its adapter is trained in place, and as it is now it is the reference.
        pairs: rows with ``prompt``, ``chosen`` and ``rejected`` (docs/data.md), or rendered already. Those that are
            longer than the context are left out.
        config: training settings; by default those of :class:`~homeground.training.config.DpoConfig`.
        folder: folder of the run; by default the next free ``.homeground/runs/dpo-N``.
        resume: continue from the folder's newest checkpoint.
        seed: seed of the pairs' order.
        quiet: print nothing.
        progress: an open display to use instead of a new one.
        on_step: gets each step's metrics after they are recorded: loss (nats), accuracy (share of pairs whose chosen
            answer has the larger implicit reward), margin (mean difference of implicit rewards).

    Raises:
        UsageError: no pairs, a row that is no pair, or a folder that holds another run.
        HomegroundError: no pair fits the context; another process writes to the run, or its folder was deleted.
    """
    if not pairs:
        raise UsageError("train_dpo has no pairs", hint="give at least one with 'prompt', 'chosen' and 'rejected'")
    config = config or DpoConfig()
    rendered = render_pairs(policy, pairs)
    steps = steps_of(len(rendered), config)
    with open_run(folder, "dpo", resume=resume, quiet=quiet, progress=progress) as (run, shown):
        too_long = f"; {len(pairs) - len(rendered)} too long, left out" if len(rendered) < len(pairs) else ""
        shown.line(f"{policy.describe()}; {len(rendered)} pairs{too_long}; {steps} steps")
        shown.line(f"run folder: {run.path}")
        checkpoints = run.checkpoints / "dpo"
        done = done_steps(checkpoints)
        with StepLog(run, "dpo", done=done, steps=steps, progress=shown, title="DPO", columns=DPO_COLUMNS) as log:
            module = DpoModule(policy, rendered, config, recorder(log, on_step), seed=seed)
            fit(module, steps=steps, checkpoints=checkpoints, every=config.checkpoint_every)
        policy.save_adapter(run.adapter)
        losses = [step["loss"] for step in log.history]
        summary = f"{len(rendered)} pairs" + (f", loss {losses[0]:.2f} -> {losses[-1]:.2f}" if losses else "")
        log.bar.done(summary)
    return TrainingRun(run.path, run.adapter, log.history, summary)


def dpo_loss(policy_P2: Tensor, reference_P2: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Equation 7.

    Args:
        policy_P2: log-probability of the chosen and the rejected answer of each pair, (P, 2), differentiable.
        reference_P2: the same under the reference.
        beta: of the implicit reward ``beta * (policy - reference)``.

    Returns:
        Loss of each pair (P,), and its margin: how much larger the chosen answer's implicit reward is (P,), detached.
    """
    rewards = beta * (policy_P2 - reference_P2)
    margin = rewards[:, 0] - rewards[:, 1]
    return -logsigmoid(margin), margin.detach()


class DpoModule(PolicyModule):
    """See :func:`train_dpo`."""

    def __init__(
        self,
        policy: Policy,
        pairs: Sequence[PreferencePair],
        config: DpoConfig,
        log_step: OnStep,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(policy, config, log_step)
        self._pairs = pairs
        self._dpo = config
        self._seed = seed
        # In a list, so that Lightning does not take the reference for a part of what is trained.
        self._reference: list[PreTrainedModel] = [policy.reference()]

    def on_train_start(self) -> None:
        """The longest pair runs first."""
        longest = max(self._pairs, key=lambda p: len(p.chosen.ids) + len(p.rejected.ids))
        self.rehearse([longest.chosen, longest.rejected])

    def training_step(self, *_: Any) -> None:
        """One optimizer step."""
        began = perf_counter()
        step = self.global_step
        pairs = seeded_batch(self._pairs, self._dpo.batch_size, self._seed, step)
        (count,) = sum_over_ranks([float(len(pairs))])
        sums = {"loss": 0.0, "accuracy": 0.0, "margin": 0.0}
        tokens = 0
        for chosen in pack([[p.chosen, p.rejected] for p in pairs], self._dpo.forest_tokens):
            forest = TokenForest.build([path for i in chosen for path in (pairs[i].chosen, pairs[i].rejected)])
            with self.forest_memory(forest):
                with torch.no_grad():
                    reference = _answers(forest, self.policy.logprobs(forest, reference=self._reference[0]))
                losses, margin = dpo_loss(_answers(forest, self.policy.logprobs(forest)), reference, self._dpo.beta)
                self.manual_backward(losses.sum() / count)
            sums["loss"] += float(losses.detach().sum()) / count
            sums["accuracy"] += float((margin > 0).sum()) / count
            sums["margin"] += float(margin.sum()) / count
            tokens += forest.path_tokens
        moved = self.optimizer_step_now()
        seconds = perf_counter() - began
        self._log_step(
            {"stage": "dpo", "step": step + 1, **sums, "tokens": tokens, "tokens_per_s": tokens / seconds,
             "seconds": seconds, **moved}
        )  # fmt: skip


def _answers(forest: TokenForest, logprobs: Tensor) -> Tensor:
    """Log-probability of each path's answer, two paths a row: (P, 2)."""
    paths = int(forest.path[-1]) + 1
    totals = torch.zeros(paths, dtype=logprobs.dtype, device=logprobs.device)
    return totals.index_add(0, forest.path.to(logprobs.device), logprobs).view(-1, 2)
