"""Round to nearest: each weight to the nearest code of its group's min-max range. No data, nothing learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from swq.methods.base import BlockQuantizer, BlockResult, Method
from swq.quant.affine import Scheme, quantize_weight


@dataclass(frozen=True)
class RTN(Method):
    """Round to nearest. It has no settings."""

    def quantizer(self, linears: dict[str, nn.Linear], scheme: Scheme, scale_dtype: torch.dtype) -> BlockQuantizer:
        return RTNQuantizer(linears, scheme, scale_dtype)


class RTNQuantizer(BlockQuantizer):
    """Min-max ranges of every linear."""

    def __init__(self, linears: dict[str, nn.Linear], scheme: Scheme, scale_dtype: torch.dtype) -> None:
        super().__init__()
        self.weights = {
            name: quantize_weight(linear.weight, scheme, scale_dtype=scale_dtype) for name, linear in linears.items()
        }

    def forward(self) -> dict[str, Tensor]:
        return {f"{name}.weight": weight.dequantize() for name, weight in self.weights.items()}

    def finalize(self) -> BlockResult:
        return BlockResult(self.weights)
