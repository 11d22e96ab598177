"""What TesseraQ learns in a block, round by round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from swq.methods.quantizer import BlockQuantizer, BlockResult, RangeQuantizer
from swq.methods.tesseraq.rounding import AdaptiveRounding

if TYPE_CHECKING:
    from swq.methods.tesseraq import TesseraQ

SCALE_DECAY = 1e-4  # weight decay of the scale parameter, as in the authors' code


class TesseraQBlock(BlockQuantizer):
    """A start method and, after its last round, the rounding variables and scale factors of every linear of a block."""

    def __init__(self, settings: TesseraQ, start: RangeQuantizer) -> None:
        super().__init__()
        self.settings = settings
        self.start = start
        self.rounds = start.rounds + len(settings.thresholds)
        self.linears = nn.ModuleDict()
        self.changed: dict[str, Tensor] = {}

    def forward(self) -> dict[str, Tensor]:
        if not self.linears:
            return self.start()
        return {f"{name}.weight": linear() for name, linear in self.each()} | self.changed

    def aug_loss(self, round_index: int) -> bool:
        """The start's setting while the start trains. TesseraQ's own recipes do not use it."""
        return round_index < self.start.rounds and self.start.aug_loss(round_index)

    def start_round(self, round_index: int) -> Optimizer:
        """Harden, then begin with a fresh Adam, so that no moments of hardened variables are left."""
        own = round_index - self.start.rounds
        if own < 0:
            return self.start.start_round(round_index)
        if own == 0:
            self._lay_out()
        linears = [linear for _, linear in self.each()]
        for linear in linears:
            linear.harden(self.settings.thresholds[own])
        rounding = {"params": [linear.rounding for linear in linears], "lr": self.settings.lr}
        factors = {"params": [linear.scale_factor for linear in linears], "lr": self.settings.scale_lr}
        return Adam([rounding, factors | {"weight_decay": SCALE_DECAY}], fused=True)  # one pass over the variables

    def batches(self, round_index: int, n_samples: int, generator: torch.Generator) -> Iterator[list[int]]:
        """Random samples in each step, none twice."""
        if round_index < self.start.rounds:
            yield from self.start.batches(round_index, n_samples, generator)
            return
        for _ in range(self.settings.iterations):
            yield torch.randperm(n_samples, generator=generator)[: self.settings.batch_size].tolist()

    @torch.no_grad()
    def finalize(self) -> BlockResult:
        learned = {f"start.{name}": value for name, value in self.start.learned().items()}
        result = BlockResult({}, learned, self.changed, self.start.unrounded)
        for name, linear in self.each():
            result.weights[name] = linear.quantized(self.start.scale_dtype)
            result.learned[f"{name}.scale_factor"] = linear.scale_factor.detach().cpu()
        return result

    def each(self) -> Iterator[tuple[str, AdaptiveRounding]]:
        """Yield the linears by their path inside the block."""
        for key, linear in self.linears.items():
            assert isinstance(linear, AdaptiveRounding)
            yield key.replace("/", "."), linear

    @torch.no_grad()
    def _lay_out(self) -> None:
        layout = self.start.layout()
        for name, weight in layout.weights.items():
            key = name.replace(".", "/")  # a ModuleDict allows no dots
            self.linears[key] = AdaptiveRounding(weight, *layout.ranges[name], self.start.scheme)
        self.changed = self.start.stored(layout.changed)
        self.start.requires_grad_(False)
