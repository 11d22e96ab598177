"""OmniQuant's learnable weight clipping (LWC), trained block by block.

Source: Shao et al., OmniQuant (arXiv 2308.13137), eq. 2 and section 4.1; `aug_loss` as in its public code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from swq.errors import UserError
from swq.methods.base import BlockContext, Layout, RangeMethod, RangeQuantizer
from swq.quant.affine import Scheme, weight_range

INITIAL_FACTOR = 4.0  # sigmoid(4) = 0.982: the range starts almost unclipped


@dataclass(frozen=True)
class OmniQuant(RangeMethod):
    """Settings of OmniQuant for weights.

    Attributes:
        epochs: passes over the calibration samples per block; the authors use 20, and 40 at 2 bits.
        lwc_lr: learning rate of the clipping factors.
        weight_decay: decoupled weight decay on them.
        aug_loss: add the same loss against the full-precision block's output on the quantized path's input; the
            authors use it for LLaMA at 2 bits.
    """

    epochs: int = 20
    lwc_lr: float = 0.01
    weight_decay: float = 0.0
    aug_loss: bool = False

    needs_calibration = True
    trains = True

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"omniquant: epochs is {self.epochs}; it must be at least 1")
        if not 0 < self.lwc_lr < float("inf") or not 0 <= self.weight_decay < float("inf"):
            raise UserError("omniquant: lwc_lr must be above 0 and weight_decay at least 0, both finite")

    def epoch_lengths(self, n_samples: int) -> list[int]:
        return [n_samples] * self.epochs

    def quantizer(self, block: BlockContext) -> RangeQuantizer:
        return OmniQuantBlock(self, block)


class LearnableClipping(nn.Module):
    """One linear's weight, with a learned factor for each end of each group's range.

    `low_factor` and `up_factor` are (out, n_groups, 1); the range is (min * sigmoid(low), max * sigmoid(up)).
    """

    weight: Tensor
    wmin: Tensor
    wmax: Tensor

    def __init__(self, weight: Tensor, scheme: Scheme) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().float())
        wmin, wmax = weight_range(scheme.group(self.weight))
        self.register_buffer("wmin", wmin)
        self.register_buffer("wmax", wmax)
        self.low_factor = nn.Parameter(torch.full_like(wmin, INITIAL_FACTOR))
        self.up_factor = nn.Parameter(torch.full_like(wmax, INITIAL_FACTOR))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return the clipped range."""
        return self.wmin * self.low_factor.sigmoid(), self.wmax * self.up_factor.sigmoid()


class OmniQuantBlock(RangeQuantizer):
    """The clipping factors of every linear of a block."""

    rounds = 1

    def __init__(self, settings: OmniQuant, block: BlockContext) -> None:
        super().__init__(block)
        self.settings = settings
        self.names = tuple(block.linears)
        self.clippings = nn.ModuleList(
            LearnableClipping(linear.weight, block.scheme) for linear in block.linears.values()
        )

    def layout(self) -> Layout:
        clippings = dict(zip(self.names, self.clippings, strict=True))
        weights = {name: clipping.get_buffer("weight") for name, clipping in clippings.items()}
        return Layout(weights, {name: clipping() for name, clipping in clippings.items()})

    def learned(self) -> dict[str, Tensor]:
        named = ((name, p) for name, c in zip(self.names, self.clippings, strict=True) for p in c.named_parameters())
        return {f"{name}.{factor}": value.detach().cpu() for name, (factor, value) in named}

    def aug_loss(self, round_index: int) -> bool:
        return self.settings.aug_loss

    def start_round(self, round_index: int) -> Optimizer:
        return AdamW(self.parameters(), lr=self.settings.lwc_lr, weight_decay=self.settings.weight_decay)

    def batches(self, round_index: int, n_samples: int, generator: torch.Generator) -> Iterator[list[int]]:
        """One sample a step, in their order, every epoch."""
        for _ in range(self.settings.epochs):
            yield from ([sample] for sample in range(n_samples))
