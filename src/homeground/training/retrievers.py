"""Retrievers trained on (query, positive, negatives) rows, through the trainers of sentence-transformers.

Three models from one encoder: a bi-encoder (Reimers, Gurevych 2019, arXiv 1908.10084), a cross-encoder, and a
late-interaction model (Khattab, Zaharia 2020, arXiv 2004.12832). The bi-encoder and the late-interaction model learn
with in-batch and hard negatives (MultipleNegativesRankingLoss: Henderson et al. 2017, arXiv 1705.00652). The
cross-encoder reads each pair together, so in-batch negatives would cost it a forward each: it learns to tell the
positive from the row's own hard negatives and one other (cross-entropy over their scores).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.files import staged_folder
from homeground.base.hardware import bf16_is_fast
from homeground.base.model_files import loading, refuse_not_finite, weight_files
from homeground.training.config import RetrieverConfig

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback


# Plain attention without dropout: on a CPU the fused one takes 1.2 times as long with its backward, dropout 1.6 times.
_LOADING: dict[str, Any] = {
    "trust_remote_code": False,
    "model_kwargs": {"attn_implementation": "eager"},
    "config_kwargs": {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0},
}


_FORWARD = 16
"""Texts of one forward. GradCache (Gao et al. 2021, arXiv 2101.06983) makes the loss that of the whole batch in the
memory of these few: 64 rows at once took 9 GB."""


class Retriever(StrEnum):
    """What can be trained."""

    BI_ENCODER = "bi-encoder"
    CROSS_ENCODER = "cross-encoder"
    LATE_INTERACTION = "late-interaction"


@dataclass(frozen=True, slots=True)
class Row:
    """A query, a text that answers it, and texts that do not. All rows of a training have as many negatives."""

    query: str
    positive: str
    negatives: tuple[str, ...] = ()


def train_retriever(
    kind: Retriever,
    base: Path,
    rows: Sequence[Row],
    folder: Path,
    config: RetrieverConfig,
    *,
    max_tokens: int,
    seed: int = 0,
    on_step: Callable[[int, int, float | None], None] = lambda step, steps, loss: None,
) -> list[float]:
    """Trains a retriever from an encoder's weights and saves it as safetensors; the same input and seed give the same.

    Args:
        kind: which.
        base: folder of a sentence-transformers encoder; only read.
        rows: what to learn; the cross-encoder needs at least one negative in each.
        folder: of the new model; appears when it is whole.
        config: epochs, batch size, learning rate; a tenth of the steps warms up.
        max_tokens: texts are cut there; query and text together for the cross-encoder.
        seed: seed of the order, of dropout and of new weights.
        on_step: called after every optimizer step with its number, how many there are, and its loss where logged.

    Returns:
        The loss of every optimizer step.
    """
    import torch
    from transformers import PrinterCallback

    torch.manual_seed(seed)
    refuse_not_finite(weight_files(base))
    with loading(f"the encoder that the {kind} is trained from", base, "give a sentence-transformers encoder"):
        model, loss, trainer_class, arguments_class = _PARTS[kind](base, max_tokens)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = trainer_class(
            model=model,
            args=arguments_class(**_arguments(config, seed, scratch)),
            train_dataset=_dataset(rows),
            loss=loss,
            callbacks=[_reporter(on_step)],
        )
        trainer.remove_callback(PrinterCallback)  # stdout is for results
        trainer.train()
        losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    with staged_folder(folder) as staging:
        model.save_pretrained(str(staging), safe_serialization=True, create_model_card=False)
    return losses


def _bi_encoder(base: Path, max_tokens: int) -> tuple[Any, ...]:
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    model, loss = _contrastive(SentenceTransformer, CachedMultipleNegativesRankingLoss, base, max_tokens)
    return model, loss, SentenceTransformerTrainer, SentenceTransformerTrainingArguments


def _cross_encoder(base: Path, max_tokens: int) -> tuple[Any, ...]:
    from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import MultipleNegativesRankingLoss
    from torch import nn

    model = CrossEncoder(str(base), num_labels=1, max_length=max_tokens, device=_device(), **_LOADING)
    # Beside the row's own one negative of another row; raw scores, so that the loss does not saturate.
    loss = MultipleNegativesRankingLoss(model, num_negatives=1, scale=1, activation_fn=nn.Identity())
    return model, loss, CrossEncoderTrainer, CrossEncoderTrainingArguments


def _late_interaction(base: Path, max_tokens: int) -> tuple[Any, ...]:
    from sentence_transformers import (
        MultiVectorEncoder,
        MultiVectorEncoderTrainer,
        MultiVectorEncoderTrainingArguments,
    )
    from sentence_transformers.multi_vector_encoder.losses import CachedMultiVectorMultipleNegativesRankingLoss

    model, loss = _contrastive(MultiVectorEncoder, CachedMultiVectorMultipleNegativesRankingLoss, base, max_tokens)
    return model, loss, MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments


def _contrastive(encoder: Any, loss: Any, base: Path, max_tokens: int) -> tuple[Any, Any]:
    """A model that embeds queries and texts apart, and its loss against the batch's other positives."""
    model = encoder(str(base), device=_device(), **_LOADING)
    model.max_seq_length = max_tokens
    return model, loss(model, mini_batch_size=_FORWARD)


_PARTS: dict[Retriever, Callable[[Path, int], tuple[Any, ...]]] = {
    Retriever.BI_ENCODER: _bi_encoder,
    Retriever.CROSS_ENCODER: _cross_encoder,
    Retriever.LATE_INTERACTION: _late_interaction,
}
"""Model, loss, and classes of the trainer and of its arguments."""


def _dataset(rows: Sequence[Row]) -> Dataset:
    from datasets import Dataset

    columns: dict[str, list[str]] = {
        "anchor": [row.query for row in rows],
        "positive": [row.positive for row in rows],
    }
    for at in range(len(rows[0].negatives)):
        columns[f"negative_{at + 1}"] = [row.negatives[at] for row in rows]
    return Dataset.from_dict(columns)


def _arguments(config: RetrieverConfig, seed: int, scratch: str) -> dict[str, Any]:
    return {
        "output_dir": scratch,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.1,
        "bf16": bf16_is_fast(),
        "use_cpu": _device() == "cpu",
        "seed": seed,
        "data_seed": seed,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "log_level": "error",
    }


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _reporter(on_step: Callable[[int, int, float | None], None]) -> TrainerCallback:
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        """Hands on what the trainer logs; it prints nothing itself."""

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                on_step(int(state.global_step), int(state.max_steps), float(logs["loss"]))

    return Reporter()
