"""The floor under a training step: what cannot be avoided, however fast a quantizer is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import scaled_dot_product_attention

from bench.speed.subject import Subject


class Floor:
    """A block's matrix products and its attention alone, forward and backward, at the shapes of a step.

    That is y = x W of every linear, the gradients to every W and to every x that one reaches, and scaled dot product
    attention with the gradients to queries, keys and values. Norms, activation functions, residuals, the loss, the
    quantizer and the optimiser are left out.
    """

    def __init__(self, subject: Subject) -> None:
        device = subject.fabric.device
        self._products = _products(subject)
        samples, tokens, hidden = subject.batch.hidden.shape
        heads = subject.shapes.heads
        shape = (samples, heads, tokens, hidden // heads)
        self._query, self._key, self._value = (torch.randn(shape, device=device, requires_grad=True) for _ in range(3))
        self._gradient = torch.randn(shape, device=device)

    def __call__(self) -> None:
        """Compute all of it once."""
        with torch.no_grad():
            for product in self._products:
                product()
        output = scaled_dot_product_attention(self._query, self._key, self._value, is_causal=True)
        torch.autograd.grad(output, (self._query, self._key, self._value), self._gradient)


@dataclass(frozen=True)
class _Product:
    """One linear: its input (tokens, in), weight (out, in), the gradient of its output, and whether x needs one."""

    x: Tensor
    weight: Tensor
    gradient: Tensor
    to_input: bool

    def __call__(self) -> None:
        _ = self.x @ self.weight.T
        _ = self.gradient.T @ self.x
        if self.to_input:
            _ = self.gradient @ self.weight


def _products(subject: Subject) -> list[_Product]:
    """Run the block once, and note what reaches its linears."""
    found: list[_Product] = []

    def note(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module.weight, Tensor)
        x, y = (tensor.detach().flatten(end_dim=-2) for tensor in (inputs[0], output))
        found.append(_Product(x, module.weight.detach(), torch.randn_like(y), inputs[0].requires_grad))

    weights = {f"{name}.weight": linear.weight.detach().requires_grad_() for name, linear in subject.linears.items()}
    hooks = [linear.register_forward_hook(note) for linear in subject.linears.values()]
    functional_call(subject.block, weights, (subject.batch.hidden,), subject.arguments)
    for hook in hooks:
        hook.remove()
    return found
