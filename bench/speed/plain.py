"""A plain training loop: block reconstruction the straightforward way, as a reference for speed.

FROZEN. Ratios to this loop are compared over time, so it must not be optimised, and it must not share code with what is
measured. Only a wrong result is a reason to change it; `tests/bench/speed/test_plain.py` compares its numbers with the
product's.

Every formula is written as it stands in its paper, from the weights on and in every step, and autograd makes the
gradients. Its needs are torch and a block.

Sources: OmniQuant (arXiv 2308.13137) eq. 2; TesseraQ (arXiv 2410.19103) sections 3.2 and 3.3; the sliced-Wasserstein
loss of arXiv 2601.07878.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam, AdamW, Optimizer


def grouped(weight: Tensor, group_size: int | None) -> Tensor:
    """View (out, in) as (out, n_groups, group_size)."""
    return weight.detach().float().reshape(len(weight), -1, group_size or weight.shape[1])


def round_through(x: Tensor) -> Tensor:
    """Round; in the backward pass, the identity."""
    return (x.round() - x).detach() + x


class PlainOmniQuant(nn.Module):
    """Learnable weight clipping: a factor for each end of each group's range, through a sigmoid."""

    def __init__(self, linears: dict[str, nn.Linear], n_bits: int, group_size: int | None, lr: float = 0.01) -> None:
        super().__init__()
        self.names, self.quant_max, self.lr = tuple(linears), 2**n_bits - 1, lr
        self.weights = [grouped(linear.weight, group_size) for linear in linears.values()]
        self.low = nn.ParameterList(torch.full_like(weight[..., :1], 4.0) for weight in self.weights)
        self.up = nn.ParameterList(torch.full_like(weight[..., :1], 4.0) for weight in self.weights)

    def optimizer(self) -> Optimizer:
        return AdamW(self.parameters(), lr=self.lr, weight_decay=0.0)

    def forward(self) -> dict[str, Tensor]:
        """Return the fake-quantized weights (out, in), by their name in the block's state dict."""
        fake = {}
        for name, weight, low, up in zip(self.names, self.weights, self.low, self.up, strict=True):
            bottom = weight.amin(dim=-1, keepdim=True) * torch.sigmoid(low)
            top = weight.amax(dim=-1, keepdim=True) * torch.sigmoid(up)
            scale = (top - bottom).clamp(min=1e-5) / self.quant_max
            zero_point = (-(bottom / scale).round()).clamp(0, self.quant_max).detach()
            codes = (round_through(weight / scale) + zero_point).clamp(0, self.quant_max)
            fake[f"{name}.weight"] = ((codes - zero_point) * scale).reshape(len(weight), -1)
        return fake


class PlainTesseraQ(nn.Module):
    """Adaptive rounding from round to nearest: a variable per weight that says down or up, and a factor per scale.

    Args:
        soft_share: share of the variables, the closest to 0.5, that stay soft; the others are hardened.
    """

    def __init__(
        self,
        linears: dict[str, nn.Linear],
        n_bits: int,
        group_size: int | None,
        soft_share: float,
        lr: float = 5e-4,
    ) -> None:
        super().__init__()
        self.names, self.quant_max, self.lr = tuple(linears), 2**n_bits - 1, lr
        self.weights = [grouped(linear.weight, group_size) for linear in linears.values()]
        self.scales, self.zero_points = [], []
        self.rounding, self.factor = nn.ParameterList(), nn.ParameterList()
        for weight in self.weights:
            bottom, top = weight.amin(dim=-1, keepdim=True), weight.amax(dim=-1, keepdim=True)
            scale = (top - bottom).clamp(min=1e-5) / self.quant_max
            self.scales.append(scale)
            self.zero_points.append((-(bottom / scale).round()).clamp(0, self.quant_max))
            fraction = weight / scale - (weight / scale).floor()
            self.rounding.append(_hardened(-torch.log(1.2 / (fraction + 0.1) - 1), soft_share))
            self.factor.append(torch.zeros_like(scale))

    def optimizer(self) -> Optimizer:
        rounding: dict[str, Any] = {"params": list(self.rounding)}
        return Adam([rounding, {"params": list(self.factor), "weight_decay": 1e-4}], lr=self.lr)

    def forward(self) -> dict[str, Tensor]:
        """Return the softly rounded weights (out, in), by their name in the block's state dict."""
        fake = {}
        constants = zip(self.names, self.weights, self.scales, self.zero_points, strict=True)
        for (name, weight, scale, zero_point), rounding, factor in zip(
            constants, self.rounding, self.factor, strict=True
        ):
            codes = ((weight / scale).floor() + _height(rounding) + zero_point).clamp(0, self.quant_max)
            trained = scale * (2 * _height(factor))
            fake[f"{name}.weight"] = ((codes - zero_point) * trained).reshape(len(weight), -1)
        return fake


