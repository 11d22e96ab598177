"""Round to nearest: each weight to the nearest code of its group's min-max range. No data, nothing learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swq.methods.base import RangeMethod

if TYPE_CHECKING:
    from swq.methods.quantizer import BlockContext, RangeQuantizer


@dataclass(frozen=True)
class RTN(RangeMethod):
    """Round to nearest. It has no settings."""

    title = "RTN"

    def quantizer(self, block: BlockContext) -> RangeQuantizer:
        from swq.methods.quantizer import FixedLayout, Layout
        from swq.quant.affine import weight_range

        weights = {name: linear.weight.detach().float() for name, linear in block.linears.items()}
        ranges = {name: weight_range(block.scheme.group(weight)) for name, weight in weights.items()}
        return FixedLayout(block, Layout(weights, ranges))
