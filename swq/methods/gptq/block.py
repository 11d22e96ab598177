"""GPTQ over the linears of one block, in forward order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swq.errors import UserError
from swq.methods.gptq.solve import solve
from swq.methods.quantizer import BlockContext, BlockQuantizer, BlockResult
from swq.quant.affine import QuantizedWeight
from swq.quant.moments import ALL_TOKENS

if TYPE_CHECKING:
    from swq.methods.gptq import GPTQ


class GPTQBlock(BlockQuantizer):
    """A block's rounded weights. Nothing is learned."""

    def __init__(self, settings: GPTQ, block: BlockContext) -> None:
        super().__init__()
        self.weights: dict[str, QuantizedWeight] = {}
        stages = stages_of(block)
        together = {} if settings.true_sequential else block.moments([s[0] for s in stages], None, ALL_TOKENS)
        for stage in stages:
            moments = together or block.moments(stage[:1], None, ALL_TOKENS, self.forward())
            second = moments[stage[0]].second[0]
            for name in stage:
                weight = block.linears[name].weight.detach()
                options = block.scheme, block.scale_dtype, settings.percdamp, settings.act_order
                try:
                    self.weights[name] = solve(weight, second, *options)
                except UserError as error:
                    raise UserError(f"{name}: {error}") from error

    def forward(self) -> dict[str, Tensor]:
        return {f"{name}.weight": weight.dequantize() for name, weight in self.weights.items()}

    @torch.no_grad()
    def finalize(self) -> BlockResult:
        return BlockResult(self.weights)


def stages_of(block: BlockContext) -> list[tuple[str, ...]]:
    """Return the linears in forward order; those known to read the same input stand together."""
    readers = {reader: pair.readers for pair in block.pairs for reader in pair.readers}
    return list(dict.fromkeys(readers.get(name, (name,)) for name in block.linears))
