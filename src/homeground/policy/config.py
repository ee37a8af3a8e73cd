"""Settings of the model and its adapter, the recipe's `model` section. No torch is imported."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, Strict, model_validator

from homeground.base.config import Config

LAX = Strict(False)
"""Accept an enum's member, or its value as text."""
type Names = Annotated[tuple[str, ...], LAX]


class Quantization(StrEnum):
    """Storage of the frozen base weights."""

    NF4 = "nf4"
    FP4 = "fp4"
    INT8 = "int8"
    NONE = "none"

    @property
    def words(self) -> str:
        """For people."""
        return {"nf4": "NF4", "fp4": "FP4", "int8": "8-bit", "none": "plain"}[self.value]


class Init(StrEnum):
    """Start of an adapter, see :mod:`homeground.policy.start`."""

    DEFAULT = "default"
    PISSA = "pissa"
    LOFTQ = "loftq"


class LoraConfig(Config):
    """The low-rank adapter (Hu et al. 2021, arXiv 2106.09685): update ``s B A`` on each targeted layer."""

    r: int = Field(default=16, ge=1, description="rank of the update; 8 to 64 is usual")
    alpha: int = Field(default=32, ge=1, description="scale of the update, as alpha / r")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on the input of the adapter, in training only")
    targets: Annotated[str | Names, Field(union_mode="left_to_right")] = Field(
        default="all-linear",
        description="layers that get an adapter: all-linear, attention, mlp, attention+mlp, or a list of names",
    )
    rslora: bool = Field(
        default=False, description="scale the update by alpha / sqrt(r) instead (rsLoRA, arXiv 2312.03732)"
    )
    dora: bool = Field(
        default=False, description="learn the lengths of the weight's rows as well (DoRA, arXiv 2402.09353)"
    )
    init: Annotated[Init, LAX] = Field(
        default=Init.DEFAULT,
        description="start of the adapter: at zero, at the weights' largest directions (PiSSA, arXiv 2404.02948), or "
        "at what quantization lost (LoftQ, arXiv 2310.08659)",
    )
    modules_to_save: Names = Field(
        default=(),
        validation_alias=AliasChoices("modules_to_save", "trained_whole"),
        description="modules that are trained in full beside the adapter, such as norm or lm_head",
    )

    @model_validator(mode="after")
    def _can_be_saved(self) -> Self:
        if self.dora and self.init is not Init.DEFAULT:
            raise ValueError(
                f"DoRA and '{self.init}' together cannot be saved as an adapter of the original base: set dora to "
                "false, or init to default"
            )
        return self


class ModelConfig(Config):
    """The model that is trained."""

    name: str = Field(
        default="smollm2-135m-instruct",
        description="base model: a bundled name, a local folder, a GGUF file, or an id of the hub",
    )
    adapter: str | Path | None = Field(
        default=None, description="folder of an adapter to go on from; null starts a fresh one"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] | Annotated[str, Field(pattern=r"^cuda:\d+$")] = Field(
        default="auto", description="device of the model; auto takes CUDA, else Apple's GPU, else the CPU"
    )
    quantization: Annotated[Quantization, LAX] = Field(
        default=Quantization.NF4,
        description="quantization of the frozen base; nf4 is the 4-bit type of QLoRA, arXiv 2305.14314",
    )
    double_quant: bool = Field(default=True, description="quantize the quantization constants too")
    # bitsandbytes has kernels for these; it computes 2048 and 4096 by a slow detour on CPUs.
    blocksize: Literal[32, 64, 128, 256, 512, 1024] = Field(
        default=64, description="number of weights that share a quantization constant, with nf4 and fp4"
    )
    compute_dtype: Literal["auto", "bf16", "fp32"] = Field(
        default="auto", description="data type of the computation; auto takes the faster one on this machine"
    )
    gradient_checkpointing: bool = Field(default=False, description="recompute activations: slower, far less memory")
    fused_layers: bool = Field(
        default=True, description="compute layers by faster equal code; false keeps the model's own code"
    )
    lora: LoraConfig = LoraConfig()

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        if self.lora.init is Init.LOFTQ and self.quantization is Quantization.NONE:
            raise ValueError(
                "LoftQ makes up for what quantization loses, and this base is not quantized: set quantization to nf4, "
                "or lora.init to default or pissa"
            )
        if self.lora.dora and self.lora.dropout and self.quantization in (Quantization.NF4, Quantization.FP4):
            raise ValueError(
                "DoRA with dropout over 4-bit layers is left to a library that unpacks some of them wrongly: set "
                "lora.dropout to 0, or lora.dora to false"
            )
        return self
