"""TRL's SFTTrainer on the rows of ``make bench-sft``, in a process of its own.

What is measured is TRL's code as it is installed. It gets the rows as token ids with a mask of the completion, in the
order in which our trainer visits them, and its own settings otherwise: only those named on the command line differ
from its defaults. The model is loaded in bf16 with the same adapter as on our side; the trainer computes in bf16
autocast. A step is timed from the end of one optimizer step to the end of the next; the first steps are dropped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from benchmarks.sides.docstrings import docstring_rows
from benchmarks.sides.memory import PeakAboveModel
from benchmarks.sides.sft import BATCH, LEARNING_RATE, rates, steps_of_rows
from benchmarks.sides.workload import LORA_ALPHA, LORA_R, MODEL
from homeground.base.hardware import usable_cores
from homeground.base.weights import resolve_model
from homeground.policy import TokenPath


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8, help="rows of one forward")
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps of 8 rows, the dropped ones included")
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--packing", action="store_true")
    parser.add_argument("--padding-free", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the adapter's first values")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    folder = resolve_model(options.model)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.bfloat16)
    named: dict[str, Any] = {
        "per_device_train_batch_size": options.batch,
        "gradient_checkpointing": options.checkpointing,
        "use_cpu": True,
        "packing": options.packing,
        "padding_free": options.padding_free,
    }
    if options.padding_free:
        # TRL does not enforce it there, and wants that said.
        named["max_length"] = None
    rows = docstring_rows(tokenizer)
    options.out.write_text(json.dumps(measure(model, tokenizer, rows, options.steps, options.seed, **named)))


def measure(model: Any, tokenizer: Any, rows: list[TokenPath], steps: int, seed: int, **named: Any) -> dict[str, Any]:
    """Seconds, useful tokens and loss of every optimizer step, and the peak of memory above the loaded model.

    Args:
        model: of plain weights; the trainer puts an adapter on it.
        tokenizer: its.
        rows: examples.
        steps: optimizer steps of 8 rows; a batch of more rows takes fewer steps over the same rows.
        seed: of the adapter's first values.
        named: settings of TRL that are not its defaults.
    """
    batches = steps_of_rows(rows, steps)
    visited = [row for batch in batches for row in batch]
    batch = named["per_device_train_batch_size"]
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        clock = _Clock()
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                num_train_epochs=1,
                # A packed row of 1,024 tokens holds five rows on average.
                gradient_accumulation_steps=1 if named["packing"] else max(1, BATCH // batch),
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant",
                completion_only_loss=True,
                train_sampling_strategy="sequential",
                bf16=True,
                report_to="none",
                logging_steps=1,
                save_strategy="no",
                disable_tqdm=True,
                dataloader_pin_memory=False,
                seed=seed,
                **named,
            ),
            train_dataset=Dataset.from_list([_row(row) for row in visited]),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=LORA_R, lora_alpha=LORA_ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[clock],
        )
        memory = PeakAboveModel(trainer.model)
        trainer.train()
        peak_mb = memory.peak_mb()
    if named["packing"]:
        # Packed rows stand in another order: only the sum over all steps is known.
        useful = [sum(len(row.ids) for row in visited) / len(clock.ended)] * len(clock.ended)
    else:
        each = max(batch, BATCH)
        useful = [sum(len(r.ids) for r in visited[i : i + each]) for i in range(0, len(visited), each)]
    return {
        "peer": f"trl {version('trl')}",
        "tokens_per_s": rates(clock.ended, useful),
        "seconds": [later - earlier for earlier, later in pairwise(clock.ended)],
        "useful_tokens": useful,
        "loss": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "peak_mb": peak_mb,
        "loaded_mb": memory.loaded_mb,
        "settings": named,
    }


def _row(path: TokenPath) -> dict[str, list[int]]:
    trained = set(path.trained)
    return {"input_ids": list(path.ids), "completion_mask": [int(place in trained) for place in range(len(path.ids))]}


class _Clock(TrainerCallback):
    def __init__(self) -> None:
        self.ended: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ended.append(time.perf_counter())


if __name__ == "__main__":
    main()
