"""Load a causal language model as a policy: quantized base, LoRA adapter, forest attention."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging as hf_logging

from homeground.base.errors import HomegroundError
from homeground.base.hardware import best_device, device_kind, matmul_rates
from homeground.base.heap import limit_primitives
from homeground.base.weights import resolve_model
from homeground.policy import attention
from homeground.policy.forest import TokenForest
from homeground.policy.fused import FusedNorm, fuse
from homeground.policy.probe import prepare
from homeground.policy.quantize import Quantization, keep_trainable, quantization_config
from homeground.policy.shells import frozen_twin, lora_layers
from homeground.policy.strategy import Strategy, logprobs


@dataclass(frozen=True)
class LoraSettings:
    """A low-rank adapter (Hu et al. 2021, arXiv 2106.09685): update ``alpha / r * B A`` on each targeted layer."""

    r: int = 16
    alpha: float = 32
    dropout: float = 0.0
    targets: str | list[str] = "all-linear"


@dataclass
class Policy:
    """A model that can be trained and sampled.

    Attributes:
        name: what the user called the model.
        folder: where its weights lie.
        peft: the trainer's shell, base frozen, adapter in float32.
        tokenizer: with a chat template.
        dtype: what matrix products compute in.
        quantization: how the base is stored.
        strategy: how its forests are computed.
    """

    name: str
    folder: Path
    peft: PeftModel
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    quantization: Quantization
    strategy: Strategy = Strategy.FOREST

    @property
    def model(self) -> PreTrainedModel:
        """The transformers model inside PEFT's wrapper, adapters injected."""
        model = self.peft.get_base_model()
        assert isinstance(model, PreTrainedModel)
        return model

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.device

    @classmethod
    def load(
        cls,
        name: str = "smollm2-135m-instruct",
        *,
        quantization: Quantization | str | None = None,
        dtype: torch.dtype | None = None,
        lora: LoraSettings | None = None,
        adapter: Path | str | None = None,
        checkpointing: bool = False,
        seed: int = 0,
        device: str | None = None,
    ) -> Policy:
        """:func:`load_policy` with choices made for this machine.

        Args:
            quantization: by default NF4 on CUDA, where memory is scarce, and plain weights elsewhere.
            device: by default CUDA, else Apple's GPU, else the CPU.
            name, dtype, lora, adapter, checkpointing, seed: see there.
        """
        device = device or best_device()
        kind = quantization or (Quantization.NF4 if device.startswith("cuda") else Quantization.NONE)
        return load_policy(
            name,
            quantization=Quantization(kind),
            dtype=dtype,
            lora=lora,
            adapter=Path(adapter) if adapter is not None else None,
            checkpointing=checkpointing,
            seed=seed,
            device=device,
        )

    def describe(self) -> str:
        """What is trained, in one line."""
        trained = sum(p.numel() for p in self.trainable().values())
        kind = "NF4" if self.quantization is Quantization.NF4 else "plain"
        number = str(self.dtype).removeprefix("torch.")
        return f"{self.name}: {kind} base, {number} on {self.device}, an adapter of {trained / 1e6:.2f} M parameters"

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The adapter's parameters by name (float32 masters)."""
        return {n: p for n, p in self.peft.named_parameters() if p.requires_grad}

    def drop_out(self, on: bool) -> None:
        """Switch the adapter's dropout, and nothing else of the model, on (to train) or off (for everything else)."""
        for layer in lora_layers(self.model).values():
            layer.lora_dropout.train(on)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Compute float32 adapters in the policy's dtype, masters untouched."""
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def logprobs(
        self, forest: TokenForest, temperature: float = 1.0, *, reference: PreTrainedModel | None = None
    ) -> Tensor:
        """Log-probability of each term of a forest, shape (M,), float32.

        Args:
            forest: any batch.
            temperature: as the sampler's.
            reference: score with this frozen twin instead of the trained adapter.
        """
        with self.autocast():
            return logprobs(reference or self.model, forest.to(self.device), temperature, self.strategy)

    def reference(self) -> PreTrainedModel:
        """A frozen twin with the adapter as it is now."""
        return frozen_twin(self.model)

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter in PEFT's format, whole or not at all."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        self.peft.save_pretrained(str(staging))
        previous = folder.with_name(f".{folder.name}-old")
        shutil.rmtree(previous, ignore_errors=True)
        if folder.exists():
            folder.rename(previous)
        staging.rename(folder)
        shutil.rmtree(previous, ignore_errors=True)

    def adapter_state(self) -> dict[str, Tensor]:
        """A copy of the adapter's tensors, in PEFT's names."""
        return {n: t.detach().clone() for n, t in get_peft_model_state_dict(self.peft).items()}

    def base_fingerprint(self) -> str:
        """A short hash of the base's configuration and a sample of its weights: is this the same base?"""
        digest = hashlib.sha256(self.model.config.to_json_string().encode())
        for name, parameter in self.peft.named_parameters():
            if not parameter.requires_grad:
                # Which layers are adapted is no property of the base.
                digest.update(name.replace(".base_layer", "").encode())
                digest.update(parameter.detach().flatten()[:64].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def load_policy(
    name: str,
    *,
    quantization: Quantization = Quantization.NF4,
    double_quant: bool = True,
    dtype: torch.dtype | None = None,
    lora: LoraSettings | None = None,
    adapter: Path | None = None,
    checkpointing: bool = False,
    seed: int = 0,
    device: str = "cpu",
) -> Policy:
    """Load a policy.

    Args:
        name: a bundled name, a local folder, a GGUF file, or a hub id.
        quantization, double_quant: storage of the frozen base.
        dtype: compute dtype of the base and of the adapter's products; by default bf16 where the device is fast at it
            (measured), else fp32.
        lora: a fresh adapter's shape; ignored when ``adapter`` is given.
        adapter: folder of a PEFT adapter to go on from.
        checkpointing: recompute each decoder layer in the backward pass instead of keeping its activations (Chen et
            al. 2016, arXiv 1604.06174): about a third more time for a fraction of the memory.
        seed: of the adapter's initial values.

    Raises:
        HomegroundError: the model cannot be read, or the adapter belongs to another base.
    """
    limit_primitives()
    if dtype is None:
        dtype = torch.bfloat16 if matmul_rates(device_kind(device)).bf16_fast else torch.float32
    folder = resolve_model(name)
    attention.register()
    # Our own progress says what happens; the library's bars would draw over it.
    hf_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(str(folder))
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        base = AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            quantization_config=quantization_config(quantization, dtype, double_quant=double_quant),
            attn_implementation=attention.IMPLEMENTATION,
            use_safetensors=True,
            device_map={"": device},
        )
    except (OSError, ValueError) as cause:
        raise HomegroundError(
            f"the model cannot be loaded: {str(cause).splitlines()[0]}",
            where=str(folder),
            hint="name a folder with config.json, model.safetensors and tokenizer.json, or see `homeground weights`",
        ) from cause
    keep_trainable(base)
    _own_weights(base)
    base.config.use_cache = False
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 a question under its old name.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        if adapter is not None:
            peft = _load_adapter(base, adapter)
        else:
            peft = get_peft_model(base, _lora_config(lora or LoraSettings()))
    assert isinstance(peft, PeftModel)
    for layer in lora_layers(peft).values():
        # Autocast casts the adapter's weights down; PEFT would cast every activation up first.
        layer.cast_input_dtype_enabled = dtype is torch.float32
    for parameter in peft.parameters():
        # PEFT does this for low-rank factors; a head that is trained whole (modules_to_save) loses small updates too.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    peft.eval()
    policy = Policy(name, folder, peft, tokenizer, dtype, quantization)
    with policy.autocast():
        fuse(policy.model)
        policy.strategy = prepare(policy.model, name)
    if dtype is not torch.float32 and policy.strategy is Strategy.FOREST:
        _keep_residual_stream(policy.model, dtype)
    if checkpointing:
        _checkpoint_layers(policy.model)
    return policy


