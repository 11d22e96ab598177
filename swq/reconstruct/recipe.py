"""The settings of one reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from swq.errors import UserError
from swq.losses import Loss
from swq.methods.base import Method
from swq.quant.scheme import Scheme


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a reconstruction, apart from the model, the calibration tokens and the device.

    Attributes:
        method: which method, with its settings.
        scheme: bits and group size; None if the method needs none.
        loss: what is minimised; None if the method does not train.
        seed: seed of every random draw.
        scale_dtype: name of the dtype that scales are stored in.
        bias_compensation: after the method, shift the biases so that no linear's mean output changes.
    """

    method: Method
    scheme: Scheme | None
    loss: Loss | None
    seed: int = 0
    scale_dtype: Literal["float16", "float32"] = "float16"
    bias_compensation: bool = False

    def __post_init__(self) -> None:
        name = type(self.method).__name__
        if self.method.needs_scheme != (self.scheme is not None):
            raise UserError(f"{name} {'needs a scheme' if self.method.needs_scheme else 'takes no scheme'}")
        if self.bias_compensation and self.scheme is None:
            raise UserError(f"{name} quantizes nothing: there is no bias to compensate")
        if self.method.trains and self.loss is None:
            raise UserError(f"{name} trains: it needs a loss, such as {{ weights: {{ mse: 1.0 }} }}")
        if self.loss is not None and not self.method.trains:
            raise UserError(f"{name} takes no loss")

    @property
    def needs_calibration(self) -> bool:
        """Whether it needs calibration tokens."""
        return self.method.needs_calibration or self.bias_compensation

    @property
    def label(self) -> str:
        """The method's name for people, and what is done after it."""
        return f"{self.method.label} + bias compensation" if self.bias_compensation else self.method.label
