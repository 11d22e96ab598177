"""What is known about a family of models, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScalePair:
    """A tensor whose output channels can be divided by a scale that its readers' input channels are multiplied by.

    Nothing but per-channel multiplication may lie between the two, so that the block computes the same.

    Attributes:
        source: path, inside a block, of a norm or linear.
        readers: paths of the linears that read its output, and nothing else does.
        let: OmniQuant learns a scale here. Not where its authors have none, which is also where an activation function
            lies between that only a positive scale may pass.
    """

    source: str
    readers: tuple[str, ...]
    let: bool = True


@dataclass(frozen=True)
class Family:
    """Names inside one family of decoder-only models.

    Attributes:
        model_types: the `model_type` values in config.json that belong to it.
        blocks: path of the list of decoder blocks inside the causal LM.
        linears: paths, inside a block, of the linears whose weights are quantized, in forward order.
        pairs: where a scale can be handed over. A pair whose widths differ in a model (values shared by several
            heads) is left out there.
        pre_norm_flag: name of the configuration's flag that says whether norms come before attention and MLP. After
            them, a norm's output goes on as the residual too, so that its pairs are left out.
    """

    model_types: tuple[str, ...]
    blocks: str
    linears: tuple[str, ...]
    pairs: tuple[ScalePair, ...] = ()
    pre_norm_flag: str | None = None
