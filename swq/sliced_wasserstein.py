"""The sliced-Wasserstein distance between two sets of tokens, with its gradient written out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sliced_wasserstein(fp_output: Tensor, quant_output: Tensor, normals: Tensor, block_size: int = 1) -> Tensor:
    """Sliced 1-Wasserstein distance between two sets of tokens, in float32 whatever the inputs are.

    Both outputs are flattened to N samples of dimension D, projected onto K unit directions, and sorted per projection;
    the mean absolute difference of the sorted projections is returned. It is zero for equal sets in any order.

    Args:
        fp_output: (..., T, C); tokens are samples. It gets no gradient.
        quant_output: the same shape.
        normals: (D, K) raw standard normals; normalised here to unit columns.
        block_size: consecutive tokens pooled into one sample: D = block_size * C, N = tokens / block_size.

    Raises:
        ValueError: shapes differ, or `block_size` does not divide the number of tokens.

    Source: Cao, Yin and Aref (arXiv 2601.07878), token-level and block-level SW with p = 1.
    """
    if fp_output.shape != quant_output.shape:
        raise ValueError(f"outputs differ in shape: {tuple(fp_output.shape)} and {tuple(quant_output.shape)}")
    dim = fp_output.shape[-1] * block_size
    if fp_output.numel() % dim:
        raise ValueError(f"block_size {block_size} does not divide {fp_output.numel() // fp_output.shape[-1]} tokens")
    fp_samples, quant_samples = (output.float().reshape(-1, dim) for output in (fp_output.detach(), quant_output))
    directions = normals.float().to(fp_output.device)
    directions = directions / (directions.norm(dim=0, keepdim=True) + 1e-8)
    return _SlicedWasserstein.apply(fp_samples, quant_samples, directions)


class _SlicedWasserstein(torch.autograd.Function):
    """The distance between two sets of samples (N, D) along directions (D, K).

    A sample's projection is one of the sorted ones, so its gradient is the sign of that one's difference, over N * K.
    The forward pass puts these signs (N, K) where the projections were. They are all that the backward pass needs,
    besides the directions. Sorting runs along contiguous memory, (K, N); products and the mean see (N, K).
    """

    @staticmethod
    def forward(ctx: Any, fp_samples: Tensor, quant_samples: Tensor, directions: Tensor) -> Tensor:
        with torch.autocast(directions.device.type, enabled=False):  # it would run products in half precision
            fp_projected, quant_projected = ((s @ directions).T.contiguous() for s in (fp_samples, quant_samples))
        quant_sorted, order = sorted_with_order(quant_projected)
        difference = sorted_values(fp_projected).sub_(quant_sorted)
        if ctx.needs_input_grad[1]:
            signs = torch.empty_like(difference).scatter_(-1, order, difference.sgn())
            ctx.save_for_backward(signs.T.contiguous(), directions)
        return difference.T.contiguous().abs_().mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        signs, directions = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            return None, signs.mul(-grad / signs.numel()) @ directions.T, None


def sorted_values(rows: Tensor) -> Tensor:
    """Return float32 `rows` (K, N), each sorted. May sort them in place."""
    if not _has_array(rows):
        return rows.sort().values
    rows.numpy().sort()  # much faster than torch's, where the processor has vector instructions for it
    return rows


def sorted_with_order(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return float32 `rows` (K, N), each sorted, and the places that the values had: what `rows.sort()` returns.

    On a CPU, each value is sorted as an int64: its bits, as an integer of the same order, then its place. Where values
    are equal, torch decides their order.
    """
    if not _has_array(rows):
        found = rows.sort()
        return found.values, found.indices
    bits = (rows + 0.0).view(torch.int32)  # -0.0 becomes 0.0: they are equal
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # of negative floats, the larger bits are the smaller number
    keys = (rising.long() << 32).add_(torch.arange(rows.shape[-1]))
    keys.numpy().sort()
    order = keys.bitwise_and_(0xFFFFFFFF)
    values = rows.gather(-1, order)
    tied = (values[:, 1:] == values[:, :-1]).any(dim=-1)
    if tied.any():
        order[tied] = rows[tied].sort().indices
    return values, order


def _has_array(rows: Tensor) -> bool:
    """Say whether numpy can sort in a tensor's memory. A subclass, such as torch's fake tensors, may have none."""
    return rows.is_cpu and type(rows) is Tensor
