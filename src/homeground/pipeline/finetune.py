"""The supervised stage: from examples to an adapter, in the run folder."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from homeground.base.steplog import SFT_COLUMNS, StepLog
from homeground.base.workspace import RunFolder
from homeground.pipeline.workbench import Workbench

if TYPE_CHECKING:
    from homeground.data import Example
    from homeground.training import SftSettings


def cold_start(bench: Workbench) -> str:
    """Fine-tune on scripted trajectories of train tasks: just enough for the form."""
    return fine_tune(bench, scripted_examples(bench))


def scripted_examples(bench: Workbench) -> list[Example]:
    """Look-ups that a script makes of train tasks; kept beside the run as JSON lines."""
    from homeground.agents import scripted_trajectory
    from homeground.data import example_of, save_conversations

    rng = random.Random(bench.recipe.seed)
    chosen = rng.sample(bench.tasks.train, min(bench.recipe.sft.examples, len(bench.tasks.train)))
    conversations = [list(scripted_trajectory(task, bench.search, rng)) for task in chosen]
    save_conversations(bench.run.path / "sft-examples.jsonl", conversations)
    return [example_of({"messages": messages}) for messages in conversations]


def fine_tune(bench: Workbench, examples: Sequence[Example]) -> str:
    """Supervised fine-tuning on examples; leaves the adapter, its steps and checkpoints in the run."""
    from homeground.data import Overlong, render_examples
    from homeground.training import train_sft
    from homeground.training.checkpoints import done_steps
    from homeground.training.sft import sft_steps

    sft = bench.recipe.sft
    policy = bench.policy
    rendering = render_examples(
        policy.tokenizer,
        examples,
        limit=policy.model.config.max_position_embeddings,
        overlong=Overlong(sft.overlong),
        only_last=sft.train_on == "last answer",
    )
    bench.progress.bar("rendering examples").done(rendering.describe())
    settings = sft_settings(bench)
    folder = bench.run.checkpoints / "sft"
    with StepLog(
        bench.run,
        "sft",
        done=done_steps(folder),
        steps=sft_steps(len(rendering.paths), settings),
        progress=bench.progress,
        title="SFT",
        columns=SFT_COLUMNS,
    ) as log:
        train_sft(policy, rendering.paths, settings, folder, log)
    policy.save_adapter(sft_adapter(bench.run))
    policy.save_adapter(bench.run.adapter)
    losses = [step["loss"] for step in log.history]
    words = f"{len(rendering.paths)} examples" + (f", loss {losses[0]:.2f} -> {losses[-1]:.2f}" if losses else "")
    log.bar.done(words)
    return words


def sft_settings(bench: Workbench) -> SftSettings:
    """The recipe's `sft` section as the trainer takes it."""
    from homeground.training import OptimizerSettings, SftSettings

    sft = bench.recipe.sft
    return SftSettings(
        epochs=sft.epochs,
        batch_size=sft.batch_size,
        optimizer=OptimizerSettings(sft.learning_rate, sft.weight_decay, sft.clip, sft.warmup_steps),
        checkpoint_every=sft.checkpoint_every,
        forest_tokens=sft.forest_tokens,
        seed=bench.recipe.seed,
    )


def sft_adapter(run: RunFolder) -> Path:
    """Where the adapter that SFT left is kept: RL starts from it, and is measured against it."""
    return run.path / "adapter-sft"
