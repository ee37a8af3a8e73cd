"""The recipe's `sft` section: supervised fine-tuning."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from homeground.training.config import SftConfig


class SftSection(SftConfig):
    """Supervised fine-tuning on the recipe's data, else a warm-up on scripted look-ups."""

    examples: int = Field(
        default=64, ge=1, description="number of scripted look-ups to train on, if `data` names no source"
    )
    probe: bool = Field(
        default=True,
        description="score texts and questions of general knowledge before and after training, to measure forgetting",
    )
    probe_tasks: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(),
        description="tasks of lm-evaluation-harness to score with the probe, eval.tasks samples of each: names, YAML "
        "files or folders; needs the extra lm-eval",
    )