def _height(variable: Tensor) -> Tensor:
    """The rectified sigmoid: stretched to (-0.1, 1.1) and cut to [0, 1]."""
    return (torch.sigmoid(variable) * 1.2 - 0.1).clamp(0, 1)


def _hardened(rounding: Tensor, soft_share: float) -> Tensor:
    """Set all variables to -inf or inf, except the `soft_share` of them that are closest to 0.5."""
    height = _height(rounding)
    margins = (height - 0.5).abs().flatten().sort().values
    rank = soft_share * (margins.numel() - 1)  # torch.quantile refuses as many values as a large weight has
    margin = torch.lerp(margins[int(rank)], margins[int(rank) + 1], rank - int(rank))
    rounding = torch.where(height > 0.5 + margin, torch.inf, rounding)
    return torch.where(height < 0.5 - margin, -torch.inf, rounding)


def mse(target: Tensor, output: Tensor) -> Tensor:
    return (target - output).float().pow(2).mean()


def l2(target: Tensor, output: Tensor) -> Tensor:
    return (target - output).float().pow(2).sum(dim=-1).mean()


def sliced_wasserstein(target: Tensor, output: Tensor, normals: Tensor) -> Tensor:
    """Project the tokens, sort along each direction, take the mean absolute difference."""
    directions = normals / normals.norm(dim=0, keepdim=True)
    ours = (output.float().reshape(-1, output.shape[-1]) @ directions).sort(dim=0).values
    theirs = (target.float().reshape(-1, target.shape[-1]) @ directions).sort(dim=0).values
    return (theirs - ours).abs().mean()


def loss_of(weights: dict[str, float], target: Tensor, output: Tensor, normals: Tensor | None) -> Tensor:
    """Return the weighted sum of terms, by name: mse, l2, sw."""
    total = output.new_zeros(())
    for name, weight in weights.items():
        if name == "sw":
            assert normals is not None
            total = total + weight * sliced_wasserstein(target, output, normals)
        else:
            total = total + weight * {"mse": mse, "l2": l2}[name](target, output)
    return total


def train_step(
    block: nn.Module,
    arguments: dict[str, Any],
    quantizer: nn.Module,
    optimizer: Optimizer,
    hidden: Tensor,
    target: Tensor,
    weights: dict[str, float],
    n_projections: int = 128,
    normals: Tensor | None = None,
) -> float:
    """Train one step and return its loss.

    Args:
        block: a transformer block; stays unchanged.
        arguments: what it takes besides its input.
        quantizer: `PlainOmniQuant` or `PlainTesseraQ`.
        optimizer: the quantizer's.
        hidden: (B, T, C), its input.
        target: (B, T, C), the full-precision output.
        weights: the loss's terms.
        n_projections: directions of the term sw.
        normals: (C, n_projections) in place of directions that are drawn here.

    Raises:
        FloatingPointError: the loss is NaN or infinite.
    """
    output = functional_call(block, quantizer(), (hidden,), arguments)
    output = output if isinstance(output, Tensor) else output[0]
    if "sw" in weights and normals is None:
        normals = torch.randn(hidden.shape[-1], n_projections, device=hidden.device)
    loss = loss_of(weights, target, output, normals)
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return value
