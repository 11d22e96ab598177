"""What is known about a family of models, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Names inside one family of decoder-only models.

    Attributes:
        model_types: the `model_type` values in config.json that belong to it.
        blocks: path of the list of decoder blocks inside the causal LM.
        linears: paths, inside a block, of the linears whose weights are quantized, in forward order.
    """

    model_types: tuple[str, ...]
    blocks: str
    linears: tuple[str, ...]
