"""Fake quantization: quantize and dequantize in one step, with a straight-through gradient for the rounding.

With c = clamp(round(w / s), -z, quant_max - z), the code above the zero point, the output is c * s. Rounding counts as
the identity, so inside the clamp d(output)/dw = 1 and d(output)/ds = c - w / s; outside it is 0 and c. The scale s
follows from both ends of the range, and so has a gradient in them; the zero point z is a constant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from swq.kernels import native
from swq.quant.affine import MIN_RANGE, choose_scale, choose_zero_point


def fake_quantize(grouped: Tensor, wmin: Tensor, wmax: Tensor, n_bits: int) -> Tensor:
    """Quantize to the range [wmin, wmax] and dequantize in one step, so that a weight's range can be trained.

    Args:
        grouped: (out, n_groups, group_size) weights; may ask for a gradient.
        wmin: (out, n_groups, 1) lower end of each group's range; may ask for a gradient.
        wmax: (out, n_groups, 1) upper end; likewise.
        n_bits: bits per code.
    """
    output: Tensor
    if native.library() is not None and native.fits(grouped, wmin, wmax):
        output = _Compiled.apply(grouped, wmin, wmax, 2**n_bits - 1)
    else:
        scale = choose_scale(wmin, wmax, n_bits)
        output = _Plain.apply(grouped, scale, choose_zero_point(wmin, scale, n_bits), 2**n_bits - 1)
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
    """One pass each way, the scale and the zero point included. Nothing is saved but the inputs."""

    @staticmethod
    def forward(ctx: Any, grouped: Tensor, wmin: Tensor, wmax: Tensor, quant_max: int) -> Tensor:
        output = torch.empty_like(grouped)
        native.call("fake_quantize", [grouped, wmin, wmax], [output], [quant_max, MIN_RANGE])
        ctx.save_for_backward(grouped, wmin, wmax)
        ctx.quant_max = quant_max
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        grouped, wmin, wmax = ctx.saved_tensors
        grad_wmin, grad_wmax = torch.empty_like(wmin), torch.empty_like(wmax)
        grad_weight = torch.empty_like(grouped) if ctx.needs_input_grad[0] else None
        outputs = [grad_wmin, grad_wmax, grad_weight]
        native.call(
            "fake_quantize_backward", [grouped, wmin, wmax, grad.contiguous()], outputs, [ctx.quant_max, MIN_RANGE]
        )
        return grad_weight, grad_wmin, grad_wmax, None
