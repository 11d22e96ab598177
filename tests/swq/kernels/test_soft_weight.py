"""TesseraQ's soft weights, with their gradient and their passes written out, are those of the plain formula."""

from __future__ import annotations

import pytest
import torch

from swq.kernels.soft_weight import HIGH, LOW, rectified_sigmoid
from swq.methods.tesseraq.rounding import AdaptiveRounding
from swq.quant.affine import weight_range
from swq.quant.scheme import Scheme


def rounding(rows: int, columns: int, group_size: int | None) -> AdaptiveRounding:
    """Return a linear's variables in the middle of training: clipped ranges, moved variables, moved factors."""
    generator = torch.Generator().manual_seed(rows)
    weight = torch.randn(rows, columns, generator=generator)
    scheme = Scheme(2, group_size)
    wmin, wmax = (0.6 * end for end in weight_range(scheme.group(weight)))
    linear = AdaptiveRounding(weight, wmin, wmax, scheme)
    with torch.no_grad():
        linear.rounding.add_(torch.randn(linear.rounding.shape, generator=generator))
        linear.scale_factor.add_(0.1 * torch.randn(linear.scale_factor.shape, generator=generator))
    return linear


@pytest.mark.usefixtures("threads", "kernels")
@pytest.mark.parametrize(
    ("rows", "columns", "group_size"), [(192, 576, 64), (72, 120, 24), (301, 257, None), (13, 21, None)]
)
def test_no_bit_differs_from_the_formula(rows: int, columns: int, group_size: int | None) -> None:
    """Against the formula as it is written, before the first hardening and after two."""
    linear = rounding(rows, columns, group_size)
    upstream = torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))
    for soft_share in (None, 0.5, 0.1):
        if soft_share:
            linear.harden(soft_share)
        output = linear()
        found = torch.autograd.grad(output, (linear.rounding, linear.scale_factor), upstream)
        with torch.no_grad():
            sigmoid, highest = linear.rounding.sigmoid(), linear.scheme.quant_max - linear.zero_point
            stretched = (HIGH - LOW) * sigmoid + LOW
            height = stretched.clamp(0, 1)
            codes = (linear.floor + height).clamp(-linear.zero_point, highest)
            inside = (height == stretched) & (codes == linear.floor + height)
            slope = torch.addcmul(sigmoid, sigmoid, sigmoid, value=-1) * (HIGH - LOW) * inside
        factor = linear.scale_factor.detach().requires_grad_()
        scale = linear.scale * (2 * rectified_sigmoid(factor))
        grad = upstream.view_as(codes)
        assert torch.equal(output, (codes * scale).view(rows, columns))
        assert torch.equal(found[0], grad * scale * slope)
        assert torch.equal(found[1], torch.autograd.grad(codes * scale, factor, grad)[0])
        hard = linear.rounding.isinf()
        assert (found[0][hard] == 0).all() and 0.02 < inside.float().mean() < 0.99
