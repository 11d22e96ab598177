"""What a quantization method must say: what it learns in one block, and in which order it learns it.

The walk over blocks (`swq.reconstruct`) does the rest: activations, losses, optimiser steps, resume, storage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from swq.quant.affine import QuantizedWeight, Scheme


@dataclass(frozen=True)
class BlockContext:
    """What a method is given of a block.

    Attributes:
        linears: the linears to quantize, by their path inside the block.
        scheme: bits and group size.
        scale_dtype: the dtype that scales are stored in.
        linear_input: given a linear's name and a number of tokens, returns what enters it, (N, at least that many
            tokens, in), when the full-precision block runs on the quantized path's input: every k-th token of each
            sample. Computed when it is asked for; only for methods that train.
    """

    linears: dict[str, nn.Linear]
    scheme: Scheme
    scale_dtype: torch.dtype
    linear_input: Callable[[str, int], Tensor]


@dataclass(frozen=True)
class BlockResult:
    """What a method leaves behind of one block.

    Attributes:
        weights: quantized weights by the linear's path inside the block.
        learned: what was trained to get there, by name; kept for study, not needed to run the model.
    """

    weights: dict[str, QuantizedWeight]
    learned: dict[str, Tensor] = field(default_factory=dict)


class BlockQuantizer(nn.Module, ABC):
    """The trainable side of one block. Parameters are what is learned; `forward` is what they do to the block."""

    rounds: int = 0  # rounds of training, each with a fresh optimiser; 0 means nothing is learned

    @abstractmethod
    def forward(self) -> dict[str, Tensor]:
        """Return replacements for the block's tensors, by their name in its state dict (e.g. `mlp.up_proj.weight`)."""

    @abstractmethod
    def finalize(self) -> BlockResult:
        """Return what is stored."""

    def start_round(self, round_index: int) -> Optimizer:
        """Do what a round begins with, and return its optimiser. Only called when `rounds` is above 0."""
        raise NotImplementedError

    def batches(self, round_index: int, n_samples: int, generator: torch.Generator) -> Iterator[list[int]]:
        """Yield the sample indices of each step of a round. `generator` is this block's own."""
        raise NotImplementedError


class Method(ABC):
    """A method's settings, and the quantizer it makes for each block. Settings are dataclass fields."""

    needs_scheme = True  # False: the model is left as it is
    trains = False  # True: needs calibration tokens and a loss
    aug_loss: bool = False  # True: also compare with the full-precision block on the quantized path's input

    epochs: int = 0

    def steps_per_epoch(self, n_samples: int) -> int:
        """Return how many training steps an epoch takes over `n_samples` calibration samples.

        A block is trained for `epochs` of them; losses are recorded as means over each.
        """
        return 0

    @abstractmethod
    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        """Return the quantizer of a block."""
