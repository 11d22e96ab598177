"""OmniQuant: learnable weight clipping (LWC) and, optionally, an equivalent transformation (LET), block by block.

Source: Shao et al., OmniQuant (arXiv 2308.13137), eq. 2 and section 4.1; `aug_loss` as in its public code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from swq.errors import UserError
from swq.methods.base import BlockContext, Layout, RangeMethod, RangeQuantizer
from swq.methods.let import LearnableTransform
from swq.quant.affine import weight_range

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
        let: also learn scales between norms and the linears that read them, and between values and the attention's
            output; the authors do this for OPT.
        let_lr: learning rate of the scales and shifts of LET.
        let_shift: learn shifts too, where the model has biases. The authors do not for weight-only quantization; the SW
            authors' fork does.
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

    @property
    def label(self) -> str:
        parts = [*(["LET"] if self.let else []), *(["shift"] if self.let_shift else [])]
        return f"{self.title} ({', '.join(parts)})" if parts else self.title

    @property
    def needs_pairs(self) -> bool:  # type: ignore[override]
        return self.let

    def epoch_lengths(self, n_samples: int) -> list[int]:
        return [n_samples] * self.epochs

    def quantizer(self, block: BlockContext) -> RangeQuantizer:
        return OmniQuantBlock(self, block)


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
        self.transform = LearnableTransform(block, settings.let_alpha, settings.let_shift) if settings.let else None

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
        return AdamW(groups, weight_decay=self.settings.weight_decay)

    def batches(self, round_index: int, n_samples: int, generator: torch.Generator) -> Iterator[list[int]]:
        """One sample per step, in the same order in every epoch."""
        for _ in range(self.settings.epochs):
            yield from ([sample] for sample in range(n_samples))
