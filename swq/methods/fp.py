"""The full-precision reference as a method: it leaves every block as it is."""

from __future__ import annotations

from dataclasses import dataclass

from swq.methods.base import BlockContext, BlockQuantizer, Method


@dataclass(frozen=True)
class FullPrecision(Method):
    """No quantization: the row that losses are measured from. It has no settings."""

    title = "FP"
    needs_scheme = False

    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        raise AssertionError("a method without a scheme is never asked for a quantizer")
