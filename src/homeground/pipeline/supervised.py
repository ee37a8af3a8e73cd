"""Supervised fine-tuning in one call: from rows to a trained adapter.

Example:
    from homeground import Policy, SftConfig, train_sft

    policy = Policy.load("smollm2-135m-instruct")
    run = train_sft(policy, [{"prompt": "Who are you?", "completion": "A small model."}], SftConfig(epochs=4))
    print(run.adapter, run.history[-1]["loss"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from homeground.base.errors import UsageError
from homeground.base.steplog import SFT_COLUMNS, StepLog
from homeground.base.workspace import RunFolder
from homeground.policy import Policy, TokenPath
from homeground.policy.rope import longest_path
from homeground.training import train_sft as train_paths
from homeground.training.checkpoints import done_steps
from homeground.training.config import SftConfig
from homeground.training.heldout import HeldOut
from homeground.training.run import TrainingRun, open_run
from homeground.training.sft import sft_steps, steps_of

type Rows = Sequence[Mapping[str, Any]]
_FORMATS = "see docs/data.md for the formats"


def train_sft(
    policy: Policy,
    rows: Rows,
    config: SftConfig | None = None,
    *,
    heldout: Rows = (),
    folder: RunFolder | Path | str | None = None,
    resume: bool = False,
    quiet: bool = False,
    seed: int = 0,
) -> TrainingRun[dict[str, Any]]:
    """Fine-tune a policy's adapter on the assistants' messages of training rows.

    Args:
        policy: from :meth:`Policy.load`; its adapter is trained in place.
        rows: rows in any format that `homeground sft --data` reads: ``{"prompt", "completion"}``, ``{"messages"}``, ...
        heldout: rows that are never trained on; the final adapter is that of the step with their lowest loss.
        config: training settings; by default those of :class:`~homeground.training.config.SftConfig`.
        folder: folder of the run; by default the next free ``.homeground/runs/sft-N``.
        resume: continue from the folder's newest checkpoint.
        quiet: print nothing.
        seed: seed of the rows' order.

    Raises:
        UsageError: no rows, or a folder that holds another run.
        HomegroundError: a row that fits no format; another process writes to the run, or its folder was deleted.
    """
    if not rows:
        raise UsageError("train_sft has no rows", hint='give at least one, such as {"prompt": ..., "completion": ...}')
    config = config or SftConfig()
    paths = _rendered(policy, rows, config)
    judged = _rendered(policy, heldout, config) if heldout else []
    steps = sft_steps(len(paths), config)
    every = config.eval_every or steps_of(len(paths), 1, config.batch_size)
    judge = (
        HeldOut(policy, judged, every=every, patience=config.patience, forest_tokens=config.forest_tokens)
        if judged
        else None
    )
    with open_run(folder, "sft", resume=resume, quiet=quiet) as (run, progress):
        progress.line(f"{policy.describe()}; {len(paths)} rows, {steps} steps")
        progress.line(f"run folder: {run.path}")
        checkpoints = run.checkpoints / "sft"
        done = done_steps(checkpoints)
        with StepLog(run, "sft", done=done, steps=steps, progress=progress, title="SFT", columns=SFT_COLUMNS) as log:
            train_paths(policy, paths, config, checkpoints, log, judge, seed=seed)
        policy.save_adapter(run.adapter)
        losses = [step["loss"] for step in log.history]
        ends = f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, " if losses else ""
        log.bar.done(f"{ends}adapter in {run.adapter}")
    return TrainingRun(run.path, run.adapter, log.history)


def _rendered(policy: Policy, rows: Rows, config: SftConfig) -> list[TokenPath]:
    # Training alone works where what reads data is not installed.
    from homeground.data import RowError, example_of, render_as_asked, without_nulls

    of_arrow = type(rows).__module__.partition(".")[0] == "datasets"
    examples = []
    for number, row in enumerate(rows, start=1):
        try:
            example = example_of(without_nulls(row) if of_arrow else dict(row))
            examples.append(replace(example, place=f"row {number}"))
        except RowError as error:
            raise UsageError(str(error), where=f"row {number}", hint=_FORMATS) from None
    rendering = render_as_asked(config, policy.tokenizer, examples, limit=longest_path(policy.model.config))
    if rendering.rejected:
        raise UsageError(rendering.rejected[0].reason, where=rendering.rejected[0].place, hint=_FORMATS)
    return rendering.paths
