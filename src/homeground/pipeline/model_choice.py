"""Choose the model to start with: the largest that is on this machine, fits it by `plan`, and is done in an afternoon.

Plans of the default recipe are saved in `known_plans.json`, as planning all models takes half a minute;
`python -m tests.pipeline.test_known_plans` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.files import read_json
from homeground.base.sizes import Target
from homeground.base.weights import bundled
from homeground.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PretrainedConfig

KNOWN_PLANS = Path(__file__).with_name("known_plans.json")
CPU_SHARE = 0.5
"""Share of the measured matrix rate that training reaches on a CPU (0.55 in bf16, 0.9 in fp32, measured)."""
PATIENCE_S = 3 * 3600.0
"""Fine-tuning and reinforcement together may take so long; a larger model is only named."""

_QWEN = {"model_type": "qwen2", "max_position_embeddings": 32768, "vocab_size": 151936, "tie_word_embeddings": True}


@dataclass(frozen=True)
class Candidate:
    """A model that is known to train well here, and of what shape it is.

    Attributes:
        name: bundled name or hub id; all are under the Apache 2.0 licence.
        parameters: of the model; the test that `shape` says the same keeps the table honest.
        shape: of its configuration; None where the weights come inside a package.
    """

    name: str
    parameters: int
    shape: dict[str, Any] | None = None

    @property
    def download_gb(self) -> float:
        """Size of its weights in bf16."""
        return 2 * self.parameters / 1e9

    def config(self) -> PretrainedConfig | None:
        """Enough of its configuration to plan with; None where it is read from the weights' folder."""
        if self.shape is None:
            return None
        import torch
        from transformers import AutoConfig

        config = AutoConfig.for_model(**self.shape)
        config.dtype = torch.bfloat16
        return config

    def here(self) -> bool:
        """Whether its weights are on this machine."""
        if self.shape is None:
            return any(weights.name == self.name and weights.present for weights in bundled())
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(self.name, local_files_only=True, allow_patterns=["*.safetensors", "*.json"])
        except OSError:  # LocalEntryNotFoundError is one
            return False
        return True


CANDIDATES = (
    Candidate("smollm2-135m-instruct", 134_515_008),
    Candidate(
        "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        494_032_768,
        _QWEN
        | {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}
        | {"num_attention_heads": 14, "num_key_value_heads": 2},
    ),
    Candidate(
        "Qwen/Qwen2.5-Coder-1.5B-Instruct",
        1_543_714_304,
        _QWEN
        | {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28}
        | {"num_attention_heads": 12, "num_key_value_heads": 2},
    ),
    Candidate(
        "Qwen/Qwen2.5-Coder-7B-Instruct",
        7_615_616_512,
        _QWEN
        | {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
        | {"num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False},
    ),
)
"""Smallest first."""


@dataclass(frozen=True)
class Considered:
    """A candidate, planned.

    Attributes:
        candidate: which.
        total_mb: what its larger stage needs.
        device_mb: what there is.
        seconds: of both stages, without loading and evaluation; None for one that does not fit.
        here: its weights are on this machine.
    """

    candidate: Candidate
    total_mb: float
    device_mb: float
    seconds: float | None
    here: bool

    @property
    def fits(self) -> bool:
        """Whether it trains here in time."""
        return self.seconds is not None and self.seconds <= PATIENCE_S

    def to_json(self) -> dict[str, Any]:
        """One of `models` of `homeground init --json`."""
        return {
            "name": self.candidate.name,
            "total_mb": round(self.total_mb, 1),
            "device_mb": self.device_mb,
            "seconds": None if self.seconds is None else round(self.seconds),
            "fits": self.fits,
            "here": self.here,
        }


def consider(recipe: Recipe, device: Target) -> Iterator[Considered]:
    """Plan the candidates for a device, smallest first, up to the first that it cannot train in time."""
    rate = _rate(device)
    for candidate in CANDIDATES:
        total, operations = _known(recipe, candidate, device) or planned_cost(recipe, candidate, device)
        seconds = operations / rate if total <= device.memory_mb else None
        found = Considered(candidate, total, device.memory_mb, seconds, candidate.here())
        yield found
        if not found.fits:
            return


def planned_cost(recipe: Recipe, candidate: Candidate, device: Target) -> tuple[float, float]:
    """MB of a candidate's larger stage, and operations of both."""
    from homeground.pipeline.planning import planned

    config = candidate.config()
    tried = recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": candidate.name})})
    plans = [planned(tried, stage, device, None, config) for stage in ("sft", "rl")]
    return max(plan.total_mb for plan in plans), sum(plan.operations for plan in plans)


def _known(recipe: Recipe, candidate: Candidate, device: Target) -> tuple[float, float] | None:
    """The saved `planned_cost`; None for a recipe whose plans differ from the default's."""
    usual = Recipe()
    if any(getattr(recipe, section) != getattr(usual, section) for section in ("model", "sft", "rl", "eval")):
        return None
    return known_plans()[candidate.name]["cuda" if device.cuda else _cpu_dtype()]


@cache
def known_plans() -> dict[str, dict[str, tuple[float, float]]]:
    """`planned_cost` at the default recipe, by candidate and by "bf16" or "fp32" on a CPU, or "cuda"."""
    return {
        name: {kind: (cost["total_mb"], cost["operations"]) for kind, cost in kinds.items()}
        for name, kinds in read_json(KNOWN_PLANS).items()
    }


def _cpu_dtype() -> str:
    from homeground.base.hardware import matmul_rates

    return "bf16" if matmul_rates("cpu").bf16_fast else "fp32"


def _rate(device: Target) -> float:
    """Operations a second that training reaches on a device."""
    from homeground.base.hardware import matmul_rates
    from homeground.pipeline.estimate import CARD_SHARE

    if not device.here:
        return CARD_SHARE * device.assumed_tflops * 1e12
    if device.cuda:
        return CARD_SHARE * matmul_rates("cuda").bf16 * 1e12
    rates = matmul_rates("cpu")
    return CPU_SHARE * max(rates.bf16, rates.fp32) * 1e12


def best(considered: list[Considered]) -> Considered:
    """The largest that fits and is here; the smallest of all where none is."""
    usable = [one for one in considered if one.fits and one.here]
    return usable[-1] if usable else considered[0]


def larger(considered: list[Considered]) -> Considered | None:
    """The largest candidate that fits in time and is larger than `best`, but is not on this machine."""
    after = considered[considered.index(best(considered)) + 1 :]
    return next((one for one in reversed(after) if one.fits), None)
