"""TesseraQ: progressive adaptive rounding, with the dequantization scale trained beside it.

Each weight's rounding, down or up, is a variable that starts at the weight's fractional part. In each round, the
variables closest to 0 or 1 are hardened to that value and the rest are trained further, until all are hard.

Source: Li et al., TesseraQ (arXiv 2410.19103), sections 3.2 and 3.3; the order of operations is that of the SW authors'
public fork.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from swq.errors import UserError
from swq.methods.awq import AWQ
from swq.methods.base import Method, RangeMethod

if TYPE_CHECKING:
    from swq.methods.quantizer import BlockContext, BlockQuantizer

THRESHOLDS = (0.75, 0.5, 0.375, 0.25, 0.125, 0.09, 0.06, 0.04, 0.02, 0.005)


@dataclass(frozen=True)
class TesseraQ(Method):
    """Settings of TesseraQ.

    Attributes:
        thresholds: share of the rounding variables that stays soft in each round, in falling order.
        iterations: training steps per round.
        batch_size: samples per step; fewer if there are fewer.
        lr: learning rate of the rounding variables.
        scale_lr: learning rate of the dequantization scale's factor.
        start: the method whose weights and ranges rounding starts from. The SW authors' fork uses `AWQ(scale=False)`:
            searched ranges. TesseraQ's authors use `AWQ()`, and `OmniQuant` at 2 bits without groups. `RTN()` is plain
            min-max. A start that trains does so first, block by block, with the same loss.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"arbitrary_types_allowed": True}

    thresholds: tuple[float, ...] = THRESHOLDS
    iterations: int = 250
    batch_size: int = 2
    lr: float = 5e-4
    scale_lr: float = 5e-4
    start: RangeMethod = field(default_factory=lambda: AWQ(scale=False))

    title = "TesseraQ"
    needs_calibration = True
    trains = True
    draws = True  # the samples of a step

    @property
    def label(self) -> str:
        return self.title if self.start == TesseraQ().start else f"{self.title} (from {self.start.label})"

    @property
    def needs_pairs(self) -> bool:  # type: ignore[override]
        return self.start.needs_pairs

    def __post_init__(self) -> None:
        if not self.thresholds or not all(0 <= t < 1 for t in self.thresholds):
            raise UserError(f"tesseraq: thresholds are {self.thresholds}; each must be at least 0 and below 1")
        if list(self.thresholds) != sorted(self.thresholds, reverse=True):
            raise UserError(
                f"tesseraq: thresholds are {self.thresholds}; they must fall, because hard variables stay hard"
            )
        if self.iterations < 1 or self.batch_size < 1:
            raise UserError("tesseraq: iterations and batch_size must be at least 1")
        if not (0 < self.lr < float("inf") and 0 <= self.scale_lr < float("inf")):
            raise UserError("tesseraq: lr must be above 0 and scale_lr at least 0, both finite")

    def epoch_lengths(self, n_samples: int) -> list[int]:
        """The start's epochs, then one epoch per round: the steps after a hardening."""
        return self.start.epoch_lengths(n_samples) + [self.iterations] * len(self.thresholds)

    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        from swq.methods.tesseraq.block import TesseraQBlock

        return TesseraQBlock(self, self.start.quantizer(block))
