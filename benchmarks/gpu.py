"""GRPO updates and fine-tuning on an NVIDIA card: speed and peak memory, TRL beside it where installed.

Run as ``make bench-gpu``. Models are built from their configurations with random weights packed to NF4, so nothing is
downloaded: what an update costs does not depend on the values. P=4096, R=256, G=8, gradient checkpointing on, LoRA
r=16 on all linear layers. Rollouts are token ids that nobody sampled. Fine-tuning is that of
:mod:`benchmarks.sides.card_sft`. Each side of each shape is a process of its own;
the first step is dropped. Peak memory is everything the process had allocated on the card, weights included.

Writes ``benchmarks/results/gpu.json``. Without a card it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from benchmarks.sides import card_sft, results
from benchmarks.sides.card_sft import forget_peak, peak_gb
from benchmarks.sides.children import Child, run_bench
from benchmarks.sides.workload import Delivery, Setting

BENCH = "gpu"
SETTING = Setting("P4096-R256", 4096, 256, 256, delivery=Delivery.ROW_A_TURN, peer_batch=8)
UPDATE_TARGET = 4.0


@dataclass(frozen=True)
class Shape:
    """A published model's shape.

    Attributes:
        config: builds its configuration.
        limit_gb: peak memory promised for it (10^9 bytes), None where nothing was.
    """

    config: Callable[[], PretrainedConfig]
    limit_gb: float | None = None


def _rope(theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


SHAPES = {
    "Qwen2.5-0.5B": Shape(
        lambda: Qwen2Config(
            vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
            num_key_value_heads=2, max_position_embeddings=32768, rope_parameters=_rope(1e6), tie_word_embeddings=True,
        )
    ),
    "Qwen2.5-1.5B": Shape(
        lambda: Qwen2Config(
            vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
            num_key_value_heads=2, max_position_embeddings=32768, rope_parameters=_rope(1e6), tie_word_embeddings=True,
        )
    ),
    "Qwen3-4B": Shape(
        lambda: Qwen3Config(
            vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
            num_key_value_heads=8, head_dim=128, max_position_embeddings=40960, rope_parameters=_rope(1e6),
            tie_word_embeddings=True,
        ),
        limit_gb=6.0,
    ),
    "Mistral-7B": Shape(
        lambda: MistralConfig(
            vocab_size=32768, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
            num_key_value_heads=8, max_position_embeddings=32768, rope_parameters=_rope(1e6), sliding_window=None,
            tie_word_embeddings=False,
        ),
        limit_gb=8.5,
    ),
}  # fmt: skip


def main() -> None:
    """Measure every shape, merge, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(SHAPES), help="comma-separated")
    parser.add_argument("--steps", type=int, default=3, help="measured, after one that is dropped")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="measure TRL if installed")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which one process is stopped")
    parser.add_argument("--kinds", default="grpo,sft", help="what is measured; comma-separated")
    parser.add_argument("--longest", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=["ours", "peer"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench-gpu: no CUDA device here, nothing was measured")
        return
    if options.side:
        where, what = (card_sft, options.longest) if options.longest else (sys.modules[__name__], SETTING)
        config = SHAPES[options.shapes].config()
        measured = getattr(where, options.side)(config, what, options.steps, "cuda")
        options.out.write_text(json.dumps(measured | {"card": torch.cuda.get_device_name()}))
        return
    sides = ["ours", "peer"] if options.peer and importlib.util.find_spec("trl") else ["ours"]
    work = [length for kind in options.kinds.split(",") for length in {"grpo": (0,), "sft": card_sft.LENGTHS}[kind]]
    children: list[Child] = []
    for shape, longest, side in itertools.product(options.shapes.split(","), work, sides):
        steps = options.steps + card_sft.DROPPED if longest else options.steps
        arguments = ("--side", side, "--shapes", shape, "--steps", steps, "--longest", longest)
        children.append(Child(_key(shape, longest, side), "benchmarks.gpu", arguments))
    run_bench(BENCH, children, rows_of, limit_s=options.limit)


def ours(config: PretrainedConfig, setting: Setting, steps: int, device: str) -> dict[str, Any]:
    """Updates of our trainer on rollouts that are given."""
    from benchmarks.sides.ours import forest_of, run_steps
    from benchmarks.sides.random_model import random_policy
    from benchmarks.sides.sources import WrittenSource
    from benchmarks.sides.workload import Workload

    policy = random_policy(config, device, checkpointing=True)
    source = WrittenSource(Workload(setting, random_ids(config)))
    forget_peak(device)
    log = run_steps(policy, source, setting, steps)
    forest = forest_of(source.collected)
    return {
        "update": [row["seconds_update"] for row in log[1:]],
        "peak_gb": peak_gb(device),
        "distinct_tokens": len(forest),
        "path_tokens": forest.path_tokens,
        "grad_norm": [row["grad_norm"] for row in log[1:]],
    }


def peer(config: PretrainedConfig, setting: Setting, steps: int, device: str) -> dict[str, Any]:
    """TRL's updates on the same rollouts, one row a rollout; its batch is halved until it fits."""
    from benchmarks.peers.trl_grpo import measure, nameless_tokenizer
    from benchmarks.sides.random_model import random_base
    from benchmarks.sides.workload import Workload
    from homeground.policy import Quantization

    def of_batch(batch: int) -> dict[str, Any]:
        model = random_base(config, device, Quantization.NF4, "sdpa")
        forget_peak(device)
        more = {"use_cpu": device == "cpu", "gradient_checkpointing": True}
        return measure(model, nameless_tokenizer(), Workload(setting, random_ids(config)), steps, batch, **more)

    return card_sft.fitting(setting.peer_batch, of_batch, device)


def random_ids(config: PretrainedConfig, count: int = 100_000) -> list[int]:
    """Ids to cut prompts and answers from."""
    drawn = random.Random(0)
    return [drawn.randrange(config.vocab_size) for _ in range(count)]


def _key(shape: str, longest: int, side: str) -> str:
    return f"{shape}, SFT to {longest}: {side}" if longest else f"{shape}: {side}"


def rows_of(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims that the measurements allow."""
    rows: list[dict[str, Any]] = []
    for name, longest in itertools.product(SHAPES, (0, *card_sft.LENGTHS)):
        mine, other = (measurements.get(_key(name, longest, side)) for side in ("ours", "peer"))
        if mine is None:
            continue
        origin = {"commit": mine["commit"], "measured_at": mine["measured_at"], "card": mine["card"]}
        if longest:
            rows += [{**row, **origin} for row in card_sft.rows_of(f"{name}, SFT to {longest}", mine, other)]
            continue
        shape = SHAPES[name]
        found: list[dict[str, Any]] = []
        limit = shape.limit_gb
        seconds, peak = median(mine["update"]), mine["peak_gb"]
        if limit is not None:
            found.append(results.smaller(name, "peak memory", "GB", peak, limit, "limit", 1.0))
        if other is not None:
            pair = seconds, median(other["update"])
            found.append(results.smaller(name, "update", "s", *pair, other["peer"], UPDATE_TARGET))
            found.append(results.smaller(name, "peak memory", "GB", peak, other["peak_gb"], other["peer"], None))
        else:
            found.append(results.row(name, "update", "s", seconds, 0.0, "not installed", 0.0, None))
        rows += [{**row, **origin} for row in found]
    return rows


if __name__ == "__main__":
    main()
