"""The sliced-Wasserstein loss in a training loop of one's own, outside this project's reconstruction."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from swq.losses import l2, sliced_wasserstein
from swq.quant.affine import dequantize, quantize_weight
from swq.quant.scheme import Scheme

TOKENS, INPUTS, OUTPUTS, DIRECTIONS = 128, 16, 8, 32
STEPS = 150
Layer = Callable[[Tensor], Tensor]


def train(student: Layer, teacher: Layer, learned: list[nn.Parameter], bfloat16: bool) -> tuple[float, float]:
    """Train by Adam on random inputs, with SW alone, and return SW on other inputs before and after."""
    random = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=random)  # noqa: E731
    held_out, directions = draw(2, TOKENS, INPUTS), draw(OUTPUTS, DIRECTIONS)

    @torch.no_grad()
    def measured() -> float:
        return float(sliced_wasserstein(teacher(held_out), student(held_out), directions))

    before, optimizer = measured(), torch.optim.Adam(learned, lr=0.01)
    for _ in range(STEPS):
        inputs = draw(2, TOKENS, INPUTS)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            target, output = teacher(inputs), student(inputs)
            loss = sliced_wasserstein(target, output, draw(OUTPUTS, DIRECTIONS))
        assert output.dtype == (torch.bfloat16 if bfloat16 else torch.float32) and loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in learned)
        optimizer.step()
    return before, measured()


def linears() -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    return nn.Linear(INPUTS, OUTPUTS), nn.Linear(INPUTS, OUTPUTS)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_layer_learns_by_it(bfloat16: bool) -> None:
    teacher, student = linears()
    before, after = train(student, teacher, list(student.parameters()), bfloat16)
    assert after < 0.4 * before, "sets leave the layer some freedom"
    assert all(parameter.grad is None for parameter in teacher.parameters()), "the target gets no gradient"


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_scales_of_a_quantized_layer_learn_by_it(bfloat16: bool) -> None:
    """They begin 1.5 times too large; their codes stay, and do not stand for the exact weights."""
    teacher, _ = linears()
    scheme = Scheme(4, 8)
    stored = quantize_weight(teacher.weight, scheme)
    codes, zero_point = scheme.group(stored.codes).float(), stored.zero_point.float()
    scale = nn.Parameter(1.5 * stored.scale.float())

    def student(inputs: Tensor) -> Tensor:
        weight = dequantize(codes, scale, zero_point).view_as(teacher.weight)
        return nn.functional.linear(inputs, weight, teacher.bias.detach())

    before, after = train(student, teacher, [scale], bfloat16)
    assert after < 0.2 * before
    torch.testing.assert_close(scale.detach(), stored.scale.float(), rtol=0.2, atol=0.0)


def test_it_mixes_with_other_losses_and_leaves_the_order_of_tokens_to_them() -> None:
    teacher, student = linears()
    inputs, directions = torch.randn(2, TOKENS, INPUTS), torch.randn(OUTPUTS, DIRECTIONS)
    target, output = teacher(inputs), student(inputs)
    backwards = sliced_wasserstein(target.flip(1), output, directions)
    torch.testing.assert_close(sliced_wasserstein(target, output, directions), backwards)
    mixed = 0.9 * l2(target, output) + 0.1 * backwards
    mixed.backward()
    assert student.weight.grad is not None and bool(student.weight.grad.isfinite().all())
