"""The full-precision reference as a method: it leaves every block as it is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from swq.methods.base import BlockContext, BlockQuantizer, BlockResult, Method


@dataclass(frozen=True)
class FullPrecision(Method):
    """No quantization: the row that losses are measured from. It has no settings."""

    needs_scheme = False

    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        return UnchangedBlock()


class UnchangedBlock(BlockQuantizer):
    """Replaces nothing."""

    def forward(self) -> dict[str, Tensor]:
        return {}

    def finalize(self) -> BlockResult:
        return BlockResult({})
