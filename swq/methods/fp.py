"""The full-precision reference as a method: it leaves every block as it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from swq.methods.base import BlockQuantizer, BlockResult, Method
from swq.quant.affine import Scheme


@dataclass(frozen=True)
class FullPrecision(Method):
    """No quantization: the row that losses are measured from. It has no settings."""

    needs_scheme = False

    def quantizer(self, linears: dict[str, nn.Linear], scheme: Scheme, scale_dtype: torch.dtype) -> BlockQuantizer:
        return UnchangedBlock()


class UnchangedBlock(BlockQuantizer):
    """Replaces nothing."""

    def forward(self) -> dict[str, Tensor]:
        return {}

    def finalize(self) -> BlockResult:
        return BlockResult({})
