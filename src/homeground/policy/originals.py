"""The weights as they lie in a model's folder, one tensor at a time: what a quantized base is measured against, what
an adapter's start is made from, and by what a base is known again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel

from homeground.base.errors import HomegroundError
from homeground.policy.quantize import dequantized, quantized_layers

PROBED, VALUES = 12, 16
SAME = 0.005
"""Largest relative difference of two samples of one model: bf16 and fp16 copies differ by 0.002."""


class Originals(Protocol):
    """The weights of a base before it was quantized, by the names of the model's parameters."""

    def weight(self, layer: str) -> Tensor:
        """The weight of a layer (out, in), as stored.

        Raises:
            HomegroundError: there is none.
        """
        ...

    def sample(self) -> dict[str, list[float]] | None:
        """A few numbers from the middle of a few matrices spread over the model: by these it is known again.

        None where the original weights are not known.
        """
        ...


class WeightFiles:
    """The weights in a model's folder.

    Args:
        folder: holds safetensors files, one or several.

    Raises:
        HomegroundError: there is none, or one that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        try:
            for file in sorted(self._folder.glob("model*.safetensors")):
                with safe_open(file, "pt") as opened:
                    found.update(dict.fromkeys(opened.keys(), file))
        except (OSError, SafetensorError) as error:
            raise HomegroundError(
                f"the weights cannot be read: {error}", where=str(self._folder), hint="fetch the model again"
            ) from error
        if not found:
            raise HomegroundError(
                "no model*.safetensors file there",
                where=str(self._folder),
                hint="name a folder of a transformers model, or see `homeground weights`",
            )
        return found

    def weight(self, layer: str) -> Tensor:
        """Implement :class:`Originals`."""
        name = f"{layer}.weight"
        if name not in self._files:
            raise HomegroundError(
                f"the file has no '{name}': its names are not those of the model",
                where=str(self._folder),
                hint="save the model with transformers' save_pretrained, and name that folder",
            )
        with safe_open(self._files[name], "pt") as opened:
            return opened.get_tensor(name)

    def sample(self) -> dict[str, list[float]]:
        """Implement :class:`Originals`."""
        shapes: dict[str, int] = {}
        for file in sorted(set(self._files.values())):
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - no mapping
                    if len(opened.get_slice(name).get_shape()) == 2:
                        shapes[name] = opened.get_slice(name).get_shape()[0]
        found: dict[str, list[float]] = {}
        for name in _chosen(shapes):
            with safe_open(self._files[name], "pt") as opened:
                found[name] = _numbers(opened.get_slice(name)[shapes[name] // 2, :VALUES])
        return found


class LoadedWeights:
    """The weights of a model in memory; of a quantized one they are lost.

    Args:
        model: before it gets an adapter.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._lost = bool(quantized_layers(model))
        # Taken now, as training may move the weights (PiSSA).
        self._sample = None if self._lost else self._sampled()

    def weight(self, layer: str) -> Tensor:
        """Implement :class:`Originals`."""
        if self._lost:
            raise HomegroundError(
                "this model is quantized, and its original weights are not in memory",
                where="model.lora.init",
                hint="set init to default, or load the model with Policy.load",
            )
        module: Any = self._model.get_submodule(layer)
        return dequantized(getattr(module, "base_layer", module)).detach().clone()

    def sample(self) -> dict[str, list[float]] | None:
        """Implement :class:`Originals`."""
        return self._sample

    def _sampled(self) -> dict[str, list[float]]:
        # Tied parameters come once, as in a saved model.
        matrices = {name: p.detach() for name, p in self._model.named_parameters() if p.dim() == 2}
        return {name: _numbers(matrices[name][len(matrices[name]) // 2, :VALUES]) for name in _chosen(matrices)}


def _chosen(names: Iterable[str]) -> list[str]:
    ordered = sorted(names)
    return ordered[:: max(1, len(ordered) // PROBED)][:PROBED]


def _numbers(row: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in row.float().tolist()]


def same_base(one: Mapping[str, list[float]], other: Mapping[str, list[float]]) -> bool:
    """Whether two samples are of one model, in whatever float type it was stored."""
    if one.keys() != other.keys():
        return False
    for name, values in one.items():
        mine, theirs = torch.tensor(values), torch.tensor(other[name])
        if mine.shape != theirs.shape or (mine - theirs).norm() > SAME * mine.norm():
            return False
    return True
