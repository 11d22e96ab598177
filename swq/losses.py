"""Losses between a full-precision block's output and the quantized block's output.

Every term is `term(fp_output, quant_output, ...) -> scalar` on tensors (B, T, C). A `Loss` is a weighted sum of terms:
the paper's hybrids are {mse: 0.9, sw: 0.1} and {l2: 0.9, sw: 0.1}. `mse` averages over channels where `l2` sums over
them, so the same weights mean different mixtures under each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from swq.errors import UserError, one_of

if TYPE_CHECKING:
    from torch import Tensor

    Draw = Callable[[tuple[int, int]], Tensor]  # shape (dim, n_projections) -> standard normals, float32


def mse(fp_output: Tensor, quant_output: Tensor) -> Tensor:
    """Mean squared difference over every element, in float32. Source: OmniQuant (arXiv 2308.13137) eq. 1."""
    return (fp_output.float() - quant_output.float()).square().mean()


def l2(fp_output: Tensor, quant_output: Tensor) -> Tensor:
    """Squared difference summed over channels, averaged over tokens, in float32.

    Source: TesseraQ (arXiv 2410.19103).
    """
    return (fp_output.float() - quant_output.float()).square().sum(dim=-1).mean()


@dataclass(frozen=True)
class Loss:
    """A weighted sum of terms, e.g. Loss({"mse": 0.9, "sw": 0.1}).

    Attributes:
        weights: weight of each term by its name in `TERMS`; a term of weight 0 is not computed.
        n_projections: directions K per evaluation of the sliced-Wasserstein term.
        sw_block_size: consecutive tokens pooled into one sample by it; 1 is the token-level distance.
        normalised: scale the sliced-Wasserstein term, once per block before training, to the size that the other terms
            have on the calibration samples. Its weight is then its share, whatever the units of the other terms.
    """

    weights: dict[str, float] = field(default_factory=lambda: {"mse": 1.0})
    n_projections: int = 128
    sw_block_size: int = 1
    normalised: bool = False

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if name not in TERMS:
                raise UserError(one_of("loss term", name, TERMS))
            if not 0 <= weight < float("inf"):
                raise UserError(f"loss weight of {name} is {weight}; it must be finite and not negative")
        if not any(self.weights.values()):
            raise UserError("loss: at least one term needs a weight above 0")
        # One order of summation, whatever order a configuration names the terms in.
        object.__setattr__(self, "weights", {name: self.weights[name] for name in TERMS if name in self.weights})
        if self.n_projections < 1 or self.sw_block_size < 1:
            raise UserError("loss: n_projections and sw_block_size must be at least 1")
        if self.normalised and not ("sw" in self.active and len(self.active) > 1):
            raise UserError("loss: normalised needs sw and another term, each with a weight above 0")

    @property
    def active(self) -> tuple[str, ...]:
        """The terms that are computed."""
        return tuple(name for name, weight in self.weights.items() if weight)

    def with_sw_scaled(self, factor: float) -> Loss:
        """Return this loss with the sliced-Wasserstein term times `factor`, and nothing left to normalise."""
        return replace(self, weights=self.weights | {"sw": self.weights["sw"] * factor}, normalised=False)

    def __call__(self, fp_output: Tensor, quant_output: Tensor, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, and each term's part of it: weight times term.

        Args:
            fp_output: (B, T, C) target.
            quant_output: (B, T, C) output with gradient.
            draw: supplies this evaluation's random directions; terms without randomness never call it.
        """
        import torch  # here, because a configuration is read without it

        weighted = {name: self.weights[name] * TERMS[name](self, fp_output, quant_output, draw) for name in self.active}
        total = torch.stack(list(weighted.values())).sum() if len(weighted) > 1 else next(iter(weighted.values()))
        return total, weighted


def _sliced_wasserstein_term(loss: Loss, fp_output: Tensor, quant_output: Tensor, draw: Draw) -> Tensor:
    from swq.sliced_wasserstein import sliced_wasserstein

    dim = fp_output.shape[-1] * loss.sw_block_size
    return sliced_wasserstein(fp_output, quant_output, draw((dim, loss.n_projections)), loss.sw_block_size)


# A new loss is a function above and a line here.
TERMS: dict[str, Callable[[Loss, Tensor, Tensor, Draw], Tensor]] = {
    "mse": lambda _, fp_output, quant_output, __: mse(fp_output, quant_output),
    "l2": lambda _, fp_output, quant_output, __: l2(fp_output, quant_output),
    "sw": _sliced_wasserstein_term,
}
