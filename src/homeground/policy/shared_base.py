"""One frozen base under several adapters at once: what serves them by name.

Each adapter gets a module tree of its own (:mod:`homeground.policy.shells`); the base's tensors are held once. On a CPU
a packed base is unpacked once, as every sampler there computes with plain weights anyway.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from homeground.base.hardware import device_kind, found_device, matmul_rates
from homeground.base.heap import limit_primitives
from homeground.base.weights import resolve_model
from homeground.policy.adapters import LoraSettings, moves_base
from homeground.policy.base_model import load_base
from homeground.policy.load import Policy, load_policy, policy_over
from homeground.policy.quantize import BLOCKSIZE, Quantization
from homeground.policy.shells import unpack

NOTHING_LEARNED = LoraSettings(r=1, alpha=1)
"""A fresh adapter adds zero: over the bare base, the smallest will do."""


class SharedBase:
    """A base that is read once; its policies are to be sampled, not trained.

    Args:
        name, quantization, double_quant, blocksize, dtype, device: see :func:`~homeground.policy.load.load_policy`.

    Raises:
        UsageError: a device or a blocksize that cannot be.
        HomegroundError: the model cannot be read.
    """

    def __init__(
        self,
        name: str,
        *,
        quantization: Quantization,
        double_quant: bool = True,
        blocksize: int = BLOCKSIZE,
        dtype: torch.dtype | None = None,
        device: str = "cpu",
    ) -> None:
        limit_primitives()
        self._device = found_device(device)
        if dtype is None:
            dtype = torch.bfloat16 if matmul_rates(device_kind(self._device)).bf16_fast else torch.float32
        self.name = name
        self._dtype = dtype
        self._quantization, self._double_quant, self._blocksize = quantization, double_quant, blocksize
        self._folder = resolve_model(name)
        self._model, self.tokenizer = load_base(
            self._folder,
            quantization=quantization,
            double_quant=double_quant,
            blocksize=blocksize,
            dtype=dtype,
            device=self._device,
        )
        if self._model.device.type == "cpu":
            unpack(self._model, dtype)

    def policy(self, adapter: Path | None = None) -> Policy:
        """The base with an adapter, or alone.

        An adapter that began by moving the base (PiSSA) was trained over other weights, and gets those: a base of its
        own.

        Args:
            adapter: folder in PEFT's format.

        Raises:
            HomegroundError: there is no adapter, or it is another base's.
        """
        if adapter is not None and moves_base(adapter):
            return load_policy(
                self.name,
                quantization=self._quantization,
                double_quant=self._double_quant,
                blocksize=self._blocksize,
                dtype=self._dtype,
                adapter=adapter,
                device=self._device,
            )
        shared: dict[int, object] = {id(p): p for p in self._model.parameters()}
        twin = copy.deepcopy(self._model, shared)
        return policy_over(
            twin, self.tokenizer, self.name, self._folder, self._quantization, self._dtype,
            lora=NOTHING_LEARNED, adapter=adapter, seed=0,
        )  # fmt: skip
