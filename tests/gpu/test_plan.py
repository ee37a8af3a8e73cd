"""The memory plan on an NVIDIA card: within a tenth of what the allocator and the context really take."""

import gc

import pytest
import torch
from transformers import MistralConfig, Qwen2Config

from benchmarks.gpu import SHAPES
from benchmarks.sides.card_sft import drawn_rows
from benchmarks.sides.random_model import random_policy
from benchmarks.sides.sft import measure
from benchmarks.sides.workload import LORA_ALPHA, LORA_R
from homeground.base.sizes import target
from homeground.pipeline.planning import CONTEXT_MB, Work
from homeground.pipeline.remedies import plan_stage
from homeground.recipe import Recipe

WITHIN = 0.10
STEPS = 3


@pytest.mark.parametrize("shape", ["Qwen2.5-0.5B", "Qwen2.5-1.5B", "Mistral-7B"])
def test_the_plan_of_fine_tuning_is_right(shape, tmp_path):
    config = SHAPES[shape].config()
    config.save_pretrained(tmp_path)
    longest = 2048
    rows = drawn_rows(config, longest, STEPS)
    assert isinstance(config, Qwen2Config | MistralConfig)
    recipe = Recipe.model_validate(
        {
            "model": {
                "name": str(tmp_path), "quantization": "nf4", "gradient_checkpointing": True, "compute_dtype": "bf16",
                "lora": {"r": LORA_R, "alpha": LORA_ALPHA},
            },
            "sft": {"batch_size": 8, "forest_tokens": longest, "optimizer": "adamw"},
        }
    )  # fmt: skip
    work = Work(tuple((len(row.ids), len(row.trained)) for row in rows), "random rows")
    plan = plan_stage(recipe, "sft", target("cuda"), work)
    policy = random_policy(config, "cuda", checkpointing=True)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    measure(policy, rows, STEPS, longest)
    taken = torch.cuda.max_memory_reserved() / 1e6 + CONTEXT_MB
    assert plan.total_mb == pytest.approx(taken, rel=WITHIN), plan.items
