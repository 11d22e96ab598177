"""Fake quantization: quantize and dequantize in one step, so that a weight's range can be trained."""

from __future__ import annotations

from torch import Tensor

from swq.kernels.fake_quantize import straight_through
from swq.quant.affine import choose_scale, choose_zero_point


def fake_quantize(grouped: Tensor, wmin: Tensor, wmax: Tensor, n_bits: int) -> Tensor:
    """Quantize to the range [wmin, wmax] and dequantize in one step, with a straight-through gradient for the rounding.

    Args:
        grouped: (out, n_groups, group_size) weights.
        wmin: (out, n_groups, 1) lower end of each group's range.
        wmax: (out, n_groups, 1) upper end.
        n_bits: bits per code.
    """
    scale = choose_scale(wmin, wmax, n_bits)
    zero_point = choose_zero_point(wmin, scale, n_bits)
    return straight_through(grouped, scale, zero_point, 2**n_bits - 1)
