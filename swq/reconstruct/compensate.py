"""Bias compensation: shift the biases of quantized linears so that their mean outputs are those of full precision.

A linear without a bias gets one where the model's configuration has a switch for it (swq/models/biases.py).

A linear puts out y = W x + b on the full-precision path, and z = Q v + b on the quantized path, whose input v is not x
either. Of all constants, mean(y - z) is the one that, added to b, makes the mean squared error least.

Source: Gong et al., bias compensation (arXiv 2404.01892), eq. 5. Its inputs are those of each path, as here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from swq.errors import UserError
from swq.methods.quantizer import BlockResult
from swq.models.adapter import DecoderModel
from swq.models.biases import no_biases
from swq.reconstruct.data import ActivationPaths


def require_biases(model: DecoderModel) -> None:
    """Raise unless a linear of the model has a bias, or may get one.

    Raises:
        UserError: none has, and its files have no place for one.
    """
    if not model.with_bias(0):
        raise UserError(no_biases(model.model.config.model_type))


@torch.no_grad()
def compensated(
    paths: ActivationPaths,
    index: int,
    linears: Mapping[str, nn.Linear],
    result: BlockResult,
    names: Collection[str],
    added_dtype: torch.dtype,
) -> BlockResult:
    """Return the result with shifted biases among its changed tensors, in the dtype of the block's own, and added ones.

    Linears take turns in the block's order: the input of each has passed those before it with their biases shifted.

    Args:
        paths: at the input of the block.
        index: of the block.
        linears: those that were quantized, in the order in which the block runs them.
        result: what the method made of the block.
        names: of the linears whose biases are shifted or added.
        added_dtype: of added biases.
    """
    device = next(iter(linears.values())).weight.device
    unrounded = {f"{name}.weight": weight.to(device) for name, weight in result.unrounded().items()}
    before = paths.mean_inputs(index, names, paths.fp_hidden, unrounded | result.changed)
    stored = {f"{name}.weight": weight.dequantize() for name, weight in result.weights.items()} | result.changed
    changed, added = dict(result.changed), dict[str, Tensor]()
    for name in filter(names.__contains__, linears):
        weight, bias = f"{name}.weight", f"{name}.bias"
        now = paths.mean_inputs(index, [name], paths.quant_hidden, stored)[name]
        error = unrounded.get(weight, linears[name].weight).float() @ before[name] - stored[weight] @ now
        own = linears[name].bias
        if own is None:
            added[name] = error.to(added_dtype)
            stored[bias] = added[name].float()
        else:
            stored[bias] = changed[bias] = (stored.get(bias, own).float() + error).to(own.dtype)
    return replace(result, changed=changed, added_biases=added)
