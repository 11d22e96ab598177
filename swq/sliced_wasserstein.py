"""The sliced-Wasserstein distance between two sets of tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def sliced_wasserstein(fp_output: Tensor, quant_output: Tensor, normals: Tensor, block_size: int = 1) -> Tensor:
    """Sliced 1-Wasserstein distance between two sets of tokens, in float32 whatever the inputs are.

    Both outputs are flattened to N samples of dimension D, projected onto K unit directions, and sorted per projection;
    the mean absolute difference of the sorted projections is returned. It is zero for equal sets in any order.

    Args:
        fp_output: (..., T, C); tokens are samples.
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
    # Autocast would run the projections in half precision and undo .float().
    with torch.autocast(fp_output.device.type, enabled=False):
        directions = normals.float().to(fp_output.device)
        directions = directions / (directions.norm(dim=0, keepdim=True) + 1e-8)
        fp_sorted = (fp_output.float().reshape(-1, dim) @ directions).sort(dim=0).values
        quant_sorted = (quant_output.float().reshape(-1, dim) @ directions).sort(dim=0).values
        return (fp_sorted - quant_sorted).abs().mean()
