"""Scales and shifts that move between a tensor's output channels and the linears that read them.

Let an output y be read by y' = W y + b. Replace y by (y - shift) / scale, W by W diag(scale) and b by b + W shift:
y' stays the same. AWQ searches such scales, OmniQuant's LET learns them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from swq.methods.quantizer import Layout
from swq.models.family import ScalePair


def block_tensors(block: nn.Module) -> dict[str, Tensor]:
    """Return the block's parameters in float32, by name."""
    return {name: parameter.detach().float() for name, parameter in block.named_parameters()}


def can_shift(tensors: dict[str, Tensor], pair: ScalePair) -> bool:
    """Say whether a pair can be shifted: both sides need a bias."""
    return all(f"{name}.bias" in tensors for name in (pair.source, *pair.readers))


def hand_over(tensors: dict[str, Tensor], pair: ScalePair, scale: Tensor, shift: Tensor | None = None) -> None:
    """Divide the source's output channels by `scale` and multiply the readers' input channels by it, in `tensors`.

    Where the readers read the last part of the source's output only, the other channels stay as they are.

    Args:
        tensors: the block's, by name; those that change are replaced, none is modified in place.
        pair: the source and its readers.
        scale: (channels,), not zero.
        shift: (channels,), subtracted from the source's output first; None subtracts nothing.
    """
    weight, bias = f"{pair.source}.weight", f"{pair.source}.bias"
    is_norm, others = tensors[weight].ndim == 1, len(tensors[weight]) - len(scale)
    divisor = scale if others == 0 else torch.cat([scale.new_ones(others), scale])
    if pair.norm_offset:  # the norm multiplies by offset + weight, so that is what has to be divided
        tensors[weight] = (tensors[weight] + pair.norm_offset) / divisor - pair.norm_offset
    else:
        tensors[weight] = tensors[weight] / (divisor if is_norm else divisor.unsqueeze(1))
    if bias in tensors:
        moved = shift if shift is None or others == 0 else torch.cat([shift.new_zeros(others), shift])
        tensors[bias] = (tensors[bias] if moved is None else tensors[bias] - moved) / divisor
    for reader in pair.readers:
        weight, bias = f"{reader}.weight", f"{reader}.bias"
        if shift is not None:
            # In training this runs under autocast, which would multiply in half precision what is stored in full.
            with torch.autocast(shift.device.type, enabled=False):
                tensors[bias] = tensors[bias] + tensors[weight] @ shift
        tensors[weight] = tensors[weight] * scale


def layout_of(tensors: dict[str, Tensor], before: dict[str, Tensor], linears: Iterable[str]) -> Layout:
    """Return a layout without ranges: the weights to round, and every other tensor that differs from `before`."""
    weights = {name: tensors[f"{name}.weight"] for name in linears}
    others = {name: tensor for name, tensor in tensors.items() if name.removesuffix(".weight") not in weights}
    return Layout(weights, {}, {name: tensor for name, tensor in others.items() if tensor is not before[name]})
