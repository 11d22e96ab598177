"""Asymmetric affine quantization of a weight matrix, per output channel or per group of input channels.

Shapes: a weight is (out, in); grouped it is (out, n_groups, group_size); everything that belongs to a group
(range, scale, zero point) is (out, n_groups, 1). Per channel means one group as wide as the row.

Source: OmniQuant (arXiv 2308.13137) eq. 2. As in the SW paper's public code, the zero point is clamped to
[0, 2^n - 1]: a group that is all positive or all negative saturates at one end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swq.errors import UserError
from swq.quant.scheme import Scheme

MIN_RANGE = 1e-5  # a constant group would otherwise have scale 0


@dataclass(frozen=True)
class Adapter:
    """Two thin factors of a matrix (out, in), in the dtype they are stored in.

    Attributes:
        down: (rank, in).
        up: (out, rank).
    """

    down: Tensor
    up: Tensor

    def product(self) -> Tensor:
        """Return up @ down, (out, in) in float32."""
        return self.up.float() @ self.down.float()


@dataclass(frozen=True)
class QuantizedWeight:
    """A quantized weight matrix as it is stored.

    Attributes:
        codes: (out, in) uint8 in [0, 2^n - 1].
        scale: (out, n_groups, 1), in the dtype it is stored in.
        zero_point: (out, n_groups, 1) uint8 in [0, 2^n - 1].
        scheme: bits and group size.
        adapter: what is added to the weight; None adds nothing.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    scheme: Scheme
    adapter: Adapter | None = None

    def dequantize(self) -> Tensor:
        """Return the weight (out, in) in float32: (codes - zero_point) * scale, plus the adapter's product."""
        codes = self.scheme.group(self.codes).float()
        weight = dequantize(codes, self.scale.float(), self.zero_point.float()).reshape(self.codes.shape)
        return weight if self.adapter is None else weight + self.adapter.product()


def weight_range(grouped: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest weight of each group, both (out, n_groups, 1)."""
    return grouped.amin(dim=-1, keepdim=True), grouped.amax(dim=-1, keepdim=True)


def choose_scale(wmin: Tensor, wmax: Tensor, n_bits: int) -> Tensor:
    """Return the step between two codes so that [wmin, wmax] is covered. Differentiable in both ends."""
    return (wmax - wmin).clamp(min=MIN_RANGE) / (2**n_bits - 1)


def choose_zero_point(wmin: Tensor, scale: Tensor, n_bits: int) -> Tensor:
    """Return the code that stands for 0, clamped into [0, 2^n - 1]. A constant in the backward pass."""
    return (-torch.round(wmin.detach() / scale.detach())).clamp(0, 2**n_bits - 1)


def quantize(grouped: Tensor, scale: Tensor, zero_point: Tensor, n_bits: int) -> Tensor:
    """Return codes as floats, rounded half to even.

    Divides by the scale: multiplying by 1/scale rounds some weights differently.
    """
    return ((grouped / scale).round() + zero_point).clamp(0, 2**n_bits - 1)


def dequantize(codes: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Return the weights that `codes` stand for."""
    return (codes - zero_point) * scale


def stored_scale(scale: Tensor, scale_dtype: torch.dtype) -> Tensor:
    """Return `scale` in the dtype that it is stored in.

    Raises:
        UserError: it does not fit.
    """
    stored = scale.to(scale_dtype)
    if not torch.isfinite(stored).all():
        raise UserError(f"a weight range does not fit a {str(scale_dtype).removeprefix('torch.')} scale")
    return stored


@torch.no_grad()
def quantize_weight(
    weight: Tensor,
    scheme: Scheme,
    wmin: Tensor | None = None,
    wmax: Tensor | None = None,
    scale_dtype: torch.dtype = torch.float16,
) -> QuantizedWeight:
    """Quantize a whole weight (out, in) for storage.

    The scale is rounded to `scale_dtype` first and the codes follow from the rounded one, so that what is propagated
    and scored is exactly what is stored.

    Args:
        weight: (out, in) floating point.
        scheme: bits and group size.
        wmin: (out, n_groups, 1) lower end of each group's range; the group's minimum if None.
        wmax: likewise the upper end.
        scale_dtype: the dtype that scales are stored in.
    """
    grouped = scheme.group(weight.float())
    low, high = weight_range(grouped)
    low, high = low if wmin is None else wmin, high if wmax is None else wmax
    scale = stored_scale(choose_scale(low, high, scheme.n_bits), scale_dtype)
    zero_point = choose_zero_point(low, scale.float(), scheme.n_bits)
    codes = quantize(grouped, scale.float(), zero_point, scheme.n_bits).reshape(weight.shape)
    return QuantizedWeight(codes.to(torch.uint8), scale, zero_point.to(torch.uint8), scheme)
