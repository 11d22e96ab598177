"""Search for the range that a weight group is best clipped to, given the inputs that it multiplies.

The error of a clipped and rounded group is the mean squared change of its part of the output over tokens, d^T H d with
d the change of the group's weights and H the second moments of its inputs (`swq.quant.moments`).

Source: AWQ's clip search (arXiv 2306.00978), in the variant that the SW authors' fork calls v1: ends shrunk together in
ten steps of 1/20, strict improvement.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swq.kernels.fake_quantize import fake_quantize
from swq.quant.affine import weight_range
from swq.quant.scheme import Scheme

N_CANDIDATES = 10
SHRINK_STEPS = 20  # the i-th candidate keeps 1 - i/20 of both ends
ROWS_AT_ONCE = 1024  # bounds the memory of one step


@torch.no_grad()
def search_clip(weight: Tensor, moments: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Return the range (wmin, wmax), each (out, n_groups, 1), that changes the linear's output least.

    Args:
        weight: (out, in).
        moments: second moments of its input within each group, (n_groups, group_size, group_size).
        scheme: bits and group size.
    """
    pieces = [_search_rows(rows, moments, scheme) for rows in scheme.group(weight.float()).split(ROWS_AT_ONCE)]
    return torch.cat([low for low, _ in pieces]), torch.cat([high for _, high in pieces])


def _search_rows(grouped: Tensor, moments: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    wmin, wmax = weight_range(grouped)
    best_low, best_high = wmin, wmax
    best_error = torch.full_like(wmin, torch.inf)
    for candidate in range(N_CANDIDATES):
        keep = 1 - candidate / SHRINK_STEPS
        low, high = wmin * keep, wmax * keep
        error = _output_error(grouped, low, high, moments, scheme)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_low, best_high = torch.where(better, low, best_low), torch.where(better, high, best_high)
    return best_low, best_high


def _output_error(grouped: Tensor, low: Tensor, high: Tensor, moments: Tensor, scheme: Scheme) -> Tensor:
    """Return d^T H d of every row and group, (out, n_groups, 1), for weights clipped to [low, high] and rounded."""
    clipped = grouped.clamp(low, high)
    # The clipped weights' own range: rounding may move an end by the last bit.
    rounded = fake_quantize(clipped, *weight_range(clipped), scheme.n_bits)
    change = (rounded - grouped).transpose(0, 1)  # (n_groups, out, group_size)
    return ((change @ moments) * change).sum(dim=-1).transpose(0, 1).unsqueeze(-1)
