"""The full-precision reference as a method: it changes no block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swq.methods.base import Method

if TYPE_CHECKING:
    from swq.methods.quantizer import BlockContext, BlockQuantizer


@dataclass(frozen=True)
class FullPrecision(Method):
    """No quantization: the reference that the accuracy loss of other rows is measured from. It has no settings."""

    title = "FP"
    needs_scheme = False

    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        raise AssertionError("a method without a scheme is never asked for a quantizer")
