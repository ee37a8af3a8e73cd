"""The recipe's `model` section: which model, how it is quantized, and its adapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from homeground.base.recipe.section import Section


class LoraSection(Section):
    """The low-rank adapter (Hu et al. 2021, arXiv 2106.09685)."""

    r: int = Field(default=16, ge=1, description="rank")
    alpha: int = Field(default=32, ge=1, description="the adapter's output is scaled by alpha / r")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout before the adapter, in training only")
    targets: Annotated[str | Annotated[tuple[str, ...], Strict(False)], Field(union_mode="left_to_right")] = Field(
        default="all-linear", description="'all-linear', or a list of module names"
    )


class ModelSection(Section):
    """The model that is trained."""

    name: str = Field(default="smollm2-135m-instruct", description="bundled name, local folder, GGUF file or hub id")
    quantization: Literal["nf4", "none"] = Field(default="nf4", description="nf4: QLoRA's 4-bit type (2305.14314)")
    double_quant: bool = Field(default=True, description="quantize the quantization constants too")
    compute_dtype: Literal["auto", "bf16", "fp32"] = Field(default="auto", description="auto takes the faster here")
    gradient_checkpointing: bool = Field(default=False, description="recompute activations: slower, far less memory")
    lora: LoraSection = LoraSection()
