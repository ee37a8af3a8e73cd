"""Run a policy without numbers and count: bytes that live at each moment, and operations.

Everything that a training step computes runs through the code that trains, on tensors that have a shape and no memory
(torch's FakeTensor). So what autograd keeps, what a fused function lets go and what checkpointing makes again need no
formula here, for any family of models. Integers stay real: a forest's layout decides which shapes come next.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten


@dataclass
class Live:
    """Bytes of tensors that live, ``now`` and at most; ``small`` and ``large`` are apart, by the size of a tensor."""

    now: int = 0
    small: int = 0
    large: int = 0
    peak: int = 0
    small_peak: int = 0
    large_peak: int = 0

    def add(self, size: int, *, small: bool) -> None:
        """Count a tensor in, or with a negative size out."""
        self.now += size
        if small:
            self.small += size
        else:
            self.large += size
        self.peak = max(self.peak, self.now)
        self.small_peak = max(self.small_peak, self.small)
        self.large_peak = max(self.large_peak, self.large)

    def restart(self) -> None:
        """Peaks from here on."""
        self.peak, self.small_peak, self.large_peak = self.now, self.small, self.large


class Trace(TorchDispatchMode):
    """Within, new floating-point tensors are fake; counts all tensors that were made within and still live.

    Args:
        large: bytes from which on a tensor counts as large.

    Attributes:
        live: bytes.
        operations: of matrix products and attention, two a multiply-add.
    """

    def __init__(self, large: int) -> None:
        super().__init__()
        self.live = Live()
        self.operations = 0
        self._large = large
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __enter__(self) -> Self:
        self._fake.__enter__()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._fake.__exit__(kind, error, trace)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operator for real if it sees real tensors alone, else without numbers."""
        del types
        given = dict(kwargs or {})
        if _is_real(func, args, given):
            with unset_fake_temporarily():
                out = func(*args, **given)
        else:
            if func is _aten.index.Tensor:
                args = (args[0], _places(args[1]))
            args, given = tree_map(_faked, (args, given))
            out = func(*args, **given)
            self._count(func, args, given, out)
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self._note(tensor)
        return out

    def _count(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        packet = func._overloadpacket
        if packet in flop_registry:
            self.operations += flop_registry[packet](*args, **kwargs, out_val=out)
        elif packet in _ATTENTION:
            first, products = _ATTENTION[packet]
            self.operations += products * 2 * args[first].numel() * args[first + 1].shape[-2]

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._seen:
            return
        small = size < self._large

        def gone(_: object) -> None:
            self._seen.pop(key, None)
            self.live.add(-size, small=small)

        self._seen[key] = weakref.ref(storage, gone)
        self.live.add(size, small=small)


_ATTENTION: dict[Any, tuple[int, int]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: (0, 2),
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: (1, 5),
}
"""Attention that torch's own counter does not know: place of the query, and products of query by key."""


def _is_real(func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> bool:
    tensors = [t for t in tree_iter((args, given)) if isinstance(t, Tensor)]
    if tensors:
        return not any(isinstance(t, FakeTensor) for t in tensors)
    dtype = given.get("dtype")
    if dtype is not None:
        return not dtype.is_floating_point
    return func._overloadpacket in (_aten.arange, _aten.full) and isinstance(args[-1], int)


def _faked(value: Any) -> Any:
    if not isinstance(value, Tensor) or isinstance(value, FakeTensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)


def _places(index: Any) -> list[Any]:
    """Where a real mask is true, as integers: without numbers, a mask selects nobody knows how many."""
    found: list[Any] = []
    for entry in index:
        if isinstance(entry, Tensor) and entry.dtype is torch.bool and not isinstance(entry, FakeTensor):
            with unset_fake_temporarily():
                found += entry.nonzero().unbind(1)
        else:
            found.append(entry)
    return found
