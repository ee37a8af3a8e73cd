"""What a training step needs, from the configuration alone: bytes at its worst moment, and operations.

Two policies of one and two layers run without numbers (:class:`Trace`); what a layer adds is the
difference, and every layer adds the same. Everything that a step computes runs through the code that trains, on tensors
that have a shape and no memory (torch's FakeTensor). So what autograd keeps, what a fused function lets go and what
checkpointing makes again need no formula here, for any family of models. Integers stay real: a forest's layout decides
which shapes come next. On a CPU the C library is part of the bill: tensors below
``LARGE`` bytes come from its heap, which holds on to about as much again as they need.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map
from torch.utils.flop_counter import flop_registry
from transformers import PretrainedConfig, PreTrainedModel

from homeground.base.errors import HomegroundError
from homeground.policy.attention import ForestLayout
from homeground.policy.base_model import dtype_of
from homeground.policy.config import ModelConfig
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.logprobs import body, forest_logprobs
from homeground.policy.unloaded import first_layers, give_shapes, outline

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


LARGE = 2 << 20
"""On a CPU, blocks from this size on go back to the system when they are freed; training sets it."""
HEAP_SHARE = 1.0
"""What glibc's heap holds beside smaller blocks, as a share of them: aligned blocks leave gaps (docs/plan.md)."""


class NoPlanError(HomegroundError):
    """Models of this family cannot be run without their weights."""


@dataclass(frozen=True)
class Step:
    """One forward and backward pass; bytes, and operations.

    Attributes:
        weights: the frozen base as it is stored.
        plain: the same if nothing were packed.
        unpacked: the layers that are packed, when they are not (0 where none is).
        adapter: what is trained, in float32.
        parameters: how many numbers that are.
        kept: for the backward pass, when all layers have run.
        logits: at most in the head (or in a layer, where that is more), above that.
        workspace: at the worst moment of the backward pass, above both.
        heap: of the C library around small tensors; 0 on a card.
        forward, backward: operations of each.
    """

    weights: float
    plain: float
    unpacked: float
    adapter: float
    parameters: float
    kept: float
    logits: float
    workspace: float
    heap: float
    forward: float
    backward: float

    @property
    def activations(self) -> float:
        """All that comes and goes within the step."""
        return self.kept + self.logits + self.workspace + self.heap


class _CardLayout(ForestLayout):
    """Attention as it runs on a card, whatever device tensors claim to be on."""

    def in_parts(self, query: torch.Tensor) -> bool:
        return False


def step_of(config: PretrainedConfig, settings: ModelConfig, paths: Sequence[TokenPath], *, cuda: bool) -> Step:
    """What a forward and a backward pass over one forest need.

    Args:
        config: of the model.
        settings: of the policy; `compute_dtype` is not `auto`.
        paths: of the forest.
        cuda: on a card; else on a CPU.

    Raises:
        NoPlanError: see there.
        HomegroundError: an adapter's target that matches nothing.
    """
    forest = TokenForest.build(paths)
    layers: int = config.num_hidden_layers
    try:
        one, two = (_counted(first_layers(config, n), settings, forest, cuda=cuda) for n in (1, min(2, layers)))
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError, NotImplementedError) as cause:
        raise NoPlanError(
            f"no memory plan for models of the type '{config.model_type}': {str(cause).splitlines()[0]}",
            hint="train all the same: the longest batch is tried before the first step",
        ) from cause
    return Step(*(a + (layers - 1) * (b - a) for a, b in zip(astuple(one), astuple(two), strict=True)))


def _counted(config: PretrainedConfig, settings: ModelConfig, forest: TokenForest, *, cuda: bool) -> Step:
    peft, dtype = outline(config, settings), dtype_of(settings.compute_dtype)
    model = peft.get_base_model()
    assert isinstance(model, PreTrainedModel)
    layout = _CardLayout(forest) if cuda else ForestLayout(forest)
    ends: list[int] = []
    with Trace(large=0 if cuda else LARGE) as trace:
        give_shapes(peft, settings)
        live = trace.live
        held, small, large = live.now, live.small, live.large
        trained = [p for p in model.parameters() if p.requires_grad]
        adapter = sum(p.nbytes for p in trained)
        sizes = [(p.nbytes, _unpacked_bytes(p)) for p in model.parameters() if not p.requires_grad]
        live.restart()
        hook = body(model).register_forward_hook(lambda *_: ends.append(live.now))
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            scores = forest_logprobs(model, forest, layout=layout)
        hook.remove()
        kept, head, forward = ends[0] - held, live.peak - held, trace.operations
        scores.sum().backward()
    dynamic = live.peak - held
    resident = live.large_peak - large + (1 + HEAP_SHARE) * (live.small_peak - small)
    return Step(
        weights=held - adapter,
        plain=sum(unpacked or size for size, unpacked in sizes),
        unpacked=sum(unpacked for _, unpacked in sizes),
        adapter=adapter,
        parameters=sum(p.numel() for p in trained),
        kept=kept,
        logits=head - kept,
        workspace=dynamic - head,
        heap=0.0 if cuda else max(0.0, resident - dynamic),
        forward=forward,
        backward=trace.operations - forward,
    )


def _unpacked_bytes(parameter: torch.nn.Parameter) -> int:
    """Of a packed weight when it is unpacked, 0 of any other."""
    if (state := getattr(parameter, "quant_state", None)) is not None:
        return state.shape.numel() * state.dtype.itemsize
    return 2 * parameter.numel() if hasattr(parameter, "SCB") else 0
