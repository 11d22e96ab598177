"""TesseraQ: progressive adaptive rounding, with the dequantization scale trained beside it.

Each weight's rounding, down or up, is a variable that starts at the weight's fractional part. In each round, the
variables closest to 0 or 1 are hardened to that value and the rest are trained further, until all are hard.

Source: Li et al., TesseraQ (arXiv 2410.19103), sections 3.2 and 3.3; the order of operations is that of the SW authors'
public fork.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from swq.errors import UserError
from swq.methods.awq import AWQ
from swq.methods.base import BlockContext, BlockQuantizer, BlockResult, Method, RangeMethod, RangeQuantizer
from swq.quant.affine import QuantizedWeight, Scheme, choose_scale, choose_zero_point, stored_scale

LOW, HIGH = -0.1, 1.1  # ends of the rectified sigmoid: it reaches 0 and 1 at finite arguments
SCALE_DECAY = 1e-4  # weight decay of the scale parameter, as in the authors' code
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
        return TesseraQBlock(self, self.start.quantizer(block))


def rectified_sigmoid(x: Tensor) -> Tensor:
    """A sigmoid stretched to (-0.1, 1.1) and cut to [0, 1]."""
    return ((HIGH - LOW) * x.sigmoid() + LOW).clamp(0, 1)


def inverse_rectified_sigmoid(y: Tensor) -> Tensor:
    """The argument at which `rectified_sigmoid` is `y`, for y in [0, 1)."""
    return -torch.log((HIGH - LOW) / (y - LOW) - 1)


class _SoftCodes(torch.autograd.Function):
    """clamp(floor + rectified_sigmoid(rounding) + z, 0, quant_max) - z, with its gradient written out.

    Autograd would keep five tensors as large as the weight for it; this keeps one, the slope, which is 0 wherever
    either clamp holds.
    """

    @staticmethod
    def forward(ctx: Any, floor: Tensor, rounding: Tensor, zero_point: Tensor, quant_max: int) -> Tensor:
        slope = rounding.sigmoid()
        stretched = (slope * (HIGH - LOW)).add_(LOW)
        height = stretched.clamp(0, 1)
        inside = height == stretched
        codes = height.add_(floor)
        clamped = codes.clamp(-zero_point, quant_max - zero_point)
        inside &= clamped == codes
        ctx.save_for_backward(slope.addcmul_(slope, slope, value=-1).mul_(HIGH - LOW).mul_(inside))
        return clamped

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return None, grad * slope, None, None


class AdaptiveRounding(nn.Module):
    """One linear's weight with a rounding variable per weight, and a factor on the scale per group.

    `rounding` is (out, n_groups, group_size), +inf and -inf where it is hard; `scale_factor` is (out, n_groups, 1).
    """

    floor: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, weight: Tensor, wmin: Tensor, wmax: Tensor, scheme: Scheme) -> None:
        super().__init__()
        self.scheme = scheme
        self.weight_shape = weight.shape
        scale = choose_scale(wmin, wmax, scheme.n_bits)
        ratio = scheme.group(weight.float()) / scale
        self.register_buffer("floor", ratio.floor())
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", choose_zero_point(wmin, scale, scheme.n_bits))
        self.rounding = nn.Parameter(inverse_rectified_sigmoid(ratio - self.floor))
        self.scale_factor = nn.Parameter(torch.zeros_like(scale))

    def trained_scale(self) -> Tensor:
        """The dequantization scale, (out, n_groups, 1): the initial scale times a factor in [0, 2] that starts at 1."""
        return self.scale * (2 * rectified_sigmoid(self.scale_factor))

    def forward(self) -> Tensor:
        codes = _SoftCodes.apply(self.floor, self.rounding, self.zero_point, self.scheme.quant_max)
        return (codes * self.trained_scale()).reshape(self.weight_shape)

    @torch.no_grad()
    def harden(self, soft_share: float) -> None:
        """Round all variables to 0 or 1, except the `soft_share` (about) of them that are closest to 0.5."""
        height = rectified_sigmoid(self.rounding)
        margin = quantile((height - 0.5).abs().flatten(), soft_share)
        self.rounding[height > 0.5 + margin] = torch.inf
        self.rounding[height < 0.5 - margin] = -torch.inf

    @torch.no_grad()
    def quantized(self, scale_dtype: torch.dtype) -> QuantizedWeight:
        """Round every variable to the nearer of 0 and 1."""
        up = (self.rounding > 0).float()
        codes = (self.floor + up + self.zero_point).clamp(0, self.scheme.quant_max).reshape(self.weight_shape)
        scale = stored_scale(self.trained_scale(), scale_dtype)
        return QuantizedWeight(codes.to(torch.uint8), scale, self.zero_point.to(torch.uint8), self.scheme)


def quantile(values: Tensor, share: float) -> Tensor:
    """Return the linearly interpolated quantile of a flat tensor. torch.quantile refuses more than 2^24 values."""
    rank = share * (values.numel() - 1)
    below = int(rank)
    low = values.kthvalue(below + 1).values
    high = values.kthvalue(min(below + 2, values.numel())).values
    return torch.lerp(low, high, rank - below)


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

    def finalize(self) -> BlockResult:
        result = BlockResult({}, {f"start.{name}": value for name, value in self.start.learned().items()}, self.changed)
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
