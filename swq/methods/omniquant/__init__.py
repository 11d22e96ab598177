"""OmniQuant: learnable weight clipping (LWC) and, optionally, an equivalent transformation (LET), block by block.

Source: Shao et al., OmniQuant (arXiv 2308.13137), eq. 2 and section 4.1; `aug_loss` as in its public code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swq.errors import UserError
from swq.methods.base import RangeMethod

if TYPE_CHECKING:
    from swq.methods.quantizer import BlockContext, RangeQuantizer


@dataclass(frozen=True)
class OmniQuant(RangeMethod):
    """Settings of OmniQuant for weights.

    Attributes:
        epochs: passes over the calibration samples per block; the authors use 20, and 40 at 2 bits.
        lwc_lr: learning rate of the clipping factors.
        weight_decay: decoupled weight decay on them.
        aug_loss: add the same loss against the full-precision block's output on the quantized path's input; the
            authors use it for LLaMA at 2 bits.
        let: also learn scales between norms and the linears that read them, and between values and the attention's
            output; the authors do this for OPT.
        let_lr: learning rate of the scales and shifts of LET.
        let_shift: learn shifts too, where the model has biases. The authors do not for weight-only quantization; the SW
            authors' fork does.
        let_query_key: learn a scale between queries and keys too, as the authors' code does. Where positions are
            rotated into both (LLaMA), it changes what the block computes. Where they are not (OPT), it changes nothing.
        let_alpha: SmoothQuant's migration strength, for the initial scales: max|x|^alpha / max|W|^(1 - alpha).
    """

    epochs: int = 20
    lwc_lr: float = 0.01
    weight_decay: float = 0.0
    aug_loss: bool = False
    let: bool = False
    let_lr: float = 5e-3
    let_shift: bool = False
    let_alpha: float = 0.5
    let_query_key: bool = False

    title = "OmniQuant"
    needs_calibration = True
    trains = True

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"omniquant: epochs is {self.epochs}; it must be at least 1")
        if not 0 < self.lwc_lr < float("inf") or not 0 <= self.weight_decay < float("inf"):
            raise UserError("omniquant: lwc_lr must be above 0 and weight_decay at least 0, both finite")
        if not 0 < self.let_lr < float("inf") or not 0 <= self.let_alpha <= 1:
            raise UserError("omniquant: let_lr must be above 0 and finite, let_alpha from 0 to 1")
        if self.let_shift and not self.let:
            raise UserError("omniquant: let_shift needs let, which is off")
        if self.let_query_key and not self.let:
            raise UserError("omniquant: let_query_key needs let, which is off")

    @property
    def label(self) -> str:
        named = (("LET", self.let), ("shift", self.let_shift), ("queries and keys", self.let_query_key))
        parts = [name for name, chosen in named if chosen]
        return f"{self.title} ({', '.join(parts)})" if parts else self.title

    @property
    def needs_pairs(self) -> bool:  # type: ignore[override]
        return self.let

    def epoch_lengths(self, n_samples: int) -> list[int]:
        return [n_samples] * self.epochs

    def quantizer(self, block: BlockContext) -> RangeQuantizer:
        from swq.methods.omniquant.block import OmniQuantBlock

        return OmniQuantBlock(self, block)
