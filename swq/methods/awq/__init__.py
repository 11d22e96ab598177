"""AWQ: per-channel scales that protect the channels with large inputs, then ranges searched group by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swq.methods.base import RangeMethod

if TYPE_CHECKING:
    from swq.methods.quantizer import BlockContext, RangeQuantizer


@dataclass(frozen=True)
class AWQ(RangeMethod):
    """Settings of AWQ.

    Attributes:
        scale: search scales for the scale pairs of the model's family.
        clip: search ranges, for every linear except those of queries and keys.
    """

    scale: bool = True
    clip: bool = True

    title = "AWQ"
    needs_calibration = True

    @property
    def label(self) -> str:
        return self.title if self.scale else f"{self.title} (clips only)"

    @property
    def needs_pairs(self) -> bool:  # type: ignore[override]
        return self.scale

    def quantizer(self, block: BlockContext) -> RangeQuantizer:
        from swq.methods.awq.search import searched

        return searched(self, block)
