"""One run of ``make bench-qlora`` in a process of its own: held-out loss of an adapter over one kind of base."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import torch

from benchmarks.sides.docstrings import docstring_split
from benchmarks.sides.epoch import judge_of, train_epoch
from benchmarks.sides.workload import LORA_R, MODEL
from homeground.base.hardware import usable_cores
from homeground.policy import LoraConfig, ModelConfig, Policy, Quantization
from homeground.policy.base_model import load_base
from homeground.policy.quantize_report import quantization_report

HELD_OUT, BATCH, LEARNING_RATE = 64, 8, 5e-4


@dataclass(frozen=True)
class Run:
    """How much an adapter may learn.

    Attributes:
        rows: of its one epoch.
        rank: of the adapter; alpha is twice that.
    """

    rows: int
    rank: int


RUNS = {"short": Run(128, LORA_R), "long": Run(640, 64)}
"""The rank of 64 is the paper's."""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Quantization, required=True, help="nf4, fp4, int8 or none")
    parser.add_argument("--run", choices=RUNS, default="long")
    parser.add_argument("--seed", type=int, default=0, help="of the adapter's first values and of the order")
    parser.add_argument("--weights", action="store_true", help="measure the error of the weights instead")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    measured = (
        weight_error(options.base) if options.weights else held_out_loss(options.base, RUNS[options.run], options.seed)
    )
    options.out.write_text(json.dumps(measured))


def held_out_loss(base: Quantization, run: Run, seed: int) -> dict[str, Any]:
    """Loss on functions of other modules before and after one epoch, nats a token, in bf16."""
    lora = LoraConfig(r=run.rank, alpha=2 * run.rank)
    policy = Policy.load(_settings(base, lora), seed=seed)
    train, heldout = docstring_split(policy.tokenizer, run.rows, HELD_OUT)
    judge = judge_of(policy, heldout)
    began = perf_counter()
    before = judge.loss()
    loss = train_epoch(policy, train, batch_size=BATCH, learning_rate=LEARNING_RATE, seed=seed)
    return {"before": before, "after": judge.loss(), "seconds": perf_counter() - began, "loss": loss}


def weight_error(base: Quantization) -> dict[str, Any]:
    """Relative error of the quantized weights, and bits a parameter."""
    report = quantization_report(load_base(_settings(base, LoraConfig())))
    errors = [layer.error for layer in report.packed]
    return {"error_mean": mean(errors), "error_worst": max(errors), "bits": report.bits, "layers": len(errors)}


def _settings(base: Quantization, lora: LoraConfig) -> ModelConfig:
    return ModelConfig(name=MODEL, device="cpu", quantization=base, compute_dtype="bf16", lora=lora)


if __name__ == "__main__":
    main()
