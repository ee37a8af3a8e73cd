"""One frozen base under several adapters at once: what serves them by name.

Each adapter gets a module tree of its own (:mod:`homeground.policy.shells`); the base's tensors are held once. On a CPU
a packed base is unpacked once, as every sampler there computes with plain weights anyway.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

from homeground.policy.adapters import moves_base
from homeground.policy.base_model import load_base
from homeground.policy.config import LoraConfig, ModelConfig
from homeground.policy.load import Policy, policy_over
from homeground.policy.shells import unpack

NOTHING_LEARNED = LoraConfig(r=1, alpha=1)
"""A fresh adapter adds zero: over the bare base, the smallest will do."""


class SharedBase:
    """A base that is read once; its policies are to be sampled, not trained.

    Args:
        settings: of the model; the adapters are given to :meth:`policy`.

    Raises:
        UsageError: a device that is not here.
        HomegroundError: the model cannot be read.
    """

    def __init__(self, settings: ModelConfig) -> None:
        self._settings = settings
        self._base = load_base(settings)
        self.tokenizer = self._base.tokenizer
        if self._base.model.device.type == "cpu":
            unpack(self._base.model, self._base.dtype)

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
            return policy_over(load_base(self._settings), lora=NOTHING_LEARNED, adapter=adapter)
        shared: dict[int, object] = {id(p): p for p in self._base.model.parameters()}
        twin = copy.deepcopy(self._base.model, shared)
        return policy_over(replace(self._base, model=twin), lora=NOTHING_LEARNED, adapter=adapter)
