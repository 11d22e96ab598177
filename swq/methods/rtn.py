"""Round to nearest: each weight to the nearest code of its group's min-max range. No data, nothing learned."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from swq.methods.base import BlockContext, BlockQuantizer, BlockResult, Method
from swq.quant.affine import quantize_weight


@dataclass(frozen=True)
class RTN(Method):
    """Round to nearest. It has no settings."""

    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        return RTNBlock(block)


class RTNBlock(BlockQuantizer):
    """Min-max ranges of every linear."""

    def __init__(self, block: BlockContext) -> None:
        super().__init__()
        self.weights = {
            name: quantize_weight(linear.weight, block.scheme, scale_dtype=block.scale_dtype)
            for name, linear in block.linears.items()
        }

    def forward(self) -> dict[str, Tensor]:
        return {f"{name}.weight": weight.dequantize() for name, weight in self.weights.items()}

    def finalize(self) -> BlockResult:
        return BlockResult(self.weights)
