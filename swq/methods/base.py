"""What a quantization method must define: its settings, and the quantizer that it makes for each block.

A configuration is read with the settings alone. So this file imports no torch, and a method of this project imports its
quantizer only when it makes one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swq.methods.quantizer import BlockContext, BlockQuantizer, RangeQuantizer


class Method(ABC):
    """A method's settings, and the quantizer it makes for each block. Settings are dataclass fields."""

    title: str  # its name for people
    needs_scheme: bool = True  # False: nothing is quantized
    needs_calibration: bool = False  # True: needs calibration tokens
    needs_pairs: bool = False  # True: needs a family with scale pairs
    trains: bool = False  # True: needs a loss, and calibration tokens
    draws: bool = False  # True: training draws random numbers from the recipe's seed, whatever the loss is

    @property
    def gradient_samples(self) -> int:
        """On how many calibration samples it needs the squared gradients of the model's loss; 0 needs none."""
        return 0

    @property
    def label(self) -> str:
        """Its name for people, with the settings that make it another method."""
        return self.title

    def epoch_lengths(self, n_samples: int) -> list[int]:
        """Return the training steps of each epoch over `n_samples` calibration samples; empty if nothing is trained.

        Losses are recorded as means over each epoch.
        """
        return []

    def check_shapes(self, shapes: Mapping[str, tuple[int, int]]) -> None:  # noqa: B027  most fit every shape
        """Raise unless the settings fit the linears, whose shapes (out, in) are given by their paths.

        Raises:
            UserError: a setting does not fit; names the linear.
        """

    @abstractmethod
    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        """Return the quantizer of a block."""


class RangeMethod(Method):
    """A method that rounds to nearest in the end; others can start from its layout."""

    @abstractmethod
    def quantizer(self, block: BlockContext) -> RangeQuantizer:
        """Return the quantizer of a block."""
