"""Losses between a full-precision block's output and the quantized block's output.

Every term is a scalar of `Outputs`. A `Loss` is a weighted sum of terms: the paper's hybrids are {mse: 0.9, sw: 0.1}
and {l2: 0.9, sw: 0.1}. `mse` averages over channels where `l2` sums over them, so the same weights mean different
mixtures under each.

A placebo tells what SW does from what any change of the loss does. {mse: 0.9} is one: it shows how far two trainings
drift apart by chance. {mse: 0.9, sw_mismatched: 0.1} is another: its extra gradient has SW's form, but pulls towards
the output that another sample should have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING

from swq.errors import UserError, one_of
from swq.plugins import LOSSES, added

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


def sliced_wasserstein(fp_output: Tensor, quant_output: Tensor, normals: Tensor, block_size: int = 1) -> Tensor:
    """Sliced 1-Wasserstein distance between the tokens of two outputs (..., T, C), in float32, also under autocast.

    Args:
        fp_output: the target; it gets no gradient.
        quant_output: the same shape.
        normals: (block_size * C, K) standard normals: K directions.
        block_size: consecutive tokens pooled into one sample.

    Raises:
        ValueError: shapes differ, or `block_size` does not divide the number of tokens.

    Source: Cao, Yin and Aref (arXiv 2601.07878); `swq/sliced_wasserstein.py` has the formula.
    """
    from swq.sliced_wasserstein import sliced_wasserstein as distance  # imports torch

    return distance(fp_output, quant_output, normals, block_size)


@dataclass(frozen=True)
class Outputs:
    """What a loss compares; all (B, T, C).

    Attributes:
        fp: the target.
        quant: the quantized block's output, with gradient.
        other: the target of another calibration sample for each sample; None unless the loss asks for it.
    """

    fp: Tensor
    quant: Tensor
    other: Tensor | None = None


@dataclass(frozen=True)
class Loss:
    """A weighted sum of terms, e.g. Loss({"mse": 0.9, "sw": 0.1}).

    Attributes:
        weights: weight of each term by its name in `terms()`; a term of weight 0 is not computed.
        n_projections: directions K per evaluation of a sliced-Wasserstein term.
        sw_block_size: consecutive tokens pooled into one sample by it; 1 is the token-level distance.
        normalised: scale the sliced-Wasserstein term, once per block before training, to the size that the other terms
            have on the calibration samples. Its weight is then its share, whatever the units of the other terms. The
            authors' first code scales so (ULB-SAPR, `--scale_sw_loss`).
        sw_start_block: the first block that is trained with sliced-Wasserstein terms, counted from 0. Those before it
            are trained with the other terms alone, at their own weights (ULB-SAPR, `--sw_start_layer`).
    """

    weights: dict[str, float] = field(default_factory=lambda: {"mse": 1.0})
    n_projections: int = 128
    sw_block_size: int = 1
    normalised: bool = False
    sw_start_block: int = 0

    def __post_init__(self) -> None:
        known = terms()
        for name, weight in self.weights.items():
            if name not in known:
                raise UserError(one_of("loss term", name, known))
            if not 0 <= weight < float("inf"):
                raise UserError(f"loss weight of {name} is {weight}; it must be finite and not negative")
        if not any(self.weights.values()):
            raise UserError("loss: at least one term needs a weight above 0")
        # One order of summation, whatever order a configuration names the terms in.
        object.__setattr__(self, "weights", {name: self.weights[name] for name in known if name in self.weights})
        if self.n_projections < 1 or self.sw_block_size < 1:
            raise UserError("loss: n_projections and sw_block_size must be at least 1")
        others = [name for name in self.active if name not in SW_TERMS]
        if self.normalised and not (len(self.active) - len(others) == 1 and others):
            raise UserError("loss: normalised needs sw (or sw_mismatched) and mse or l2, each with a weight above 0")
        if self.sw_start_block < 0 or (self.sw_start_block and not 0 < len(others) < len(self.active)):
            raise UserError(
                "loss: sw_start_block must be at least 0; above 0, it needs sw (or sw_mismatched), and mse or l2"
            )

    @property
    def active(self) -> tuple[str, ...]:
        """The terms that are computed."""
        return tuple(name for name, weight in self.weights.items() if weight)

    @property
    def needs_other(self) -> bool:
        """Whether a term compares with another sample's target."""
        return "sw_mismatched" in self.active

    def directions(self, channels: int) -> tuple[int, int] | None:
        """Return the shape (D, K) of the normals that one evaluation draws, on outputs of C channels; None if none."""
        drawn = any(name in SW_TERMS for name in self.active)
        return (channels * self.sw_block_size, self.n_projections) if drawn else None

    def in_block(self, index: int) -> Loss:
        """Return the loss that block `index` is trained with."""
        if index >= self.sw_start_block:
            return self
        others = {name: weight for name, weight in self.weights.items() if name not in SW_TERMS}
        return replace(self, weights=others, normalised=False, sw_start_block=0)

    def with_sw_scaled(self, factor: float) -> Loss:
        """Return this loss with its sliced-Wasserstein term times `factor`, and nothing left to normalise."""
        scaled = {name: weight * factor if name in SW_TERMS else weight for name, weight in self.weights.items()}
        return replace(self, weights=scaled, normalised=False)

    def __call__(self, outputs: Outputs, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, and each term's part of it: weight times term.

        Args:
            outputs: what is compared.
            draw: supplies this evaluation's random directions; terms without randomness never call it.
        """
        import torch  # here, because a configuration is read without it

        known = terms()
        weighted = {name: self.weights[name] * known[name](self, outputs, draw) for name in self.active}
        total = torch.stack(list(weighted.values())).sum() if len(weighted) > 1 else next(iter(weighted.values()))
        return total, weighted


def _sliced_wasserstein(loss: Loss, target: Tensor, output: Tensor, draw: Draw) -> Tensor:
    dim = output.shape[-1] * loss.sw_block_size
    return sliced_wasserstein(target, output, draw((dim, loss.n_projections)), loss.sw_block_size)


def _mismatched(loss: Loss, outputs: Outputs, draw: Draw) -> Tensor:
    assert outputs.other is not None, "a loss that needs another sample's target says needs_other"
    return _sliced_wasserstein(loss, outputs.other, outputs.quant, draw)


Term = Callable[["Loss", Outputs, "Draw"], "Tensor"]

# A new loss is a function above and a line here, or an entry point of another package.
TERMS: dict[str, Term] = {
    "mse": lambda _, outputs, __: mse(outputs.fp, outputs.quant),
    "l2": lambda _, outputs, __: l2(outputs.fp, outputs.quant),
    "sw": lambda loss, outputs, draw: _sliced_wasserstein(loss, outputs.fp, outputs.quant, draw),
    "sw_mismatched": _mismatched,
}
SW_TERMS = ("sw", "sw_mismatched")  # sliced-Wasserstein distances


@cache
def terms() -> dict[str, Term]:
    """Return every term by its name: those above, then those that installed packages add.

    Raises:
        UserError: one of these cannot be imported, is no function, or takes a name of this project.
    """
    return TERMS | added(LOSSES, FunctionType, TERMS)
