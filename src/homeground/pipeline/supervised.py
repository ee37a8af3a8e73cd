"""Supervised fine-tuning in one call: from rows to a trained adapter.

Example:
    from homeground import Policy, train_sft

    policy = Policy.load("smollm2-135m-instruct")
    run = train_sft(policy, [{"prompt": "Who are you?", "completion": "A small model."}], epochs=4)
    print(run.adapter, run.history[-1]["loss"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeground.base.errors import UsageError
from homeground.base.progress import Progress
from homeground.base.steplog import SFT_COLUMNS, StepLog
from homeground.policy import Policy, TokenPath
from homeground.training import OptimizerSettings, SftSettings
from homeground.training import train_sft as train_paths
from homeground.training.checkpoints import done_steps
from homeground.training.heldout import HeldOut
from homeground.training.run import run_folder
from homeground.training.sft import steps_of

type Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class SftRun:
    """What a run left.

    Attributes:
        folder: with ``metrics.jsonl``, ``tensorboard``, ``checkpoints`` and ``adapter``.
        adapter: the trained adapter, PEFT format; of the step with the lowest held-out loss where rows were held out.
        history: metrics of each step of this call.
    """

    folder: Path
    adapter: Path
    history: list[dict[str, Any]]


def train_sft(
    policy: Policy,
    rows: Rows,
    *,
    heldout: Rows = (),
    epochs: int = 1,
    batch_size: int = 8,
    learning_rate: float = 5e-4,
    only_last: bool = False,
    forest_tokens: int = 1024,
    checkpoint_every: int = 50,
    folder: Path | str | None = None,
    resume: bool = False,
    quiet: bool = False,
    seed: int = 0,
) -> SftRun:
    """Fine-tune a policy's adapter on what assistants say in some rows.

    Args:
        policy: from :meth:`Policy.load`; its adapter is trained in place.
        rows: of any format that `homeground sft --data` reads: ``{"prompt", "completion"}``, ``{"messages"}``, ...
        heldout: rows that are never trained on; the adapter that is left is that of the step with their lowest loss.
        epochs: passes over the rows.
        batch_size: rows in one optimizer step.
        learning_rate: of AdamW.
        only_last: train the last answer of a conversation alone.
        forest_tokens: distinct tokens of one forward.
        checkpoint_every: optimizer steps.
        folder: where the run is kept; by default the next free ``.homeground/runs/sft-N``.
        resume: go on from the folder's newest checkpoint.
        quiet: print nothing.
        seed: of the rows' order.

    Raises:
        UsageError: no rows, or a folder that holds another run.
        HomegroundError: a row that fits no format; names it.
    """
    if not rows:
        raise UsageError("train_sft has no rows", hint='give at least one, such as {"prompt": ..., "completion": ...}')
    paths = _rendered(policy, rows, only_last)
    judged = _rendered(policy, heldout, only_last) if heldout else []
    settings = SftSettings(epochs, batch_size, OptimizerSettings(learning_rate), checkpoint_every, forest_tokens, seed)
    run = run_folder(folder, resume, "sft")
    steps = steps_of(len(paths), epochs, batch_size)
    every = steps_of(len(paths), 1, batch_size)
    judge = HeldOut(policy, judged, every=every, forest_tokens=forest_tokens) if judged else None
    with run.held(), Progress(quiet=quiet) as progress:
        progress.line(f"{policy.describe()}; {len(paths)} rows, {steps} steps")
        progress.line(f"run folder: {run.path}")
        done = done_steps(run.checkpoints)
        with StepLog(run, "sft", done=done, steps=steps, progress=progress, title="SFT", columns=SFT_COLUMNS) as log:
            train_paths(policy, paths, settings, run.checkpoints, log, judge)
        policy.save_adapter(run.adapter)
        losses = [step["loss"] for step in log.history]
        ends = f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, " if losses else ""
        log.bar.done(f"{ends}adapter in {run.adapter}")
    return SftRun(run.path, run.adapter, log.history)


def _rendered(policy: Policy, rows: Rows, only_last: bool) -> list[TokenPath]:
    # Training alone works where what reads data is not installed.
    from homeground.data import RowError, example_of, render_examples

    examples = []
    for number, row in enumerate(rows, start=1):
        try:
            examples.append(example_of(dict(row)))
        except RowError as error:
            raise UsageError(str(error), where=f"row {number}", hint="see docs/data.md for the formats") from None
    limit: int = policy.model.config.max_position_embeddings
    return render_examples(policy.tokenizer, examples, limit=limit, only_last=only_last).paths
