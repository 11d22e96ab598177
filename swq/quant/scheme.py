"""How weights are stored: bits per code, and which of them share a scale. Configurations name it: no torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

from swq.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

SUPPORTED_BITS = (2, 3, 4, 8)


@dataclass(frozen=True)
class Scheme:
    """How weights are stored: bits per code, and the group that shares a scale and a zero point.

    Attributes:
        n_bits: bits per code, one of 2, 3, 4, 8.
        group_size: input channels per group; None is one group per output channel.
    """

    n_bits: int
    group_size: int | None = None

    def __post_init__(self) -> None:
        if self.n_bits not in SUPPORTED_BITS:
            allowed = ", ".join(map(str, SUPPORTED_BITS))
            raise UserError(f"n_bits {self.n_bits} is not supported (allowed: {allowed})")
        if self.group_size is not None and self.group_size < 1:
            raise UserError(f"group_size {self.group_size} must be at least 1")

    @classmethod
    def parse(cls, text: str) -> Scheme:
        """Read the field's notation: `w3a16` is per channel, `w3a16g64` has groups of 64.

        Raises:
            UserError: the text is not such a scheme, or asks for what is not supported.
        """
        match = re.fullmatch(r"w(\d+)a(\d+)(?:g(\d{1,9}))?", text)
        if match is None:
            raise UserError(f"scheme {text!r} is not of the form w<bits>a16 or w<bits>a16g<group>, e.g. w3a16g64")
        n_bits, activation_bits, group = match.groups()
        if activation_bits != "16":
            raise UserError(f"scheme {text!r}: only 16-bit activations are supported (a16)")
        if n_bits not in map(str, SUPPORTED_BITS):
            allowed = ", ".join(f"w{bits}" for bits in SUPPORTED_BITS)
            raise UserError(f"scheme {text!r}: weights of {n_bits} bits are not supported (allowed: {allowed})")
        if group and not group.strip("0"):
            raise UserError(f"scheme {text!r}: a group holds at least 1 weight (or leave the group out)")
        return cls(int(n_bits), int(group) if group else None)

    @property
    def quant_max(self) -> int:
        """Largest code, 2^n - 1; the smallest is 0."""
        return 2**self.n_bits - 1

    def group_width(self, in_features: int) -> int:
        """Return the input channels of a group, for rows of `in_features`.

        Raises:
            UserError: the group size does not divide the row. Padding it would store codes that stand for no weight.
        """
        size = self.group_size or in_features
        if in_features % size:
            raise UserError(
                f"scheme {self}: groups of {size} do not divide a row of {in_features} input channels"
                f" (these do: {_divisors(in_features)}; or leave the group out)"
            )
        return size

    def check_inputs(self, inputs: Mapping[str, int]) -> None:
        """Raise unless groups fit every linear of a model.

        Args:
            inputs: input channels of each linear by its name.

        Raises:
            UserError: the group size does not divide one of them.
        """
        for name, channels in inputs.items():
            if channels % (self.group_size or channels):
                raise UserError(
                    f"scheme {self}: groups of {self.group_size} do not divide the {channels} input channels of {name}"
                    f" (these fit every linear: {_divisors(gcd(*inputs.values()))}; or leave the group out)"
                )

    def group(self, weight: Tensor) -> Tensor:
        """View `weight` (out, in) as (out, n_groups, group_size).

        Raises:
            UserError: as `group_width`.
        """
        out_features, in_features = weight.shape
        size = self.group_width(in_features)
        return weight.reshape(out_features, in_features // size, size)

    def __str__(self) -> str:
        return f"w{self.n_bits}a16" + (f"g{self.group_size}" if self.group_size else "")


def _divisors(number: int) -> str:
    return ", ".join(str(size) for size in (16, 32, 64, 128, 256) if number % size == 0) or "none of 16 to 256"
