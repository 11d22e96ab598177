"""OmniQuant's learnable equivalent transformation (LET): scales per channel, and shifts where there are biases.

Without rounding, the transformed block computes the same as before. Training finds the transformation under which
rounding hurts least.

Source: Shao et al., OmniQuant (arXiv 2308.13137), section 3.3. Its scale between queries and keys is an option, off by
default. It scales whole rows of both weights, and their ranges with them, so by itself it changes no code. Where
positions are added to the hidden states (OPT), it cancels, and there is nothing to learn. Where they are rotated into
queries and keys (LLaMA), each rotation mixes two channels with scales of their own. The transformed block then computes
something else even without rounding, and training finds scales other than 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from swq.errors import UserError
from swq.methods.quantizer import BlockContext, Layout
from swq.methods.transfer import block_tensors, can_shift, hand_over, layout_of
from swq.quant.moments import ALL_TOKENS, Moments

SMALLEST = 1e-5  # lower bound of the magnitudes that initialise a scale
NEAREST_TO_ZERO = 1e-2  # a learned scale stays this far from 0


class LearnableTransform(nn.Module):
    """Scales and shifts of every pair of a block that OmniQuant transforms.

    Args:
        block: what is transformed.
        alpha: SmoothQuant's migration strength for the initial scales, 0 to 1.
        with_shift: learn shifts, where source and readers have biases.
        with_query_key: learn a scale that queries are divided by and keys are multiplied by.

    Raises:
        UserError: shifts are asked for and no pair has the biases for one, or a scale between queries and keys is, and
            these are not apart or not equally wide.
    """

    def __init__(self, block: BlockContext, alpha: float, with_shift: bool, with_query_key: bool = False) -> None:
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
            self.scales[_key(pair.source)] = nn.Parameter(initial_scale(inputs, weights, alpha))
            if pair in shifted:
                self.shifts[_key(pair.source)] = nn.Parameter((inputs.lowest + inputs.highest) / 2)
        self.query_key = _query_key(block) if with_query_key else None
        if self.query_key:
            query = self.query_key[0]
            self.scales[_key(query)] = nn.Parameter(torch.ones_like(self.tensors[f"{query}.weight"][:, 0]))

    def layout(self) -> Layout:
        """Return the transformed block. The caller computes the ranges of its transformed weights."""
        tensors = dict(self.tensors)
        for pair in self.pairs:
            key = _key(pair.source)
            hand_over(tensors, pair, away_from_zero(self.scales[key]), self.shifts.get(key))
        if self.query_key:
            scale_rows(tensors, *self.query_key, away_from_zero(self.scales[_key(self.query_key[0])]))
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


def scale_rows(tensors: dict[str, Tensor], query: str, key: str, scale: Tensor) -> None:
    """Divide the output channels of queries by `scale` (channels,) and multiply those of keys by it, in `tensors`."""
    for kind, by in (("weight", scale.unsqueeze(1)), ("bias", scale)):
        if f"{query}.{kind}" in tensors:
            tensors[f"{query}.{kind}"] = tensors[f"{query}.{kind}"] / by
        if f"{key}.{kind}" in tensors:
            tensors[f"{key}.{kind}"] = tensors[f"{key}.{kind}"] * by


def _query_key(block: BlockContext) -> tuple[str, str]:
    if block.query_key is None:
        raise UserError("omniquant: let_query_key needs a family that names the linears of queries and of keys")
    widths = [block.linears[name].out_features for name in block.query_key]
    if widths[0] != widths[1]:
        raise UserError(f"omniquant: let_query_key needs as many channels of keys as of queries, not {widths}")
    return block.query_key


def _key(source: str) -> str:
    return source.replace(".", "/")  # a ParameterDict allows no dots
