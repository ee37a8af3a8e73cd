"""What a training step needs, from the configuration alone: bytes at its worst moment, and operations.

Two policies of one and two layers run without numbers (:mod:`homeground.policy.trace`); what a layer adds is the
difference, and every layer adds the same. On a CPU the C library is part of the bill: tensors below
``LARGE`` bytes come from its heap, which holds on to about as much again as they need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from transformers import PretrainedConfig, PreTrainedModel

from homeground.base.errors import HomegroundError
from homeground.policy.attention import ForestLayout
from homeground.policy.base_model import dtype_of
from homeground.policy.config import ModelConfig
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.logprobs import body, forest_logprobs
from homeground.policy.trace import Trace
from homeground.policy.unloaded import first_layers, give_shapes, outline

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
