"""What is known about a family of models, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ScalePair:
    """A tensor whose output channels can be divided by a scale that its readers' input channels are multiplied by.

    Only a per-channel multiplication may lie between the two, so that the block computes the same.

    Attributes:
        source: path, inside a block, of a norm or linear.
        readers: paths of the linears that read its output; nothing else may read it.
        let: whether OmniQuant learns a scale here. False where its authors learn none. That includes pairs with an
            activation function in between, which only a positive scale can pass.
        parts: the source's output has so many equal parts, and the readers read the last one.
        only_if: a name in the model's configuration and the value that it must have for the pair to hold.
        norm_offset: what a norm adds to its weight before it multiplies by it: 1 in Gemma, 0 in most families.
    """

    source: str
    readers: tuple[str, ...]
    let: bool = True
    parts: int = 1
    only_if: tuple[str, object] | None = None
    norm_offset: float = 0.0


@dataclass(frozen=True)
class Family:
    """Names inside one family of decoder-only models.

    Attributes:
        model_types: the `model_type` values in config.json that belong to it.
        blocks: path of the list of decoder blocks inside the causal LM.
        linears: paths, inside a block, of the linears whose weights are quantized, in forward order.
        pairs: where a scale can be passed on. A pair whose widths differ in a model (grouped-query attention, where
            several heads share values) is left out there.
        not_clipped: linears whose ranges a search must not clip: queries and keys are multiplied with each other, so
            their errors do not simply add up.
        query_key: the linears of queries and of keys, where they are apart.
        bias_switches: names in the model's configuration, and the linears that have a bias where it is true.
    """

    model_types: tuple[str, ...]
    blocks: str
    linears: tuple[str, ...]
    pairs: tuple[ScalePair, ...] = ()
    not_clipped: tuple[str, ...] = ()
    query_key: tuple[str, str] | None = None
    bias_switches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
