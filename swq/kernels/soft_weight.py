"""A weight whose rounding is a variable: (clamp(floor + rectified_sigmoid(v) + z, 0, quant_max) - z) * scale.

The rectified sigmoid is a sigmoid stretched to (LOW, HIGH) and cut to [0, 1]. The gradient is 0 wherever either clamp
holds.

Source: TesseraQ (arXiv 2410.19103); the rectified sigmoid is AdaRound's (arXiv 2004.10568, eq. 23).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from swq.kernels import native

LOW, HIGH = -0.1, 1.1  # ends of the rectified sigmoid: it reaches 0 and 1 at finite arguments


def rectified_sigmoid(x: Tensor) -> Tensor:
    """A sigmoid stretched to (-0.1, 1.1) and cut to [0, 1]."""
    return ((HIGH - LOW) * x.sigmoid() + LOW).clamp(0, 1)


def soft_weight(floor: Tensor, rounding: Tensor, zero_point: Tensor, quant_max: int, scale: Tensor) -> Tensor:
    """Return the weights that soft codes stand for.

    Args:
        floor: (out, n_groups, group_size) whole numbers: the codes above the zero point, rounded down.
        rounding: the variables v, of the same shape; asks for a gradient.
        zero_point: (out, n_groups, 1) whole numbers.
        quant_max: the largest code.
        scale: (out, n_groups, 1); asks for a gradient.
    """
    fits = native.library() is not None and native.fits(floor, rounding, zero_point, scale)
    chosen = _Compiled if fits else _Plain
    output: Tensor = chosen.apply(floor, rounding, zero_point, quant_max, scale)
    return output


class _Plain(torch.autograd.Function):
    """Autograd would keep six tensors as large as the weight for it. This keeps two: the codes, and their slope."""

    @staticmethod
    def forward(ctx: Any, floor: Tensor, rounding: Tensor, zero_point: Tensor, quant_max: int, scale: Tensor) -> Tensor:
        # In place, and in floats, for speed on a CPU, as in `fake_quantize`.
        slope = rounding.sigmoid()
        stretched = (slope * (HIGH - LOW)).add_(LOW)
        height = stretched.clamp(0, 1)
        inside = stretched.eq_(height)
        slope.addcmul_(slope, slope, value=-1).mul_(HIGH - LOW).mul_(inside)
        codes = height.add_(floor)
        clamped = torch.maximum(codes, -zero_point, out=inside)
        torch.minimum(clamped, quant_max - zero_point, out=clamped)
        ctx.save_for_backward(slope.mul_(codes.eq_(clamped)), clamped, scale)
        return torch.mul(clamped, scale, out=codes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, Tensor]:
        slope, codes, scale = ctx.saved_tensors
        product = grad * codes
        grad_scale = product.sum(dim=-1, keepdim=True)
        return None, torch.mul(grad, scale, out=product).mul_(slope), None, None, grad_scale


class _Compiled(torch.autograd.Function):
    """One pass each way beside the sigmoid, which is kept; codes and slope are computed again from it."""

    @staticmethod
    def forward(ctx: Any, floor: Tensor, rounding: Tensor, zero_point: Tensor, quant_max: int, scale: Tensor) -> Tensor:
        sigmoid, output = rounding.sigmoid(), torch.empty_like(rounding)
        native.call("soft_weight", [floor, sigmoid, scale, zero_point], [output], [quant_max, HIGH - LOW, LOW])
        ctx.save_for_backward(floor, sigmoid, scale, zero_point)
        ctx.quant_max = quant_max
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, Tensor]:
        floor, sigmoid, scale, zero_point = ctx.saved_tensors
        grad_scale, grad_rounding = torch.empty_like(scale), torch.empty_like(floor)
        inputs = [floor, sigmoid, scale, zero_point, grad.contiguous()]
        native.call("soft_weight_backward", inputs, [grad_scale, grad_rounding], [ctx.quant_max, HIGH - LOW, LOW])
        return None, grad_rounding, None, None, grad_scale
