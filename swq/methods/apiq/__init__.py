"""ApiQ-bw: learned clipping and a low-rank adapter for each linear, trained together, block by block.

With `saliency_weight` above 0 a term is added that keeps the most salient weights where they were.

Source: Liao et al., ApiQ (arXiv 2402.05147), section 4; Cao and Aref, saliency-aware partial retraining
(arXiv 2504.13932). docs/departures.md names what these leave open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swq.errors import UserError
from swq.methods.base import Method
from swq.methods.omniquant import OmniQuant

if TYPE_CHECKING:
    from swq.methods.quantizer import BlockContext, BlockQuantizer


@dataclass(frozen=True)
class ApiQ(Method):
    """Settings of ApiQ-bw. The rates are those of its authors' code.

    Attributes:
        rank: of every adapter; 0 has none, and is OmniQuant's learned clipping.
        epochs: passes over the calibration samples per block.
        lwc_lr: learning rate of the clipping factors.
        lwc_weight_decay: decoupled weight decay on them.
        adapter_lr: learning rate of the adapters.
        adapter_weight_decay: decoupled weight decay on them.
        aug_loss: as in OmniQuant.
        saliency_weight: of the term sum(s * (w' - w)^2) / sum(s * w^2) over the weights w of a block, with w' what
            replaces w, and s its saliency: the mean squared gradient of the model's loss.
        saliency_samples: calibration samples for that mean.
    """

    rank: int = 64
    epochs: int = 20
    lwc_lr: float = 5e-3
    lwc_weight_decay: float = 0.1
    adapter_lr: float = 5e-4
    adapter_weight_decay: float = 0.1
    aug_loss: bool = False
    saliency_weight: float = 0.0
    saliency_samples: int = 16

    title = "ApiQ"
    needs_calibration = True
    trains = True

    def __post_init__(self) -> None:
        for name, least in (("rank", 0), ("epochs", 1), ("saliency_samples", 1)):
            if (number := getattr(self, name)) < least:
                raise UserError(f"apiq: {name} is {number}; it must be at least {least}")
        for name in ("lwc_lr", "adapter_lr"):
            if not 0 < (rate := getattr(self, name)) < float("inf"):
                raise UserError(f"apiq: {name} is {rate}; it must be above 0 and finite")
        for name in ("lwc_weight_decay", "adapter_weight_decay", "saliency_weight"):
            if not 0 <= (weight := getattr(self, name)) < float("inf"):
                raise UserError(f"apiq: {name} is {weight}; it must be at least 0 and finite")

    @property
    def label(self) -> str:
        title = f"{self.title} + saliency" if self.saliency_weight else self.title
        return title if self.rank == ApiQ.rank else f"{title} (rank {self.rank})"

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """The adapters start from random numbers."""
        return self.rank > 0

    @property
    def gradient_samples(self) -> int:
        return self.saliency_samples if self.saliency_weight else 0

    @property
    def clipping(self) -> OmniQuant:
        """The learned clipping, as OmniQuant's settings."""
        return OmniQuant(self.epochs, self.lwc_lr, self.lwc_weight_decay, self.aug_loss)

    def check_shapes(self, shapes: Mapping[str, tuple[int, int]]) -> None:
        for path, (outputs, inputs) in shapes.items():
            if self.rank > min(outputs, inputs):
                least = f"{path} is {outputs} x {inputs}, which takes at most {min(outputs, inputs)}"
                raise UserError(f"apiq: rank {self.rank} is too large: {least}")

    def epoch_lengths(self, n_samples: int) -> list[int]:
        return self.clipping.epoch_lengths(n_samples)

    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        from swq.methods.apiq.block import ApiQBlock

        return ApiQBlock(self, block)
