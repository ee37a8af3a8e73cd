"""TRL's GRPOTrainer on puzzles, for ``make bench-learning``; runs in a process of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.sides.puzzles import Puzzle
from benchmarks.sides.workload import LORA_ALPHA, LORA_R
from homeground.base.weights import resolve_model


def train(puzzles: Sequence[Puzzle], seed: int, seconds: float, *, model: str, **settings: Any) -> dict[str, Any]:
    """Reward of each step and when it ended, until ``seconds`` are over.

    Args:
        puzzles: asked in this order.
        seed: of TRL.
        seconds: of training.
        model: what to train.
        settings: of TRL's configuration.
    """
    folder = str(resolve_model(model))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    of_prompt = {puzzle.prompt: puzzle for puzzle in puzzles}
    rewards: list[float] = []

    def reward(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
        pairs = zip(prompts, completions, strict=True)
        found = [of_prompt[prompt[0]["content"]].score(completion[0]["content"]) for prompt, completion in pairs]
        rewards.append(sum(found) / len(found))
        return found

    clock = _Clock(rewards, seconds)
    with tempfile.TemporaryDirectory() as output:
        config = GRPOConfig(
            output_dir=output,
            seed=seed,
            loss_type="grpo",
            temperature=1.0,
            lr_scheduler_type="constant",
            shuffle_dataset=False,
            gradient_checkpointing=False,
            bf16=True,
            use_cpu=True,
            report_to="none",
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **settings,
        )
        trainer = GRPOTrainer(
            model=base,
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": p}]} for p in of_prompt]),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=LORA_R, lora_alpha=LORA_ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[clock],
        )
        trainer.train()
    return {"peer": f"trl {version('trl')}", "steps": clock.steps}


class _Clock(TrainerCallback):
    def __init__(self, rewards: list[float], seconds: float) -> None:
        self._rewards = rewards
        self._seconds = seconds
        self._began = 0.0
        self.steps: list[dict[str, float]] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.steps.append({"seconds": time.perf_counter() - self._began, "reward": self._rewards[-1]})
        control.should_training_stop |= self.steps[-1]["seconds"] > self._seconds
