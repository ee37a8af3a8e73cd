"""Supervised fine-tuning in one call: from rows to a trained adapter.

The loss is the cross-entropy on what assistants wrote, end tokens included: the mean over a batch's trained tokens,
whatever token forests its examples are packed into.

Example:
    from homeground import Policy, SftConfig, train_sft

    policy = Policy.load("smollm2-135m-instruct")
    run = train_sft(policy, [{"prompt": "Who are you?", "completion": "A small model."}], SftConfig(epochs=4))
    print(run.adapter, run.history[-1]["loss"])
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.progress import Progress
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy
from homeground.rollouts.sampler import Sampler
from homeground.runs.steplog import SFT_COLUMNS, StepLog
from homeground.runs.workspace import RunFolder
from homeground.training.checkpoints import adapter_at, done_steps, step_file
from homeground.training.config import DpoConfig, SftConfig
from homeground.training.efficiency import machine_flops, model_cost
from homeground.training.heldout import HeldOut
from homeground.training.loop import fit
from homeground.training.module import OnStep, PolicyModule
from homeground.training.packing import pack
from homeground.training.processes import processes
from homeground.training.ranks import rank, ranks, share_of_rank, sum_over_ranks
from homeground.training.rendering import Rows, render_rows
from homeground.training.run import TrainingRun, open_run
from homeground.training.samples import SampleLog
from homeground.training.watch import LossWatch


def train_sft(
    policy: Policy,
    rows: Rows,
    config: SftConfig | None = None,
    folder: RunFolder | Path | str | None = None,
    *,
    heldout: Rows = (),
    resume: bool = False,
    seed: int = 0,
    quiet: bool = False,
    progress: Progress | None = None,
    on_step: OnStep | None = None,
    sampler: Sampler | None = None,
    load: Callable[[], Policy] | None = None,
) -> TrainingRun[dict[str, Any]]:
    """Fine-tune a policy's adapter on the assistants' messages of training rows.

    Args:
        policy: from :meth:`Policy.load`; its adapter is trained in place.
        rows: rows in any format that `homeground sft --data` reads (``{"prompt", "completion"}``, ``{"messages"}``,
            ...), or rendered already. Each is rendered once.
        config: training settings; by default those of :class:`~homeground.training.config.SftConfig`.
        folder: folder of the run; by default the next free ``.homeground/runs/sft-N``.
        heldout: rows that are never trained on; the final adapter is that of the step with their lowest loss. The
            policy's answers to the first ``config.samples`` of them go to the run's ``samples.jsonl``.
        resume: continue from the folder's newest checkpoint.
        seed: seed of the rows' order.
        quiet: print nothing.
        progress: an open display to use instead of a new one.
        on_step: gets each step's metrics after they are recorded: step, loss (nats a token), tokens, seconds,
            grad_norm, weight_change; after an evaluation heldout_loss as well.
        sampler: of this policy, for the samples; by default one is opened where it is needed.
        load: makes the same policy in each of the other processes of ``config.devices``; it is pickled.

    Raises:
        UsageError: no rows, a row that cannot be trained, or a folder that holds another run.
        HomegroundError: no row fits the context; another process writes to the run, or its folder was deleted.
        KeyboardInterrupt: see :func:`~homeground.training.loop.fit`.
    """
    if not rows:
        raise UsageError("train_sft has no rows", hint='give at least one, such as {"prompt": ..., "completion": ...}')
    config = config or SftConfig()
    rendering = render_rows(policy, rows, config)
    judged = render_rows(policy, heldout, config).paths if heldout else []
    steps = steps_of(len(rendering.paths), config)
    with (
        open_run(folder, "sft", resume=resume, quiet=quiet, progress=progress) as (run, shown),
        contextlib.ExitStack() as opened,
    ):
        shown.line(f"{policy.describe()}; {rendering.describe()}; {steps} steps")
        shown.line(f"run folder: {run.path}")
        work = _Work(rendering.paths, judged, config, run.checkpoints / "sft", seed)
        done = done_steps(work.checkpoints)
        samples = None
        if judged and config.samples:
            samples = SampleLog(
                policy,
                sampler or opened.enter_context(Sampler(policy, rows=config.samples)),
                judged[: config.samples],
                run.path / "samples.jsonl",
                tokens=config.sample_tokens,
                done=done,
                show=shown.line,
            )
        with (
            StepLog(run, "sft", done=done, steps=steps, progress=shown, title="SFT", columns=SFT_COLUMNS) as log,
            _others(policy, work, load),
        ):
            judge = _train(policy, work, recorder(log, on_step), samples)
        policy.save_adapter(run.adapter)
        losses = [step["loss"] for step in log.history]
        summary = f"{len(rendering.paths)} examples" + (f", loss {losses[0]:.2f} -> {losses[-1]:.2f}" if losses else "")
        if judge is not None:
            summary += (
                f", held-out {judge.before:.3f} -> {judge.lowest:.3f}; the adapter is that of step {judge.kept_step}"
            )
        log.bar.done(summary)
    return TrainingRun(run.path, run.adapter, log.history, summary)


@dataclass(frozen=True)
class _Work:
    """Rows and settings that every process of a run trains with."""

    examples: list[TokenPath]
    heldout: list[TokenPath]
    config: SftConfig
    checkpoints: Path
    seed: int


def _train(
    policy: Policy, work: _Work, log_step: OnStep, write_samples: Callable[[int], None] | None = None
) -> HeldOut | None:
    """Train from the newest checkpoint to the end; with held-out examples the adapter ends as at the best step."""
    config, judge = work.config, None
    if work.heldout:
        judge = HeldOut(
            policy,
            work.heldout,
            every=config.eval_every or -(-len(work.examples) // config.batch_size),
            patience=config.patience,
            forest_tokens=config.forest_tokens,
            write_samples=write_samples,
        )
    module = SftModule(policy, work.examples, config, log_step, judge, seed=work.seed)
    steps = steps_of(len(work.examples), config)
    reached = fit(module, steps=steps, checkpoints=work.checkpoints, every=config.checkpoint_every)
    if judge is None:
        return None
    judge.kept_step = reached
    if judge.best_step and judge.best_step != reached:
        best = adapter_at(step_file(work.checkpoints, judge.best_step))
        if best is None:
            warnings.warn(
                f"the checkpoint of the best step, {judge.best_step}, is lost: the adapter is that of step {reached}",
                stacklevel=3,
            )
        else:
            module.load_state_dict(best)
            judge.kept_step = judge.best_step
    return judge


def _others(policy: Policy, work: _Work, load: Callable[[], Policy] | None) -> contextlib.AbstractContextManager[None]:
    """The other processes of `config.devices`; none of them when it is 1."""
    if work.config.devices == 1:
        return contextlib.nullcontext()
    if policy.device.type != "cpu":
        raise HomegroundError(
            "several processes train on a CPU only", where="sft.devices", hint="set sft.devices to 1 on a GPU"
        )
    if load is None:
        raise UsageError(
            "several processes need a way to load the policy", where="devices", hint="give load=... or set devices to 1"
        )
    # While no other process computes, so that it is the whole machine's.
    machine_flops(policy)
    return processes(work.config.devices, _follow, (load, work))


def _follow(load: Callable[[], Policy], work: _Work) -> None:
    """Take the same steps in another process with its share of the examples, without a word."""
    _train(load(), work, lambda step: None)


def recorder(log: StepLog, on_step: OnStep | None) -> OnStep:
    """Record a step, then give it to whoever listens."""

    def record(step: dict[str, Any]) -> None:
        log(step)
        if on_step is not None:
            on_step(log.history[-1])

    return record


def steps_of(examples: int, config: SftConfig | DpoConfig) -> int:
    """Optimizer steps of a run; the last batch of an epoch may be smaller."""
    return config.epochs * -(-examples // config.batch_size)


def seeded_batch[T](examples: Sequence[T], batch_size: int, seed: int, step: int) -> list[T]:
    """Examples of an optimizer step: the seed and the step decide."""
    epoch, place = divmod(step, -(-len(examples) // batch_size))
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(examples), generator=generator).tolist()
    return [examples[i] for i in order[place * batch_size : (place + 1) * batch_size]]


class SftModule(PolicyModule):
    """See :func:`train_sft`."""

    def __init__(
        self,
        policy: Policy,
        examples: Sequence[TokenPath],
        config: SftConfig,
        log_step: OnStep,
        heldout: HeldOut | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(policy, config, log_step, heldout)
        self._examples = examples
        self._sft = config
        self._seed = seed
        self.noise_alpha = config.neftune_alpha
        self._steps = steps_of(len(examples), config)
        self._cost = model_cost(policy)
        self._machine_flops = machine_flops(policy) if rank() == 0 else 1.0
        self._watch = LossWatch()

    def on_train_start(self) -> None:
        """The longest examples that may share a forest run first."""
        chosen: list[TokenPath] = []
        for example in sorted(self._examples, key=lambda e: -len(e.ids))[: self._sft.batch_size]:
            if chosen and sum(len(e.ids) for e in [*chosen, example]) > self._sft.forest_tokens:
                break
            chosen.append(example)
        self.rehearse(chosen)
        if self.heldout is not None:
            self.heldout.measure_before()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the order of the data follows from."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["data"] = self._data()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with other data: the order would begin anew in the middle of an epoch."""
        super().on_load_checkpoint(checkpoint)
        if checkpoint["data"] != self._data():
            raise HomegroundError(
                "the checkpoint was trained on other examples, or with another batch size or seed",
                hint="resume with the data and the recipe that the run was started with, or start a new run",
            )

    def _data(self) -> str:
        digest = hashlib.sha256(f"{self._sft.batch_size} {self._seed}".encode())
        for example in self._examples:
            digest.update(f"{list(example.ids)} {list(example.trained)}".encode())
        return digest.hexdigest()[:16]

    def batch(self, step: int) -> list[TokenPath]:
        """Examples of an optimizer step: the seed and the step decide."""
        return seeded_batch(self._examples, self._sft.batch_size, self._seed, step)

    def training_step(self, *_: Any) -> None:
        """One optimizer step: of this process, its share of the step's examples."""
        began = perf_counter()
        step = self.global_step
        examples = self.batch(step)
        trained = sum(len(e.trained) for e in examples)
        mine = [examples[i] for i in share_of_rank([len(e.ids) for e in examples], rank(), ranks())]
        loss = flops = 0.0
        for chosen in pack([[e] for e in mine], self._sft.forest_tokens):
            forest = TokenForest.build([mine[i] for i in chosen])
            with self.forest_memory(forest):
                share = -self.policy.logprobs(forest).sum() / trained
                self.manual_backward(share)
            loss += float(share.detach())
            flops += self._cost.step_flops(forest) if self._cost is not None else 0.0
        moved = self.optimizer_step_now()
        loss, flops, moved["memory_mb"] = sum_over_ranks([loss, flops, moved["memory_mb"]])
        seconds = perf_counter() - began
        tokens = sum(len(e.ids) for e in examples)
        metrics = {
            "stage": "sft", "step": step + 1, "loss": loss, "trained_tokens": trained, "tokens": tokens,
            "tokens_per_s": tokens / seconds, "seconds": seconds, **moved,
        }  # fmt: skip
        if flops:
            metrics["mfu"] = flops / seconds / self._machine_flops
        if self.heldout is not None and self.heldout.due(step + 1, self._steps):
            metrics |= self.heldout.measure(step + 1)
        self._log_step(metrics)
        if rank() == 0:
            self._watch(metrics)
