"""Dense bit packing: n-bit codes as a little-endian bit stream of bytes, so that 3 bits cost 3 bits."""

from __future__ import annotations

import torch
from torch import Tensor


def pack(codes: Tensor, n_bits: int) -> Tensor:
    """Pack uint8 codes of any shape into a flat uint8 tensor of ceil(numel * n_bits / 8) bytes.

    Raises:
        ValueError: a code does not fit into `n_bits`.
    """
    flat = codes.reshape(-1)
    if flat.numel() and int(flat.max()) >= 2**n_bits:
        raise ValueError(f"code {int(flat.max())} does not fit into {n_bits} bits")
    bits = (flat.unsqueeze(1) >> torch.arange(n_bits, dtype=torch.uint8, device=flat.device)) & 1
    stream = torch.nn.functional.pad(bits.reshape(-1), (0, -bits.numel() % 8)).reshape(-1, 8)
    return (stream << torch.arange(8, dtype=torch.uint8, device=flat.device)).sum(dim=1, dtype=torch.uint8)


def unpack(packed: Tensor, n_bits: int, shape: tuple[int, ...]) -> Tensor:
    """Invert `pack`: return uint8 codes of `shape`.

    Raises:
        ValueError: the number of bytes does not fit `shape`.
    """
    numel = int(torch.Size(shape).numel())
    if packed.numel() != -(-numel * n_bits // 8):
        raise ValueError(f"{packed.numel()} bytes do not hold {numel} codes of {n_bits} bits")
    bits = (packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
    stream = bits.reshape(-1)[: numel * n_bits].reshape(numel, n_bits)
    shifts = torch.arange(n_bits, dtype=torch.uint8, device=packed.device)
    return (stream << shifts).sum(dim=1, dtype=torch.uint8).reshape(shape)
