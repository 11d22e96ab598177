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
from swq.methods.base import BlockContext, BlockQuantizer, BlockResult, Method
from swq.quant.affine import Scheme, fake_quantize, quantize_weight, weight_range

INITIAL_FACTOR = 4.0  # sigmoid(4) = 0.982: the range starts almost unclipped


@dataclass(frozen=True)
class OmniQuant(Method):
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

    trains = True

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"omniquant: epochs is {self.epochs}; it must be at least 1")
        if not 0 < self.lwc_lr < float("inf") or not 0 <= self.weight_decay < float("inf"):
            raise UserError("omniquant: lwc_lr must be above 0 and weight_decay at least 0, both finite")

    def steps_per_epoch(self, n_samples: int) -> int:
        return n_samples

    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        return OmniQuantBlock(self, block)


class LearnableClipping(nn.Module):
    """One linear's weight, with a learned factor for each end of each group's range.

    `low_factor` and `up_factor` are (out, n_groups, 1); the range is (min * sigmoid(low), max * sigmoid(up)).
    """

    grouped: Tensor
    wmin: Tensor
    wmax: Tensor

    def __init__(self, weight: Tensor, scheme: Scheme) -> None:
        super().__init__()
        self.scheme = scheme
        self.weight_shape = weight.shape
        self.register_buffer("grouped", scheme.group(weight.detach().float()))
        wmin, wmax = weight_range(self.grouped)
        self.register_buffer("wmin", wmin)
        self.register_buffer("wmax", wmax)
        self.low_factor = nn.Parameter(torch.full_like(wmin, INITIAL_FACTOR))
        self.up_factor = nn.Parameter(torch.full_like(wmax, INITIAL_FACTOR))

    def clipped_range(self) -> tuple[Tensor, Tensor]:
        return self.wmin * self.low_factor.sigmoid(), self.wmax * self.up_factor.sigmoid()

    def forward(self) -> Tensor:
        return fake_quantize(self.grouped, *self.clipped_range(), self.scheme.n_bits).reshape(self.weight_shape)


class OmniQuantBlock(BlockQuantizer):
    """The clipping factors of every linear of a block."""

    rounds = 1

    def __init__(self, settings: OmniQuant, block: BlockContext) -> None:
        super().__init__()
        self.settings = settings
        self.scale_dtype = block.scale_dtype
        self.names = tuple(block.linears)
        self.clippings = nn.ModuleList(
            LearnableClipping(linear.weight, block.scheme) for linear in block.linears.values()
        )

    def forward(self) -> dict[str, Tensor]:
        return {f"{name}.weight": clipping() for name, clipping in zip(self.names, self.clippings, strict=True)}

    def start_round(self, round_index: int) -> Optimizer:
        return AdamW(self.parameters(), lr=self.settings.lwc_lr, weight_decay=self.settings.weight_decay)

    def batches(self, round_index: int, n_samples: int, generator: torch.Generator) -> Iterator[list[int]]:
        """One sample a step, in their order, every epoch."""
        for _ in range(self.settings.epochs):
            yield from ([sample] for sample in range(n_samples))

    @torch.no_grad()
    def finalize(self) -> BlockResult:
        result = BlockResult({})
        for name, clipping in zip(self.names, self.clippings, strict=True):
            assert isinstance(clipping, LearnableClipping)
            weight = clipping.grouped.reshape(clipping.weight_shape)
            low, high = clipping.clipped_range()
            result.weights[name] = quantize_weight(weight, clipping.scheme, low, high, self.scale_dtype)
            result.learned[f"{name}.low_factor"] = clipping.low_factor.detach().cpu()
            result.learned[f"{name}.up_factor"] = clipping.up_factor.detach().cpu()
        return result
