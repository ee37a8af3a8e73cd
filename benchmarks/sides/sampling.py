"""Tokens a second of the sampler, adapter live: ``python -m benchmarks.sides.sampling --prompts 4 --out FILE``.

A round samples ``group x longest`` tokens for each prompt, prefill included; the weights are published before every
round, so that nothing of the round before is cached. The first round is dropped.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.sides.ours import bench_policy
from benchmarks.sides.workload import MODEL, Setting, Workload, setting_named, standard_library_ids
from homeground.base.hardware import usable_cores
from homeground.base.threads import release_workers
from homeground.policy import Policy
from homeground.rollouts import Sampler, SamplingParams


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setting", default="P512-R64")
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=3, help="measured, after one that is dropped")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    policy = shaken(bench_policy(options.model))
    options.out.write_text(json.dumps(measure(policy, setting_named(options.setting), options.prompts, options.rounds)))


def shaken(policy: Policy) -> Policy:
    """Give the adapter values that are not zero, as after training."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.trainable().items():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    return policy


def measure(policy: Policy, setting: Setting, prompts: int, rounds: int) -> dict[str, Any]:
    """Sampled tokens a second of each round after the first."""
    workload = Workload(setting, standard_library_ids(policy.tokenizer))
    rates: list[float] = []
    with Sampler(policy) as sampler:
        for number in range(rounds + 1):
            tasks = [workload.task(number * prompts + i) for i in range(prompts)]
            sampler.publish()
            release_workers()
            began = time.perf_counter()
            pending = [
                sampler.submit(task.prompt, setting.longest, SamplingParams(seed=g))
                for task in tasks
                for g in range(setting.group)
            ]
            sampled = sum(len(future.result().ids) for future in pending)
            rates.append(sampled / (time.perf_counter() - began))
    return {"tokens_per_s": rates[1:], "rows": prompts * setting.group}


if __name__ == "__main__":
    main()
