"""The supervised stage: from examples to an adapter, in the run folder."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from homeground.base.errors import HomegroundError
from homeground.base.progress import Progress
from homeground.base.steplog import SFT_COLUMNS, StepLog
from homeground.base.workspace import RunFolder, Workspace
from homeground.pipeline.forgetting import watched
from homeground.pipeline.workbench import Workbench
from homeground.recipe import Recipe

if TYPE_CHECKING:
    from homeground.data import Example
    from homeground.policy import TokenPath
    from homeground.training.heldout import HeldOut
    from homeground.training.samples import SampleLog


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


def fine_tune(bench: Workbench, examples: Sequence[Example], heldout: Sequence[Example] = ()) -> str:
    """Supervised fine-tuning on examples; leaves the adapter, its steps and checkpoints in the run.

    Args:
        bench: of the run.
        examples: trained on.
        heldout: never trained on; with them the adapter that is left is that of the step with their lowest loss.
    """
    from homeground.training import train_sft
    from homeground.training.checkpoints import done_steps
    from homeground.training.sft import sft_steps

    policy = bench.policy
    paths = _rendered(bench, examples, "rendering examples")
    config = bench.recipe.sft
    folder = bench.run.checkpoints / "sft"
    done = done_steps(folder)
    judged = _rendered(bench, heldout, "rendering held-out examples")
    judge = _judge(bench, judged, len(paths), _samples(bench, judged, done))
    with (
        watched(bench),
        StepLog(
            bench.run,
            "sft",
            done=done,
            steps=sft_steps(len(paths), config),
            progress=bench.progress,
            title="SFT",
            columns=SFT_COLUMNS,
        ) as log,
        _others(bench, paths, judged),
    ):
        step = train_sft(policy, paths, config, folder, log, judge, seed=bench.recipe.seed)
    policy.save_adapter(sft_adapter(bench.run))
    policy.save_adapter(bench.run.adapter)
    losses = [step["loss"] for step in log.history]
    words = f"{len(paths)} examples" + (f", loss {losses[0]:.2f} -> {losses[-1]:.2f}" if losses else "")
    if judge is not None:
        words += f", held-out {judge.before:.3f} -> {judge.lowest:.3f}; the adapter is that of step {step}"
    log.bar.done(words)
    return words


def _rendered(bench: Workbench, examples: Sequence[Example], title: str) -> list[TokenPath]:
    """Examples as the trainer takes them; none when there are none."""
    from homeground.data import render_as_asked
    from homeground.policy.rope import longest_path

    if not examples:
        return []
    limit = longest_path(bench.policy.model.config)
    rendering = render_as_asked(bench.recipe.sft, bench.policy.tokenizer, examples, limit=limit)
    bench.progress.bar(title).done(rendering.describe())
    return rendering.paths


def _judge(
    bench: Workbench, heldout: list[TokenPath], examples: int, write_samples: Callable[[int], None] | None = None
) -> HeldOut | None:
    """What the run is judged by while it trains; None without held-out examples."""
    from homeground.training.heldout import HeldOut
    from homeground.training.sft import steps_of

    if not heldout:
        return None
    sft = bench.recipe.sft
    return HeldOut(
        bench.policy,
        heldout,
        every=sft.eval_every or steps_of(examples, 1, sft.batch_size),
        patience=sft.patience,
        forest_tokens=sft.forest_tokens,
        write_samples=write_samples,
    )


def _samples(bench: Workbench, heldout: list[TokenPath], done: int) -> SampleLog | None:
    """Where the policy's answers to held-out prompts go."""
    from homeground.training.samples import SampleLog

    sft = bench.recipe.sft
    if not heldout or not sft.samples:
        return None
    return SampleLog(
        bench.policy,
        bench.sampler,
        heldout[: sft.samples],
        bench.run.path / "samples.jsonl",
        tokens=sft.sample_tokens,
        done=done,
        show=bench.progress.line,
    )


def _others(
    bench: Workbench, paths: list[TokenPath], judged: list[TokenPath]
) -> contextlib.AbstractContextManager[None]:
    """The other processes of `sft.devices`; none of them when it is 1."""
    import torch

    from homeground.training.efficiency import machine_flops
    from homeground.training.processes import processes

    devices = bench.recipe.sft.devices
    if devices == 1:
        return contextlib.nullcontext()
    if bench.policy.device.type != "cpu":
        raise HomegroundError(
            "several processes train on a CPU only", where="sft.devices", hint="set sft.devices to 1 on a GPU"
        )
    # While no other process computes, so that it is the whole machine's.
    machine_flops(bench.policy)
    # Each process would measure which is faster, and they might not agree.
    dtype = "fp32" if bench.policy.dtype is torch.float32 else "bf16"
    model = bench.recipe.model.model_copy(update={"compute_dtype": dtype})
    recipe = bench.recipe.model_copy(update={"model": model})
    return processes(devices, _follow, (recipe, bench.workspace, bench.run, bench.adapter, paths, judged))


def _follow(
    recipe: Recipe,
    workspace: Workspace,
    run: RunFolder,
    adapter: Path | None,
    paths: list[TokenPath],
    judged: list[TokenPath],
) -> None:
    """What another process of the run does: the same steps with its share of the examples, without a word."""
    from homeground.training import train_sft

    with Workbench(recipe, workspace, run, Progress(quiet=True)) as bench:
        bench.start_from(adapter)
        judge = _judge(bench, judged, len(paths))
        train_sft(bench.policy, paths, recipe.sft, run.checkpoints / "sft", lambda step: None, judge, seed=recipe.seed)


def sft_adapter(run: RunFolder) -> Path:
    """Where the adapter that SFT left is kept: RL starts from it, and is measured against it."""
    return run.path / "adapter-sft"
