"""The trainable side of a method: what it is told about a block, what it learns there, and what it returns.

The walk over blocks (`swq.reconstruct`) does the rest: activations, losses, optimiser steps, resume, storage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from swq.kernels.fake_quantize import fake_quantize
from swq.models.family import ScalePair
from swq.quant.affine import QuantizedWeight, quantize_weight
from swq.quant.moments import Moments
from swq.quant.scheme import Scheme
from swq.seeding import keyed_normals

Normals = Callable[[str, tuple[int, ...]], Tensor]  # a name and a shape -> standard normals, float32 on the CPU


def start_normals(seed: int, block: int, name: str, shape: tuple[int, ...]) -> Tensor:
    """Return standard normals that something learned starts from, keyed by the seed, the block and its name."""
    return keyed_normals(seed, ("start", block, name), shape)


class MomentsOf(Protocol):
    """Runs a block on the quantized path's input and returns the moments of its linears' inputs."""

    def __call__(
        self, names: Iterable[str], group_size: int | None, n_tokens: int, tensors: dict[str, Tensor] | None = None
    ) -> dict[str, Moments]:
        """Return the moments of linears by name, as `ActivationPaths.moments` does.

        Args:
            names: paths inside the block.
            group_size: input channels per group; None takes all as one group.
            n_tokens: of each sample.
            tensors: stand in for the block's own, by their name in its state dict; None runs the full-precision block.
        """


@dataclass(frozen=True)
class BlockContext:
    """What a method is told about a block.

    Attributes:
        block: the full-precision block; stays unchanged.
        linears: its linears to quantize, by their path inside it.
        scheme: bits and group size.
        scale_dtype: the dtype that scales are stored in.
        not_clipped: the linears whose ranges a search must not clip.
        pairs: which tensors of the block can pass a per-channel scale on to the linears that read them.
        moments: computed on demand; only for methods that use calibration tokens.
        query_key: the linears of queries and of keys, if the model has them apart.
        normals: random starting values of this block; by default those of seed 0 and block 0.
        saliency: (out, in) of each linear, as `squared_gradients` returns it; empty unless the method asks for it.
    """

    block: nn.Module
    linears: dict[str, nn.Linear]
    scheme: Scheme
    scale_dtype: torch.dtype
    not_clipped: tuple[str, ...]
    pairs: tuple[ScalePair, ...]
    moments: MomentsOf
    query_key: tuple[str, str] | None = None
    normals: Normals = field(default=partial(start_normals, 0, 0))
    saliency: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A block laid out for rounding. Tensors are keyed by the linear's path inside the block.

    Attributes:
        weights: (out, in) float32, to be rounded.
        ranges: ends (wmin, wmax) of each group's range, each (out, n_groups, 1).
        changed: the block's other tensors that differ from the original (norms, biases), by their name in its state
            dict.
    """

    weights: dict[str, Tensor]
    ranges: dict[str, tuple[Tensor, Tensor]]
    changed: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockResult:
    """What a method returns for one block.

    Attributes:
        weights: quantized weights by the linear's path inside the block.
        learned: the trained tensors, by name; kept for study, not needed to run the model.
        changed: the block's other tensors that differ from the original, by their name in its state dict.
        unrounded: returns the weights that compute what the block did, (out, in) by their path, before clipping and
            rounding; by default the block's own.
        added_biases: (out,) by the path of a linear that had no bias.
    """

    weights: dict[str, QuantizedWeight]
    learned: dict[str, Tensor] = field(default_factory=dict)
    changed: dict[str, Tensor] = field(default_factory=dict)
    unrounded: Callable[[], dict[str, Tensor]] = dict
    added_biases: dict[str, Tensor] = field(default_factory=dict)


class BlockQuantizer(nn.Module, ABC):
    """The trainable side of one block. Parameters are what is learned; `forward` is what they do to the block."""

    rounds: int = 0  # rounds of training, each with a fresh optimiser; 0 means nothing is learned

    @abstractmethod
    def forward(self) -> dict[str, Tensor]:
        """Return replacements for the block's tensors, by their name in its state dict (e.g. `mlp.up_proj.weight`)."""

    @abstractmethod
    def finalize(self) -> BlockResult:
        """Return what is stored."""

    def aug_loss(self, round_index: int) -> bool:
        """Say whether a round also compares with the full-precision block's output on the quantized path's input."""
        return False

    def penalties(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weighted terms by name that training adds to the loss.

        Args:
            tensors: what `forward` returned in this step.
        """
        return {}

    def start_round(self, round_index: int) -> Optimizer:
        """Prepare a round and return its optimiser. Only called when `rounds` is above 0."""
        raise NotImplementedError

    def batches(self, round_index: int, n_samples: int, generator: torch.Generator) -> Iterator[list[int]]:
        """Yield the sample indices of each step of a round. `generator` is this block's own."""
        raise NotImplementedError


class RangeQuantizer(BlockQuantizer):
    """A quantizer that decides which weights are rounded and over which ranges, and then rounds to nearest.

    A method that learns the rounding itself (TesseraQ) can start from its layout.
    """

    def __init__(self, block: BlockContext) -> None:
        super().__init__()
        self.scheme = block.scheme
        self.scale_dtype = block.scale_dtype
        self.block_dtype = next(block.block.parameters()).dtype

    @abstractmethod
    def layout(self) -> Layout:
        """Return what is to be rounded, differentiable in what is learned."""

    def unrounded(self) -> dict[str, Tensor]:
        """Return the weights (out, in) by their path that compute what the block did, before clipping and rounding."""
        return self.layout().weights

    def learned(self) -> dict[str, Tensor]:
        """Return what was trained, by name, on the CPU."""
        return {}

    def forward(self) -> dict[str, Tensor]:
        layout, n_bits = self.layout(), self.scheme.n_bits
        fake = {
            f"{name}.weight": fake_quantize(self.scheme.group(weight), *layout.ranges[name], n_bits).view_as(weight)
            for name, weight in layout.weights.items()
        }
        return fake | layout.changed

    @torch.no_grad()
    def finalize(self) -> BlockResult:
        layout = self.layout()
        weights = {
            name: quantize_weight(weight, self.scheme, *layout.ranges[name], self.scale_dtype)
            for name, weight in layout.weights.items()
        }
        return BlockResult(weights, self.learned(), self.stored(layout.changed), self.unrounded)

    def stored(self, changed: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return changed tensors in the dtype of the block's own."""
        return {name: tensor.detach().to(self.block_dtype) for name, tensor in changed.items()}


class FixedLayout(RangeQuantizer):
    """A layout that is found without training.

    Args:
        block: what is laid out.
        layout: of it.
        unrounded: returns the weights as they were before a search clipped them; None where nothing was clipped.
    """

    def __init__(
        self, block: BlockContext, layout: Layout, unrounded: Callable[[], dict[str, Tensor]] | None = None
    ) -> None:
        super().__init__(block)
        self._layout = layout
        self._unrounded = unrounded

    def unrounded(self) -> dict[str, Tensor]:
        return self._unrounded() if self._unrounded else super().unrounded()

    def layout(self) -> Layout:
        return self._layout
