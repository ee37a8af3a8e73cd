"""One part of ``make bench-forgetting`` in a process of its own: replay rows, or what one run learns and forgets."""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.sides.docstrings import docstring_split
from benchmarks.sides.epoch import judge_of, train_epoch
from benchmarks.sides.workload import LORA_ALPHA, LORA_R, MODEL
from homeground.base.hardware import usable_cores
from homeground.base.progress import Progress
from homeground.data import read_examples
from homeground.evaluate.general import run_general_probe
from homeground.pipeline.replay import write_replay
from homeground.pipeline.workbench import Workbench
from homeground.policy import LoraConfig, ModelConfig, Policy, TokenPath
from homeground.recipe import load_recipe
from homeground.runs.workspace import RunFolder, Workspace
from homeground.training import render_examples

OWN, HELD_OUT = 192, 64
OWN_A_STEP = 8
LEARNING_RATE = 1e-3
"""High enough to forget within 24 steps."""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    part = parser.add_mutually_exclusive_group(required=True)
    part.add_argument("--sample", type=int, metavar="ROWS", help="write so many replay rows to the file")
    part.add_argument("--before", action="store_true", help="measure the model as it is")
    part.add_argument("--mix", type=int, metavar="ROWS", help="train with the file's first rows, and measure")
    parser.add_argument("--file", type=Path, help="of replay rows")
    parser.add_argument("--seed", type=int, default=0, help="of the adapter's first values and of the order")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    if options.sample is not None:
        options.out.write_text(json.dumps(sampled(MODEL, options.sample, options.file)))
        return
    lora = LoraConfig(r=LORA_R, alpha=LORA_ALPHA)
    policy = Policy.load(
        ModelConfig(name=MODEL, device="cpu", quantization="none", compute_dtype="bf16", lora=lora), seed=options.seed
    )
    own, heldout = docstring_split(policy.tokenizer, OWN, HELD_OUT)
    if options.before:
        options.out.write_text(json.dumps(measured(policy, heldout)))
        return
    replay = replay_rows(policy, options.file, options.mix) if options.mix else []
    options.out.write_text(json.dumps(trained(policy, own, replay, heldout, options.seed)))


def sampled(model: str, rows: int, file: Path, dtype: str = "bf16") -> dict[str, Any]:
    """Let a model write replay rows, as `homeground data replay` does; how long that took and what came of it."""
    recipe = load_recipe(None, {"model": {"name": model, "quantization": "none", "compute_dtype": dtype}})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Workbench(recipe, Workspace(folder), RunFolder(folder), Progress(quiet=True)) as bench:
            sampler = bench.sampler
            began = perf_counter()
            report = write_replay(bench, file, rows)
            seconds = perf_counter() - began
            tokens = sampler.sampled_tokens
    written = file.read_bytes()
    return {
        "rows": report["train"],
        "removed": report["removed"],
        "unfinished": sum(example.unfinished for example in read_examples(str(file)).examples),
        "seconds": seconds,
        "tokens_per_s": tokens / seconds,
        "sha256": hashlib.sha256(written).hexdigest(),
    }


def replay_rows(policy: Policy, file: Path, rows: int) -> list[TokenPath]:
    """The file's first rows as the trainer takes them."""
    examples = read_examples(str(file), limit=rows, strict=True).examples
    return render_examples(policy.tokenizer, examples, limit=1 << 30).paths


def measured(policy: Policy, heldout: Sequence[TokenPath]) -> dict[str, Any]:
    """Held-out loss on the task, nats a token, and the general probe, the adapter as it is."""
    return {"heldout": judge_of(policy, heldout).loss(), "general": run_general_probe(policy).to_json()}


def trained(
    policy: Policy, own: Sequence[TokenPath], replay: Sequence[TokenPath], heldout: Sequence[TokenPath], seed: int
) -> dict[str, Any]:
    """The same after one epoch over both kinds of rows.

    Replay makes the steps larger, not more: a step has :data:`OWN_A_STEP` own rows on average, whatever is mixed in.
    """
    rows = [*own, *replay]
    batch_size = round(OWN_A_STEP * len(rows) / len(own))
    began = perf_counter()
    loss = train_epoch(policy, rows, batch_size=batch_size, learning_rate=LEARNING_RATE, seed=seed)
    return {
        "own": len(own),
        "replay": len(replay),
        "trained_tokens": {"own": _trained(own), "replay": _trained(replay)},
        "seconds": perf_counter() - began,
        "loss": loss,
        **measured(policy, heldout),
    }


def _trained(rows: Sequence[TokenPath]) -> int:
    return sum(len(row.trained) for row in rows)


if __name__ == "__main__":
    main()
