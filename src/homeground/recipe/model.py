"""The recipe's `model` section: which model, how it is quantized, and its adapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from homeground.base.config import Config

type Names = Annotated[tuple[str, ...], Strict(False)]


class LoraSection(Config):
    """The low-rank adapter (Hu et al. 2021, arXiv 2106.09685)."""

    r: int = Field(default=16, ge=1, description="rank, 1 or more; 8 to 64 is usual")
    alpha: int = Field(default=32, ge=1, description="the adapter's output is scaled by alpha / r")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout before the adapter, in training only")
    targets: Annotated[str | Names, Field(union_mode="left_to_right")] = Field(
        default="all-linear", description="all-linear, attention, mlp, attention+mlp, or a list of layers' names"
    )
    rslora: bool = Field(default=False, description="scale by alpha / sqrt(r) instead (2312.03732)")
    dora: bool = Field(default=False, description="learn the lengths of the weight's rows too (2402.09353)")
    init: Literal["default", "pissa", "loftq"] = Field(
        default="default",
        description="start at zero, at the weights' largest directions (2404.02948), or at what quantizing lost "
        "(2310.08659)",
    )
    trained_whole: Names = Field(
        default=(), description="names of modules that are trained themselves, such as norm or lm_head"
    )


class ModelSection(Config):
    """The model that is trained."""

    name: str = Field(default="smollm2-135m-instruct", description="bundled name, local folder, GGUF file or hub id")
    adapter: str | None = Field(default=None, description="folder of an adapter to go on from; null starts a fresh one")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="auto: CUDA, else Apple's GPU, else the CPU"
    )
    quantization: Literal["nf4", "fp4", "int8", "none"] = Field(
        default="nf4", description="of the frozen weights; nf4: QLoRA's 4-bit type (2305.14314)"
    )
    double_quant: bool = Field(default=True, description="quantize the quantization constants too")
    blocksize: Literal[32, 64, 128, 256, 512, 1024] = Field(
        default=64, description="weights that share a quantization constant, with nf4 and fp4"
    )
    compute_dtype: Literal["auto", "bf16", "fp32"] = Field(default="auto", description="auto takes the faster here")
    gradient_checkpointing: bool = Field(default=False, description="recompute activations: slower, far less memory")
    lora: LoraSection = LoraSection()