def _own_weights(model: PreTrainedModel) -> None:
    """Copy weights out of the mapped file, which stays resident as a whole while one tensor of it is in use.

    A sampler's shell lays weights out anew; with the file still mapped they would stand in memory twice.
    """
    if model.device.type == "cpu":
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.clone()


def _keep_residual_stream(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Let layers add up in float32, where half precision would round the sum at each of them.

    What the embedding gives is float32, what a norm gives is in ``dtype`` again: all products stay as they were.
    """

    def widen(module: torch.nn.Module, arguments: Any, output: Tensor) -> Tensor:
        del module, arguments
        return output.float()

    def narrow(module: torch.nn.Module, arguments: Any, output: Tensor) -> Tensor:
        del module, arguments
        return output.to(dtype)

    model.get_input_embeddings().register_forward_hook(widen)
    for module in model.modules():
        if isinstance(module, FusedNorm):
            module.narrow = dtype
        elif type(module).__name__.endswith("Norm"):
            module.register_forward_hook(narrow)
        if isinstance(module, torch.nn.LayerNorm):
            # Its kernel takes no mixed types; root-mean-square norms of transformers promote by themselves.
            module.float()


def _checkpoint_layers(model: PreTrainedModel) -> None:
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            # Transformers recomputes only in training mode; what lies inside a layer stays in evaluation mode.
            module.training = True


def _lora_config(lora: LoraSettings) -> LoraConfig:
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=lora.targets,
        task_type="CAUSAL_LM",
    )


def _load_adapter(base: PreTrainedModel, adapter: Path) -> PeftModel:
    if not (adapter / "adapter_config.json").is_file():
        raise HomegroundError(
            "no adapter there: adapter_config.json is missing",
            where=str(adapter),
            hint="run `homeground sft` first, or name the adapter folder of a run",
        )
    hint = "an adapter loads only on the base that it was trained on"
    try:
        peft = PeftModel.from_pretrained(base, str(adapter), is_trainable=True, use_safetensors=True)
        with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
            saved = set(file.keys())
    except (RuntimeError, ValueError, OSError) as cause:
        raise HomegroundError(
            f"the adapter does not fit this base model: {str(cause).splitlines()[0]}", where=str(adapter), hint=hint
        ) from cause
    # PEFT only warns when a base has more or fewer layers than the adapter, and goes on with what is left.
    if different := saved ^ set(get_peft_model_state_dict(peft)):
        raise HomegroundError(
            f"the adapter does not fit this base model: {len(different)} of its tensors are missing or left over, "
            f"{min(different)} among them",
            where=str(adapter),
            hint=hint,
        )
    return peft
