"""Bias compensation: shift the biases of quantized linears so that their mean outputs are those of full precision.

A linear puts out y = W x + b on the full-precision path, and z = Q v + b on the quantized path, whose input v is not x
either. Of all constants, mean(y - z) is the one that, added to b, makes the mean squared error least.

Source: Gong et al., bias compensation (arXiv 2404.01892), eq. 5. Its inputs are those of each path, as here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from swq.errors import UserError
from swq.methods.quantizer import BlockResult
from swq.models.adapter import DecoderModel
from swq.reconstruct.data import ActivationPaths


def require_biases(model: DecoderModel) -> None:
    """Raise unless a linear of the model has a bias.

    Raises:
        UserError: none has, and its files have no place for one.
    """
    if not _biased(model.linears(0)):
        kind = model.model.config.model_type
        raise UserError(f"bias_compensation shifts biases, and no quantized linear of this {kind} model has one")


@torch.no_grad()
def compensated(
    paths: ActivationPaths, index: int, linears: Mapping[str, nn.Linear], result: BlockResult
) -> BlockResult:
    """Return the result with shifted biases among its changed tensors, in the dtype of the block's own.

    Linears take turns in the block's order: the input of each has passed those before it with their biases shifted.

    Args:
        paths: at the input of the block.
        index: of the block.
        linears: those that were quantized, in the order in which the block runs them.
        result: what the method made of the block.
    """
    names = _biased(linears)
    device = next(iter(linears.values())).weight.device
    unrounded = {f"{name}.weight": weight.to(device) for name, weight in result.unrounded().items()}
    before = paths.mean_inputs(index, names, paths.fp_hidden, unrounded | result.changed)
    stored = {f"{name}.weight": weight.dequantize() for name, weight in result.weights.items()} | result.changed
    for name in names:
        weight, bias = f"{name}.weight", f"{name}.bias"
        now = paths.mean_inputs(index, [name], paths.quant_hidden, stored)[name]
        error = unrounded.get(weight, linears[name].weight).float() @ before[name] - stored[weight] @ now
        own = linears[name].bias
        stored[bias] = (stored.get(bias, own).float() + error).to(own.dtype)
    return replace(result, changed=result.changed | {f"{name}.bias": stored[f"{name}.bias"] for name in names})


def _biased(linears: Mapping[str, nn.Linear]) -> list[str]:
    return [name for name, linear in linears.items() if linear.bias is not None]
