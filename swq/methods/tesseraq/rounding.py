"""The rounding of one linear's weights as variables: soft, then hard, with a trained scale beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from swq.kernels.soft_weight import HIGH, LOW, rectified_sigmoid, soft_weight
from swq.quant.affine import QuantizedWeight, choose_scale, choose_zero_point, stored_scale
from swq.quant.scheme import Scheme


def inverse_rectified_sigmoid(y: Tensor) -> Tensor:
    """The argument at which `rectified_sigmoid` is `y`, for y in [0, 1)."""
    return -torch.log((HIGH - LOW) / (y - LOW) - 1)


class AdaptiveRounding(nn.Module):
    """One linear's weight with a rounding variable per weight, and a factor on the scale per group.

    `rounding` is (out, n_groups, group_size), +inf and -inf where it is hard; `scale_factor` is (out, n_groups, 1).
    """

    floor: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, weight: Tensor, wmin: Tensor, wmax: Tensor, scheme: Scheme) -> None:
        super().__init__()
        self.scheme = scheme
        self.weight_shape = weight.shape
        scale = choose_scale(wmin, wmax, scheme.n_bits)
        ratio = scheme.group(weight.float()) / scale
        self.register_buffer("floor", ratio.floor())
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", choose_zero_point(wmin, scale, scheme.n_bits))
        self.rounding = nn.Parameter(inverse_rectified_sigmoid(ratio - self.floor))
        self.scale_factor = nn.Parameter(torch.zeros_like(scale))

    def trained_scale(self) -> Tensor:
        """The dequantization scale, (out, n_groups, 1): the initial scale times a factor in [0, 2] that starts at 1."""
        return self.scale * (2 * rectified_sigmoid(self.scale_factor))

    def forward(self) -> Tensor:
        scale = self.trained_scale()
        weight = soft_weight(self.floor, self.rounding, self.zero_point, self.scheme.quant_max, scale)
        return weight.reshape(self.weight_shape)

    @torch.no_grad()
    def harden(self, soft_share: float) -> None:
        """Round all variables to 0 or 1, except the `soft_share` (about) of them that are closest to 0.5."""
        height = rectified_sigmoid(self.rounding)
        margin = quantile((height - 0.5).abs_().flatten(), soft_share)
        self.rounding.masked_fill_(height > 0.5 + margin, torch.inf)
        self.rounding.masked_fill_(height < 0.5 - margin, -torch.inf)

    @torch.no_grad()
    def quantized(self, scale_dtype: torch.dtype) -> QuantizedWeight:
        """Round every variable to the nearer of 0 and 1."""
        up = (self.rounding > 0).float()
        codes = (self.floor + up + self.zero_point).clamp(0, self.scheme.quant_max).reshape(self.weight_shape)
        scale = stored_scale(self.trained_scale(), scale_dtype)
        return QuantizedWeight(codes.to(torch.uint8), scale, self.zero_point.to(torch.uint8), self.scheme)


def quantile(values: Tensor, share: float) -> Tensor:
    """Return the linearly interpolated quantile of a flat tensor. torch.quantile refuses more than 2^24 values."""
    rank = share * (values.numel() - 1)
    below = int(rank)
    return torch.lerp(*_neighbours(values, below), rank - below)


def _neighbours(values: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the value of a rank, counted from 0, and the next one; the last one is its own neighbour."""
    if not values.is_cpu:  # there, kthvalue has no deterministic kernel, and sorting is fast
        ordered = values.sort().values
        return ordered[rank], ordered[min(rank + 1, len(ordered) - 1)]
    low = values.kthvalue(rank + 1).values
    higher = values > low
    n_higher = higher.sum()
    # The next one is the smallest higher one, unless several are equal to `low`, or none is higher.
    follows = (n_higher > 0) & (n_higher == values.numel() - rank - 1)
    return low, torch.where(follows, torch.where(higher, values, torch.inf).min(), low)
