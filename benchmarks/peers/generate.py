"""transformers' ``generate`` on the sampler's work: ``python -m benchmarks.peers.generate --prompts 4 --out FILE``.

PEFT model, adapter live and in bf16 (half the time of a float32 one), SDPA attention, dynamic cache, all rows of a
round in one batch.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.sides.workload import LORA_ALPHA, LORA_R, MODEL, Workload, setting_named, standard_library_ids
from homeground.base.hardware import usable_cores
from homeground.base.weights import resolve_model


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
    folder = str(resolve_model(options.model))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    lora = LoraConfig(r=LORA_R, lora_alpha=LORA_ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, lora, autocast_adapter_dtype=False).to(torch.bfloat16).eval()
    setting = setting_named(options.setting)
    workload = Workload(setting, standard_library_ids(tokenizer))
    rates: list[float] = []
    for number in range(options.rounds + 1):
        tasks = [workload.task(number * options.prompts + i) for i in range(options.prompts)]
        rows = torch.tensor([task.prompt for task in tasks for _ in range(setting.group)])
        rates.append(_round(model, tokenizer, rows, setting.longest))
    document = {
        "peer": f"transformers {transformers.__version__} generate",
        "tokens_per_s": rates[1:],
        "rows": options.prompts * setting.group,
    }
    options.out.write_text(json.dumps(document))


def _round(model: Any, tokenizer: Any, rows: torch.Tensor, new_tokens: int) -> float:
    began = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            input_ids=rows,
            attention_mask=torch.ones_like(rows),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            pad_token_id=tokenizer.pad_token_id,
        )
    return (out.shape[0] * (out.shape[1] - rows.shape[1])) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
