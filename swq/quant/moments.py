"""What a search needs to know about a linear's inputs: second moments, magnitudes, ranges, gathered sample by sample.

The mean squared change of an output over tokens, for a change d of a row of the weight, is
mean_t (d . x_t)^2 = d^T H d with H = mean_t x_t x_t^T. H is gathered once and serves every row and every candidate, so
a search costs the width of the input and not the number of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

ALL_TOKENS = 2**31  # of each sample; more than there are


@dataclass(frozen=True)
class Moments:
    """Moments of a linear's inputs.

    Attributes:
        second: (n_groups, group_size, group_size) float32, H within each group of input channels.
        magnitude: (in,) float32, mean |x| of each input channel.
        lowest: (in,) float32, smallest value of each input channel.
        highest: (in,) float32, largest.
        n_tokens: number of tokens that they were computed from.
    """

    second: Tensor
    magnitude: Tensor
    lowest: Tensor
    highest: Tensor
    n_tokens: int

    @classmethod
    def of(cls, inputs: Tensor, group_size: int | None = None) -> Moments:
        """Gather from `inputs` (..., in), one row per token; `group_size` None makes all input channels one group."""
        tokens = inputs.reshape(-1, inputs.shape[-1]).float()
        groups = tokens.reshape(len(tokens), -1, group_size or tokens.shape[-1]).transpose(0, 1)
        # Inputs are seen inside a forward pass. Its autocast would square them in half precision, which overflows.
        with torch.autocast(tokens.device.type, enabled=False):
            second = groups.transpose(1, 2) @ groups / len(tokens)
        return cls(
            second=second,
            magnitude=tokens.abs().mean(dim=0),
            lowest=tokens.amin(dim=0),
            highest=tokens.amax(dim=0),
            n_tokens=len(tokens),
        )

    def __add__(self, other: Moments) -> Moments:
        """Pool the tokens of both."""
        total = self.n_tokens + other.n_tokens
        ours, theirs = self.n_tokens / total, other.n_tokens / total
        return Moments(
            second=ours * self.second + theirs * other.second,
            magnitude=ours * self.magnitude + theirs * other.magnitude,
            lowest=torch.minimum(self.lowest, other.lowest),
            highest=torch.maximum(self.highest, other.highest),
            n_tokens=total,
        )

    def regrouped(self, group_size: int) -> Moments:
        """Return the moments within smaller groups, from those of one group."""
        n_groups = len(self.magnitude) // group_size
        tiles = self.second[0].reshape(n_groups, group_size, n_groups, group_size)
        return replace(self, second=tiles.diagonal(dim1=0, dim2=2).permute(2, 0, 1))

    def divided_by(self, scale: Tensor) -> Moments:
        """Return the moments of x / scale, for a scale (in,) above 0 per channel."""
        inverse = (1 / scale).reshape(len(self.second), -1)
        second = self.second * inverse.unsqueeze(1) * inverse.unsqueeze(2)
        channels = (self.magnitude / scale, self.lowest / scale, self.highest / scale)
        return Moments(second, *channels, self.n_tokens)
