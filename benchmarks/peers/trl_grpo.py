"""TRL's GRPOTrainer on one setting, in a process of its own: the peer of ``make bench-grpo``.

What is measured is TRL's code as it is installed: its generate, its tool loop, its scoring, its loss, its optimizer
step. Four places are given the workload instead of text, none of them costs time: prompts come as ids, every turn
"calls" the tool (a model of 135M does not know how), a tool's answer comes as ids, and completions are cut to the
drawn lengths (``generate`` computes every row of a batch until the longest ends, so cutting afterwards costs what an
end token would). End tokens are forbidden until the longest length.

The whole step is the time from the end of one optimizer step to the end of the next; rolling out is what TRL spends
in ``_generate``; the update is the rest: scoring by the reference, forward, backward, optimizer. The first step is
dropped. The process computes in bf16 autocast with TRL's float32 adapter, without gradient checkpointing.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

# Read by TRL when it is imported: it warns that rollout_func may change.
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    TrainerCallback,
)
from trl import GRPOConfig, GRPOTrainer
from trl.trainer import grpo_trainer

from benchmarks.sides.memory import PeakAboveModel
from benchmarks.sides.workload import (
    BETA,
    LEARNING_RATE,
    LORA_ALPHA,
    LORA_R,
    MODEL,
    Delivery,
    Task,
    Workload,
    setting_named,
    standard_library_ids,
)
from homeground.base.hardware import usable_cores
from homeground.base.weights import resolve_model

# A template that renders tool calls; SmolLM2's own knows none and TRL refuses it.
CHATML_WITH_TOOLS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% for c in m.get('tool_calls') or [] %}{{ c['function'] | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setting", required=True)
    parser.add_argument("--steps", type=int, default=2, help="measured steps, after one that is dropped")
    parser.add_argument("--batch", type=int, help="rows of one forward, instead of the setting's")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    folder = resolve_model(options.model)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.bfloat16)
    setting = setting_named(options.setting)
    workload = Workload(setting, standard_library_ids(tokenizer))
    measured = measure(model, tokenizer, workload, options.steps, options.batch or setting.peer_batch)
    options.out.write_text(json.dumps(measured))


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, workload: Workload, steps: int, batch: int, **more: Any
) -> dict[str, Any]:
    """Seconds of each step after the first, and peak memory.

    Args:
        model: of plain weights; the trainer puts an adapter on it.
        tokenizer: its.
        workload: what a step is.
        steps: how many are measured.
        batch: rows of one forward.
        more: other settings of TRL's configuration.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = MeasuredTrainer(model, tokenizer, workload, steps + 1, batch, folder, **more)
        memory = PeakAboveModel(trainer.model)
        trainer.train()
        peak_mb = memory.peak_mb()
    ended, generated = trainer.ended, trainer.generated
    whole = [later - earlier for earlier, later in pairwise(ended)]
    return {
        "peer": f"trl {version('trl')}",
        "step": whole,
        "rollout": generated[1:],
        "update": [w - g for w, g in zip(whole, generated[1:], strict=True)],
        "peak_mb": peak_mb,
        "loaded_mb": memory.loaded_mb,
        "batch": batch,
        "trained_tokens": trainer.trained_tokens,
        "row_tokens": trainer.row_tokens,
    }


class MeasuredTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer, given the workload and timed from outside."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        workload: Workload,
        steps: int,
        batch: int,
        folder: str,
        **more: Any,
    ) -> None:
        self.workload = workload
        self.current: Task = workload.task(0)
        self.ended: list[float] = []
        self.generated: list[float] = []
        self.trained_tokens = self.row_tokens = 0
        s = workload.setting
        loop = s.delivery is Delivery.TOOL_LOOP
        if loop:
            tokenizer.chat_template = CHATML_WITH_TOOLS
            # Only its presence is looked at; `_always_calls` does the parsing.
            tokenizer.response_template = {}  # type: ignore[attr-defined]
            grpo_trainer.parse_response = _always_calls
        rows = s.peer_rows
        settings: dict[str, Any] = {
            "output_dir": folder,
            "max_steps": steps,
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": rows // batch,
            "num_generations": rows,
            "max_completion_length": s.turns * s.longest + (s.turns - 1) * s.result,
            "generation_kwargs": {"max_new_tokens": s.longest, "min_new_tokens": s.longest},
            "max_tool_calling_iterations": s.turns - 1 if loop else None,
            "beta": BETA,
            "loss_type": "grpo",
            "temperature": 1.0,
            "learning_rate": LEARNING_RATE,
            "lr_scheduler_type": "constant",
            "shuffle_dataset": False,
            "gradient_checkpointing": False,
            "bf16": True,
            "use_cpu": True,
            "report_to": "none",
            "logging_strategy": "no",
            "save_strategy": "no",
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
        }
        prompts = [[{"role": "user", "content": str(step)}] if loop else str(step) for step in range(steps)]
        super().__init__(
            model=model,
            reward_funcs=self._reward,
            args=GRPOConfig(**settings | more),
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=LORA_R, lora_alpha=LORA_ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
            tools=[look_up] if loop else None,
            rollout_func=self._written if s.delivery is Delivery.ROW_A_TURN else None,
            callbacks=[_Clock(self)],
        )

    def _generate(self, prompts: list[Any]) -> Any:
        first = prompts[0] if isinstance(prompts[0], str) else prompts[0][0]["content"]
        self.current = self.workload.task(int(first))
        self._step_of_task = int(first)
        began = time.perf_counter()
        out = super()._generate(prompts)
        self.generated.append(time.perf_counter() - began)
        ids, completions, mask = out[0], out[1], out[2]
        self.trained_tokens = sum(map(sum, mask)) if mask is not None else sum(map(len, completions))
        self.row_tokens = len(ids) * (max(map(len, ids)) + max(map(len, completions)))
        return out

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        return [list(self.current.prompt) for _ in prompts], None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any, **named: Any) -> Any:
        completions, logprobs = super()._generate_single_turn(prompt_ids, *rest, **named)
        turn = 0 if len(prompt_ids[0]) == len(self.current.prompt) else self._turn_of(len(prompt_ids[0]))
        wanted = [lengths[turn] for lengths in self.current.lengths]
        return [ids[:n] for ids, n in zip(completions, wanted, strict=True)], logprobs

    def _turn_of(self, length: int) -> int:
        s = self.workload.setting
        return (length - s.prompt) // (s.longest + s.result)

    def _get_tool_suffix_ids(self, tool_messages: list[dict[str, Any]]) -> list[int]:
        rollout = next(self._rollouts)
        return self.current.results[rollout[0]][rollout[1]]

    def _tool_call_loop(self, *rest: Any, **named: Any) -> Any:
        s = self.workload.setting
        # The loop asks for the answers turn by turn, rollout by rollout.
        self._rollouts = ((g, turn) for turn in range(s.turns - 1) for g in range(s.group))
        return super()._tool_call_loop(*rest, **named)

    def _written(self, prompts: list[Any], _: Any) -> dict[str, Any]:
        calls = [call for rollout in self.current.rows(self.workload.written(self._step_of_task)) for call in rollout]
        assert len(calls) == len(prompts)
        return {"prompt_ids": [p for p, _ in calls], "completion_ids": [c for _, c in calls], "logprobs": None}

    def _reward(self, completions: list[Any], **_: Any) -> list[float]:
        each = len(completions) // len(self.current.rewards)
        return [reward for reward in self.current.rewards for _ in range(each)]


def nameless_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer for models of random weights: TRL wants one, ready-made ids need none."""
    core = Tokenizer(WordLevel({"<end>": 0}, unk_token="<end>"))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<end>")


class _Clock(TrainerCallback):
    def __init__(self, trainer: MeasuredTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._trainer.ended.append(time.perf_counter())


def look_up(name: str) -> str:
    """Look a name up.

    Args:
        name: what to look up.
    """
    return name


def _always_calls(tokenizer: Any, ids: list[int], prefix: Any = None, tools: Any = None) -> dict[str, Any]:
    """Every turn is a call of the tool; TRL's limit of iterations ends the loop."""
    del tokenizer, ids, prefix, tools
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"name": "it"}}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


if __name__ == "__main__":
    main()
