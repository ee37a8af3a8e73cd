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

from homeground.base.errors import HomegroundError
from homeground.base.hardware import best_device
from homeground.policy.adapters import fresh_adapter, save, saved_adapter
from homeground.policy.base_model import Base, held_base, load_base
from homeground.policy.config import LoraConfig, ModelConfig, Quantization
from homeground.policy.forest import TokenForest
from homeground.policy.fused import FusedNorm, fuse
from homeground.policy.noise import EmbeddingNoise
from homeground.policy.originals import Originals
from homeground.policy.probe import prepare
from homeground.policy.shells import frozen_twin, lora_layers
from homeground.policy.start import Start
from homeground.policy.strategy import Strategy, logprobs


@dataclass
class Policy:
    """A model that can be trained and sampled.

    Attributes:
        name: what the user called the model.
        peft: the trainer's shell, base frozen, adapter in float32.
        tokenizer: with a chat template.
        dtype: what matrix products compute in.
        quantization: how the base is stored.
        originals: the base's weights before they were quantized.
        base_folder: where the base's files lie, if it has any; :attr:`folder` raises where it has none.
        strategy: how its forests are computed.
        start: where its adapter began, unless at zero.
        noise: on its embeddings in training, once :meth:`add_noise` was called.
    """

    name: str
    peft: PeftModel
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    quantization: Quantization
    originals: Originals
    base_folder: Path | None = None
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
    def load(cls, model: ModelConfig | Path | str | None = None, *, seed: int = 0) -> Policy:
        """Load a policy.

        Args:
            model: the settings. A name, folder or GGUF file alone gets the defaults, but NF4 on CUDA only, where memory
                is scarce, and plain weights elsewhere; None is the default model.
            seed: of the adapter's initial values.

        Raises:
            UsageError: a device that is not here.
            HomegroundError: the model cannot be read, or the adapter belongs to another base.
        """
        if not isinstance(model, ModelConfig):
            kind = Quantization.NF4 if best_device() == "cuda" else Quantization.NONE
            model = ModelConfig(name=ModelConfig().name if model is None else str(model), quantization=kind)
        return policy_over(
            load_base(model),
            lora=model.lora,
            adapter=model.adapter,
            checkpointing=model.gradient_checkpointing,
            fused_layers=model.fused_layers,
            seed=seed,
        )

    @classmethod
    def from_model(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        lora: LoraConfig | None = None,
        adapter: Path | str | None = None,
        checkpointing: bool = False,
        fused_layers: bool = True,
        folder: Path | str | None = None,
        seed: int = 0,
    ) -> Policy:
        """A policy over a causal language model in memory, which is changed in place: its layers get an adapter.

        Args:
            model: in bfloat16 or float32 on its device, or quantized by bitsandbytes as it was loaded.
            tokenizer: with a chat template, for conversations.
            lora, adapter, checkpointing, fused_layers, seed: see :func:`policy_over`.
            folder: of the same weights, if they are on disk; exports and vLLM need it.

        Raises:
            UsageError: a model in another dtype.
            HomegroundError: the adapter belongs to another base.
            ValueError: an adapter that this model cannot have.
        """
        base = held_base(model, tokenizer, Path(folder) if folder is not None else None)
        # The checks of adapter and quantization.
        lora = ModelConfig(quantization=base.quantization, lora=lora or LoraConfig()).lora
        return policy_over(
            base, lora=lora, adapter=adapter, checkpointing=checkpointing, fused_layers=fused_layers, seed=seed
        )

    @property
    def folder(self) -> Path:
        """The folder of the base's files.

        Raises:
            HomegroundError: the policy was made from a model in memory.
        """
        if self.base_folder is None:
            raise HomegroundError(
                f"'{self.name}' was given as a model in memory, and this needs its files",
                where="Policy.from_model",
                hint="write them with the model's and the tokenizer's save_pretrained before the policy is made, and "
                "give their folder: Policy.from_model(..., folder=...)",
            )
        return self.base_folder

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
        save(self.peft, folder, self.start, self.name, self.originals)

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


def policy_over(
    base: Base,
    *,
    lora: LoraConfig,
    adapter: Path | str | None = None,
    checkpointing: bool = False,
    fused_layers: bool = True,
    seed: int = 0,
) -> Policy:
    """A policy over a base; its layers are wrapped in place.

    Args:
        base: without an adapter.
        lora: settings of a fresh adapter; ignored when `adapter` is given.
        adapter: folder of a PEFT adapter to go on from.
        checkpointing: recompute each decoder layer in the backward pass instead of keeping its activations (Chen et
            al. 2016, arXiv 1604.06174): about a third more time for a fraction of the memory.
        fused_layers: replace layers by faster ones of ours that give the same (:mod:`homeground.policy.fused`).
        seed: of the adapter's initial values.

    Raises:
        HomegroundError: the adapter belongs to another base.
    """
    dtype = base.dtype
    torch.manual_seed(seed)
    if adapter is not None:
        peft, start = saved_adapter(base.model, Path(adapter).expanduser(), base.originals)
    else:
        peft, start = fresh_adapter(base.model, lora, base.originals)
    for layer in lora_layers(peft).values():
        # Autocast casts the adapter's weights down; PEFT would cast every activation up first.
        layer.cast_input_dtype_enabled = dtype is torch.float32
    for parameter in peft.parameters():
        # PEFT does this for low-rank factors; a head that is trained whole (modules_to_save) loses small updates too.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    peft.eval()
    policy = Policy(base.name, peft, base.tokenizer, dtype, base.quantization, base.originals, base.folder, start=start)
    with policy.autocast():
        if fused_layers:
            fuse(policy.model)
        policy.strategy = prepare(policy.model, base.name)
    if dtype is not torch.float32 and policy.strategy is Strategy.FOREST:
        keep_residual_stream(policy.model, dtype)
    if checkpointing:
        checkpoint_layers(policy.model)
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
