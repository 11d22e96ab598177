"""What OmniQuant learns in a block: a clipping factor for each end of each range, and a transformation if there is one.

Source: Shao et al., OmniQuant (arXiv 2308.13137), eq. 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from swq.methods.omniquant.let import LearnableTransform
from swq.methods.quantizer import BlockContext, Layout, RangeQuantizer
from swq.quant.affine import weight_range

if TYPE_CHECKING:
    from swq.methods.omniquant import OmniQuant

INITIAL_FACTOR = 4.0  # sigmoid(4) = 0.982: the range starts almost unclipped


class LearnableClipping(nn.Module):
    """A learned factor for each end of each group's range of one linear.

    `low_factor` and `up_factor` are (out, n_groups, 1); the range is (min * sigmoid(low), max * sigmoid(up)).
    """

    def __init__(self, grouped: Tensor) -> None:
        super().__init__()
        initial = torch.full_like(grouped[..., :1], INITIAL_FACTOR)
        self.low_factor = nn.Parameter(initial.clone())
        self.up_factor = nn.Parameter(initial)

    def forward(self, wmin: Tensor, wmax: Tensor) -> tuple[Tensor, Tensor]:
        """Return the clipped range."""
        return wmin * self.low_factor.sigmoid(), wmax * self.up_factor.sigmoid()


def _transform(settings: OmniQuant, block: BlockContext) -> LearnableTransform:
    return LearnableTransform(block, settings.let_alpha, settings.let_shift, settings.let_query_key)


class OmniQuantBlock(RangeQuantizer):
    """The clipping factors of every linear of a block, and its transformation if there is one."""

    rounds = 1

    def __init__(self, settings: OmniQuant, block: BlockContext) -> None:
        super().__init__(block)
        self.settings = settings
        self.names = tuple(block.linears)
        self.plain = Layout({name: linear.weight.detach().float() for name, linear in block.linears.items()}, {})
        for name, weight in self.plain.weights.items():
            self.plain.ranges[name] = weight_range(self.scheme.group(weight))
        self.clippings = nn.ModuleList(LearnableClipping(self.scheme.group(w)) for w in self.plain.weights.values())
        self.transform = _transform(settings, block) if settings.let else None

    def layout(self) -> Layout:
        layout = self.transform.layout() if self.transform else self.plain
        clippings = zip(self.names, self.clippings, strict=True)
        ranges = {name: clipping(*self._range(layout, name)) for name, clipping in clippings}
        return replace(layout, ranges=ranges)

    def _range(self, layout: Layout, name: str) -> tuple[Tensor, Tensor]:
        """Return a weight's own range. It is computed only once, unless LET changes the weight."""
        return layout.ranges[name] if name in layout.ranges else weight_range(self.scheme.group(layout.weights[name]))

    def learned(self) -> dict[str, Tensor]:
        named = ((name, p) for name, c in zip(self.names, self.clippings, strict=True) for p in c.named_parameters())
        factors = {f"{name}.{factor}": value.detach().cpu() for name, (factor, value) in named}
        return factors | (self.transform.learned() if self.transform else {})

    def aug_loss(self, round_index: int) -> bool:
        return self.settings.aug_loss

    def start_round(self, round_index: int) -> Optimizer:
        groups = [{"params": list(self.clippings.parameters()), "lr": self.settings.lwc_lr}]
        if self.transform:
            groups.append({"params": list(self.transform.parameters()), "lr": self.settings.let_lr})
        on_cpu = self.clippings[0].low_factor.is_cpu
        fused = None if on_cpu else True  # one kernel for all factors; on a CPU it would have other bits
        return AdamW(groups, weight_decay=self.settings.weight_decay, fused=fused)

    def batches(self, round_index: int, n_samples: int, generator: torch.Generator) -> Iterator[list[int]]:
        """One sample per step, in the same order in every epoch."""
        for _ in range(self.settings.epochs):
            yield from ([sample] for sample in range(n_samples))
