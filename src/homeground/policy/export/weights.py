"""The weights of a trained model, one tensor at a time: the base's files with an adapter merged in.

A merge adds the adapter's update to the weight of each layer it targets, and what it is added to matters. An adapter
that was trained on a 4-bit base has learned beside the *rounded* weights, so adding it to those (dequantised) gives the
function that was trained; adding it to the original weights gives another one, which nobody has trained.

PEFT does the arithmetic (LoRA, rsLoRA, DoRA, whatever it merges), in float32, on a model that has shapes but no
values: one layer at a time gets its weight, is merged, and is hollow again. So memory holds one tensor of the result,
not the model twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from homeground.base.errors import HomegroundError
from homeground.base.model_files import is_finite, read_config
from homeground.policy.adapter_files import read_adapter, with_adapter
from homeground.policy.load import Policy
from homeground.policy.quantize import dequantized, quantized_layers

_HEAD, _INDEX = "lm_head.weight", "model.safetensors.index.json"


class MergedWeights:
    """Tensors by transformers' names.

    Args:
        base: folder of the original model: safetensors and config.
        adapter: folder in PEFT's format; None gives the base alone.
        quantized: the policy that was trained; its packed layers give their dequantised weights in place of the files'.

    Attributes:
        config: of the merged model; its embeddings are no longer tied when the adapter changed one end of them.
    """

    def __init__(self, base: Path, adapter: Path | None = None, quantized: Policy | None = None) -> None:
        self.base = base
        self.config: PreTrainedConfig = read_config(base)
        self._files = _files_by_tensor(base)
        self._model = _hollow(self.config)
        self._check_names()
        if adapter is not None:
            with_adapter(self._model, adapter, read_adapter(adapter, self._model), trainable=False)
        self._rounded = quantized_layers(quantized.model) if quantized is not None else {}
        self._began = quantized.start.factors if quantized is not None and quantized.start is not None else {}
        self._modules = dict(self._model.named_modules())
        self.config.tie_word_embeddings = bool(self.config.tie_word_embeddings) and not self._changes_tied_ends()
        tied = self.config.tie_word_embeddings
        self.names = [name for name in self._files if not (tied and name == _HEAD)]
        if not tied and _HEAD not in self._files:
            self.names.append(_HEAD)

    @property
    def model_class(self) -> type[PreTrainedModel]:
        """Of transformers."""
        return type(self._model)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor, without reading it."""
        with safe_open(self._files[self._stored(name)], "pt") as file:
            return tuple(file.get_slice(self._stored(name)).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        """In which the base stores a tensor."""
        with safe_open(self._files[self._stored(name)], "pt") as file:
            return file.get_slice(self._stored(name))[:0].dtype

    def tensor(self, name: str) -> Tensor:
        """A tensor of the merged model on the CPU, float32 where the adapter changed it, else as it is stored.

        Raises:
            HomegroundError: a value of it is NaN or infinite.
        """
        merged = self._tensor(name)
        if not is_finite(merged):
            raise HomegroundError(
                f"the tensor '{name}' has values that are not finite (NaN or infinity)",
                where=str(self.base),
                hint="fetch the model again, or take an earlier checkpoint of the training",
            )
        return merged

    def _tensor(self, name: str) -> Tensor:
        path, _, parameter = name.rpartition(".")
        module = self._modules.get(path)
        if isinstance(module, ModulesToSaveWrapper):
            trained = module.modules_to_save[module.active_adapters[0]].get_parameter(parameter)
            return trained.detach().float()
        weight = self._original(name, path)
        if not isinstance(module, BaseTunerLayer):
            return weight
        base = module.get_base_layer()
        if parameter != "weight":
            return _trained_bias(base, parameter, weight)
        with torch.no_grad():
            base.weight = nn.Parameter(weight.float().clone(), requires_grad=False)
            module.merge()
            merged: Tensor = base.weight.data
            base.weight = _without_values(base.weight)
            module.merged_adapters.clear()
        return merged

    def _original(self, name: str, path: str) -> Tensor:
        rounded = self._rounded.get(path) or self._rounded.get(f"{path}.base_layer")
        if rounded is not None and name.endswith(".weight"):
            weight = dequantized(rounded).detach().cpu()
            return self._with_start(weight, path) if path in self._began else weight
        stored = self._stored(name)
        with safe_open(self._files[stored], "pt") as file:
            return file.get_tensor(stored)

    def _with_start(self, weight: Tensor, path: str) -> Tensor:
        """What a saved adapter is added to when it began elsewhere than at zero.

        It says ``s (B A - B0 A0)`` (:mod:`homeground.policy.start`), and what was trained is ``s B A`` beside the
        packed weight: so ``s B0 A0`` goes back in.
        """
        a, b = self._began[path]
        layer: Any = self._modules[path]
        (scale,) = layer.scaling.values()
        return weight.float().addmm_(b, a, alpha=scale)

    def _stored(self, name: str) -> str:
        """The name in the base's files: a head that was tied there is its embedding."""
        return name if name in self._files else self._embedding()

    def _embedding(self) -> str:
        ends = (name for name in self._files if name.endswith("embed_tokens.weight"))
        return next(ends, "")

    def _changes_tied_ends(self) -> bool:
        ends = [self._modules.get(name.removesuffix(".weight")) for name in (_HEAD, self._embedding())]
        return any(isinstance(end, (ModulesToSaveWrapper, BaseTunerLayer)) for end in ends)

    def _check_names(self) -> None:
        expected = set(self._model.state_dict())
        if unknown := sorted(set(self._files) - expected - {_HEAD}) or sorted(expected - set(self._files) - {_HEAD}):
            raise HomegroundError(
                f"this model's files do not name their tensors as transformers does: {unknown[0]}",
                where=str(self.base),
                hint="load it with transformers and save_pretrained it into another folder, and train on that",
            )


def _files_by_tensor(folder: Path) -> dict[str, Path]:
    if (folder / _INDEX).is_file():
        shards: dict[str, str] = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
        return {name: folder / file for name, file in shards.items()}
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            found |= dict.fromkeys(tensors.keys(), file)
    return found


def _hollow(config: PreTrainedConfig) -> PreTrainedModel:
    """The model's modules, each parameter one zero shown in its shape: PEFT sees a CPU model that takes no memory."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, _without_values(parameter))
    model.tie_weights()
    return model


def _without_values(parameter: Tensor) -> nn.Parameter:
    return nn.Parameter(torch.zeros((), dtype=torch.float32).expand(parameter.shape), requires_grad=False)


def _trained_bias(base: nn.Module, parameter: str, stored: Tensor) -> Tensor:
    """A layer's bias: from the adapter where it was trained, which shows in that it has values."""
    held: Any = getattr(base, parameter)
    return stored if set(held.stride()) == {0} else held.detach().float()
