"""OmniQuant's learnable equivalent transformation (LET): scales per channel, and shifts where there are biases.

Without rounding, the transformed block computes the same as before. Training finds the transformation under which
rounding hurts least.

Source: Shao et al., OmniQuant (arXiv 2308.13137), section 3.3. Its scale between queries and keys is left out. In
weight-only quantization it scales whole rows of both weights, and their ranges with them; the codes stay the same, so
there is nothing to learn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from swq.errors import UserError
from swq.methods.quantizer import BlockContext, Layout
from swq.methods.transfer import block_tensors, can_shift, hand_over, layout_of
from swq.models.family import ScalePair
from swq.quant.moments import ALL_TOKENS, Moments

SMALLEST = 1e-5  # lower bound of the magnitudes that initialise a scale
NEAREST_TO_ZERO = 1e-2  # a learned scale stays this far from 0


class LearnableTransform(nn.Module):
    """Scales and shifts of every pair of a block that OmniQuant transforms.

    Args:
        block: what is transformed.
        alpha: SmoothQuant's migration strength for the initial scales, 0 to 1.
        with_shift: learn shifts, where source and readers have biases.

    Raises:
        UserError: shifts are asked for and no pair has the biases for one.
    """

    def __init__(self, block: BlockContext, alpha: float, with_shift: bool) -> None:
        super().__init__()
        self.pairs = tuple(pair for pair in block.pairs if pair.let)
        self.tensors = block_tensors(block.block)
        self.linears = tuple(block.linears)
        shifted = [pair for pair in self.pairs if with_shift and can_shift(self.tensors, pair)]
        if with_shift and not shifted:
            raise UserError("omniquant: let_shift needs biases, and the model has none where shifts would go")
        moments = block.moments((pair.readers[0] for pair in self.pairs), 1, ALL_TOKENS)
        self.scales = nn.ParameterDict()
        self.shifts = nn.ParameterDict()
        for pair in self.pairs:
            inputs, weights = moments[pair.readers[0]], [self.tensors[f"{reader}.weight"] for reader in pair.readers]
            self.scales[_key(pair)] = nn.Parameter(initial_scale(inputs, weights, alpha))
            if pair in shifted:
                self.shifts[_key(pair)] = nn.Parameter((inputs.lowest + inputs.highest) / 2)

    def layout(self) -> Layout:
        """Return the transformed block. The caller computes the ranges of its transformed weights."""
        tensors = dict(self.tensors)
        for pair in self.pairs:
            key = _key(pair)
            hand_over(tensors, pair, away_from_zero(self.scales[key]), self.shifts.get(key))
        return layout_of(tensors, self.tensors, self.linears)

    def learned(self) -> dict[str, Tensor]:
        """Return scales and shifts by the path of their source."""
        kinds = (("let_scale", self.scales), ("let_shift", self.shifts))
        return {
            f"{key.replace('/', '.')}.{kind}": v.detach().cpu() for kind, values in kinds for key, v in values.items()
        }


def initial_scale(inputs: Moments, weights: list[Tensor], alpha: float) -> Tensor:
    """Return max|x|^alpha / max|W|^(1 - alpha) per input channel, (in,), over the rows of all `weights`.

    Source: SmoothQuant (arXiv 2211.10438), eq. 4, as OmniQuant starts.
    """
    magnitude = torch.maximum(inputs.lowest.abs(), inputs.highest.abs()).clamp(min=SMALLEST)
    widest = torch.cat(weights).abs().amax(dim=0).clamp(min=SMALLEST)
    return magnitude**alpha / widest ** (1 - alpha)


def away_from_zero(scale: nn.Parameter) -> Tensor:
    """Move entries between -0.01 and 0.01 out to that bound, in place, as the authors' code does before every step.

    Their code leaves an exact 0 unchanged, and divides by it.
    """
    with torch.no_grad():
        sign = torch.where(scale < 0, -1.0, 1.0)
        scale.copy_(torch.where(scale.abs() < NEAREST_TO_ZERO, sign * NEAREST_TO_ZERO, scale))
    return scale


def _key(pair: ScalePair) -> str:
    return pair.source.replace(".", "/")  # a ParameterDict allows no dots
