"""Peak memory of one training run: ``python -m benchmarks.sides.planned --case JSON --out FILE``.

The peak counts from the imported process, weights included: what `homeground plan` predicts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.sides.memory import PeakAboveModel
from benchmarks.sides.workload import LORA_ALPHA, LORA_R
from homeground.base import hardware
from homeground.pipeline.planning import Work, paths_of
from homeground.pipeline.workbench import CACHE_MB
from homeground.policy import Policy
from homeground.recipe import Recipe
from homeground.rollouts import DirectSource, Sampler
from homeground.training import SftConfig, train_grpo, train_sft

IMPORTED = ("bitsandbytes", "lightning", "transformers.models.llama.modeling_llama")


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        name: as printed.
        model: a bundled name or a folder.
        stage: sft or rl.
        quantization, dtype, checkpointing: of the policy.
        length, batch, forest_tokens: tokens of an example, examples of a step, tokens of a forward.
        ragged: lengths are log-normal around ``length`` instead of all the same.
        steps: optimizer steps.
    """

    name: str
    model: str = "smollm2-135m-instruct"
    stage: str = "sft"
    quantization: str = "none"
    dtype: str = "bf16"
    checkpointing: bool = False
    length: int = 128
    batch: int = 8
    forest_tokens: int = 1024
    ragged: bool = False
    steps: int = 4

    def recipe(self) -> Recipe:
        """What `homeground plan` is given."""
        model = {
            "name": self.model,
            "device": "cpu",
            "quantization": self.quantization,
            "compute_dtype": self.dtype,
            "gradient_checkpointing": self.checkpointing,
            "lora": {"r": LORA_R, "alpha": LORA_ALPHA},
        }
        sft = {"batch_size": self.batch, "forest_tokens": self.forest_tokens}
        rl = {"tasks_per_step": 2, "group_size": 4, "steps": self.steps, "forest_tokens": self.forest_tokens}
        return Recipe.model_validate({"model": model, "sft": sft, "rl": rl, "eval": {"batch": 8}})

    def work(self) -> Work | None:
        """What is trained on."""
        if self.stage == "rl":
            return None
        drawn = random.Random(0)
        examples = self.steps * self.batch
        spread = (drawn.lognormvariate(0, 0.8) if self.ragged else 1.0 for _ in range(examples))
        lengths = (max(2, min(self.forest_tokens, round(self.length * factor))) for factor in spread)
        return Work(tuple((length, length - 1) for length in lengths), self.name)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(hardware.usable_cores())
    case = Case(**json.loads(options.case))
    for name in IMPORTED:
        importlib.import_module(name)
    hardware.matmul_rates("cpu")
    memory = PeakAboveModel()
    policy = Policy.load(case.recipe().model)
    with tempfile.TemporaryDirectory() as folder:
        (_sft if case.stage == "sft" else _rl)(policy, case, Path(folder))
    options.out.write_text(json.dumps({"peak_mb": memory.peak_mb(), "imported_mb": memory.loaded_mb}))


def _sft(policy: Policy, case: Case, folder: Path) -> None:
    work = case.work()
    assert work is not None
    examples = paths_of(work.lengths, policy.model.config.vocab_size)
    settings = SftConfig(
        batch_size=case.batch, learning_rate=1e-4, checkpoint_every=10**9, forest_tokens=case.forest_tokens
    )
    train_sft(policy, examples, settings, folder, quiet=True)


def _rl(policy: Policy, case: Case, folder: Path) -> None:
    rl = case.recipe().rl
    drawn = paths_of([(300, 1)] * (case.steps * rl.tasks_per_step), policy.model.config.vocab_size)
    prompts = [str(policy.tokenizer.decode(list(path.ids))) for path in drawn]
    settings = rl.model_copy(update={"checkpoint_every": 10**9})
    with Sampler(policy, rows=8, cache_mb=CACHE_MB) as sampler:
        limit = rl.max_query_tokens + rl.max_answer_tokens
        source = DirectSource(policy, sampler, lambda _, completion: float(len(completion)), max_tokens=limit)
        train_grpo(policy, prompts, source=source, config=settings, folder=folder, quiet=True)


if __name__ == "__main__":
    main()
