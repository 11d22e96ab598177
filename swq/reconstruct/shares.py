"""How much of a step's gradient each term of the loss is."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor


def backward_with_shares(fabric: Fabric, values: dict[str, Tensor], optimizer: Any) -> dict[str, float]:
    """Run the backward pass of the loss, and return each term's gradient norm over the sum of all terms' norms.

    Every term but the first takes a backward pass of its own. The first term's gradient is what the others leave of the
    loss's. A share is a ratio, so the gradient scale of mixed precision cancels.

    Nothing is returned where a gradient is not finite: a step that overflows in half precision has no shares.

    Args:
        fabric: runs the backward passes.
        values: the step's `loss` and its terms.
        optimizer: of the trained parameters; their gradients are empty.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    first, *others = (name for name in values if name != "loss")  # fixed order: a set's depends on the hash seed
    gradients: dict[str, list[Tensor]] = {}
    for term in others:
        fabric.backward(values[term], retain_graph=True)
        gradients[term] = _gradients(parameters)
        optimizer.zero_grad()
    fabric.backward(values["loss"])
    gradients[first] = [
        gradient - sum(parts) for gradient, *parts in zip(_gradients(parameters), *gradients.values(), strict=True)
    ]
    norms = {term: torch.stack([gradient.norm() for gradient in of]).norm().item() for term, of in gradients.items()}
    total = sum(norms.values()) or 1.0
    if not math.isfinite(total):
        return {}
    return {f"{term}_grad_share": norm / total for term, norm in sorted(norms.items())}


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
