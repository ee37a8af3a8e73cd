"""Load a causal language model as a policy: quantized base, LoRA adapter, forest attention."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_layers import GradientCheckpointingLayer

from homeground.base.hardware import device_kind, found_device, matmul_rates
from homeground.base.heap import limit_primitives
from homeground.base.weights import resolve_model
from homeground.policy.adapters import LoraSettings, check, fresh_adapter, save, saved_adapter
from homeground.policy.base_model import load_base
from homeground.policy.forest import TokenForest
from homeground.policy.fused import FusedNorm, fuse
from homeground.policy.noise import EmbeddingNoise
from homeground.policy.originals import Originals
from homeground.policy.probe import prepare
from homeground.policy.quantize import BLOCKSIZE, Quantization
from homeground.policy.shells import frozen_twin, lora_layers
from homeground.policy.start import Start
from homeground.policy.strategy import Strategy, logprobs


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
        start: where its adapter began, unless at zero.
        noise: on its embeddings in training, once :meth:`add_noise` was called.
    """

    name: str
    folder: Path
    peft: PeftModel
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    quantization: Quantization
    strategy: Strategy = Strategy.FOREST
    start: Start | None = None
    noise: EmbeddingNoise | None = None

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
        device = found_device(device or "auto")
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
        number = str(self.dtype).removeprefix("torch.")
        adapter = f"an adapter of {trained / 1e6:.2f} M parameters"
        return f"{self.name}: {self.quantization.words} base, {number} on {self.device}, {adapter}"

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The adapter's parameters by name (float32 masters)."""
        return {n: p for n, p in self.peft.named_parameters() if p.requires_grad}

    def drop_out(self, on: bool) -> None:
        """Switch the adapter's dropout and the embeddings' noise, and nothing else, on (to train) or off."""
        if self.noise is not None:
            self.noise.on = on
        for layer in lora_layers(self.model).values():
            layer.lora_dropout.train(on)

    def add_noise(self, alpha: float) -> None:
        """Let embeddings be noisy while dropout is on (:mod:`homeground.policy.noise`); 0 is none."""
        if alpha and self.noise is None:
            self.noise = EmbeddingNoise(self.model)
        if self.noise is not None:
            self.noise.alpha = alpha

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
        forest = forest.to(self.device)
        with self.autocast():
            if reference is not None or self.noise is None:
                return logprobs(reference or self.model, forest, temperature, self.strategy)
            with self.noise.of(forest, self.strategy):
                return logprobs(self.model, forest, temperature, self.strategy)

    def reference(self) -> PreTrainedModel:
        """A frozen twin with the adapter as it is now."""
        return frozen_twin(self.model)

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter in PEFT's format, for the original base, whole or not at all."""
        save(self.peft, folder, self.start, self.name, Originals(self.folder))

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
    blocksize: int = BLOCKSIZE,
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
        quantization, double_quant, blocksize: storage of the frozen base (:mod:`homeground.policy.quantize`).
        dtype: compute dtype of the base and of the adapter's products; by default bf16 where the device is fast at it
            (measured), else fp32.
        lora: a fresh adapter's shape; ignored when ``adapter`` is given.
        adapter: folder of a PEFT adapter to go on from.
        checkpointing: recompute each decoder layer in the backward pass instead of keeping its activations (Chen et
            al. 2016, arXiv 1604.06174): about a third more time for a fraction of the memory.
        seed: of the adapter's initial values.
        device: "auto" (CUDA, else Apple's GPU, else the CPU), or a torch device's name.

    Raises:
        UsageError: a device that is not here, a blocksize or an adapter that cannot be.
        HomegroundError: the model cannot be read, or the adapter belongs to another base.
    """
    limit_primitives()
    device = found_device(device)
    if dtype is None:
        dtype = torch.bfloat16 if matmul_rates(device_kind(device)).bf16_fast else torch.float32
    lora = lora or LoraSettings()
    check(lora, quantization)
    folder = resolve_model(name)
    base, tokenizer = load_base(
        folder, quantization=quantization, double_quant=double_quant, blocksize=blocksize, dtype=dtype, device=device
    )
    policy = policy_over(base, tokenizer, name, folder, quantization, dtype, lora=lora, adapter=adapter, seed=seed)
    if checkpointing:
        checkpoint_layers(policy.model)
    return policy


def policy_over(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    folder: Path,
    quantization: Quantization,
    dtype: torch.dtype,
    *,
    lora: LoraSettings,
    adapter: Path | None,
    seed: int,
) -> Policy:
    """A policy over a base that is read already; layers of the base are wrapped in place.

    Args:
        base, tokenizer: from :func:`~homeground.policy.base_model.load_base`.
        name, quantization, dtype, lora, adapter, seed: see :func:`load_policy`.
        folder: of the base.

    Raises:
        HomegroundError: the adapter belongs to another base.
    """
    originals = Originals(folder)
    torch.manual_seed(seed)
    if adapter is not None:
        peft, start = saved_adapter(base, adapter, originals)
    else:
        peft, start = fresh_adapter(base, lora, originals)
    for layer in lora_layers(peft).values():
        # Autocast casts the adapter's weights down; PEFT would cast every activation up first.
        layer.cast_input_dtype_enabled = dtype is torch.float32
    for parameter in peft.parameters():
        # PEFT does this for low-rank factors; a head that is trained whole (modules_to_save) loses small updates too.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    peft.eval()
    policy = Policy(name, folder, peft, tokenizer, dtype, quantization, start=start)
    with policy.autocast():
        fuse(policy.model)
        policy.strategy = prepare(policy.model, name)
    if dtype is not torch.float32 and policy.strategy is Strategy.FOREST:
        keep_residual_stream(policy.model, dtype)
    return policy


def keep_residual_stream(model: PreTrainedModel, dtype: torch.dtype) -> None:
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


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Recompute each decoder layer in the backward pass instead of keeping its activations."""
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            # Transformers recomputes only in training mode; what lies inside a layer stays in evaluation mode.
            module.training = True
