"""Fake quantization, with its gradient and its passes written out, is that of the formula, bit for bit."""

from __future__ import annotations

import pytest
import torch

from swq.kernels.fake_quantize import fake_quantize
from swq.quant.affine import choose_scale, choose_zero_point, weight_range
from swq.quant.scheme import Scheme


@pytest.mark.usefixtures("threads", "kernels")
@pytest.mark.parametrize("trains_weight", [True, False])
@pytest.mark.parametrize(
    ("rows", "columns", "group_size"), [(32, 128, 32), (72, 120, 24), (5, 7, None), (5, 700, None)]
)
def test_no_bit_differs_from_the_formula(rows: int, columns: int, group_size: int | None, trains_weight: bool) -> None:
    """Against the formula as it is written, with the gradient that the module states."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))
    grouped = Scheme(3, group_size).group(weight).requires_grad_(trains_weight)
    wmin, wmax = ((end.detach() * 0.6).requires_grad_() for end in weight_range(grouped))
    upstream = torch.randn(grouped.shape, generator=torch.Generator().manual_seed(7))
    output = fake_quantize(grouped, wmin, wmax, 3)
    gradients = torch.autograd.grad(output, (wmin, wmax, grouped) if trains_weight else (wmin, wmax), upstream)
    scale = choose_scale(wmin, wmax, 3)
    with torch.no_grad():
        zero_point = choose_zero_point(wmin, scale, 3)
        ratio = grouped / scale
        code = ratio.round().clamp(-zero_point, 7 - zero_point)
        inside = code == ratio.round()
        assert 0.1 < inside.float().mean() < 0.99
        assert torch.equal(output, code * scale)
        of_scale = (upstream * (code - ratio * inside)).sum(dim=-1, keepdim=True)
        if trains_weight:
            assert torch.equal(gradients[2], upstream * inside)
    of_ends = torch.autograd.grad(scale, (wmin, wmax), of_scale)
    assert torch.equal(gradients[0], of_ends[0]) and torch.equal(gradients[1], of_ends[1])


@pytest.mark.usefixtures("kernels")
def test_a_range_of_no_width_has_no_gradient() -> None:
    grouped = torch.full((3, 2, 8), 0.5)
    wmin, wmax = (torch.full((3, 2, 1), 0.5, requires_grad=True) for _ in range(2))
    gradients = torch.autograd.grad(fake_quantize(grouped, wmin, wmax, 3).sum(), (wmin, wmax))
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.usefixtures("kernels")
def test_a_gradient_that_is_not_contiguous_is_read_in_order() -> None:
    """As it may come from a product with a transposed matrix."""
    generator = torch.Generator().manual_seed(1)
    grouped = torch.randn(8, 2, 8, generator=generator)
    upstream = torch.randn(2, 8, 8, generator=generator).transpose(0, 1)
    wmin, wmax = torch.full((8, 2, 1), -0.9), torch.full((8, 2, 1), 1.2, requires_grad=True)
    found, wanted = (
        torch.autograd.grad(fake_quantize(grouped, wmin, wmax, 3), wmax, gradient)
        for gradient in (upstream, upstream.contiguous())
    )
    assert torch.equal(found[0], wanted[0])
