"""Predicted and measured peak memory of training on this CPU: ``make bench-plan``.

Small random models and SmolLM2-135M, four optimizer steps each (twelve where examples differ in length), every case in
a process of its own. The prediction is made from the configuration alone and must be within 15% of the measured peak
above the imported process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from benchmarks.sides import results
from benchmarks.sides.children import Child, run_bench
from benchmarks.sides.planned import Case
from homeground.base.sizes import Target
from homeground.base.weights import resolve_model
from homeground.pipeline.planning import IMPORTED_MB
from homeground.pipeline.remedies import plan_stage

BENCH = "plan"
WITHIN = 0.15
HERE = Target("this machine's memory", 10**6, cuda=False, here=True)

CASES = (
    Case("SmolLM2, 8 x 128"),
    Case("SmolLM2, 8 x 128, checkpointing", checkpointing=True),
    Case("SmolLM2, 8 x 128, NF4", quantization="nf4"),
    Case("SmolLM2, 2 x 1024, NF4, checkpointing", quantization="nf4", checkpointing=True, length=1024, batch=2),
    Case("SmolLM2, 4 x 128, fp32", dtype="fp32", batch=4, forest_tokens=512),
    Case("SmolLM2, 8 x 128, forests of 512", forest_tokens=512),
    Case("SmolLM2, 2 x 2048", length=2048, batch=2, forest_tokens=2048),
    Case("SmolLM2, 8 of very different lengths", length=200, ragged=True, steps=12),
    Case("SmolLM2, 8 of very different lengths, NF4", length=200, ragged=True, steps=12, quantization="nf4"),
    Case("wide, 8 x 128", model="wide"),
    Case("wide, 1 x 1024, NF4", model="wide", quantization="nf4", length=1024, batch=1),
    Case("deep, 8 x 128", model="deep"),
    Case("deep, 2 x 512, fp32, checkpointing", model="deep", dtype="fp32", checkpointing=True, length=512, batch=2),
    Case("SmolLM2, GRPO", stage="rl"),
    Case("SmolLM2, GRPO, NF4", stage="rl", quantization="nf4"),
)
_SHAPES = {
    "small": LlamaConfig(
        vocab_size=49152, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True,
    ),
    "wide": LlamaConfig(
        vocab_size=49152, hidden_size=1024, intermediate_size=4096, num_hidden_layers=6, num_attention_heads=16,
        num_key_value_heads=4, max_position_embeddings=4096, tie_word_embeddings=True,
    ),
    "deep": Qwen3Config(
        vocab_size=49152, hidden_size=384, intermediate_size=1024, num_hidden_layers=24, num_attention_heads=6,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=4096, tie_word_embeddings=False,
    ),
}  # fmt: skip


def main() -> None:
    """Measure, merge, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", help="only those whose name contains this")
    parser.add_argument("--limit", type=float, default=300, help="seconds after which one process is stopped")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chosen = [case for case in CASES if not options.cases or options.cases in case.name]
        run_bench(BENCH, (predicted(case, Path(folder)) for case in chosen), rows_of, limit_s=options.limit)


def predicted(case: Case, folder: Path) -> Child:
    """The process of a case, with the memory that is predicted for it."""
    placed = replace(case, model=random_model(case.model, folder))
    plan = plan_stage(placed.recipe(), placed.stage, HERE, placed.work())  # type: ignore[arg-type]
    items = {name: round(mb, 1) for name, mb in plan.items.items()}
    known = {"predicted_mb": plan.total_mb - IMPORTED_MB, "items": items}
    return Child(case.name, "benchmarks.sides.planned", ("--case", json.dumps(asdict(placed))), known)


def random_model(name: str, folder: Path) -> str:
    """The folder of a model of random weights with SmolLM2's tokenizer; a bundled name as it is."""
    if name not in _SHAPES:
        return name
    path = folder / name
    if not path.exists():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(_SHAPES[name], dtype=torch.bfloat16).save_pretrained(path)
        for file in resolve_model("smollm2-135m-instruct").glob("*token*"):
            shutil.copy(file, path)
        for file in resolve_model("smollm2-135m-instruct").glob("*.jinja"):
            shutil.copy(file, path)
    return str(path)


def rows_of(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """One claim a case; the ratio is the limit over how far off the prediction is."""
    rows: list[dict[str, Any]] = []
    for case in CASES:
        if found := measurements.get(case.name):
            foreseen, measured = found["predicted_mb"], found["peak_mb"]
            off = abs(foreseen / measured - 1)
            row = results.row(
                case.name, "predicted peak", "MB", foreseen, measured, "measured", WITHIN / max(off, 1e-3), 1.0
            )
            rows.append({**row, "off": round(foreseen / measured - 1, 3)})
    return rows


if __name__ == "__main__":
    main()
