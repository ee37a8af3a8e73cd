"""Our side of one setting, in a process of its own: ``python -m benchmarks.sides.ours --setting NAME --out FILE``.

A step is what ``train_grpo`` does: roll out, compare, update, publish. Whole steps are timed from the end of
one to the end of the next, so whatever happens between two steps counts; rollout and update are the trainer's own
metrics. The first step is dropped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.sides.memory import PeakAboveModel
from benchmarks.sides.operations import matmul_rate, operations
from benchmarks.sides.sources import SampledSource, WrittenSource
from benchmarks.sides.workload import (
    BETA,
    LEARNING_RATE,
    LORA_ALPHA,
    LORA_R,
    MODEL,
    Setting,
    Workload,
    setting_named,
    standard_library_ids,
)
from homeground.base.hardware import usable_cores
from homeground.policy import LoraConfig, ModelConfig, Policy, TokenForest
from homeground.rollouts import Sampler, Source, Trajectory
from homeground.training import GrpoConfig, TaskStream
from homeground.training.grpo import GrpoModule
from homeground.training.loop import fit


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setting", required=True)
    parser.add_argument("--steps", type=int, default=3, help="measured steps, after one that is dropped")
    parser.add_argument("--written", action="store_true", help="do not sample: measure the update alone")
    parser.add_argument("--profile", type=Path, help="write torch.profiler's table of the last update here")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    policy = bench_policy(options.model)
    measured = measure(
        policy, setting_named(options.setting), options.steps, written=options.written, profile=options.profile
    )
    options.out.write_text(json.dumps(measured))


def bench_policy(model: str = MODEL, *, seed: int = 0, checkpointing: bool = False) -> Policy:
    """The policy of both sides: unquantised bf16 base, a fresh adapter on every linear layer."""
    settings = ModelConfig(
        name=model,
        device="cpu",
        quantization="none",
        compute_dtype="bf16",
        gradient_checkpointing=checkpointing,
        lora=LoraConfig(r=LORA_R, alpha=LORA_ALPHA),
    )
    return Policy.load(settings, seed=seed)


def measure(
    policy: Policy,
    setting: Setting,
    steps: int,
    *,
    written: bool = False,
    profile: Path | None = None,
    text: list[int] | None = None,
) -> dict[str, Any]:
    """Seconds of each step after the first and peak memory; operations of the last update.

    Args:
        policy: its adapter moves.
        setting: what a step is.
        steps: how many are measured.
        written: measure updates on rollouts that were not sampled.
        profile: where a table of the last step's operators goes; that step is then not measured.
        text: what prompts are cut from, the standard library when not given.
    """
    workload = Workload(setting, text or standard_library_ids(policy.tokenizer))
    rate = matmul_rate()
    memory = PeakAboveModel(policy.peft)
    if written:
        source: SampledSource | WrittenSource = WrittenSource(workload)
        log = run_steps(policy, source, setting, steps, profile)
    else:
        with Sampler(policy) as sampler:
            source = SampledSource(sampler, workload)
            log = run_steps(policy, source, setting, steps, profile)
    peak_mb = memory.peak_mb()
    forest = forest_of(source.collected)
    return {
        "step": [later["ended"] - earlier["ended"] for earlier, later in pairwise(log)],
        "rollout": [row["seconds_rollout"] for row in log[1:]],
        "update": [row["seconds_update"] for row in log[1:]],
        "peak_mb": peak_mb,
        "loaded_mb": memory.loaded_mb,
        "distinct_tokens": len(forest),
        "path_tokens": forest.path_tokens,
        "forest_tokens": [row["forest_tokens"] for row in log[1:]],
        "logprob_gap": [row["logprob_gap"] for row in log[1:]],
        "update_tflop": operations(policy, forest).update / 1e12,
        "matmul_tflops": rate,
    }


def run_steps(
    policy: Policy, source: Source, setting: Setting, steps: int, profile: Path | None = None
) -> list[dict[str, Any]]:
    """One step that is dropped by whoever asks, then ``steps``; the trainer's metrics of each and when it ended."""
    log: list[dict[str, Any]] = []
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True)

    def note(metrics: dict[str, Any]) -> None:
        log.append({**metrics, "ended": time.perf_counter()})
        if profile is not None and len(log) == steps + 1:
            profiler.start()
        if profile is not None and len(log) == steps + 2:
            profiler.stop()
            averages = profiler.key_averages(group_by_input_shape=True)
            tables = [profiler.key_averages(), averages]
            profile.write_text("\n\n".join(t.table(sort_by="self_cpu_time_total", row_limit=45) for t in tables))
            log.pop()

    total = 1 + steps + (profile is not None)
    settings = GrpoConfig(
        steps=total,
        tasks_per_step=1,
        group_size=setting.group,
        learning_rate=LEARNING_RATE,
        kl_coef=BETA,
        checkpoint_every=10**9,
        forest_tokens=setting.forest_tokens,
    )
    with tempfile.TemporaryDirectory() as folder:
        module = GrpoModule(policy, TaskStream(range(total)), source, settings, note)
        fit(module, steps=total, checkpoints=Path(folder), every=total)
    return log


def forest_of(trajectories: list[Trajectory]) -> TokenForest:
    """All paths of a step in one forest: its distinct tokens."""
    return TokenForest.build([path.tokens for t in trajectories for path in t.paths])


if __name__ == "__main__":
    main()
