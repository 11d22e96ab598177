"""Codes of a weight and what they stand for, in one step, with a straight-through gradient for the rounding.

With c = clamp(round(w / s), -z, quant_max - z), the code above the zero point, the output is c * s. Rounding counts as
the identity, so inside the clamp d(output)/dw = 1 and d(output)/ds = c - w / s; outside it is 0 and c.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from swq.kernels import native


def straight_through(grouped: Tensor, scale: Tensor, zero_point: Tensor, quant_max: int) -> Tensor:
    """Return clamp(round(grouped / scale), -zero_point, quant_max - zero_point) * scale.

    Args:
        grouped: (out, n_groups, group_size) weights; may ask for a gradient.
        scale: (out, n_groups, 1); may ask for a gradient.
        zero_point: (out, n_groups, 1) whole numbers; a constant.
        quant_max: the largest code.
    """
    fits = native.library() is not None and native.fits(grouped, scale, zero_point)
    chosen = _Compiled if fits else _Plain
    output: Tensor = chosen.apply(grouped, scale, zero_point, quant_max)
    return output


class _Plain(torch.autograd.Function):
    """Half as many passes over the weight as autograd makes, and one tensor saved instead of three."""

    @staticmethod
    def forward(ctx: Any, grouped: Tensor, scale: Tensor, zero_point: Tensor, quant_max: int) -> Tensor:
        # In place, and in floats: `inside` holds 1.0 and 0.0. On a CPU, a pass that mixes in booleans, or takes both
        # bounds from tensors, is much slower.
        ratio = grouped / scale
        rounded = ratio.round()
        code = torch.maximum(rounded, -zero_point)
        torch.minimum(code, quant_max - zero_point, out=code)
        inside = rounded.eq_(code)
        kept = inside.bool() if ctx.needs_input_grad[0] else None
        ratio.mul_(inside)
        output = torch.mul(code, scale, out=inside)
        slope = code.sub_(ratio)
        ctx.save_for_backward(slope, kept)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        slope, inside = ctx.saved_tensors
        grad_weight = None if inside is None else grad * inside
        return grad_weight, (grad * slope).sum(dim=-1, keepdim=True), None, None


class _Compiled(torch.autograd.Function):
    """One pass each way. Nothing is saved but the inputs."""

    @staticmethod
    def forward(ctx: Any, grouped: Tensor, scale: Tensor, zero_point: Tensor, quant_max: int) -> Tensor:
        output = torch.empty_like(grouped)
        native.call("fake_quantize", [grouped, scale, zero_point], [output], [quant_max])
        ctx.save_for_backward(grouped, scale, zero_point)
        ctx.quant_max = quant_max
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        grouped, scale, zero_point = ctx.saved_tensors
        grad_scale = torch.empty_like(scale)
        grad_weight = torch.empty_like(grouped) if ctx.needs_input_grad[0] else None
        inputs = [grouped, scale, zero_point, grad.contiguous()]
        native.call("fake_quantize_backward", inputs, [grad_scale, grad_weight], [ctx.quant_max])
        return grad_weight, grad_scale, None, None
