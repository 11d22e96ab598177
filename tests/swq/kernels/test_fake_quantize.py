"""Fake quantization, with its gradient and its passes written out, is that of the formula, bit for bit."""

from __future__ import annotations

import pytest
import torch

from swq.kernels.fake_quantize import straight_through
from swq.quant.affine import choose_scale, choose_zero_point, weight_range
from swq.quant.scheme import Scheme


@pytest.mark.usefixtures("threads", "kernels")
@pytest.mark.parametrize("trains_weight", [True, False])
@pytest.mark.parametrize(("rows", "columns", "group_size"), [(32, 128, 32), (72, 120, 24), (5, 7, None)])
def test_no_bit_differs_from_the_formula(rows: int, columns: int, group_size: int | None, trains_weight: bool) -> None:
    """Against the formula as it is written, with the gradient that the module states."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))
    grouped = Scheme(3, group_size).group(weight).requires_grad_(trains_weight)
    wmin, wmax = (end.detach() * 0.6 for end in weight_range(grouped))
    scale = choose_scale(wmin, wmax, 3).requires_grad_()
    zero_point = choose_zero_point(wmin, scale, 3)
    upstream = torch.randn(grouped.shape, generator=torch.Generator().manual_seed(7))
    output = straight_through(grouped, scale, zero_point, 7)
    gradients = torch.autograd.grad(output, (scale, grouped) if trains_weight else (scale,), upstream)
    with torch.no_grad():
        ratio = grouped / scale
        code = ratio.round().clamp(-zero_point, 7 - zero_point)
        inside = code == ratio.round()
        assert 0.1 < inside.float().mean() < 0.99
        assert torch.equal(output, code * scale)
        assert torch.equal(gradients[0], (upstream * (code - ratio * inside)).sum(dim=-1, keepdim=True))
        if trains_weight:
            assert torch.equal(gradients[1], upstream * inside)


@pytest.mark.usefixtures("kernels")
def test_a_gradient_that_is_not_contiguous_is_read_in_order() -> None:
    """As it may come from a product with a transposed matrix."""
    generator = torch.Generator().manual_seed(1)
    grouped, zero_point = torch.randn(8, 2, 8, generator=generator), torch.full((8, 2, 1), 3.0)
    upstream = torch.randn(2, 8, 8, generator=generator).transpose(0, 1)
    scale = torch.full((8, 2, 1), 0.3, requires_grad=True)
    found, wanted = (
        torch.autograd.grad(straight_through(grouped, scale, zero_point, 7), scale, gradient)
        for gradient in (upstream, upstream.contiguous())
    )
    assert torch.equal(found[0], wanted[0])
