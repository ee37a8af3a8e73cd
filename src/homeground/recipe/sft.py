"""The recipe's `sft` section: supervised fine-tuning."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from homeground.training.config import SftConfig


class SftSection(SftConfig):
    """Fine-tuning on the recipe's data, else a cold start on scripted examples."""

    examples: int = Field(default=64, ge=1, description="scripted trajectories to learn from, where `data` names none")
    probe: bool = Field(
        default=True, description="score texts and questions of general knowledge before and after: what is forgotten"
    )
    probe_tasks: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(),
        description="tasks of lm-evaluation-harness scored with the probe, eval.tasks samples of each: names, or paths "
        "of YAML files or of folders; needs the extra lm-eval",
    )
