"""Our side of ``make bench-sft`` in a process of its own: ``python -m benchmarks.sides.sft --out FILE``.

What runs is ``train_sft`` as the command runs it. A step is timed from the end of one optimizer step to the end of
the next; the first steps are dropped. Useful tokens are those of the rows, whatever was computed for them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.sides.docstrings import docstring_rows
from benchmarks.sides.memory import PeakAboveModel
from benchmarks.sides.operations import matmul_rate
from benchmarks.sides.ours import bench_policy
from benchmarks.sides.workload import MODEL
from homeground.base.hardware import usable_cores
from homeground.policy import Policy, TokenPath
from homeground.training import SftConfig, train_sft
from homeground.training.sft import seeded_batch

BATCH = 8
"""Rows of an optimizer step, on both sides."""
LEARNING_RATE = 2e-4
DROPPED = 2
"""Steps that warm up."""
ORDER_SEED = 0


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forest-tokens", type=int, default=2048, help="distinct tokens of one forward at most")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations in the backward pass")
    parser.add_argument("--seed", type=int, default=0, help="of the adapter's first values")
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps, the dropped ones included")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--profile", type=Path, help="write torch.profiler's table of the last step here")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    policy = bench_policy(options.model, seed=options.seed, checkpointing=options.checkpointing)
    rows = docstring_rows(policy.tokenizer)
    measured = measure(policy, rows, options.steps, options.forest_tokens, options.profile)
    options.out.write_text(json.dumps(measured))


def steps_of_rows(rows: list[TokenPath], steps: int) -> list[list[TokenPath]]:
    """Rows of each optimizer step, for both sides: the order is the trainer's own."""
    return [seeded_batch(rows, BATCH, ORDER_SEED, step) for step in range(steps)]


def measure(
    policy: Policy, rows: list[TokenPath], steps: int, forest_tokens: int, profile: Path | None = None
) -> dict[str, Any]:
    """Seconds, useful tokens and loss of every step, and the peak of memory above the loaded model.

    Args:
        policy: its adapter moves.
        rows: examples.
        steps: optimizer steps, the dropped ones included.
        forest_tokens: distinct tokens of one forward at most.
        profile: where a table of the last step's operators goes.
    """
    per_epoch = -(-len(rows) // BATCH)
    settings = SftConfig(
        epochs=-(-steps // per_epoch),
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        checkpoint_every=10**9,
        forest_tokens=forest_tokens,
    )
    rate = matmul_rate()
    memory = PeakAboveModel(policy.peft)
    log: list[dict[str, Any]] = []
    ended: list[float] = []
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True)

    def note(metrics: dict[str, Any]) -> None:
        ended.append(time.perf_counter())
        log.append(metrics)
        if profile is not None and len(log) == steps - 1:
            profiler.start()
        if len(log) == steps:
            if profile is not None:
                profiler.stop()
                tables = [profiler.key_averages(), profiler.key_averages(group_by_input_shape=True)]
                profile.write_text("\n\n".join(t.table(sort_by="self_cpu_time_total", row_limit=45) for t in tables))
            raise _EnoughError

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_EnoughError):
        train_sft(policy, rows, settings, folder, seed=ORDER_SEED, quiet=True, on_step=note)
    useful = [sum(len(row.ids) for row in batch) for batch in steps_of_rows(rows, steps)]
    return {
        "tokens_per_s": rates(ended, useful),
        "seconds": [later - earlier for earlier, later in pairwise(ended)],
        "useful_tokens": useful,
        "trained_tokens": sum(len(row.trained) for row in rows),
        "loss": [row["loss"] for row in log],
        "peak_mb": memory.peak_mb(),
        "loaded_mb": memory.loaded_mb,
        "forest_tokens": forest_tokens,
        "matmul_tflops": rate,
    }


def rates(ended: list[float], useful: list[int]) -> float:
    """Useful tokens a second over all steps that are not dropped.

    Args:
        ended: when each optimizer step ended.
        useful: tokens of its rows.
    """
    return sum(useful[DROPPED:]) / (ended[-1] - ended[DROPPED - 1])


class _EnoughError(Exception):
    """The measured steps are done."""


if __name__ == "__main__":
    main()
