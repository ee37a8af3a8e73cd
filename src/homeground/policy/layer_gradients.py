"""Operations of a decoder layer with their gradients written out: one node of the graph each.

Between two matrix products a model of transformers walks many times over tensors as large as its activations (one
walk an operator), and autograd keeps what most of them read. Each function here is one node of the graph:

===================  ==============================================  =========================================
function             computes                                        keeps for the backward pass
===================  ==============================================  =========================================
:class:`LowRank`     ``x W' + s (x A') B'`` (LoRA, arXiv 2106.09685)  ``x``, and ``x A'``, rank numbers a token
:class:`GatedDown`   the same of ``act(gate) * up``                   gate, up, ``x A'``; not their product
:class:`RmsNorm`     ``x / rms(x) * gain``, in float32                one number a token, not its input
:class:`Rotation`    rotary embedding (RoFormer, arXiv 2104.09864)    nothing a layer
===================  ==============================================  =========================================
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from homeground.policy.quantize import dequantized, frozen


def low_rank(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``x W' + (x A') B'`` of inputs (.., in), shape (.., out), and its factor ``x A'`` (n, r); trainer and sampler.

    Args:
        x: any float type; all else has the weight's, and B holds the scale.
        weight, bias: (out, in), (out,).
        a, b: (r, in), (out, r).
    """
    x = x.to(weight.dtype)
    out = linear(x, weight, bias)
    low = linear(x, a).flatten(0, -2)
    out.view(-1, out.shape[-1]).addmm_(low, b.t())
    return out, low


def _forward(x: Tensor, base: nn.Linear, a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    weight, bias = frozen(base)
    return low_rank(x, weight, bias, a.to(weight.dtype), (b * scale).to(weight.dtype))


def _backward(
    grad: Tensor, x: Tensor, low: Tensor, base: nn.Linear, a: Tensor, b: Tensor, scale: float, *, to_input: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of input (n, in), A and B; ``grad`` is (n, out), ``x`` (n, in)."""
    dtype = low.dtype
    grad = grad.to(dtype)
    grad_low = grad @ (b * scale).to(dtype)
    grad_b = (grad.t() @ low).float().mul_(scale)
    grad_a = (grad_low.t() @ x.to(dtype)).float()
    grad_x: Tensor | None = None
    if to_input:
        grad_x = grad @ dequantized(base).detach()
        grad_x.addmm_(grad_low, a.to(dtype))
    return grad_x, grad_a.to(a.dtype), grad_b.to(b.dtype)


class LowRank(torch.autograd.Function):
    """``x W' + s (x A') B'``; A (r, in) and B (out, r) get gradients, W and its bias are frozen."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, base: nn.Linear, scale: float
    ) -> Tensor:
        """Output (.., out) of inputs (.., in)."""
        with torch.autocast(x.device.type, enabled=False):
            out, low = _forward(x, base, a, b, scale)
        ctx.save_for_backward(x, low, a, b)
        ctx.base, ctx.scale = base, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """See :func:`_backward`."""
        x, low, a, b = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            grad_x, grad_a, grad_b = _backward(
                grad.flatten(0, -2),
                x.flatten(0, -2),
                low,
                ctx.base,
                a,
                b,
                ctx.scale,
                to_input=ctx.needs_input_grad[0],
            )
        return None if grad_x is None else grad_x.view(x.shape).to(x.dtype), grad_a, grad_b, None, None


class GatedDown(torch.autograd.Function):
    """:class:`LowRank` of ``act(gate) * up``, which is made again in the backward pass instead of kept."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, gate: Tensor, up: Tensor, act: nn.Module, a: Tensor, b: Tensor, base: nn.Linear, scale: float
    ) -> Tensor:
        """Output (.., out) of gate and up (.., in)."""
        with torch.autocast(gate.device.type, enabled=False):
            out, low = _forward(act(gate).mul_(up), base, a, b, scale)
        ctx.save_for_backward(gate, up, low, a, b)
        ctx.act, ctx.base, ctx.scale = act, base, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """The gradient of the product, then those of its two factors."""
        gate, up, low, a, b = ctx.saved_tensors
        with torch.autocast(gate.device.type, enabled=False):
            with torch.enable_grad():
                leaf = gate.detach().requires_grad_(True)
                active = ctx.act(leaf)
            values = active.detach()
            x = (values * up).flatten(0, -2)
            grad_x, grad_a, grad_b = _backward(grad.flatten(0, -2), x, low, ctx.base, a, b, ctx.scale, to_input=True)
            assert grad_x is not None
            grad_x = grad_x.view(gate.shape)
            grad_up = grad_x * values
            (grad_gate,) = torch.autograd.grad(active, leaf, grad_x.mul_(up))
        return grad_gate, grad_up, None, grad_a, grad_b, None, None


class RmsNorm(torch.autograd.Function):
    """Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467) with a frozen gain."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, gain: Tensor, eps: float, dtype: torch.dtype, divides: bool
    ) -> Tensor:
        """See :func:`normalized`; ``divides``: no gain is too small to divide by."""
        out, inverse = normalized(x, gain, eps, dtype)
        # The product that reads the output keeps it anyway; the input, in float32 where layers add up, is let go.
        ctx.save_for_backward(out if divides else x, inverse, gain)
        ctx.divides, ctx.dtype = divides, x.dtype
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """With y = x r: ``r (g - y mean(g y))``, g being the gradient of y."""
        kept, inverse, gain = ctx.saved_tensors
        y = kept / gain if ctx.divides else kept * inverse
        scaled = grad * gain
        share = (scaled * y).mean(-1, keepdim=True)
        return scaled.addcmul_(y, share, value=-1).mul_(inverse).to(ctx.dtype), None, None, None, None


def normalized(x: Tensor, gain: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``x`` (.., n) normalised over its last dimension, in ``dtype``, and its factor (.., 1), float32."""
    wide = x.float()
    norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return (wide * inverse).mul_(gain).to(dtype), inverse


class Rotation(torch.autograd.Function):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of a model whose pairs lie half a head apart."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # type: ignore[override]
        """``x`` (1, heads, N, size) rotated by ``cos`` and ``sin`` (1, N, size); in their type, rounded to x's."""
        ctx.save_for_backward(cos, sin)
        return rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """The transposed matrix: with halves a, b of a head, a gets ``cos_a g_a + sin_b g_b``."""
        cos, sin = ctx.saved_tensors
        half = sin.shape[-1] // 2
        return rotated(grad, cos, torch.cat([sin[..., half:], sin[..., :half]], -1).neg_()), None, None


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """See :class:`Rotation`."""
    half = x.shape[-1] // 2
    wide = x.to(cos.dtype)
    cos, sin = cos[:, None], sin[:, None]
    out = wide * cos
    out[..., :half].addcmul_(wide[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(wide[..., :half], sin[..., half:])
    return out.to(x.dtype)
