"""AWQ's search: per-channel scales, then ranges group by group.

A scale s multiplies the input channels of the linears that read a norm (or a linear), and divides that norm's output:
the block computes the same, but rounding hurts the scaled-up channels less. s = magnitude^ratio, and the ratio is
searched.

Source: Lin et al., AWQ (arXiv 2306.00978), eq. 4 and 5: the search minimises the change of the linears' own outputs,
over all calibration tokens. The authors' code compares the outputs of the attention or MLP module instead.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swq.kernels.fake_quantize import fake_quantize
from swq.methods.awq.clip import search_clip
from swq.methods.quantizer import BlockContext, FixedLayout, RangeQuantizer
from swq.methods.transfer import block_tensors, hand_over, layout_of
from swq.models.family import ScalePair
from swq.quant.affine import weight_range
from swq.quant.moments import Moments
from swq.quant.scheme import Scheme

if TYPE_CHECKING:
    from swq.methods.awq import AWQ

N_RATIOS = 20  # ratios 0, 1/20, ... 19/20; 0 means no scaling
SMALLEST_SCALE = 1e-4
SEARCH_TOKENS = 512  # of each sample


@torch.no_grad()
def searched(settings: AWQ, block: BlockContext) -> RangeQuantizer:
    """Return a block's weights, scaled and clipped as the search found best, and their ranges."""
    group_size = None if settings.scale else block.scheme.group_size
    moments = block.moments(block.linears, group_size, SEARCH_TOKENS)
    before = block_tensors(block.block)
    tensors = dict(before)
    scales: list[tuple[ScalePair, Tensor]] = []
    for pair in block.pairs if settings.scale else ():
        weights = [tensors[f"{reader}.weight"] for reader in pair.readers]
        scale = search_scale(weights, moments[pair.readers[0]], block.scheme)
        hand_over(tensors, pair, scale)
        scales.append((pair, scale))
        moments |= {reader: moments[reader].divided_by(scale) for reader in pair.readers}
    layout = layout_of(tensors, before, block.linears)
    for name, weight in layout.weights.items():
        if settings.clip and name not in block.not_clipped:
            layout.weights[name] = clipped(weight, moments[name], block.scheme)
        layout.ranges[name] = weight_range(block.scheme.group(layout.weights[name]))
    return FixedLayout(block, layout, partial(_scaled, block, scales))


def _scaled(block: BlockContext, scales: list[tuple[ScalePair, Tensor]]) -> dict[str, Tensor]:
    """Return a block's weights, scaled and not clipped."""
    tensors = block_tensors(block.block)
    for pair, scale in scales:
        hand_over(tensors, pair, scale)
    return {name: tensors[f"{name}.weight"] for name in block.linears}


def search_scale(weights: list[Tensor], moments: Moments, scheme: Scheme) -> Tensor:
    """Return the scale (in,) that changes the outputs of `weights` least when it is applied before rounding.

    Args:
        weights: each (out, in), all reading the same input.
        moments: of that input, as one group.
        scheme: bits and group size.
    """
    best, best_error = torch.ones_like(moments.magnitude), torch.inf
    for step in range(N_RATIOS):
        scale = moments.magnitude.pow(step / N_RATIOS).clamp(min=SMALLEST_SCALE)
        scale = scale / (scale.max() * scale.min()).sqrt()
        changes = (_round_to_nearest(weight * scale, scheme) / scale - weight for weight in weights)
        error = sum(((change @ moments.second[0]) * change).sum().item() for change in changes)
        if error < best_error:
            best, best_error = scale, error
    return best


def clipped(weight: Tensor, moments: Moments, scheme: Scheme) -> Tensor:
    """Return `weight` (out, in), clamped group by group to the range that changes its output least."""
    grouped = scheme.group(weight)
    size = grouped.shape[-1]
    second = moments.second if moments.second.shape[-1] == size else moments.regrouped(size).second
    return grouped.clamp(*search_clip(weight, second, scheme)).reshape(weight.shape)


def _round_to_nearest(weight: Tensor, scheme: Scheme) -> Tensor:
    grouped = scheme.group(weight)
    return fake_quantize(grouped, *weight_range(grouped), scheme.n_bits).reshape(weight.shape)
