"""The supervised stage of a run: scripted look-ups or the recipe's data, the general probe around it, the adapter."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from homeground.base.files import atomic_write_jsonl
from homeground.pipeline.forgetting import watched
from homeground.pipeline.workbench import Workbench, policy_of
from homeground.runs.workspace import RunFolder

if TYPE_CHECKING:
    from homeground.training import Example


def cold_start(bench: Workbench) -> str:
    """Fine-tune on look-ups that a script makes of train tasks: just enough for the form.

    The conversations are kept beside the run as JSON lines.
    """
    from homeground.agents import scripted_trajectory
    from homeground.training import example_of

    rng = random.Random(bench.recipe.seed)
    chosen = rng.sample(bench.tasks.train, min(bench.recipe.sft.examples, len(bench.tasks.train)))
    rows = [{"messages": list(scripted_trajectory(task, bench.search, rng))} for task in chosen]
    atomic_write_jsonl(bench.run.path / "sft-examples.jsonl", rows)
    return fine_tune(bench, [example_of(row) for row in rows])


def fine_tune(bench: Workbench, examples: Sequence[Example], heldout: Sequence[Example] = ()) -> str:
    """Run :func:`homeground.training.train_sft` in the run's folder, with the general probe before and after.

    Args:
        bench: of the run.
        examples: trained on.
        heldout: never trained on; with them the adapter that is left is that of the step with their lowest loss.
    """
    import torch

    from homeground.training import train_sft

    policy, sft = bench.policy, bench.recipe.sft
    # Each process would measure which is faster, and they might not agree.
    dtype = "fp32" if policy.dtype is torch.float32 else "bf16"
    model = bench.recipe.model.model_copy(update={"compute_dtype": dtype})
    with watched(bench):
        trained = train_sft(
            policy,
            examples,
            sft,
            bench.run,
            heldout=heldout,
            seed=bench.recipe.seed,
            progress=bench.progress,
            sampler=bench.sampler if heldout and sft.samples else None,
            load=partial(policy_of, bench.recipe.model_copy(update={"model": model}), bench.adapter),
        )
        policy.save_adapter(sft_adapter(bench.run))
    return trained.summary


def sft_adapter(run: RunFolder) -> Path:
    """Where the adapter that SFT left is kept: RL starts from it, and is measured against it."""
    return run.path / "adapter-sft"
