"""GPTQ: rounds a weight column by column, and after each makes up for its error in the columns that are still to come.

Source: Frantar et al., GPTQ (arXiv 2210.17323), algorithm 1. The options `true_sequential` and `act_order` are those
of its public code, which came after the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swq.errors import UserError
from swq.methods.base import Method

if TYPE_CHECKING:
    from swq.methods.quantizer import BlockContext, BlockQuantizer


@dataclass(frozen=True)
class GPTQ(Method):
    """Settings of GPTQ.

    Attributes:
        percdamp: what is added to the diagonal of H, the second moments of a linear's inputs, as a share of its mean.
        act_order: round the columns with the largest inputs first. The ranges are then those of the weights before any
            column was rounded, because a group's columns no longer follow each other.
        true_sequential: a linear's inputs have passed the rounded linears before it in its block. False: the block's
            linears all see the inputs that the block's full-precision linears give them.
    """

    percdamp: float = 0.01
    act_order: bool = False
    true_sequential: bool = True

    title = "GPTQ"
    needs_calibration = True

    def __post_init__(self) -> None:
        if not 0 <= self.percdamp < float("inf"):
            raise UserError(f"gptq: percdamp is {self.percdamp}; it must be at least 0 and finite")

    @property
    def label(self) -> str:
        order = ["act order"] if self.act_order else []
        parts = order if self.true_sequential else [*order, "not sequential"]
        return f"{self.title} ({', '.join(parts)})" if parts else self.title

    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        from swq.methods.gptq.block import GPTQBlock

        return GPTQBlock(self, block)
